// F11, F26: a primary that is killed under load, and its standby that is promoted.
import { openProxy } from "../runner/proxy.mjs";
import { pgbouncer, startPgBouncer } from "../runner/servers.ts";
import { startTraffic } from "../runner/traffic.ts";
import {
  errorsOf,
  NotRun,
  requireNone,
  SYNCHRONOUS,
  TAKES_SEVERAL,
  userOf,
  withCluster,
  withPool,
} from "./servers.mjs";

/**
 * Kills the primary under load and promotes the standby; returns what became of the sessions. With settings for
 * PgBouncer, the app is behind one.
 */
async function failOver(client, { standing = [], list = false, lag = 0, pooler, reload = false }) {
  if (pooler && !pgbouncer) throw new NotRun("there is no PgBouncer");
  return await withCluster({}, async ([primary, standby]) => {
    await primary.run(...standing);
    const proxy = await openProxy(primary.url);
    const log = await openProxy(primary.url);
    const bouncer = pooler &&
      await startPgBouncer(pgbouncer, reload ? primary.url : proxy.url, pooler);
    try {
      log.delay(lag);
      await standby.stop();
      standby.follow(log);
      await standby.start();
      const urls = list ? [primary.url, standby.url] : [(bouncer ?? proxy).url];
      const run = async (sql) => {
        const traffic = startTraffic(sql, { userOf });
        await traffic.succeeded(2000);
        const start = performance.now();
        await primary.kill();
        await standby.promote();
        const promoted = Math.round(performance.now() - start);
        await (reload ? bouncer : proxy).retarget(standby.url);
        await traffic.succeeded(1);
        const first = Math.round(performance.now() - start);
        await traffic.succeeded(2000);
        const seen = await traffic.stop();
        const { live, gone, back } = await withPool("postgres.js", [standby.url], traffic.verify);
        const words =
          `${live} live sessions; promoted after ${promoted} ms, first success after ${first} ms; ` +
          errorsOf(seen);
        return { seen, gone, back, words };
      };
      return await withPool(client, urls, run, 4, !bouncer);
    } finally {
      await bouncer?.close();
      proxy.cut();
      log.cut();
    }
  });
}

async function losesNothing(client, options) {
  const { seen, gone, back, words } = await failOver(client, { standing: SYNCHRONOUS, ...options });
  requireNone([...seen.wrong, ...gone, ...back]);
  return words;
}

// PgBouncer's default is 15: so many seconds it waits after a connection that was refused.
const EAGER = { server_login_retry: 1 };

export const faults = [
  {
    fault: "F11: synchronous standby promoted, one address that moves",
    expected: "nothing lost, no restart",
    run: (client) => losesNothing(client, {}),
  },
  {
    fault: "F11: synchronous standby promoted, both in the URL",
    expected: "nothing lost, no restart",
    clients: TAKES_SEVERAL,
    run: (client) => losesNothing(client, { list: true }),
  },
  {
    fault: "F11: synchronous standby promoted, PgBouncer by an address that moves",
    expected: "nothing lost, no restart",
    run: (client) => losesNothing(client, { pooler: EAGER }),
  },
  {
    fault: "F11: synchronous standby promoted, PgBouncer by RELOAD",
    expected: "nothing lost, no restart",
    run: (client) => losesNothing(client, { pooler: EAGER, reload: true }),
  },
  {
    fault:
      "F11: synchronous standby promoted, PgBouncer by RELOAD, with its own server_login_retry",
    expected: "nothing lost, no restart",
    run: (client) => losesNothing(client, { pooler: {}, reload: true }),
  },
  {
    fault: "F11: asynchronous standby promoted, whose log comes 200 ms late",
    expected: "the last commits may be lost, never another user's session",
    run: async (client) => {
      const { seen, gone, back, words } = await failOver(client, { lag: 200 });
      // During the run, what was lost looks like a session that is gone, or a revoked one that is back.
      requireNone(
        seen.wrong.filter((it) =>
          /^(foreign|another|a session of|STORE|USER|SCHEMA|UNEX)/.test(it)
        ),
      );
      return `${gone.length} sessions gone, ${back.length} revoked ones back; ${words}`;
    },
  },
];
