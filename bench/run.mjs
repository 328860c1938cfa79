// npm run bench: coatcheck beside its peers and beside PostgreSQL itself, in under ten minutes.
import { performance } from "node:perf_hooks";
import process from "node:process";
import { installAll } from "./install.mjs";
import { readOptions } from "./options.mjs";
import { planOf } from "./plan.mjs";

const options = readOptions();
const plan = planOf(options);
await installAll();

const { startChild, stopChildren, watch } = await import("./children.mjs");
const { describeServer, openServer, requireConnections } = await import("./database.mjs");
const { describeMachine, describeVersions } = await import("./machine.mjs");
const { findPgbench } = await import("./programs.mjs");
const { publish } = await import("./publish.mjs");
const { runRounds } = await import("./rounds.mjs");
const { seedAll } = await import("./seeding.mjs");
const { choose, openContestant, openPgbenchTurn, openServerTurn } = await import("./turns.mjs");

const machine = describeMachine();
const versions = describeVersions();
const server = await openServer();

const ended = watch(server, plan.givenUpAfter);

const opened = [];
try {
  const database = await describeServer(server.admin);
  console.log({ machine, versions, database });
  const chosen = choose(options, await knowsBatched(), knownPgbench(), plan);
  requireConnections(database, chosen.connections);

  const everybody = [...chosen.contestants, ...chosen.servers];
  const databases = Object.fromEntries(everybody.map(({ module }) => [module, module]));
  // Apart, as what pgbench inserts would make the table of coatcheck larger than that of anybody else.
  if (chosen.pgbench) databases.pgbench = "coatcheck";
  const urls = await seedAll(databases, server, plan.sessions);

  for (const [index, contestant] of chosen.contestants.entries()) {
    console.log(`Warming up ${contestant.name}`);
    opened.push(await openContestant(contestant, urls[contestant.module], plan, index + 1));
  }
  for (const it of chosen.servers) {
    console.log(`Warming up HTTP ${it.name}`);
    opened.push(await openServerTurn(it, urls[it.module], plan));
  }
  if (chosen.pgbench) {
    opened.push(await openPgbenchTurn(chosen.pgbench, urls.pgbench, plan));
  }
  const mayGoOn = (seconds) => performance.now() / 1000 + seconds < plan.endsAfter;
  const { rounds, cells } = await runRounds(opened, plan.rounds, mayGoOn);
  await publish({
    quick: options.quick,
    filtered: options.filtered,
    date: new Date().toISOString().slice(0, 10),
    seconds: Math.round(performance.now() / 1000),
    machine,
    versions,
    database,
    sessions: plan.sessions,
    rounds,
    window: plan.window,
    cells,
  });
} catch (error) {
  console.error(error.message.startsWith("Cannot ") ? error.message : error);
  process.exitCode = 1;
} finally {
  ended();
  await Promise.allSettled(opened.map(({ close }) => close()));
  stopChildren();
  await server.close();
}

async function knowsBatched() {
  const child = startChild("Bun", "worker.mjs", "coatcheck");
  const known = await child.ask("hasBatched");
  await child.stop();
  if (!known) console.error("\n!! mod.ts exports no `batched`: these contestants are left out.\n");
  return known;
}

function knownPgbench() {
  const path = findPgbench();
  if (path === null) {
    console.error(
      "\n!! pgbench was not found, so the limit is left out. It comes with PostgreSQL's programs, and " +
        "not from npm:\n!! apt-get install postgresql-contrib postgresql\n",
    );
  }
  return path;
}
