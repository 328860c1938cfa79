// The figures of bench:cache as Markdown.
import { circumstances, table, whole } from "./tables.mjs";

const OPERATIONS = ["create", "validate", "touch", "revoke"];

export function cacheReport(results) {
  const { rounds, window } = results.plan;
  const { sessions } = results.plan;
  return [
    circumstances({ ...results, sessions, rounds, window }),
    delays(results.delays),
    idle(results.idle),
    ...results.plan.inFlight.map((inFlight) => triggers(results, inFlight)),
    fullQueue(results.fullQueue),
  ].join("\n\n");
}

const milliseconds = (value) => Math.abs(value) < 10 ? value.toFixed(2) : value.toFixed(1);

/** From the return of revokeSessions to the refusal by the last of the other processes. */
function delays(all) {
  const rows = all.map(({ processes, pause, revocations, delay, revoke, asked }) => [
    processes,
    pause === 0 ? "at once" : `${pause} ms`,
    whole(revocations),
    ...[delay.p50, delay.p99, delay.max, revoke.p50, revoke.p99].map(milliseconds),
    asked,
  ]);
  return "Milliseconds from the return of `revokeSessions` in one process until every other one refuses. Each " +
    "validates again and again, with the pause that is given. Below zero: before it returned.\n\n" +
    table([
      "processes with a cache",
      "pause",
      "revocations",
      "p50",
      "p99",
      "max",
      "the call itself, p50",
      "p99",
      "asked the database meanwhile",
    ], rows);
}

function idle(all) {
  const figure = (value) => value === null ? "·" : milliseconds(value);
  return "While nothing is asked: beats alone.\n\n" +
    table(
      ["processes with a cache", "server, ms of CPU a second", "each process, ms of CPU a second"],
      all.map(({ caches, server, process }) => [caches, figure(server), figure(process)]),
    );
}

function triggers({ cells, plan }, inFlight) {
  const at = (caches, operation, has) =>
    cells.find((it) =>
      it.caches === caches && it.operation === operation && it.inFlight === inFlight &&
      it.triggers === has
    ).perSecond.median;
  const rows = [0, ...plan.processes].map((caches) => [
    caches,
    ...OPERATIONS.flatMap((operation) => {
      const [without, having] = [at(caches, operation, false), at(caches, operation, true)];
      return [whole(without), `${whole(having)} (${(having / without).toFixed(2)} ×)`];
    }),
  ]);
  const heads = OPERATIONS.flatMap((operation) => [operation, "with the triggers"]);
  return table(
    [`caches that listen; calls a second, ${inFlight} in flight`, ...heads],
    rows,
  );
}

function fullQueue(measured) {
  const { version, pages, revocations, byDefault, whileFull, isLive } = measured;
  const outcome = (error) => error === null ? "works" : `fails: \`${error}\``;
  const rows = Object.entries(whileFull).map(([name, error]) => [`\`${name}\``, outcome(error)]);
  return `A connection that listens and stays in a transaction, on PostgreSQL ${version} with ` +
    `\`max_notify_queue_pages = ${pages}\`: the queue was full after ${
      whole(revocations)
    } revocations ` +
    `(by default: about ${whole(byDefault)}). The session whose revocation failed ` +
    `${isLive ? "is still live" : "is not live"}.\n\n` +
    table(["while the queue is full", "outcome"], [
      ...rows,
      ["`revokeSessions`, 2 s after that transaction has ended", outcome(measured.afterRollback)],
      [
        "`revokeSessions`, after `select pg_notification_queue_usage()`",
        outcome(measured.afterLook),
      ],
    ]);
}
