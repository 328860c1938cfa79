// npm run bench: measures coatcheck, its peers and PostgreSQL itself, in under ten minutes.
// npm run bench -- --against PATH: measures another checkout of coatcheck beside this one.
import { performance } from "node:perf_hooks";
import process from "node:process";
import { installAll } from "./install.mjs";
import { readCheckout, readOptions, UsageError } from "./options.mjs";
import { planOf } from "./plan.mjs";

const options = readOptions();
const plan = planOf(options);
const other = readOther();
await installAll();

const { startChild, stopChildren, watch } = await import("./children.mjs");
const { describeServer, openServer, requireConnections } = await import("./database.mjs");
const { describeMachine, describeVersions } = await import("./machine.mjs");
const { findPgbench } = await import("./programs.mjs");
const { publish } = await import("./publish.mjs");
const { runRounds } = await import("./rounds.mjs");
const { seedAll } = await import("./seeding.mjs");
const {
  choose,
  openContestant,
  openMemoryServerTurn,
  openMemoryTurn,
  openPgbenchTurn,
  openServerTurn,
} = await import("./turns.mjs");

const machine = describeMachine();
const versions = describeVersions(other);
const server = await openServer();

const ended = watch(server, plan.stopsAfter);

const opened = [];
try {
  const database = await describeServer(server.admin);
  console.log({ machine, versions, database });
  const chosen = choose(options, await find(), plan);
  requireConnections(database, chosen.connections);

  const withDatabase = [
    ...chosen.contestants,
    ...chosen.servers,
    ...chosen.memory,
    ...chosen.memoryServers,
  ].filter(({ stateless }) => !stateless);
  const databases = Object.fromEntries(withDatabase.map((it) => [databaseOf(it), it]));
  // pgbench inserts so many sessions that it needs a table of its own.
  if (chosen.pgbench) databases.pgbench = { module: "coatcheck" };
  const urls = await seedAll(databases, server, plan.sessions);

  for (const it of chosen.contestants) {
    console.log(`Warming up ${it.name}`);
    opened.push(await openContestant(it, urls[databaseOf(it)], plan));
  }
  for (const it of chosen.servers) {
    console.log(`Warming up HTTP ${it.name}`);
    opened.push(await openServerTurn(it, urls[databaseOf(it)], plan));
  }
  for (const it of chosen.memory) {
    console.log(`Warming up ${it.name}`);
    opened.push(await openMemoryTurn(it, urls[databaseOf(it)] ?? null, plan));
  }
  for (const it of chosen.memoryServers) {
    console.log(`Warming up HTTP ${it.name}`);
    opened.push(await openMemoryServerTurn(it, urls[databaseOf(it)] ?? null, plan));
  }
  if (chosen.pgbench) {
    opened.push(await openPgbenchTurn(chosen.pgbench, urls.pgbench, plan));
  }
  const hasTimeFor = (seconds) => performance.now() / 1000 + seconds < plan.endsAfter;
  const { rounds, cells } = await runRounds(opened, plan.rounds, hasTimeFor);
  await publish({
    quick: options.quick,
    filtered: options.filtered,
    against: other?.label,
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
  console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 1;
} finally {
  ended();
  await Promise.allSettled(opened.map(({ close }) => close()));
  stopChildren();
  await server.close();
}

/** The version of `--against`; undefined without it. Ends the process if there is none. */
function readOther() {
  if (options.against === undefined) return undefined;
  try {
    return readCheckout(options.against);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    process.exit(1);
  }
}

function databaseOf({ database, module }) {
  return database ?? module;
}

/** Finds out what can be measured, and prints what is left out. */
async function find() {
  const hasBatched = await exportsBatched();
  if (!hasBatched) warn("mod.ts exports no `batched`: its contestants are left out.");
  const hasCache = await exportsCache();
  if (!hasCache) warn("There is no cache.ts: its contestants are left out.");
  const pgbench = findPgbench();
  if (pgbench === null) {
    warn(
      "pgbench is left out, as it is not installed. It is part of PostgreSQL, not of npm:",
      "apt-get install postgresql-contrib postgresql",
    );
  }
  if (!other) return { hasBatched, hasCache, pgbench };
  const found = { ...other, hasBatched: await exportsBatched(other.checkout) };
  if (!found.hasBatched) warn(`${other.label} exports no \`batched\`: it is left out.`);
  if (!found.hasDist) {
    warn(`${other.label} has no dist/: it is left out on Node. Run \`npm run build\` there.`);
  }
  return { hasBatched, hasCache, pgbench, other: found };
}

function exportsBatched(checkout) {
  return askCoatcheck("hasBatched", checkout);
}

function exportsCache() {
  return askCoatcheck("hasCache");
}

async function askCoatcheck(method, checkout) {
  const child = startChild("Bun", "worker.mjs", "coatcheck", checkout);
  const result = await child.ask(method, checkout);
  await child.stop();
  return result;
}

function warn(...lines) {
  console.error(`\n${lines.map((line) => `!! ${line}`).join("\n")}\n`);
}
