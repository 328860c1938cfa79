// npm run bench:growth: create and validate as the table grows, and during a sweep.
import { statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { performance } from "node:perf_hooks";
import process from "node:process";
import { installAll } from "./install.mjs";
import { readOptions, UsageError } from "./options.mjs";

const { quick } = readOptions();
const plan = {
  sizes: quick ? [10_000, 100_000, 1_000_000] : [10_000, 1_000_000, 10_000_000],
  inFlight: [1, 16, 64],
  rounds: quick ? 2 : 4,
  window: quick ? 200 : 700,
  warmUp: quick ? 200 : 500,
  wakeUp: 80,
  distinct: 131_072,
  day: { sessions: quick ? 5000 : 40_000, seconds: 150 },
  sweep: { seconds: 120, window: 1000, inFlight: 16 },
  endsAfter: 600,
  stopsAfter: 1500,
};
const GIGABYTES = quick ? 3 : 10;

await installAll();
const { startChild, stopChildren, watch } = await import("./children.mjs");
const { describeServer, openServer } = await import("./database.mjs");
const { describeMachine, describeVersions } = await import("./machine.mjs");
const { publishReport } = await import("./publish.mjs");
const { runRounds } = await import("./rounds.mjs");
const { openContestant } = await import("./turns.mjs");
const { growthReport } = await import("./growthtables.mjs");
const { default: postgres } = await import("postgres");

if (process.env.DATABASE_URL === undefined) requireDisk();
const server = await openServer();
const ended = watch(server, plan.stopsAfter);

const opened = [];
try {
  const database = await describeServer(server.admin);
  const results = {
    quick,
    date: new Date().toISOString().slice(0, 10),
    machine: describeMachine(),
    versions: describeVersions(),
    database,
    plan,
  };
  console.log(results);
  const urls = new Map();
  for (const size of plan.sizes) urls.set(size, await seed(`growth_${size}`, size, { dead: true }));
  const largest = plan.sizes.at(-1);
  results.fresh = await bytesOf(urls.get(largest), largest);

  for (const size of plan.sizes) opened.push(...await openSize(size, urls.get(size)));
  const hasTimeFor = (seconds) => performance.now() / 1000 + seconds < plan.endsAfter;
  Object.assign(results, await runRounds(opened, plan.rounds, hasTimeFor));
  await closeAll();

  results.sweep = await sweep(largest, urls.get(largest));
  results.day = await day();
  results.seconds = Math.round(performance.now() / 1000);
  publishReport("growth", quick, results, growthReport(results));
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
  await Promise.allSettled(opened.splice(0).map(({ close }) => close()));
}

async function seed(name, sessions, which) {
  const start = performance.now();
  const url = await server.make(name);
  const child = startChild("Bun", "worker.mjs", "coatcheck");
  await child.ask("seed", url, sessions, which);
  await child.stop();
  await server.admin`checkpoint`;
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`Seeded ${sessions.toLocaleString("en")} sessions in ${seconds} s`);
  return url;
}

/** coatcheck, plain and batched, on a table of one size. */
async function openSize(sessions, url) {
  const probe = startChild("Bun", "worker.mjs", "coatcheck");
  const hasBatched = await probe.ask("hasBatched");
  await probe.stop();
  const turns = [];
  for (const batched of hasBatched ? [true, false] : [false]) {
    const turn = await openContestant(
      {
        name: `${sessions}`,
        group: batched ? "batched" : "plain",
        module: "coatcheck",
        runtime: "Bun",
        operations: ["create", "validate"],
        options: { client: "Bun.SQL", batched, pool: batched ? 4 : 10, distinct: plan.distinct },
        seed: turns.length + 1,
      },
      url,
      { ...plan, sessions },
    );
    turns.push({
      ...turn,
      run: async (record) => {
        await turn.run(record);
        if (sessions < 100_000) await shrink(url);
      },
    });
  }
  return turns;
}

// Keeps a small table small: one turn creates more sessions than it holds.
async function shrink(url) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`delete from coatcheck.sessions where created_at > (select min(created_at) from coatcheck.sessions)`;
  await sql`vacuum coatcheck.sessions`;
  await sql.end();
}

async function bytesOf(url, sessions) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  const [size] = await sql`
    select pg_table_size(s)::float8 as table, pg_relation_size(s || '_pkey')::float8 as key,
      pg_relation_size(s || '_user_id')::float8 as user
    from (values ('coatcheck.sessions')) as v (s)`;
  const [updates] = await sql`
    select n_tup_upd::float8 as all, n_tup_hot_upd::float8 as hot
    from pg_stat_user_tables where relid = 'coatcheck.sessions'::regclass`;
  await sql.end();
  const perSession = Object.entries(size).map(([what, bytes]) => [what, bytes / sessions]);
  return { sessions, ...Object.fromEntries(perSession), updates };
}

/** Validates during a sweep of the expired tenth. */
async function sweep(sessions, url) {
  const { inFlight, window, seconds } = plan.sweep;
  const traffic = startChild("Bun", "worker.mjs", "coatcheck");
  await traffic.ask("open", url, {
    client: "Bun.SQL",
    batched: false,
    pool: 10,
    sessions,
    seed: 9,
    distinct: plan.distinct,
  });
  const look = () => traffic.ask("measure", "validate", inFlight, window);
  await look();
  const before = [await look(), await look(), await look()];
  const sweeper = startChild("Bun", "aging.mjs");
  let swept;
  const sweeping = sweeper.ask("sweep", url, seconds).then((result) => {
    swept = result;
  });
  const during = [];
  do during.push(await look()); while (swept === undefined);
  await sweeping;
  await sweeper.stop();
  await traffic.ask("close");
  await traffic.stop();
  return { inFlight, ...swept, before: middle(before), during: middle(during) };
}

function middle(figures) {
  const median = (name) => {
    const values = figures.map((it) => it[name]).sort((a, b) => a - b);
    return Number(values[values.length >> 1].toPrecision(4));
  };
  return { perSecond: median("perSecond"), p50: median("p50"), p99: median("p99") };
}

async function day() {
  const { sessions, seconds } = plan.day;
  const url = await seed("growth_day", sessions);
  const before = await bytesOf(url, sessions);
  const child = startChild("Bun", "aging.mjs");
  const { passes, of } = await child.ask("day", url, sessions, seconds);
  await child.stop();
  return { passes, of, before, after: await bytesOf(url, sessions) };
}

function requireDisk() {
  const { bavail, bsize } = statfsSync(tmpdir());
  const free = bavail * bsize / 2 ** 30;
  if (free >= GIGABYTES) return;
  throw new UsageError(
    `${tmpdir()} must have ${GIGABYTES} GiB free, got ${
      free.toFixed(1)
    }; set TMPDIR, or use --quick`,
  );
}
