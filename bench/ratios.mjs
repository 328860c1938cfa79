// The ratios that a release is held to, each with its target at 1, 16 and 64 in flight.
const IN_FLIGHT = [1, 16, 64];

const PGBENCH_ONE = "pgbench, one statement, its best number of connections";
const PGBENCH_MANY = "pgbench, 50 rows a statement, at its best";

// `client` unset: the best client of the runtime. "From scratch" uses postgres.js, so that the rows with one
// statement a call compare postgres.js with itself.
const TARGETS = [
  {
    operation: "create",
    group: "batched",
    other: "best peer library",
    divisor: peers,
    targets: [1.8, 5.5, 7],
  },
  {
    operation: "create",
    group: "batched",
    other: "from scratch",
    divisor: scratch,
    targets: [1.7, 3.5, 4],
  },
  {
    operation: "create",
    group: "batched",
    other: PGBENCH_ONE,
    divisor: limit(1),
    targets: [0.9, 1.6, 2.5],
  },
  {
    operation: "create",
    group: "batched",
    other: PGBENCH_MANY,
    divisor: limit(50),
    targets: [null, null, 0.5],
  },
  {
    operation: "validate",
    group: "batched",
    other: "best peer library, which does not touch",
    divisor: peers,
    targets: [2, 4, 5],
  },
  {
    operation: "validate",
    group: "batched",
    other: "from scratch",
    divisor: scratch,
    targets: [1.1, 1.7, 2.5],
  },
  {
    operation: "validate",
    group: "batched",
    other: PGBENCH_ONE,
    divisor: limit(1),
    targets: [0.8, 0.95, 1.2],
  },
  {
    operation: "validate",
    group: "batched",
    other: PGBENCH_MANY,
    divisor: limit(50),
    targets: [null, null, 0.5],
  },
  {
    operation: "create",
    group: "plain",
    other: "best peer library",
    divisor: peers,
    targets: [null, null, 2.5],
  },
  {
    operation: "create",
    group: "plain",
    client: "postgres.js",
    other: "from scratch",
    divisor: scratch,
    targets: [null, 1, null],
  },
  {
    operation: "validate",
    group: "plain",
    other: "best peer library, which does not touch",
    divisor: peers,
    targets: [null, null, 2],
  },
  {
    operation: "validate",
    group: "plain",
    client: "postgres.js",
    other: "from scratch",
    divisor: scratch,
    targets: [null, 0.85, null],
  },
  {
    operation: "create",
    group: "unprepared plain",
    client: "postgres.js",
    other: "from scratch, prepared",
    divisor: scratch,
    targets: [null, 0.65, null],
  },
  {
    operation: "create",
    group: "unprepared plain",
    client: "postgres.js",
    other: "from scratch, unprepared too",
    divisor: unpreparedScratch,
    targets: [null, null, null],
  },
  {
    operation: "validate",
    group: "unprepared plain",
    client: "postgres.js",
    other: "from scratch, prepared",
    divisor: scratch,
    targets: [null, 0.7, null],
  },
  {
    operation: "validate",
    group: "unprepared plain",
    client: "postgres.js",
    other: "from scratch, unprepared too",
    divisor: unpreparedScratch,
    targets: [null, null, null],
  },
];

/**
 * Divides the medians of a run: coatcheck on each runtime, by the best of the others.
 *
 * "From scratch" divides only on its own runtime, as it is the code that the same app would contain instead.
 * A peer and pgbench divide with their best figure on any runtime. A ratio is null if either was not measured.
 */
export function ratiosOf(cells) {
  const functions = cells.filter(({ kind }) => kind === "function");
  const runtimes = [
    ...new Set(
      functions.filter(({ group }) => group === "batched" || group === "plain")
        .map(({ runtime }) => runtime),
    ),
  ];
  return TARGETS.flatMap(({ operation, group, client, other, divisor, targets }) => {
    const byRuntime = runtimes.map((runtime) => [
      runtime,
      IN_FLIGHT.map((inFlight) => {
        const isCell = (it) => it.operation === operation && it.inFlight === inFlight;
        const ours = best(
          functions.filter((it) =>
            isCell(it) && it.group === group && it.runtime === runtime &&
            (client === undefined || it.client === client)
          ),
        );
        const theirs = divisor(cells, isCell, operation, runtime);
        return ours && theirs ? ours / theirs : null;
      }),
    ]);
    const isMeasured = byRuntime.some(([, values]) => values.some((value) => value !== null));
    return isMeasured
      ? [{ operation, group, client, other, targets, byRuntime: Object.fromEntries(byRuntime) }]
      : [];
  });
}

function peers(cells, isCell) {
  return best(cells.filter((it) => it.kind === "function" && it.group === "peer" && isCell(it)));
}

function scratch(cells, isCell, _operation, runtime) {
  return bestOnRuntime("scratch", cells, isCell, runtime);
}

function unpreparedScratch(cells, isCell, _operation, runtime) {
  return bestOnRuntime("unprepared scratch", cells, isCell, runtime);
}

function bestOnRuntime(group, cells, isCell, runtime) {
  return best(
    cells.filter((it) =>
      it.kind === "function" && it.group === group && it.runtime === runtime && isCell(it)
    ),
  );
}

function limit(rows) {
  return (cells, _isCell, operation) =>
    best(
      cells.filter((it) => it.kind === "pgbench" && it.rows === rows && it.operation === operation),
    );
}

// "Cached" divided by each of these at 1 and 64 in flight, with the target at 64. A signed cookie divides on its own
// runtime, and a library that asks a database with its best figure on any. `cpu`: the client's CPU time for a call, of
// the other divided by ours, as WebCrypto uses more threads than one on some runtimes.
const MEMORY_TARGETS = [
  { other: "jose HS256", targets: { Bun: 8, Node: 12, Deno: 12 } },
  { other: "jose HS256", cpu: true },
  { other: "jose EdDSA" },
  { other: "iron-session" },
  { other: "better-auth with its cookie cache" },
  { other: "best peer library, over its database", isPeer: true, targets: 20 },
  { other: "coatcheck batched", own: "batched" },
  { other: "coatcheck", own: "plain" },
];

export const MEMORY_IN_FLIGHT = [1, 64];

/** Divides the validations from memory by those of the others. Null if either was not measured. */
export function memoryRatiosOf(cells) {
  const cached = cells.filter(({ kind, group }) =>
    kind === "memory" && group === "coatcheck cached"
  );
  const runtimes = [...new Set(cached.map(({ runtime }) => runtime))];
  return MEMORY_TARGETS.map(({ other, isPeer, own, cpu = false, targets }) => {
    const isOther = (it, runtime) => {
      if (isPeer) return it.kind === "function" && it.group === "peer";
      if (it.runtime !== runtime) return false;
      return own
        ? it.kind === "function" && it.group === own && it.client === "postgres.js"
        : it.kind === "memory" && it.group === other;
    };
    const byRuntime = runtimes.map((runtime) => [
      runtime,
      MEMORY_IN_FLIGHT.map((inFlight) => {
        const isCell = (it) => it.operation === "validate" && it.inFlight === inFlight;
        const ours = cached.filter((it) => it.runtime === runtime && isCell(it));
        const theirs = cells.filter((it) => isOther(it, runtime) && isCell(it));
        if (ours.length === 0 || theirs.length === 0) return null;
        return cpu ? leastCpu(theirs) / leastCpu(ours) : best(ours) / best(theirs);
      }),
    ]);
    const targetOf = (runtime) =>
      typeof targets === "object" ? targets[runtime] ?? null : targets ?? null;
    return {
      other,
      cpu,
      targets: Object.fromEntries(runtimes.map((runtime) => [runtime, targetOf(runtime)])),
      byRuntime: Object.fromEntries(byRuntime),
    };
  }).filter(({ byRuntime }) =>
    Object.values(byRuntime).some((values) => values.some((value) => value !== null))
  );
}

function leastCpu(cells) {
  return Math.min(...cells.map(({ cpu }) => cpu.median));
}

/** The most calls a second of these cells; null if there are none. */
export function best(cells) {
  return cells.length ? Math.max(...cells.map(({ perSecond }) => perSecond.median)) : null;
}

/**
 * Divides this version by the other one, cell by cell.
 *
 * Each round gives one ratio of two figures that were measured one after the other. Load that lasts longer
 * than a turn slows both, so the median of these ratios moves less than a ratio of medians.
 */
export function comparisonOf(cells) {
  return cells.filter(({ group }) => group === "against").map((theirs) => {
    const { counterpart: name, operation, runtime, client, inFlight } = theirs;
    const ours = cells.find((it) =>
      it.name === name && it.operation === operation && it.inFlight === inFlight
    );
    // A round in which one of them completed no call has no ratio.
    const ratios = ours.perSecond.rounds
      .map((perSecond, round) => perSecond / theirs.perSecond.rounds[round])
      .filter((ratio) => ratio > 0 && ratio < Infinity)
      .sort((a, b) => a - b);
    const median = (ratios[(ratios.length - 1) >> 1] + ratios[ratios.length >> 1]) / 2;
    const ratio = ratios.length ? { median, min: ratios[0], max: ratios.at(-1) } : null;
    return { operation, group: ours.group, client, runtime, inFlight, ratio };
  });
}
