// What a round is made of: each turn measures one contestant, and is given its place by lot.
import { startChild } from "./children.mjs";
import { contestants, servers } from "./contestants.mjs";
import { openPgbench, ROWS } from "./pgbench.mjs";

const VERBS = ["create", "validate"];

/** A contestant in its process, called as functions. */
export async function openContestant(contestant, url, plan, seed) {
  const { runtime, module, options, verbs, name, group } = contestant;
  const child = startChild(runtime, "worker.mjs", module);
  await child.ask("open", url, { ...options, sessions: plan.sessions, seed });
  for (const verb of verbs) await child.ask("measure", verb, 64, plan.warmUp);
  return {
    name,
    run: async (record) => {
      for (const verb of verbs) await child.ask("measure", verb, 64, plan.wakeUp);
      for (const inFlight of plan.inFlight) {
        for (const verb of verbs) {
          const figures = await child.ask("measure", verb, inFlight, plan.window);
          record({ kind: "function", name, group, runtime, verb, inFlight }, figures);
        }
      }
    },
    close: async () => {
      await child.ask("close");
      await child.stop();
    },
  };
}

/** A server in its process, under the load of another one. */
export async function openServerTurn({ name, runtime, module, options }, url, plan) {
  const { connections, window, requests } = plan.http;
  const server = startChild(runtime, `servers/${module}.mjs`);
  const client = startChild("Bun", "load.mjs");
  const port = await server.ask("open", url, options);
  await client.ask("prepare", await server.ask("requests", plan.sessions, requests));
  for (const verb of VERBS) await client.ask("load", port, verb, connections, plan.warmUp);
  return {
    name: `HTTP ${name}`,
    run: async (record) => {
      for (const verb of VERBS) await client.ask("load", port, verb, connections, plan.wakeUp);
      for (const verb of VERBS) {
        const before = await server.ask("usage");
        const figures = await client.ask("load", port, verb, connections, window);
        const after = await server.ask("usage");
        const spent = after.user + after.system - before.user - before.system;
        record({ kind: "http", name, runtime, verb, inFlight: connections }, {
          perSecond: figures.perSecond,
          p50: figures.p50,
          p99: figures.p99,
          cpu: spent / figures.requests,
        });
      }
    },
    close: async () => {
      await client.stop();
      await server.ask("close");
      await server.stop();
    },
  };
}

/** PostgreSQL's own load generator. */
export async function openPgbenchTurn(path, url, plan) {
  const child = startChild("Bun", "statements.mjs");
  const statements = await child.ask("statements", plan.sessions);
  await child.stop();
  const { seconds, clients, clientsOfMany } = plan.pgbench;
  const pgbench = await openPgbench(path, url, statements, plan.sessions);
  const cells = [[1, clients], [ROWS, clientsOfMany]].flatMap(([rows, counts]) =>
    counts.flatMap((inFlight) => VERBS.map((verb) => ({ rows, inFlight, verb })))
  );
  return {
    name: "pgbench",
    // It takes as long as half of the others together.
    every: 2,
    run: async (record) => {
      for (const { rows, inFlight, verb } of cells) {
        const figures = await pgbench.measure(verb, rows, inFlight, seconds);
        record(
          { kind: "pgbench", name: `pgbench, ${rows} a statement`, rows, verb, inFlight },
          figures,
        );
      }
    },
    close: () => pgbench.close(),
  };
}

/** Whom the command line wants, and how many connections they hold together. */
export function choose({ isWanted }, hasBatched, pgbench, plan) {
  const canRun = ({ options }) => !options.batched || hasBatched;
  const chosen = {
    contestants: contestants.filter((it) => isWanted(it.name) && canRun(it)),
    servers: servers.filter((it) => isWanted(`HTTP ${it.name}`) && canRun(it)),
    pgbench: pgbench !== null && isWanted("pgbench") ? pgbench : null,
  };
  const pools = [...chosen.contestants, ...chosen.servers].map(({ options }) => options.pool);
  const connections = pools.reduce((sum, pool) => sum + pool, 10) +
    (chosen.pgbench ? Math.max(...plan.pgbench.clients) : 0);
  return { ...chosen, connections };
}
