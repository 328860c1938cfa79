// The figures of bench:growth as Markdown.
import { circumstances, table, whole } from "./tables.mjs";

export function growthReport(results) {
  const { cells, sweep, day, fresh, plan } = results;
  const parts = [circumstances({ ...results, sessions: plan.sizes.at(-1), window: plan.window })];
  for (const operation of ["create", "validate"]) parts.push(sizes(cells, operation, plan.sizes));
  parts.push(bytes(fresh, day), sweeping(sweep));
  return parts.join("\n\n");
}

/** Calls a second; in brackets how much longer a call takes than in the smallest table. */
function sizes(cells, operation, all) {
  const of = cells.filter((it) => it.operation === operation);
  const groups = [...new Set(of.map(({ group }) => group))];
  const flights = [1, 16, 64];
  const rows = all.map((size) => [
    whole(size),
    ...groups.flatMap((group) =>
      flights.map((inFlight) => {
        const at = (name) =>
          of.find((it) => it.name === `${name}` && it.group === group && it.inFlight === inFlight)
            .perSecond.median;
        return `${whole(at(size))} (${(at(all[0]) / at(size)).toFixed(2)} ×)`;
      })
    ),
  ]);
  const heads = groups.flatMap((group) =>
    flights.map((inFlight) => `${group}, ${inFlight} in flight`)
  );
  return table([`${operation} a second, with sessions`, ...heads], rows);
}

function bytes(fresh, { passes, of, before, after }) {
  const row = (name, { sessions, table, key, user }) => [
    name,
    whole(sessions),
    ...[table, key, user, table + key + user].map(whole),
  ];
  const updates = after.updates.all - before.updates.all;
  const hot = updates ? (after.updates.hot - before.updates.hot) / updates * 100 : 0;
  return table(["bytes a session", "sessions", "table", "key", "index of users", "in all"], [
    row("fresh, the largest", fresh),
    row("fresh", before),
    row(
      `after ${passes} of the ${of} touches and rotations of a day (${hot.toFixed(1)} % heap-only)`,
      after,
    ),
  ]);
}

function sweeping({ swept, scanned, blocks, seconds, inFlight, before, during }) {
  const row = (name, { perSecond, p50, p99 }) => [
    name,
    whole(perSecond),
    p50.toFixed(2),
    p99.toFixed(2),
  ];
  const part = scanned < blocks ? `, ${Math.round(scanned / blocks * 100)} % of the table` : "";
  const rate = whole(swept / seconds);
  return table([`validate, ${inFlight} in flight`, "a second", "p50 ms", "p99 ms"], [
    row("alone", before),
    row(`beside a sweep of ${whole(swept)} dead sessions (${rate} a second${part})`, during),
  ]);
}
