// The turns of a round: each measures one contestant.
import { startChild } from "./children.mjs";
import {
  comparisonContestants,
  contestants,
  counterpartOf,
  memoryContestants,
  memoryServers,
  servers,
} from "./contestants.mjs";
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

/** A contestant that validates without a query, measured by function calls. */
export async function openMemoryTurn({ name, group, runtime, module, options, seed }, url, plan) {
  const { inFlight: flights, window, warmUp } = plan.memory;
  const child = startChild(runtime, "worker.mjs", module);
  await child.ask("open", url, { ...options, sessions: plan.sessions, seed });
  await child.ask("rate", 64, warmUp);
  return {
    name,
    run: async (record) => {
      await child.ask("refresh");
      await child.ask("rate", 64, plan.wakeUp);
      for (const inFlight of flights) {
        const figures = await child.ask("rate", inFlight, window);
        record({ kind: "memory", name, group, runtime, operation: "validate", inFlight }, figures);
      }
    },
    close: async () => {
      await child.ask("close");
      await child.stop();
    },
  };
}

/** The same over HTTP. */
export async function openMemoryServerTurn({ name, group, runtime, module, options }, url, plan) {
  const { connections, window } = plan.http;
  const server = startChild(runtime, "servers/memory.mjs");
  const client = startChild("Bun", "load.mjs");
  const port = await server.ask("open", url, {
    module,
    ...options,
    sessions: plan.sessions,
    seed: 1,
  });
  await client.ask("prepare", await server.ask("requests"));
  await client.ask("load", port, "validate", connections, plan.memory.warmUp);
  return {
    name: `HTTP ${name}`,
    run: async (record) => {
      await server.ask("refresh");
      await client.ask("load", port, "validate", connections, plan.wakeUp);
      const figures = await load(server, client, [port, "validate", connections, window]);
      record({ kind: "memory http", name, group, runtime, inFlight: connections }, figures);
    },
    close: async () => {
      await client.stop();
      await server.ask("close");
      await server.stop();
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
        const figures = await load(server, client, [port, operation, connections, window]);
        record({ kind: "http", name, runtime, operation, inFlight: connections }, figures);
      }
    },
    close: async () => {
      await client.stop();
      await server.ask("close");
      await server.stop();
    },
  };
}

async function load(server, client, args) {
  const before = await server.ask("usage");
  const { perSecond, p50, p99, requests } = await client.ask("load", ...args);
  const after = await server.ask("usage");
  const spent = after.user + after.system - before.user - before.system;
  return { perSecond, p50, p99, cpu: spent / requests };
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
 * @param {{ hasBatched: boolean, hasCache: boolean, other?: Other, pgbench: string | null }} found
 *
 * @typedef {{ checkout: string, label: string, hasDist: boolean, hasBatched: boolean }} Other The version of
 * `--against`.
 */
export function choose({ isWanted, filtered }, { hasBatched, hasCache, other, pgbench }, plan) {
  const isPossible = ({ options }) =>
    (!options.batched || hasBatched) && (!options.cached || hasCache);
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
    memory: onlyFunctions
      ? []
      : memoryContestants.filter((it) => isWanted(`memory ${it.name}`) && isPossible(it))
        .map((it, index) => ({ ...it, seed: index + 1 })),
    memoryServers: onlyFunctions
      ? []
      : memoryServers.filter((it) => isWanted(`memory HTTP ${it.name}`) && isPossible(it)),
    pgbench: pgbench !== null && !onlyFunctions && isWanted("pgbench") ? pgbench : null,
  };
  const withPools = [
    ...chosen.contestants,
    ...chosen.servers,
    ...chosen.memory,
    ...chosen.memoryServers,
  ];
  const connections = withPools.reduce((sum, { options }) => sum + connectionsOf(options), 10) +
    (chosen.pgbench ? Math.max(...plan.pgbench.clients) : 0);
  return { ...chosen, connections };
}

const connectionsOf = ({ pool, cached }) => pool + (cached ? 1 : 0);

function isPossibleThere({ runtime, options }, { hasDist, hasBatched }) {
  return (runtime !== "Node" || hasDist) && (!options.batched || hasBatched);
}
