// npm run bench:cache: how soon a revocation is known in other processes, and what that costs the server.
import { performance } from "node:perf_hooks";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { installAll } from "./install.mjs";
import { readOptions, UsageError } from "./options.mjs";

const { quick } = readOptions();
const plan = {
  sessions: quick ? 200_000 : 1_000_000,
  processes: quick ? [2, 10] : [2, 10, 50],
  revocations: quick ? 100 : 1000,
  // Milliseconds between two validations of a process that polls: without a pause, more processes than cores would
  // wait for each other, and the scheduler would be measured.
  pauses: { 2: 0, 10: 1, 50: 5 },
  // Seconds that the revocations of one number of processes may take.
  patience: quick ? 60 : 240,
  idle: quick ? 3 : 15,
  rounds: quick ? 2 : 5,
  inFlight: [1, 16],
  window: quick ? 200 : 500,
  warmUp: quick ? 200 : 1000,
  wakeUp: 80,
  stopsAfter: 1500,
};
const OPERATIONS = ["create", "validate", "touch", "revoke"];
const CONNECTIONS = 16;
const QUEUE_PAGES = 64;
const DEFAULT_QUEUE_PAGES = 1_048_576;

await installAll();
const { startChild, stopChildren, watch } = await import("./children.mjs");
const { cacheReport } = await import("./cachetables.mjs");
const { describeServer, openServer, requireConnections } = await import("./database.mjs");
const { describeMachine, describeVersions } = await import("./machine.mjs");
const { publishReport } = await import("./publish.mjs");
const { runRounds } = await import("./rounds.mjs");
const { openServerCpu, spentBetween } = await import("./servercpu.mjs");
const { seedAll } = await import("./seeding.mjs");
const { startPostgres } = await import("../scripts/postgres.mjs");

const server = await openServer();
const ended = watch(server, plan.stopsAfter);

let lastSession = plan.sessions;
const processes = [];
const workers = [];
try {
  await requireCache();
  const database = await describeServer(server.admin);
  requireConnections(database, plan.processes.at(-1) * 2 + CONNECTIONS * 2 + 10);
  const results = {
    quick,
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    versions: describeVersions(),
    database,
    plan,
  };
  console.log(results);
  const urls = await seedAll(
    {
      silent: { module: "coatcheck" },
      notifying: { module: "coatcheck", seeds: { notify: true } },
    },
    server,
    plan.sessions,
  );
  for (const triggers of [false, true]) {
    workers.push(await openWorker(triggers, urls[triggers ? "notifying" : "silent"]));
  }
  const cpu = await openServerCpu(server.admin);

  // All that is idle first: nothing is left to be written or vacuumed then.
  results.idle = [];
  for (const count of [0, ...plan.processes]) {
    await growTo(count, urls.notifying);
    results.idle.push(await idle(cpu, count));
  }
  results.cells = [];
  results.delays = [];
  for (const count of [...plan.processes.toReversed(), 0]) {
    await shrinkTo(count);
    const { cells } = await runRounds(workers.map(turnOf), plan.rounds, () => true);
    results.cells.unshift(...cells.map((cell) => ({ caches: count, ...cell })));
    if (count > 0) results.delays.unshift(await revokeAndWait(count));
  }
  await closeAll();
  results.fullQueue = await fullQueue();
  results.seconds = Math.round(performance.now() / 1000);
  publishReport("cache", quick, results, cacheReport(results));
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 1;
} finally {
  ended();
  await closeAll();
  stopChildren();
  await server.close();
}

async function closeAll() {
  await close([...processes.splice(0), ...workers.splice(0).map(({ child }) => child)]);
}

async function close(children) {
  await Promise.allSettled(children.map(async (child) => {
    await child.ask("close");
    await child.stop();
  }));
}

async function requireCache() {
  const probe = startChild("Bun", "worker.mjs", "coatcheck");
  const has = await probe.ask("hasCache");
  await probe.stop();
  if (!has) throw new UsageError("There is no cache.ts: nothing to measure");
}

/** What creates, validates, touches and revokes, in a database with the triggers or without. It has no cache. */
async function openWorker(triggers, url) {
  const child = startChild("Bun", "worker.mjs", "coatcheck");
  // The second half of the sessions is there to be revoked.
  await child.ask("open", url, {
    client: "Bun.SQL",
    pool: CONNECTIONS,
    sessions: plan.sessions / 2,
    seed: 1,
  });
  for (const operation of OPERATIONS) {
    await child.ask("measure", operation, CONNECTIONS, plan.warmUp);
  }
  return { triggers, child };
}

function turnOf({ triggers, child }) {
  return {
    name: triggers ? "with the triggers" : "without the triggers",
    run: async (record) => {
      await child.ask("measure", "validate", CONNECTIONS, plan.wakeUp);
      for (const operation of OPERATIONS) {
        for (const inFlight of plan.inFlight) {
          const figures = await child.ask("measure", operation, inFlight, plan.window);
          record({ triggers, operation, inFlight }, figures);
        }
      }
    },
  };
}

/** Starts app processes with a cache each, some at a time. */
async function growTo(count, url) {
  while (processes.length < count) {
    const missing = Math.min(5, count - processes.length);
    const started = Array.from({ length: missing }, () => startChild("Bun", "caches.mjs"));
    processes.push(...started);
    await Promise.all(started.map((child) => child.ask("open", url)));
  }
  console.log(`${count} processes with a cache`);
}

async function shrinkTo(count) {
  await close(processes.splice(count));
}

/** The CPU time of the server and of each process while nothing is asked. */
async function idle(cpu, caches) {
  // What has just started, or was just written, settles first.
  await sleep(2000);
  const usage = async () => {
    const all = await Promise.all(processes.map((child) => child.ask("usage")));
    return all.reduce((sum, { user, system }) => sum + user + system, 0) / 1e6;
  };
  const clientBefore = await usage();
  const serverBefore = cpu?.();
  const start = performance.now();
  await sleep(plan.idle * 1000);
  const seconds = (performance.now() - start) / 1000;
  const serverSpent = cpu === null ? null : spentBetween(serverBefore, cpu());
  const clientSpent = await usage() - clientBefore;
  // Milliseconds of CPU time a second.
  return {
    caches,
    server: serverSpent === null ? null : serverSpent / seconds * 1000,
    process: caches === 0 ? null : clientSpent / caches / seconds * 1000,
  };
}

/** On the PostgreSQL from npm, as a full queue is full for the whole server, and older ones cannot make it small. */
async function fullQueue() {
  const own = await startPostgres(undefined, [`max_notify_queue_pages=${QUEUE_PAGES}`]);
  const child = startChild("Bun", "fullqueue.mjs");
  try {
    const measured = await child.ask("measure", own.url);
    const byDefault = Math.round(measured.revocations / QUEUE_PAGES * DEFAULT_QUEUE_PAGES);
    return { pages: QUEUE_PAGES, ...measured, byDefault };
  } finally {
    await child.stop();
    await own.stop();
  }
}

/** One process revokes, and all others poll. The sessions are the last ones, which nothing else uses. */
async function revokeAndWait(count) {
  const [revoker, ...others] = processes;
  const pause = plan.pauses[count];
  const end = performance.now() + plan.patience * 1000;
  const delays = [];
  const revocations = [];
  let asked = 0;
  while (delays.length < plan.revocations && performance.now() < end) {
    const session = lastSession--;
    await Promise.all(others.map((child) => child.ask("poll", session, pause)));
    const refused = others.map((child) => child.ask("refused"));
    // So that the revocation comes at any moment between two polls and two beats.
    await sleep(Math.random() * 10);
    const { calledAt, returnedAt } = await revoker.ask("revoke", session);
    const all = await Promise.all(refused);
    delays.push(Math.max(...all.map(({ at }) => at)) - returnedAt);
    revocations.push(returnedAt - calledAt);
    asked += all.filter((it) => it.asked > 0).length;
  }
  console.log(`${delays.length} revocations with ${count} processes`);
  return {
    processes: count,
    pause,
    revocations: delays.length,
    delay: percentilesOf(delays),
    revoke: percentilesOf(revocations),
    // Waits in which a process asked the database before it knew.
    asked,
  };
}

function percentilesOf(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { p50: at(0.5), p99: at(0.99), max: sorted.at(-1) };
}
