// The turns of a round: each measures one contestant.
import { startChild } from "./children.mjs";
import { comparisonContestants, contestants, counterpartOf, servers } from "./contestants.mjs";
import { openPgbench, ROWS } from "./pgbench.mjs";

const OPERATIONS = ["create", "validate"];

/** A contestant in its process, measured by function calls. */
export async function openContestant(contestant, url, plan) {
  const { runtime, module, options, operations, name, group } = contestant;
  // Set for the other version of a comparison only.
  const { counterpart, checkout } = contestant;
  const child = startChild(runtime, "worker.mjs", module, checkout);
  await child.ask("open", url, {
    ...options,
    sessions: plan.sessions,
    seed: contestant.seed,
    checkout,
  });
  for (const operation of operations) await child.ask("measure", operation, 64, plan.warmUp);
  return {
    name,
    counterpart,
    run: async (record) => {
      for (const operation of operations) await child.ask("measure", operation, 64, plan.wakeUp);
      for (const inFlight of plan.inFlight) {
        for (const operation of operations) {
          const figures = await child.ask("measure", operation, inFlight, plan.window);
          const { client } = options;
          record({
            kind: "function",
            name,
            group,
            counterpart,
            runtime,
            client,
            operation,
            inFlight,
          }, figures);
        }
      }
    },
    close: async () => {
      await child.ask("close");
      await child.stop();
    },
  };
}

/** A server in its process, under load from another process. */
export async function openServerTurn({ name, runtime, module, options }, url, plan) {
  const { connections, window, requests } = plan.http;
  const server = startChild(runtime, `servers/${module}.mjs`);
  const client = startChild("Bun", "load.mjs");
  const port = await server.ask("open", url, options);
  await client.ask("prepare", await server.ask("requests", plan.sessions, requests));
  for (const operation of OPERATIONS) {
    await client.ask("load", port, operation, connections, plan.warmUp);
  }
  return {
    name: `HTTP ${name}`,
    run: async (record) => {
      for (const operation of OPERATIONS) {
        await client.ask("load", port, operation, connections, plan.wakeUp);
      }
      for (const operation of OPERATIONS) {
        const before = await server.ask("usage");
        const figures = await client.ask("load", port, operation, connections, window);
        const after = await server.ask("usage");
        const spent = after.user + after.system - before.user - before.system;
        record({ kind: "http", name, runtime, operation, inFlight: connections }, {
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
    counts.flatMap((inFlight) => OPERATIONS.map((operation) => ({ rows, inFlight, operation })))
  );
  return {
    name: "pgbench",
    // It takes half as long as all others together.
    every: 2,
    run: async (record) => {
      for (const { rows, inFlight, operation } of cells) {
        const figures = await pgbench.measure(operation, rows, inFlight, seconds);
        record(
          { kind: "pgbench", name: `pgbench, ${rows} a statement`, rows, operation, inFlight },
          figures,
        );
      }
    },
    close: () => pgbench.close(),
  };
}

/**
 * Selects what the command line asks for, and counts the connections that it needs.
 *
 * With `--against` and no `--only`, that is coatcheck in both versions and "from scratch".
 *
 * @param {{ isWanted: (name: string) => boolean, filtered: boolean }} options
 * @param {{ hasBatched: boolean, other?: Other, pgbench: string | null }} found
 *
 * @typedef {{ checkout: string, label: string, hasDist: boolean, hasBatched: boolean }} Other The version of
 * `--against`.
 */
export function choose({ isWanted, filtered }, { hasBatched, other, pgbench }, plan) {
  const isPossible = ({ options }) => !options.batched || hasBatched;
  const isCompared = ({ module }) => filtered || module === "coatcheck" || module === "scratch";
  const all = other ? [...contestants.filter(isCompared), ...comparisonContestants] : contestants;
  // A contestant and its counterpart share a seed, so that both validate the same sessions.
  const ours = all.filter((it) => isWanted(it.name) && isPossible(it))
    .map((it, index) => ({ ...it, seed: index + 1 }));
  const theirs = other
    ? ours.filter((it) => it.module === "coatcheck" && isPossibleThere(it, other))
      .map((it) => counterpartOf(it, other))
    : [];
  const onlyFunctions = other !== undefined && !filtered;
  const chosen = {
    contestants: [...ours, ...theirs],
    servers: onlyFunctions
      ? []
      : servers.filter((it) => isWanted(`HTTP ${it.name}`) && isPossible(it)),
    pgbench: pgbench !== null && !onlyFunctions && isWanted("pgbench") ? pgbench : null,
  };
  const pools = [...chosen.contestants, ...chosen.servers].map(({ options }) => options.pool);
  const connections = pools.reduce((sum, pool) => sum + pool, 10) +
    (chosen.pgbench ? Math.max(...plan.pgbench.clients) : 0);
  return { ...chosen, connections };
}

function isPossibleThere({ runtime, options }, { hasDist, hasBatched }) {
  return (runtime !== "Node" || hasDist) && (!options.batched || hasBatched);
}
