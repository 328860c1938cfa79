// The ratios that issue 4 asks for, each with what it should be at 1, 16 and 64 in flight.
const TARGETS = [
  ["create", "batched", "best peer library", peers, [1.8, 5.5, 7]],
  ["create", "batched", "from scratch", scratch, [1.7, 3.5, 4]],
  ["create", "batched", "pgbench, one statement, its best number of connections", limit(1), [
    0.9,
    1.6,
    2.5,
  ]],
  ["create", "batched", "pgbench, 50 rows a statement, at its best", limit(50), [null, null, 0.5]],
  ["validate", "batched", "best peer library, which does not touch", peers, [2, 4, 5]],
  ["validate", "batched", "from scratch", scratch, [1.1, 1.7, 2.5]],
  ["validate", "batched", "pgbench, one statement, its best number of connections", limit(1), [
    0.8,
    0.95,
    1.2,
  ]],
  ["validate", "batched", "pgbench, 50 rows a statement, at its best", limit(50), [
    null,
    null,
    0.5,
  ]],
  ["create", "plain", "best peer library", peers, [null, null, 2.5]],
  ["create", "plain", "from scratch", scratch, [1, 1, 1]],
  ["validate", "plain", "best peer library, which does not touch", peers, [null, null, 2]],
  ["validate", "plain", "from scratch", scratch, [1, 1, 1]],
];

const IN_FLIGHT = [1, 16, 64];

/**
 * Divides the medians of one run: on each runtime coatcheck with its best client, by the best of the
 * others on whichever runtime that is.
 *
 * "From scratch" is taken on the same runtime where it was run there, as it is the code that somebody
 * would write instead.
 */
export function ratiosOf(cells) {
  const functions = cells.filter(({ kind }) => kind === "function");
  const runtimes = [
    ...new Set(
      functions.filter(({ group }) => group === "batched" || group === "plain")
        .map(({ runtime }) => runtime),
    ),
  ];
  return TARGETS.flatMap(([verb, group, other, divisor, targets]) => {
    const byRuntime = runtimes.map((runtime) => [
      runtime,
      IN_FLIGHT.map((inFlight) => {
        const of = (it) => it.verb === verb && it.inFlight === inFlight;
        const mine = best(
          functions.filter((it) => of(it) && it.group === group && it.runtime === runtime),
        );
        const theirs = divisor(cells, of, verb, runtime);
        return mine && theirs ? mine / theirs : null;
      }),
    ]);
    const known = byRuntime.some(([, values]) => values.some((value) => value !== null));
    return known ? [{ verb, group, other, targets, byRuntime: Object.fromEntries(byRuntime) }] : [];
  });
}

function peers(cells, of) {
  return best(cells.filter((it) => it.kind === "function" && it.group === "peer" && of(it)));
}

function scratch(cells, of, _verb, runtime) {
  const all = cells.filter((it) => it.kind === "function" && it.group === "scratch" && of(it));
  const same = all.filter((it) => it.runtime === runtime);
  return best(same.length ? same : all);
}

function limit(rows) {
  return (cells, _of, verb) =>
    best(cells.filter((it) => it.kind === "pgbench" && it.rows === rows && it.verb === verb));
}

/** The most calls a second of all these; null where there are none. */
export function best(cells) {
  return cells.length ? Math.max(...cells.map(({ perSecond }) => perSecond.median)) : null;
}
