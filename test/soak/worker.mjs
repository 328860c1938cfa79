// One process of an app: performs the calls that the coordinator orders, a line of JSON each, and answers each with
// a line. It runs on Bun, Deno and Node.
import { AsyncLocalStorage } from "node:async_hooks";
import { createHash } from "node:crypto";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { inspect } from "node:util";
import pg from "pg";
import postgres from "postgres";
import { createSessionCache } from "../../cache.ts";
import * as coatcheck from "../../mod.ts";
import { breakCache, breakFunctions, breakListen } from "./broken.mjs";
import { policies } from "./policies.mjs";

const { url, client, connections, isBatched, isLazy, queryTimeout, cached, broken } = JSON.parse(
  process.argv[2],
);

// ── The client ─────────────────────────────────────────────────────────────────────────────────────

const clients = {
  "postgres.js": () => {
    const sql = postgres(url, {
      max: connections,
      connect_timeout: 5,
      // If it is true and a new connection is lost, a rejection is unhandled (porsager/postgres #1192).
      fetch_types: false,
      onnotice: () => {},
      ...(isLazy && { connection: { synchronous_commit: "off" } }),
    });
    return { sql, end: () => sql.end({ timeout: 0 }) };
  },
  "Bun.SQL": () => {
    const sql = new globalThis.Bun.SQL(url, { max: connections, connectionTimeout: 5 });
    // It is not awaited, as it may never resolve (oven-sh/bun #32095).
    return { sql, end: () => Promise.resolve(void sql.close({ timeout: 0 }).catch(() => {})) };
  },
};

let pool;
let sql;
function openPool() {
  pool = clients[client]();
  sql = counting(isBatched ? coatcheck.batched(pool.sql) : pool.sql);
}

/** The call that a statement belongs to; none for the statements of a cache. */
const calls = new AsyncLocalStorage();

/** A client that counts the statements of each call, and tells when the last one is settled. */
function counting(base) {
  return (strings, ...values) => {
    const call = calls.getStore() ?? beside;
    call.statements++;
    call.unsettled++;
    const pending = base(strings, ...values);
    const settle = () => {
      call.unsettled--;
      if (call.isAnswered && call.unsettled === 0) send({ n: call.n, settled: true });
      if (call !== beside) unsettled--;
    };
    if (call !== beside) unsettled++;
    pending.then(settle, settle);
    return pending;
  };
}

let pending = 0;
let unsettled = 0;
/** What the caches send. */
const beside = { statements: 0, unsettled: 0, isAnswered: false };
openPool();

// ── The cache ──────────────────────────────────────────────────────────────────────────────────────

const listens = {
  "own subscription": () => (...args) => pool.sql.listen(...args),
  "own client": () => async (...args) => {
    const listener = postgres(url, {
      max: 1,
      connect_timeout: 5,
      fetch_types: false,
      onnotice: () => {},
    });
    try {
      await listener.listen(...args);
    } catch (error) {
      void listener.end({ timeout: 0 }).catch(() => {});
      throw error;
    }
    return () => listener.end({ timeout: 0 });
  },
  "pg": () => async (channel, onMessage) => {
    const listener = new pg.Client({ connectionString: url });
    listener.on("error", () => {});
    listener.on("notification", ({ payload }) => onMessage(payload ?? ""));
    try {
      await listener.connect();
      await listener.query(`listen ${listener.escapeIdentifier(channel)}`);
    } catch (error) {
      void listener.end();
      throw error;
    }
    return () => listener.end();
  },
};

let cache;
/** The number of the cache, which is new with each pool. */
let generation = 0;
const figures = { hits: 0, misses: 0, oldestProof: 0, failedOpenings: 0 };

/** Opens a cache on the pool; tries again until it succeeds, as during a fault. */
async function openCache() {
  const own = pool;
  const { listen, maxStaleness } = cached;
  while (own === pool) {
    try {
      const opened = await createSessionCache({
        sql,
        listen: broken ? breakListen(broken, listens[listen]()) : listens[listen](),
        maxStaleness,
      });
      if (own !== pool) return await opened.close();
      generation++;
      cache = broken ? breakCache(broken, opened) : opened;
      return;
    } catch (error) {
      if (!(error instanceof coatcheck.SessionError)) stray(error);
      if (leakOf(error, {})) stray(new Error(`createSessionCache: ${leakOf(error, {})}`));
      figures.failedOpenings++;
      await sleep(200);
    }
  }
}

function closeCache() {
  const old = cache;
  cache = undefined;
  if (!old) return;
  const { hits, misses } = old.stats();
  figures.hits += hits;
  figures.misses += misses;
  for (const n of watched.keys()) send({ watch: { has: "closed", n } });
  watched = new Map();
  return old.close();
}

// ── The watches ────────────────────────────────────────────────────────────────────────────────────

/** What the cache watches, as for the sockets of an app: the id of the session, by the number of the watch. */
let watched = new Map();
let watches = 0;
const MAX_WATCHES = 100;
/** Milliseconds after which a socket closes by itself, if it does. */
const LONGEST_SOCKET = 20_000;

function watchSome(session) {
  if (watched.size >= MAX_WATCHES) return;
  const n = ++watches;
  const own = watched;
  const { id } = session;
  own.set(n, id);
  const deadline = {
    expiresAt: session.expiresAt.getTime(),
    authenticatedAt: session.authenticatedAt?.getTime(),
  };
  const opened = { has: "opened", n, id, ...deadline, at: Date.now() };
  send({ watch: { ...opened, cache: generation } });
  const stop = cache.watch(session, () => {
    own.delete(n);
    send({ watch: { has: "told", n, at: Date.now(), turn: ++turn } });
  });
  if (Math.random() < 0.5) return;
  setTimeout(() => {
    if (own !== watched || !own.delete(n)) return;
    stop();
    send({ watch: { has: "stopped", n } });
  }, Math.random() * LONGEST_SOCKET);
}

const SAMPLE_EVERY = 250;
let sampledAt = 0;
let freshSince;

/** Tells since when the cache has known of all that is older than its staleness. */
function sample() {
  const at = Date.now();
  const isFresh = cache?.stats().staleness <= cached.maxStaleness;
  // This process was stopped meanwhile.
  const isLate = at - sampledAt > 4 * SAMPLE_EVERY;
  freshSince = isFresh ? (isLate ? at : freshSince ?? at) : undefined;
  sampledAt = at;
  send({ watch: { has: "sampled", at, freshSince } });
}

if (cached) setInterval(sample, SAMPLE_EVERY);

// ── The calls ──────────────────────────────────────────────────────────────────────────────────────

/** The functions of each policy, and where they put their events: into the call that is being made. */
const bound = Object.fromEntries(
  Object.entries(policies).map(([name, policy]) => [name, (onEvent) => {
    const options = { ...policy, queryTimeout, onEvent, ...(cache && { cache }) };
    const functions = coatcheck.configure(options);
    return broken ? breakFunctions(broken, functions) : functions;
  }]),
);

function headersOf(token, { transport, cookie }) {
  if (token === undefined) return new Headers();
  if (transport === "bearer") return new Headers({ authorization: `Bearer ${token}` });
  return new Headers({ cookie: `${cookie?.name ?? "__Host-session"}=${token}` });
}

const performers = {
  createSession: (f, sql, { user, data, persistent, replaces, keep }, policy) =>
    f.createSession(user, sql, {
      data,
      persistent,
      ...(replaces && { replaces: headersOf(replaces, policy) }),
      ...(keep && { keep }),
    }),
  createGuestSession: (f, sql, { data, headers }, policy) =>
    f.createGuestSession(sql, { data, ...(headers && { headers: headersOf(headers, policy) }) }),
  async insertSession(f, sql, { userId, data, lifetime, id: given }) {
    const { token, ...made } = coatcheck.createToken();
    const createdAt = new Date(Date.now() - 1000);
    const expiresAt = new Date(Date.now() + lifetime * 1000);
    const { digest, id } = made;
    const record = { id: given ?? id, digest, userId, createdAt, expiresAt, data };
    return { session: await f.insertSession(record, sql), token };
  },
  getUserId: async (f, sql, { username }) => ({ value: await f.getUserId(username, sql) }),
  async validateSession(f, sql, { token, authenticatedWithin, through }, policy) {
    const options = authenticatedWithin === undefined ? {} : { authenticatedWithin };
    const headers = headersOf(token, policy);
    if (through !== "withSession") return await f.validateSession(headers, sql, options);
    let seen;
    const handle = f.withSession(
      (_, result) => {
        seen = result;
        return Response.json({});
      },
      sql,
      options,
    );
    const response = await handle(new Request("https://app.example/", { headers }));
    return { ...seen, headers: response.headers };
  },
  rotateSession: (f, sql, { token }, policy) => f.rotateSession(headersOf(token, policy), sql),
  reauthenticateSession: (f, sql, { token }, policy) =>
    f.reauthenticateSession(headersOf(token, policy), sql),
  updateSession(f, sql, { token, patch, removed, version }, policy) {
    const gone = Object.fromEntries(removed.map((key) => [key, undefined]));
    const options = version === undefined ? {} : { version };
    return f.updateSession(headersOf(token, policy), { ...patch, ...gone }, sql, options);
  },
  listSessions: async (f, sql, { userId, limit }) => ({
    sessions: await f.listSessions(userId, sql, limit === undefined ? {} : { limit }),
  }),
  revokeSession: (f, sql, { token, reason }, policy) =>
    f.revokeSession(headersOf(token, policy), sql, { reason }),
  revokeSessions: async (f, sql, { target, reason }) => ({
    sessions: await f.revokeSessions(target, sql, { reason }),
  }),
  // By the longest of all idle timeouts, as it goes by the rows of every policy.
  async sweepSessions(_, sql, { idleTimeout, retention }) {
    const options = { idleTimeout, guestIdleTimeout: idleTimeout, retention, queryTimeout };
    return { value: (await coatcheck.sweepSessions(sql, options)).swept };
  },
  migrate: async (_, sql) => ({
    value: (await coatcheck.migrate(sql, { users: { table: "users", id: "id" } })).applied.length,
  }),
};

/** Counts the beginnings and the ends of calls. */
let turn = 0;

async function perform(order) {
  const { n, policy: name } = order;
  const policy = policies[name];
  const events = [];
  const call = { n, statements: 0, unsettled: 0, isAnswered: false };
  const answer = { n, events, cache: cache ? generation : 0 };
  const own = cache;
  const functions = bound[name]((event) => events.push(event));
  const client = sql;
  const perform = performers[order.call];
  pending++;
  const beganTurn = ++turn;
  answer.began = Date.now();
  const begin = performance.now();
  const end = () => {
    answer.took = Math.round(performance.now() - begin);
    answer.ended = Date.now();
    answer.turns = [beganTurn, ++turn];
  };
  try {
    const result = await calls.run(call, () => perform(functions, client, order, policy));
    end();
    Object.assign(answer, show(result, policy));
    const seen = result.session ?? result.guest;
    const isNoted = order.call === "validateSession" && own && own === cache;
    if (isNoted && seen && Math.random() < 0.3) watchSome(seen);
    if (call.statements === 0 && own && (answer.session || answer.guest)) {
      figures.oldestProof = Math.max(figures.oldestProof, own.stats().staleness);
    }
  } catch (error) {
    end();
    const { code, sqlstate, message } = error;
    const isOurs = error instanceof coatcheck.SessionError;
    answer.error = { code: isOurs ? code : "ANOTHER ERROR", sqlstate, text: message };
    if (!isOurs) answer.error.text = String(error.stack);
    answer.leak = leakOf(error, order);
  }
  answer.leak ??= leakOf(events, order);
  pending--;
  call.isAnswered = true;
  answer.statements = call.statements;
  // A call that failed may still have a statement under way.
  answer.settled = call.unsettled === 0;
  send(answer);
}

/** What the coordinator gets of a result. */
function show({ session, guest, sessions, value, reason, revokedReason, headers, token }, policy) {
  return {
    ...(session !== undefined && { session: plain(session) }),
    ...(guest && { guest: plain(guest) }),
    ...(sessions && { sessions: sessions.map(plain) }),
    value,
    reason,
    revokedReason,
    token: token ?? issued(headers, policy),
  };
}

function plain(session) {
  if (session === null) return null;
  return Object.fromEntries(
    Object.entries(session).map(([key, it]) => [key, it instanceof Date ? it.getTime() : it]),
  );
}

function issued(headers, { cookie }) {
  const name = cookie?.name ?? "__Host-session";
  const cookies = headers ? coatcheck.parseSetCookies(headers) : [];
  return cookies.find((it) => it.name === name && it.value !== "")?.value;
}

// What an error has; on Bun also where it was made.
const OWN = new Set(
  "name message stack code sqlstate line column sourceURL originalLine originalColumn".split(" "),
);

/** What an error or an event has of a credential, or could have. */
function leakOf(it, order) {
  const strange = it instanceof Error &&
    Object.getOwnPropertyNames(it).find((name) => !OWN.has(name));
  if (strange) return `a property ${strange}`;
  const text = inspect(it, { showHidden: true, depth: 6, getters: true }) + String(it?.stack);
  if (/set-cookie/i.test(text)) return "a Set-Cookie";
  if (/[0-9a-f-]{36}\.[\w-]{43}/.test(text)) return "a token";
  for (const token of [order.token, order.replaces, order.headers]) {
    const secret = token?.slice(37);
    if (!secret || secret.length < 43) continue;
    const digest = createHash("sha256").update(secret, "base64url").digest("hex");
    if (text.includes(secret) || text.includes(digest)) return "a secret or its digest";
  }
}

// ── What the coordinator asks beside calls ─────────────────────────────────────────────────────────

const asked = {
  /** What this process holds. */
  async inspect() {
    for (let round = 0; round < 3; round++) {
      (globalThis.gc ?? globalThis.Bun?.gc)?.(true);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const { rss, heapUsed } = process.memoryUsage();
    const { hits = 0, misses = 0, ...stats } = cache?.stats() ?? {};
    const ofCache = { ...figures, ...stats, generation, unsettled: beside.unsettled };
    ofCache.sockets = new Set(watched.values()).size;
    ofCache.hits += hits;
    ofCache.misses += misses;
    return { rss, heap: heapUsed, pending, unsettled, ofCache };
  },
  /** The first call loads what a short queryTimeout has no time for. */
  async warm() {
    const { validateSession } = bound.plain(() => {});
    await validateSession(headersOf(coatcheck.createToken().token, policies.plain), sql);
    if (cached) await openCache();
    return {};
  },
  /** Whether validations are answered from memory again. */
  async fresh() {
    const began = performance.now();
    const isFresh = () => cache?.stats().staleness <= cached.maxStaleness;
    while (!isFresh() && performance.now() - began < 30_000) await sleep(20);
    return { isFresh: isFresh(), ...cache?.stats() };
  },
  /** The prepared statements of each connection of the pool. */
  async prepared() {
    const rows = await Promise.all(
      Array.from({ length: connections * 2 }, () =>
        pool.sql`select pg_backend_pid()::text as pid,
        (select count(*) from pg_prepared_statements)::text as statements,
        pg_sleep(0.1)::text as slept`),
    );
    return { prepared: Object.fromEntries(rows.map(([it]) => [it.pid, Number(it.statements)])) };
  },
  /** A new pool, as docs/clients.md advises if STORE_TIMEOUT does not end. */
  renew() {
    const old = pool;
    Promise.resolve(closeCache()).catch(() => {});
    openPool();
    if (cached) void openCache();
    Promise.resolve(old.end()).catch(() => {});
    return {};
  },
  async end() {
    await Promise.race([closeCache(), sleep(2000)]);
    await Promise.race([pool.end(), sleep(2000)]);
    return {};
  },
};

const send = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const stray = (error) => send({ stray: String(error?.stack ?? error) });
process.on("unhandledRejection", stray);
process.on("uncaughtException", stray);

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const order = JSON.parse(line);
  const ask = asked[order.ask];
  if (!ask) return void perform(order);
  Promise.resolve().then(ask).then(
    (answer) => send({ asked: order.n, ...answer }),
    (error) => send({ asked: order.n, failed: String(error) }),
  ).then(() => order.ask === "end" && process.exit(0));
});
// The coordinator has gone.
lines.on("close", () => process.exit(0));
send({ ready: true });
