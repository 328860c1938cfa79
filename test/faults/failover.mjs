// F11, F26: a primary that is killed under load, and its standby that is promoted.
import { openProxy } from "../runner/proxy.mjs";
import { startTraffic } from "../runner/traffic.ts";
import { errorsOf, requireNone, userOf, withCluster, withPool } from "./servers.mjs";

const SYNCHRONOUS = [
  "alter system set synchronous_standby_names = 'any 1 (*)'",
  "alter system set synchronous_commit = 'remote_apply'",
  "select pg_reload_conf()",
];

/** Kills the primary under load and promotes the standby; returns what became of the sessions. */
async function failOver(client, { standing = [], list = false, lag = 0 }) {
  return await withCluster({}, async ([primary, standby]) => {
    await primary.run(...standing);
    const proxy = await openProxy(primary.url);
    const log = await openProxy(primary.url);
    try {
      log.delay(lag);
      await standby.stop();
      standby.follow(log);
      await standby.start();
      const urls = list ? [primary.url, standby.url] : [proxy.url];
      return await withPool(client, urls, async (sql) => {
        const traffic = startTraffic(sql, { userOf });
        await traffic.succeeded(2000);
        const start = performance.now();
        await primary.kill();
        await standby.promote();
        const promoted = Math.round(performance.now() - start);
        proxy.retarget(standby.url);
        await traffic.succeeded(1);
        const first = Math.round(performance.now() - start);
        await traffic.succeeded(2000);
        const seen = await traffic.stop();
        const { live, gone, back } = await withPool("postgres.js", [standby.url], traffic.verify);
        const words =
          `${live} live sessions; promoted after ${promoted} ms, first success after ${first} ms; ` +
          errorsOf(seen);
        return { seen, gone, back, words };
      });
    } finally {
      proxy.cut();
      log.cut();
    }
  });
}

async function losesNothing(client, list) {
  const { seen, gone, back, words } = await failOver(client, { standing: SYNCHRONOUS, list });
  requireNone([...seen.wrong, ...gone, ...back]);
  return words;
}

export const faults = [
  {
    fault: "F11: synchronous standby promoted, one address that moves",
    expected: "nothing lost, no restart",
    run: (client) => losesNothing(client, false),
  },
  {
    fault: "F11: synchronous standby promoted, both in the URL",
    expected: "nothing lost, no restart",
    run: async (client) => {
      if (client === "postgres.js") return await losesNothing(client, true);
      return `${client} takes one host: covered by the address that moves`;
    },
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
