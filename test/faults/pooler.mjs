// F14, F15: PgBouncer in transaction mode.
import { execFileSync } from "node:child_process";
import { pgbouncer, startPgBouncer } from "../runner/servers.ts";
import { startTraffic } from "../runner/traffic.ts";
import { errorsOf, NotRun, requireNone, userOf, withCluster, withPool } from "./servers.mjs";

/** The version of the installed PgBouncer. */
function version() {
  if (!pgbouncer) throw new NotRun("there is no PgBouncer: install it, or name one in PGBOUNCER");
  const [, major, minor] = /(\d+)\.(\d+)/.exec(execFileSync(pgbouncer, ["--version"]));
  return {
    text: `PgBouncer ${major}.${minor}`,
    prepares: Number(major) > 1 || Number(minor) >= 21,
  };
}

async function answers(client, prepare, settings) {
  return await withCluster({ standbys: 0 }, async ([server]) => {
    const bouncer = await startPgBouncer(pgbouncer, server.url, settings);
    try {
      // More connections to PgBouncer than it has to the server.
      return await withPool(
        client,
        [bouncer.url],
        async (sql) => {
          const traffic = startTraffic(sql, { userOf, workers: 40, queryTimeout: 30 });
          await traffic.succeeded(5000);
          const seen = await traffic.stop();
          const { gone, back } = await withPool("postgres.js", [server.url], traffic.verify);
          requireNone([...seen.wrong, ...gone, ...back]);
          if (seen.errors.size > 0) throw new Error(errorsOf(seen));
          return `${version().text}: ${errorsOf(seen)}`;
        },
        20,
        prepare,
      );
    } finally {
      await bouncer.close();
    }
  });
}

export const faults = [
  {
    fault: "F14: PgBouncer in transaction mode, prepare: false",
    expected: "every call is answered",
    run: (client) => version() && answers(client, false, {}),
  },
  {
    fault: "F15: PgBouncer with max_prepared_statements, prepare: true",
    expected: "every call is answered",
    // pg prepares no statement by name.
    clients: ["postgres.js", "Bun.SQL"],
    run: (client) => {
      const { text, prepares } = version();
      if (!prepares) throw new NotRun(`${text} is older than 1.21: name a newer one in PGBOUNCER`);
      return answers(client, true, { max_prepared_statements: 100 });
    },
  },
];
