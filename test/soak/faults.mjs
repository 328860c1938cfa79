// What goes wrong while the calls are made: on the network, in the server, and by other users of the database.
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";

/** Seconds that no proxy holds a connection for longer: see CLOSED_AFTER in run.mjs. */
export const LONGEST_STALL = 4;

/**
 * @param {object} context
 * @param {string} context.url The database, without a proxy.
 * @param {Awaited<ReturnType<typeof import("../runner/proxy.mjs").openProxy>>[]} context.proxies One a worker.
 * @param {((signal: string) => Promise<void>) | undefined} context.restart Unset: the server is not ours.
 * @param {{ name: string, child: import("node:child_process").ChildProcess, stoppedFor: number }[]} context.workers
 * @param {(sql: import("postgres").Sql) => Promise<void>} context.revokeSilently Revokes while no trigger notifies.
 * @param {(name: string) => void} context.onEnd Is told of each fault that is over.
 * @param {AbortSignal} context.signal Ends the faults.
 */
export function createFaults(
  { url, proxies, restart, workers, revokeSilently, onEnd, signal },
) {
  const counts = {};
  /** The last ones, for what they may have caused. */
  const last = [];
  const pick = (items) => items[Math.floor(Math.random() * items.length)];
  const between = (low, high) => low + Math.random() * (high - low);

  /** Waits, or until the faults are over. */
  const wait = (seconds) => sleep(seconds * 1000, undefined, { signal }).catch(() => {});

  /** Runs statements past the proxies, on a connection of its own. */
  async function directly(run) {
    const sql = postgres(url, {
      max: 1,
      connect_timeout: 5,
      onnotice: () => {},
      connection: { statement_timeout: 15_000, lock_timeout: 2000, application_name: "faults" },
    });
    try {
      return await run(sql);
    } finally {
      await sql.end({ timeout: 1 });
    }
  }

  /** Does something to one proxy, or to all, and makes them pass again. */
  async function disturb(seconds, begin, end = () => {}) {
    const some = Math.random() < 0.4 ? proxies : [pick(proxies)];
    try {
      some.forEach(begin);
      await wait(seconds);
      some.forEach(end);
    } finally {
      await Promise.all(some.map((it) => it.resume()));
    }
  }

  /** Holds locks in a transaction. */
  const hold = (seconds, lock) =>
    directly((sql) =>
      sql.begin(async (tx) => {
        await lock(tx);
        await wait(seconds);
      })
    );

  const network = {
    "connections cut": [5, () => disturb(between(0, 0.5), (it) => it.cut())],
    "half-open silence": [
      3,
      () => disturb(between(1, LONGEST_STALL), (it) => it.stall(), (it) => it.cut()),
    ],
    "stall": [3, () => disturb(between(0.5, LONGEST_STALL), (it) => it.stall())],
    "latency and jitter": [
      4,
      () => disturb(between(1, 4), (it) => it.delay(between(5, 100), between(0, 200))),
    ],
    "lost replies": [5, () => disturb(between(0.1, 1), (it) => it.cutReply())],
    "narrow line": [1, () => disturb(between(0.5, 2), (it) => it.trickle(4000))],
  };

  const database = {
    "backends terminated": [
      4,
      () =>
        directly((sql) =>
          sql`select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name <> 'faults' and random() < 0.5`
        ),
    ],
    "listeners terminated": [
      4,
      () =>
        directly((sql) =>
          sql`select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and query ilike 'listen %'`
        ),
    ],
    "triggers switched off": [3, () => directly(revokeSilently)],
    "statements cancelled": [
      3,
      () =>
        directly((sql) =>
          sql`select pg_cancel_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name <> 'faults' and state = 'active'`
        ),
    ],
    "session rows locked": [
      5,
      () =>
        hold(between(0.2, 5), (tx) =>
          tx`select from coatcheck.sessions where revoked_at is null
          order by random() limit ${Math.ceil(between(0, 6))} for update skip locked`),
    ],
    "user rows locked": [
      3,
      () =>
        hold(
          between(0.2, 3),
          (tx) => tx`select from users where random() < 0.4 for update skip locked`,
        ),
    ],
    "table locked": [
      2,
      () =>
        hold(between(0.1, 1.5), (tx) =>
          tx.unsafe(
            `lock table coatcheck.sessions in ${
              pick(["access exclusive", "share row exclusive"])
            } mode`,
          )),
    ],
    "vacuum": [2, () => directly((sql) => sql.unsafe("vacuum analyze coatcheck.sessions"))],
    "vacuum full": [1, () => directly((sql) => sql.unsafe("vacuum full coatcheck.sessions"))],
    "reindex": [1, () => directly((sql) => sql.unsafe("reindex table coatcheck.sessions"))],
    "reindex concurrently": [
      1,
      () => directly((sql) => sql.unsafe("reindex table concurrently coatcheck.sessions")),
    ],
    ...(restart && {
      "crash of the server": [3, () => restart("SIGQUIT")],
      "restart of the server": [1, () => restart("SIGINT")],
    }),
  };

  const processes = {
    "a worker stopped": [
      1,
      async () => {
        // The ones with a cache more often: a proof gets old meanwhile.
        const cached = workers.filter((it) => it.cached);
        const worker = pick(cached.length > 0 && Math.random() < 0.7 ? cached : workers);
        if (worker.hasExited) return;
        const began = Date.now();
        // The group, as a program may have been started by another one.
        process.kill(-worker.child.pid, "SIGSTOP");
        try {
          await wait(between(1, 4));
        } finally {
          worker.stoppedFor += Date.now() - began;
          if (!worker.hasExited) process.kill(-worker.child.pid, "SIGCONT");
        }
      },
    ],
  };

  function choose(faults) {
    let left = Math.random() * Object.values(faults).reduce((sum, [weight]) => sum + weight, 0);
    return Object.entries(faults).find(([, [weight]]) => (left -= weight) < 0);
  }

  /** Injects one after the other, with pauses, until the signal. */
  async function inject(faults, pause) {
    while (!signal.aborted) {
      await wait(between(...pause));
      if (signal.aborted) return;
      const [name, [, run]] = choose(faults);
      last.push(name);
      if (last.length > 6) last.shift();
      try {
        await run();
        counts[name] = (counts[name] ?? 0) + 1;
        onEnd(name);
      } catch {
        // What another fault has cut, such as a lock by a crash.
        counts[`${name}, broken off`] = (counts[`${name}, broken off`] ?? 0) + 1;
      }
    }
  }

  /** Runs until the signal; what it has disturbed passes again by then. */
  const run = () =>
    Promise.all([
      inject(network, [0.3, 3]),
      inject(database, [0.3, 3]),
      inject(processes, [2, 6]),
    ]);

  return { run, counts, last };
}
