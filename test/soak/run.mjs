// The coordinator of the soak: orders calls from the workers, disturbs them, and lets the oracle check the answers.
// See scripts/soak.mjs.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import postgres from "postgres";
import { migrate } from "../../mod.ts";
import { startPostgres } from "../../scripts/postgres.mjs";
import { bin, root, stop } from "../../scripts/run.mjs";
import { openProxy } from "../runner/proxy.mjs";
import { findings, isCacheBroken } from "./broken.mjs";
import { createFaults, LONGEST_STALL } from "./faults.mjs";
import { createOracle } from "./oracle.mjs";
import { queryTimeoutOf, TAKEN, users } from "./policies.mjs";
import { createSilence } from "./silence.mjs";
import { createTraffic } from "./traffic.mjs";
import { createWatches } from "./watches.mjs";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    faults: { type: "string", default: "all" },
    workers: { type: "string", default: "8" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e6)) },
    broken: { type: "string" },
    cache: { type: "string", default: "half" },
  },
});
const seconds = number("seconds", 1, 86_400);
const seed = number("seed", 0, 2 ** 32 - 1);
const hasFaults = values.faults !== "none";
if (values.broken && !findings[values.broken]) {
  exit(`--broken must be one of ${Object.keys(findings).join(", ")}`);
}

if (!["none", "half", "all"].includes(values.cache)) exit("--cache must be none, half or all");

/** Calls at a time in each worker, and connections of its pool. */
const SLOTS = 6;
const CONNECTIONS = 4;
/** Seconds after which the server ends a statement of a worker. */
const STATEMENT_TIMEOUT = 4;
/**
 * Seconds after which a statement that the client has given up has no effect any more: what a proxy holds, then
 * the statement itself.
 */
const CLOSED_AFTER = LONGEST_STALL + STATEMENT_TIMEOUT + 1;
/** Seconds without one success after which a pool is made anew, as docs/clients.md advises: no fault is longer. */
const STUCK_AFTER = 12;
/** Seconds within which each call must be answered, whatever happens: that of checkTime is sharper. */
const LOST_AFTER = 90;
/** Seconds within which the lost connections of listeners are closed. */
const SETTLED_AFTER = 30;

const node = [bin("node"), "--expose-gc", "--import=./test/runner/node.mjs"];
const deno = [
  bin("deno"),
  "run",
  "--config=deno.npm.json",
  "--allow-all",
  "--no-check",
  "--v8-flags=--expose-gc",
];
const bun = [bin("bun")];
// The first one has the broken library, if there is one. Half of them have a cache.
const kinds = [
  { name: "Bun, postgres.js", command: bun, client: "postgres.js" },
  {
    name: "Node, postgres.js, cached",
    command: node,
    client: "postgres.js",
    cached: { listen: "own subscription", maxStaleness: 1 },
  },
  {
    name: "Bun, Bun.SQL, cached",
    command: bun,
    client: "Bun.SQL",
    cached: { listen: "own subscription", maxStaleness: 2 },
  },
  {
    name: "Deno, postgres.js, cached",
    command: deno,
    client: "postgres.js",
    cached: { listen: "own client", maxStaleness: 2 },
  },
  {
    name: "Node, postgres.js, batched, cached",
    command: node,
    client: "postgres.js",
    isBatched: true,
    cached: { listen: "pg", maxStaleness: 1 },
  },
  { name: "Bun, Bun.SQL, batched", command: bun, client: "Bun.SQL", isBatched: true },
  { name: "Deno, postgres.js, batched", command: deno, client: "postgres.js", isBatched: true },
  {
    name: "Bun, postgres.js, synchronous_commit off",
    command: bun,
    client: "postgres.js",
    isLazy: true,
  },
].slice(0, number("workers", 1, 8));
if (values.cache === "none") { for (const kind of kinds) delete kind.cached; }
if (values.cache === "all" || isCacheBroken(values.broken)) {
  const isAll = values.cache === "all";
  const listen = isAll ? "pg" : "own subscription";
  for (const kind of isAll ? kinds : kinds.slice(0, 1)) kind.cached ??= { listen, maxStaleness: 1 };
}

const figures = {
  calls: {},
  errors: {},
  refusals: {},
  strays: {},
  renewed: {},
  samples: 0,
  answers: 0,
  longestStall: 0,
  longestCall: 0,
  /** Milliseconds after a fault until a cache answered again, by the fault. */
  recoveries: {},
};
let isOrdering = true;
let lastSuccess = Date.now();
// Negative, so that they are no number of a call.
let asks = 0;
/** Milliseconds between the two clocks of this process. */
let clockOffset;
const MEGABYTE = 2 ** 20;
const add = (counts, key) => counts[key] = (counts[key] ?? 0) + 1;

const oracle = createOracle({ faults: hasFaults });
const traffic = createTraffic(oracle, seed);
const watches = createWatches(oracle, hasFaults);
const startedAt = Date.now();
console.log(`${seconds} s, seed ${seed}, ${kinds.length} workers, faults: ${values.faults}`);

const server = process.env.DATABASE_URL
  ? { url: process.env.DATABASE_URL, stop: async () => {} }
  : await startPostgres(undefined, ["fsync=off", "max_connections=150"]);
const workers = [];
const proxies = [];
let database;
try {
  database = await createDatabase();
  await open();
  await soak();
  if (!stop.aborted && !hasFound()) await finish();
} catch (error) {
  oracle.fail(undefined, `The soak itself failed: ${error.stack}`);
} finally {
  for (const worker of workers) {
    worker.isEnding = true;
    worker.child.kill("SIGKILL");
  }
  for (const it of proxies) it.cut();
  await database?.drop().catch(() => {});
  await server.stop();
}
report();
// What a driver has left open does not keep it.
process.exit();

/** The workers with a cache. */
function cachedWorkers() {
  return workers.filter((it) => it.cached);
}

// ── Before ─────────────────────────────────────────────────────────────────────────────────────────

async function createDatabase() {
  const name = `coatcheck_soak_${crypto.randomUUID().replaceAll("-", "")}`;
  const admin = postgres(server.url, { max: 1, onnotice: () => {} });
  await admin.unsafe(`create database ${name}`);
  await admin.unsafe(`alter database ${name} set statement_timeout = '${STATEMENT_TIMEOUT}s'`);
  await admin.end();
  const url = Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
  const sql = postgres(url, {
    max: 3,
    onnotice: () => {},
    connection: { application_name: "coordinator" },
  });
  await sql`create table users (id integer primary key, username text not null unique)`;
  for (const { id, name } of users) await sql`insert into users values (${id}, ${name})`;
  await migrate(sql, { users: { table: "users", id: "id" }, notify: true });
  await sql`insert into users values (0, 'nobody of the soak')`;
  await sql`insert into coatcheck.sessions
      (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
    values (${TAKEN}, 0, sha256('taken'), now(), now(), now() + interval '30 days',
      now() + interval '60 days', true, '{}')`;
  return {
    url,
    sql,
    drop: async () => {
      await sql.end({ timeout: 1 });
      const admin = postgres(server.url, { max: 1, onnotice: () => {} });
      await admin.unsafe(`drop database ${name} with (force)`);
      await admin.end({ timeout: 1 });
    },
  };
}

async function open() {
  proxies.push(...await Promise.all(kinds.map(() => openProxy(database.url))));
  await Promise.all(kinds.map(openWorker));
}

async function openWorker(kind, index) {
  const setup = {
    url: proxies[index].url,
    client: kind.client,
    connections: CONNECTIONS,
    isBatched: kind.isBatched ?? false,
    isLazy: kind.isLazy ?? false,
    queryTimeout: queryTimeoutOf(hasFaults),
    cached: kind.cached,
    ...(index === 0 && values.broken && { broken: values.broken }),
  };
  const [program, ...args] = [...kind.command, "test/soak/worker.mjs", JSON.stringify(setup)];
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1" },
    stdio: ["pipe", "pipe", "pipe"],
    // Ctrl-C reaches this process, which ends them.
    detached: true,
  });
  const worker = {
    ...kind,
    child,
    calls: new Map(),
    asked: new Map(),
    lastSuccess: Date.now(),
    stoppedFor: 0,
    disturbed: undefined,
    remembered: [],
    freshSince: Infinity,
  };
  workers[index] = worker;
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text) => log = (log + text).slice(-4000));
  child.stdin.on("error", () => {});
  const ready = Promise.withResolvers();
  createInterface({ input: child.stdout }).on("line", (line) => {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return oracle.fail(undefined, `${kind.name} wrote: ${line.slice(0, 500)}`);
    }
    if (message.ready) ready.resolve();
    else hear(worker, message);
  });
  child.once("exit", (code, signal) => {
    ready.reject(new Error(`${kind.name} did not start: ${log}`));
    worker.hasExited = true;
    if (worker.isEnding) return;
    oracle.fail(undefined, `${kind.name} ended (${signal ?? code}): ${log}`);
  });
  await ready.promise;
  await ask(worker, "warm");
}

// ── Meanwhile ──────────────────────────────────────────────────────────────────────────────────────

async function soak() {
  lastSuccess = Date.now();
  for (const worker of workers) {
    for (let slot = worker.isLazy ? SLOTS - 1 : 0; slot < SLOTS; slot++) order(worker);
  }
  const faultsOver = new AbortController();
  const faults = createFaults({
    url: database.url,
    proxies,
    restart: server.restart,
    workers,
    revokeSilently: createSilence(oracle, closeLater),
    onEnd: noteFault,
    signal: faultsOver.signal,
  });
  figures.faults = faults.counts;
  figures.lastFaults = faults.last;
  const watch = setInterval(watchWorkers, 1000);
  const found = new AbortController();
  figures.onFinding = () => hasFound() && found.abort();
  const end = AbortSignal.any([stop, found.signal, AbortSignal.timeout(seconds * 1000)]);
  const over = end.aborted || once(end, "abort");
  const warmUp = Math.min(30, seconds / 4);
  await Promise.race([over, sleep(warmUp * 1000)]);
  if (!end.aborted) figures.before = await measure();
  if (hasFaults) {
    const disturbing = faults.run();
    await over;
    faultsOver.abort();
    await disturbing;
  } else await over;
  isOrdering = false;
  clearInterval(watch);
}

async function measure() {
  // The answer of a process comes behind the calls that it has in hand.
  return await eachWorker(async (worker) => {
    return await ask(worker, "inspect");
  });
}

/** Does something with each worker that runs, at the same time. */
async function eachWorker(run) {
  return await Promise.all(workers.filter((it) => !it.hasExited).map((worker) => run(worker)));
}

/** Whether a library that is wrong was found: that is enough. */
function hasFound() {
  const finding = findings[values.broken];
  return finding !== undefined && oracle.violations.some(({ text }) => finding.test(text));
}

/** Orders the next call of one of a worker's slots. */
function order(worker) {
  if (!isOrdering || worker.hasExited) return;
  const { order, about } = traffic.next(worker);
  send(worker, order, about);
}

function send(worker, order, about) {
  const staleness = (worker.cached?.maxStaleness ?? 0) * 1000;
  const call = oracle.begin(order, { worker: worker.name, staleness, ...about });
  call.stoppedBefore = worker.stoppedFor;
  worker.calls.set(order.n, call);
  worker.child.stdin.write(`${JSON.stringify(order)}\n`);
  return call;
}

/** Takes what a worker says. */
function hear(worker, message) {
  if (message.asked !== undefined) {
    worker.asked.get(message.asked)?.(message);
    return;
  }
  if (message.stray) return hearStray(worker, message.stray);
  if (message.watch) {
    watches.hear(worker, message.watch);
    if (oracle.violations.length > 0) figures.onFinding?.();
    return;
  }
  const call = worker.calls.get(message.n);
  if (!call) return;
  if (message.settled) {
    worker.calls.delete(message.n);
    closeLater(call);
  }
  if (message.took === undefined) return;
  call.stoppedFor = worker.stoppedFor - call.stoppedBefore;
  count(worker, call, message);
  const before = oracle.sessions.size;
  oracle.end(call, message);
  if (oracle.sessions.size > before) {
    const session = oracle.sessions.get(message.token.slice(0, 36));
    if (!session.user) traffic.addGuest(session);
  }
  if (message.token && Math.random() < 0.05) void sample(call, message.token);
  if (worker.cached) traffic.remember(worker, call, message);
  if (call.isFromMemory) noteRecovery(worker, call);
  call.onEnd?.(message);
  if (oracle.violations.length > 0) figures.onFinding?.();
  if (call.isLast) return;
  // A refused connection is told at once, and would be told a thousand times a second.
  if (message.error) setTimeout(order, 50, worker);
  else order(worker);
}

/** Notes that a failed call can have no effect any more, once that is so. */
function closeLater(call) {
  // It may still be at the server, or held by a proxy.
  setTimeout(() => oracle.close(call), CLOSED_AFTER * 1000).unref();
}

/** Notes that a fault is over, after which each cache must answer again. */
function noteFault(name) {
  for (const worker of workers) worker.disturbed ??= { name, at: Date.now() };
}

function noteRecovery(worker, { began, endAt }) {
  const { disturbed } = worker;
  if (!disturbed || began < disturbed.at) return;
  worker.disturbed = undefined;
  const took = endAt - disturbed.at;
  (figures.recoveries[disturbed.name] ??= []).push({ took, worker: worker.name });
}

function count(worker, call, { error, reason, took }) {
  const { order } = call;
  add(figures.calls, order.call);
  figures.longestCall = Math.max(figures.longestCall, took);
  if (error) {
    if (![error.code, error.sqlstate ?? ""].includes(order.fails)) {
      add(
        figures.errors,
        [error.code, error.sqlstate ?? error.text.match(/\(([A-Z_0-9]+)\)$/)?.[1]]
          .filter(Boolean).join(" "),
      );
      return;
    }
  } else if (reason) add(figures.refusals, reason);
  figures.answers++;
  const now = Date.now();
  if (now - lastSuccess > figures.longestStall) {
    figures.longestStall = now - lastSuccess;
    figures.stalledBy = figures.lastFaults?.join(", ");
  }
  lastSuccess = worker.lastSuccess = now;
}

/** An exception that no call has thrown. */
function hearStray(worker, text) {
  // postgres.js throws it from a socket's handler when a connection is lost (porsager/postgres #1208).
  const known = hasFaults && /node_modules\/postgres\/|postgres@3/.test(text) &&
    worker.client === "postgres.js";
  add(figures.strays, `${worker.name}: ${text.split("\n", 1)[0]}`);
  oracle.check("no stray exception", undefined, known, `${worker.name}: ${text}`);
  if (!known) figures.onFinding?.();
}

/** Makes a new pool where one answers no more, and notes calls that were lost. */
function watchWorkers() {
  oracle.prune();
  checkClock();
  const now = Date.now();
  for (const worker of workers) {
    if (worker.hasExited) continue;
    if (now - worker.lastSuccess > STUCK_AFTER * 1000) {
      worker.lastSuccess = now;
      add(figures.renewed, worker.name);
      void ask(worker, "renew");
    }
  }
}

/** The oracle compares what the processes say by the machine's clock, which must not be set meanwhile. */
function checkClock() {
  const before = performance.now();
  const offset = Date.now() - before;
  // Another process may have run between the two.
  if (performance.now() - before > 1) return;
  clockOffset ??= offset;
  const isSet = Math.abs(offset - clockOffset) > 3;
  oracle.check("the clock was not set", undefined, !isSet, `by ${offset - clockOffset} ms`);
  clockOffset = offset;
}

function ask(worker, what) {
  const n = --asks;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, 60_000, new Error(`${worker.name} does not answer: ${what}`));
    worker.asked.set(n, (answer) => {
      clearTimeout(timer);
      worker.asked.delete(n);
      if (answer.failed) reject(new Error(`${worker.name}: ${what}: ${answer.failed}`));
      else resolve(answer);
    });
    worker.child.stdin.write(`${JSON.stringify({ n, ask: what })}\n`);
  });
}

// ── The table beside the answers ───────────────────────────────────────────────────────────────────

function digestOf(token) {
  return createHash("sha256").update(token.slice(37), "base64url").digest("hex");
}

async function readRows(ids) {
  return await database.sql`select id::text, encode(digest, 'hex') as digest,
      encode(previous_digest, 'hex') as previous, revoked_at is not null as is_revoked,
      revoked_reason as reason, data, version, user_id,
      extract(epoch from last_seen_at)::float8 * 1000 as last_seen,
      extract(epoch from expires_at)::float8 * 1000 as expires
    from coatcheck.sessions where ${
    ids ? database.sql`id = any(${ids}::uuid[])` : database.sql`true`
  }`;
}

/** Looks whether a cookie that was just issued has its row, unless another call has begun meanwhile. */
async function sample(call, value) {
  const session = oracle.sessions.get(value.slice(0, 36));
  const isAlone = () => {
    if (!session || session.deadSince !== undefined) return false;
    const last = session.tokens.at(-1);
    // Dead: a reauthentication has followed a rotation that was answered later.
    return last.value === value && last.deadSince === undefined &&
      session.open.size === 0 && session.ambiguous.size === 0 && session.enders.size === 0;
  };
  if (!isAlone()) return;
  const begun = session.begun;
  let row;
  try {
    [row] = await readRows([session.id]);
  } catch {
    // A fault was in the way.
    return;
  }
  if (!isAlone() || session.begun !== begun) return;
  const isStored = row && !row.is_revoked && row.digest === digestOf(value);
  oracle.check("cookies in the table", call, isStored, "a cookie without its row");
}

// ── After ──────────────────────────────────────────────────────────────────────────────────────────

async function finish() {
  const began = Date.now();
  while (oracle.open.size > 0 && Date.now() - began < LOST_AFTER * 1000) await sleep(100);
  for (const call of oracle.open) oracle.fail(call, `no answer within ${LOST_AFTER} s`);
  if (hasFaults) await sleep(CLOSED_AFTER * 1000 + 500);
  lastSuccess = Date.now();
  await requireAnswers();
  await requireCaches();
  await presentAll();
  await compareTable();
  await requireWatches();
  figures.after = await measure();
  checkGrowth();
  figures.prepared = await eachWorker((worker) => ask(worker, "prepared"));
  for (const [index, { prepared }] of figures.prepared.entries()) {
    const { name } = workers[index];
    const most = Math.max(...Object.values(prepared));
    oracle.check("prepared statements", undefined, most <= 80, `${name}: ${most} on a connection`);
  }
  await checkListeners();
  const [{ connections }] = await database.sql`select count(*)::int as connections
    from pg_stat_activity where datname = current_database()
      and application_name not in ('coordinator', 'faults')`;
  figures.connections = connections;
  // Of a pool that was made anew, the old one may still be closing.
  const most = workers.length * CONNECTIONS * 2 + cachedWorkers().length;
  oracle.check("connections", undefined, connections <= most, `${connections} of ${most}`);
  await eachWorker(async (worker) => {
    worker.isEnding = true;
    const exited = once(worker.child, "exit");
    await Promise.race([ask(worker, "end").then(() => exited), exited]);
  });
}

/** One more call, and its answer. */
function perform(worker, order, about) {
  const { promise, resolve } = Promise.withResolvers();
  const call = send(worker, { n: oracle.next(), policy: about.policy, ...order }, about);
  Object.assign(call, { isLast: true, onEnd: resolve });
  return Promise.race([promise, sleep(LOST_AFTER * 1000, { error: { code: "no answer" } })]);
}

/** After the faults, each worker answers again. */
async function requireAnswers() {
  await eachWorker(async (worker) => {
    let answer;
    for (let tries = 0; tries < 5; tries++) {
      const order = { call: "getUserId", username: "ada" };
      answer = await perform(worker, order, { policy: "plain", user: 1 });
      if (!answer.error) break;
      if (tries === 2) {
        add(figures.renewed, worker.name);
        await ask(worker, "renew");
      }
    }
    oracle.check(
      "answers after the faults",
      undefined,
      !answer.error,
      `${worker.name}: ${answer.error?.text}`,
    );
  });
}

/** After the faults, each cache answers again. */
async function requireCaches() {
  await Promise.all(
    cachedWorkers().map(async (worker) => {
      const { isFresh, ...stats } = await ask(worker, "fresh");
      const text = () => `${worker.name}: not after 30 s: ${JSON.stringify(stats)}`;
      oracle.check("caches answer after the faults", undefined, isFresh, text);
    }),
  );
}

/** Each cache has one connection that listens. */
async function checkListeners() {
  const began = Date.now();
  let listeners;
  do {
    [{ listeners }] = await database.sql`select count(*)::int as listeners from pg_stat_activity
      where datname = current_database() and query ilike 'listen %'`;
    if (listeners === cachedWorkers().length) break;
    await sleep(200);
  } while (Date.now() - began < SETTLED_AFTER * 1000);
  figures.listeners = listeners;
  const most = cachedWorkers().length;
  oracle.check("listeners", undefined, listeners === most, `${listeners} listen, of ${most}`);
}

/** Presents each newest token once more: what nothing has ended is live, and what has ended stays so. */
async function presentAll() {
  const all = [...oracle.sessions.values()].slice(-1500);
  await eachWorker(async (worker) => {
    const own = all.filter((_, index) => index % workers.length === workers.indexOf(worker));
    const next = async () => {
      for (let session; (session = own.pop());) {
        const token = session.tokens.at(-1);
        const order = { call: "validateSession", token: token.value };
        await perform(worker, order, { policy: session.policyName, token });
      }
    };
    await Promise.all([next(), next(), next(), next()]);
  });
}

/** Compares the table with what was answered. */
async function compareTable() {
  const rows = await readRows();
  const byId = new Map(rows.map((row) => [row.id, row]));
  byId.delete(TAKEN);
  const now = Date.now();
  const isOver = (row, { idleTimeout }) =>
    row.is_revoked || row.expires <= now || row.last_seen + idleTimeout * 1000 <= now;
  for (const session of oracle.sessions.values()) {
    const row = byId.get(session.id);
    byId.delete(session.id);
    if (session.deadSince !== undefined) {
      const isDead = !row || isOver(row, session.policy);
      oracle.check(
        "dead in the table",
        undefined,
        isDead,
        `${session.id}: live after ${session.deadWhy}`,
      );
      continue;
    }
    if (!oracle.isCertainlyLive(session, {})) continue;
    const isThere = row && !row.is_revoked;
    if (!oracle.check("live in the table", undefined, isThere, `${session.id} is gone`)) continue;
    const last = session.tokens.at(-1);
    if (last.deadSince !== undefined || session.ambiguous.size > 0) continue;
    const isStored = [row.digest, row.previous].includes(digestOf(last.value));
    oracle.check(
      "cookies in the table",
      last.call,
      isStored,
      `${session.id}: a cookie without its row`,
    );
    const isKept = row.version >= session.versionLow;
    oracle.check("updates are kept", undefined, isKept, `${session.id}: version ${row.version}`);
  }
  for (const [id, { data }] of byId) {
    const isFailed = oracle.failedCreations.has(data.op);
    oracle.check(
      "no unknown rows",
      undefined,
      isFailed,
      `${id} of call ${data.op}, which made none`,
    );
  }
}

/** A watch is open if its session has a live row; otherwise it was told, or will be in time. */
async function requireWatches() {
  const opened = [...watches.open];
  const until = Date.now() + watches.longestBound();
  const rows = await database.sql`select id::text from coatcheck.sessions
    where revoked_at is null and expires_at > now()`;
  const live = new Set(rows.map(({ id }) => id));
  const isRight = (watch) => live.has(watch.session.id) || !watches.open.has(watch);
  while (!opened.every(isRight) && Date.now() < until) await sleep(50);
  for (const watch of opened) {
    const text = () => `no live row, and not told: ${watches.tell(watch)}`;
    oracle.check("watches after the faults", undefined, isRight(watch), text);
  }
}

function checkGrowth() {
  for (const [index, { rss, heap, pending, unsettled, ofCache }] of figures.after.entries()) {
    const before = figures.before[index];
    const { name } = workers[index];
    const most = before.rss * 1.5 + 150 * MEGABYTE;
    oracle.check("memory", undefined, rss <= most, `${name}: ${rss} bytes, ${before.rss} before`);
    const mostHeap = before.heap * 2 + 40 * MEGABYTE;
    oracle.check(
      "memory",
      undefined,
      heap <= mostHeap,
      `${name}: a heap of ${heap}, ${before.heap} before`,
    );
    oracle.check("pending calls", undefined, pending === 0, `${name}: ${pending} pending`);
    // What a client that was closed never settles.
    const mostUnsettled = hasFaults ? 200 : 0;
    // Beats and a question about watches may be under way.
    const mostBeside = hasFaults ? 20 : 4;
    oracle.check(
      "statements of caches",
      undefined,
      ofCache.unsettled <= mostBeside,
      `${name}: ${ofCache.unsettled}`,
    );
    const { watched = 0, sockets } = ofCache;
    const isAll = watched === sockets;
    oracle.check(
      "watches are kept",
      undefined,
      isAll,
      `${name}: ${watched} of ${sockets} sessions`,
    );
    oracle.check(
      "unsettled statements",
      undefined,
      unsettled <= mostUnsettled,
      `${name}: ${unsettled}`,
    );
  }
}

// ── The report ─────────────────────────────────────────────────────────────────────────────────────

function report() {
  const table = (title, counts) => {
    const entries = Object.entries(counts ?? {}).sort(([, a], [, b]) => b - a);
    if (entries.length === 0) return;
    console.log(`\n${title}`);
    for (const [name, number] of entries) console.log(`  ${String(number).padStart(8)}  ${name}`);
  };
  const calls = Object.values(figures.calls).reduce((sum, it) => sum + it, 0);
  table(`Calls: ${calls}, ${Math.round(calls / seconds)} a second`, figures.calls);
  table("Refusals", figures.refusals);
  table("Faults", figures.faults);
  table("Errors", figures.errors);
  table("Exceptions of a driver", figures.strays);
  table("Pools made anew", figures.renewed);
  const after = figures.stalledBy ? `, after: ${figures.stalledBy}` : "";
  console.log(`\nLongest time without an answer: ${figures.longestStall} ms${after}`);
  console.log(`Longest call: ${figures.longestCall} ms`);
  console.log(`Sessions: ${oracle.sessions.size}`);
  console.log(`Connections at the end: ${figures.connections}`);
  if (figures.before && figures.after) {
    console.log(
      "\nMemory after gc, MB: at the beginning, at the end; of it the heap; unsettled statements; " +
        "prepared statements of a connection",
    );
    const mb = (bytes) => String(Math.round(bytes / MEGABYTE)).padStart(5);
    for (const [index, { name }] of workers.entries()) {
      const [a, b] = [figures.before[index], figures.after[index]];
      const prepared = Object.values(figures.prepared?.[index]?.prepared ?? {}).join(" ");
      console.log(
        `  ${name.padEnd(42)}${mb(a.rss)}${mb(b.rss)}${mb(a.heap)}${mb(b.heap)}` +
          `${String(b.unsettled).padStart(5)}   ${prepared}`,
      );
    }
  }
  reportCaches();
  table("Checks", oracle.checks);
  const { violations } = oracle;
  const kinds = new Set();
  for (const { text, call } of violations) {
    const kind = text.replaceAll(/[0-9a-f-]{36}|\d+/g, "…").slice(0, 60);
    // The first of each kind, in full.
    if (kinds.has(kind) || kinds.size >= 20) continue;
    kinds.add(kind);
    console.log(`\n✗ ${text}\n  ${call ?? ""}`);
  }
  const passed = Object.values(oracle.checks).reduce((sum, it) => sum + it, 0) - violations.length;
  console.log(
    `\n${Math.max(passed, 0)} passed, ${violations.length} failed ` +
      `(${Math.round((Date.now() - startedAt) / 1000)} s)`,
  );
  process.exitCode = violations.length > 0 || calls === 0 || stop.aborted ? 1 : 0;
}

function reportCaches() {
  const { answers, stale, longest } = oracle.memory;
  if (!figures.after || cachedWorkers().length === 0) return;
  console.log(
    "\nCaches: hits, misses, % from memory; sessions; the oldest proof that was relied on, s; caches made; " +
      "attempts that failed",
  );
  for (const [index, { ofCache }] of figures.after.entries()) {
    const { name, cached } = workers[index];
    if (!cached) continue;
    const { hits, misses, sessions, oldestProof, generation, failedOpenings } = ofCache;
    const share = Math.round(100 * hits / (hits + misses));
    const cells = [
      hits,
      misses,
      share,
      sessions,
      oldestProof.toFixed(2),
      generation,
      failedOpenings,
    ];
    console.log(`  ${name.padEnd(42)}${cells.map((it) => String(it).padStart(8)).join("")}`);
  }
  console.log(
    `  Of ${answers} answers from memory, ${stale} began after their session had ended: ` +
      `${longest} ms after it at most. ${figures.listeners} connections listen.`,
  );
  const { begun, told, longest: latest } = watches.figures;
  console.log(`  Of ${begun} watches, ${told} were told of an end: ${latest} ms after it at most.`);
  console.log("\nFrom the end of a fault until a cache answers, ms: median, longest; count");
  for (const [name, all] of Object.entries(figures.recoveries)) {
    all.sort((a, b) => a.took - b.took);
    const { took, worker } = all.at(-1);
    const cells = [all[all.length >> 1].took, took, all.length];
    console.log(
      `${cells.map((it) => String(it).padStart(8)).join("")}  ${name}, the longest: ${worker}`,
    );
  }
}

function number(name, low, high) {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < low || value > high) {
    exit(`--${name} must be a whole number from ${low} to ${high}`);
  }
  return value;
}

function exit(message) {
  console.error(message);
  process.exit(1);
}
