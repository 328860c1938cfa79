import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { delimiter, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import postgres from "postgres";
import { createSessionCache } from "../cache.ts";
import {
  configure,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  migrate,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { startCluster } from "./runner/cluster.mjs";
import { withCookie } from "./runner/database.ts";
import { openProxy } from "./runner/proxy.mjs";
import { until } from "./runner/until.ts";
import type { Order, Report } from "./runner/validating.ts";

/** Seconds, and what decides the moments; each seed is another run. */
const MAX_STALENESS = 1;
const SEED = Number(process.env.STALENESS_SEED ?? 1);

const root = fileURLToPath(new URL("..", import.meta.url));
const env = {
  ...process.env,
  PATH: `${join(root, "node_modules/.bin")}${delimiter}${process.env.PATH}`,
};
const NODE = ["node", "--import=./test/runner/node.mjs"];
const DENO = ["deno", "run", "--config=deno.npm.json", "--allow-all", "--no-check"];

/** The processes: each runtime, and each way to listen. */
const WORKERS: { runtime: string; run: string[]; listener: string }[] = [
  { runtime: "Node", run: NODE, listener: "pg" },
  { runtime: "Node", run: NODE, listener: "postgres.js" },
  { runtime: "Deno", run: DENO, listener: "postgres.js that is closed" },
  { runtime: "Bun", run: ["bun"], listener: "Bun.SQL" },
];

type Cluster = Awaited<ReturnType<typeof startCluster>>;
type Proxy = Awaited<ReturnType<typeof openProxy>>;

/** A process that validates, and the ways from it to the database. */
interface Worker {
  readonly name: string;
  readonly pid: number;
  readonly process: ChildProcess;
  readonly listener: Proxy;
  readonly pool: Proxy;
  readonly send: (order: Order) => void;
  readonly report: () => Promise<Report>;
  /** What is at least between its clock and ours, and at most, in milliseconds. */
  offset: { low: number; high: number };
}

let cluster: Cluster;
let sql: postgres.Sql;
const workers: Worker[] = [];

const clock = () => Number(process.hrtime.bigint()) / 1e6;

/** Numbers from 0 to 1 that a seed decides (mulberry32). */
let state = SEED >>> 0;
function random(): number {
  state = state + 0x6d2b79f5 >>> 0;
  let mixed = Math.imul(state ^ state >>> 15, 1 | state);
  mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
  return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
}

const primary = () => cluster.nodes[0]!;
const openAdmin = () => postgres(primary().url, { max: 6, onnotice: () => {}, connect_timeout: 5 });

beforeAll(async () => {
  cluster = await startCluster({ standbys: 1, settings: ["fsync=off"] });
  sql = openAdmin();
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users values (1, 'ada')`;
  await migrate(sql, { users: { table: "users", id: "id" }, notify: true });
  workers.push(...await Promise.all(WORKERS.map(startWorker)));
  for (const worker of workers) worker.offset = await offsetOf(worker);
});
afterAll(async () => {
  for (const { process, listener, pool } of workers) {
    process.stdin!.end();
    if (process.exitCode === null) await once(process, "exit");
    listener.cut();
    pool.cut();
  }
  await sql?.end({ timeout: 0 });
  await cluster?.stop();
});

async function startWorker({ runtime, run, listener }: (typeof WORKERS)[number]): Promise<Worker> {
  const [program, ...flags] = run as [string, ...string[]];
  const ways = { listener: await openProxy(primary().url), pool: await openProxy(primary().url) };
  const words = [listener, ways.pool.url, ways.listener.url, String(MAX_STALENESS)];
  const child = spawn(program, [...flags, "test/runner/validating.ts", ...words], {
    cwd: root,
    env,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${runtime}, ${listener} has ended`);
    return JSON.parse(value);
  };
  const { pid } = await next() as { pid: number };
  const send = (order: Order) => void child.stdin.write(`${JSON.stringify(order)}\n`);
  return {
    name: `${runtime}, ${listener}`,
    pid,
    process: child,
    ...ways,
    send,
    report: () => {
      send({ order: "report" });
      return next() as Promise<Report>;
    },
    offset: { low: -Infinity, high: Infinity },
  };
}

/** Compares the clock of a process with ours. */
async function offsetOf({ report }: Worker): Promise<Worker["offset"]> {
  let [low, high] = [-Infinity, Infinity];
  for (let times = 0; times < 50; times++) {
    const before = clock();
    const { clock: theirs } = await report();
    low = Math.max(low, before - theirs);
    high = Math.min(high, clock() - theirs);
  }
  return { low, high };
}

/** A session, and when its revocation was certainly committed, by our clock. */
interface Session {
  readonly id: string;
  readonly cookie: string;
  readonly userId: number;
  /** What revokes it. */
  readonly by: string;
  committed: number;
}

/** What revokes a session, or deletes it. */
const revocations: Record<string, (it: Session) => Promise<unknown>> = {
  "psql": ({ id }) =>
    sql`update coatcheck.sessions set revoked_at = now(), revoked_reason = 'psql' where id = ${id}`,
  "revokeSessions": ({ id, userId }) => revokeSessions({ userId, id }, sql),
  "the deletion of its user": ({ userId }) => sql`delete from users where id = ${userId}`,
  "DELETE": ({ id }) => sql`delete from coatcheck.sessions where id = ${id}`,
  "a restore that silences triggers": ({ id }) =>
    sql.begin(async (sql) => {
      await sql`set local session_replication_role = replica`;
      await sql`update coatcheck.sessions set revoked_at = now() where id = ${id}`;
    }),
  "a transaction that switches the triggers off and on": ({ id }) =>
    sql.begin(async (sql) => {
      await sql`alter table coatcheck.sessions disable trigger all`;
      await sql`update coatcheck.sessions set revoked_at = now() where id = ${id}`;
      await switchTriggers(sql, "enable always");
    }),
  "TRUNCATE": () => sql`truncate coatcheck.sessions`,
};

async function switchTriggers(
  sql: Pick<postgres.Sql, "unsafe">,
  how: "enable always" | "disable",
): Promise<void> {
  for (const name of ["update", "delete", "truncate"]) {
    await sql.unsafe(
      `alter table coatcheck.sessions ${how} trigger coatcheck_notify_${name}`,
    );
  }
}

let users = 1;
async function signIn(by: string): Promise<Session> {
  const userId = ++users;
  await sql`insert into users values (${userId}, ${`user ${userId}`})`;
  const { session, headers } = await createSession(`user ${userId}`, sql);
  const cookie = withCookie(headers).get("cookie")!;
  return { id: session.id, cookie, userId, by, committed: Infinity };
}

/** Lets all processes validate these sessions, until each has answered each from memory. */
async function validateAll(what: string, sessions: Session[]): Promise<void> {
  const pairs = sessions.map(({ id, cookie }) => [id, cookie] as const);
  for (const { send } of workers) send({ order: "validate", sessions: pairs });
  for (const { name, report } of workers) {
    await until(`seed ${SEED}: ${name}: answers from memory ${what}`, async () => {
      const seen = Object.values((await report()).sessions);
      return seen.length === sessions.length && seen.every(({ remembered }) => remembered > 0);
    });
  }
}

/** Something that goes wrong, until it ends. */
interface Fault {
  readonly name: string;
  readonly begin: (sessions: Session[]) => unknown;
  readonly end: () => unknown;
  /** What revokes the sessions; unset: each of the ways, but TRUNCATE. */
  readonly by?: string[];
}

const each = (run: (worker: Worker) => unknown) => async () => {
  await Promise.all(workers.map(run));
};
const signal = (name: NodeJS.Signals) => each(({ pid }) => process.kill(pid, name));
const jump = (milliseconds: number) => each(({ send }) => send({ order: "jump", milliseconds }));
const mend = each(async ({ listener, pool }) => {
  await listener.resume();
  await pool.resume();
});

/** Changes sessions again and again, so that they are always being read. */
let changing: { isOver: boolean; done: Promise<void> } | undefined;
function change(sessions: Session[]): void {
  const own = { isOver: false, done: Promise.resolve() };
  own.done = (async () => {
    while (!own.isOver) {
      await sql`update coatcheck.sessions set version = version + 1
        where id = any(${sessions.map(({ id }) => id)}) and revoked_at is null`;
      await sleep(5 + 30 * random());
    }
  })();
  changing = own;
}

const stalling: NodeJS.Timeout[] = [];

const faults: Fault[] = [
  { name: "nothing", begin: () => {}, end: () => {} },
  { name: "nothing, while the table is emptied", begin: () => {}, end: () => {}, by: ["TRUNCATE"] },
  {
    name: "a process that is stopped and goes on",
    begin: signal("SIGSTOP"),
    end: signal("SIGCONT"),
  },
  { name: "a wall clock that is set ahead by an hour", begin: jump(3600_000), end: jump(0) },
  { name: "a wall clock that is set back by an hour", begin: jump(-3600_000), end: jump(0) },
  {
    name: "a process that is stopped, and wakes with a wall clock that was set back",
    begin: async () => {
      await jump(-3600_000)();
      await sleep(20);
      await signal("SIGSTOP")();
    },
    end: async () => {
      await signal("SIGCONT")();
      await jump(0)();
    },
  },
  { name: "a listener that is cut", begin: each(({ listener }) => listener.cut()), end: mend },
  {
    name: "a listener that is cut, and connects again at once",
    begin: each(async ({ listener }) => {
      listener.cut();
      await listener.resume();
    }),
    end: mend,
  },
  {
    name: "a listener that is half open",
    begin: each(({ listener }) => listener.stall()),
    end: mend,
  },
  {
    name: "a listener that gets 60 bytes a second",
    begin: each(({ listener }) => listener.trickle(60)),
    end: mend,
  },
  {
    name: "a listener that is late by more than maxStaleness",
    begin: each(({ listener }) => listener.delay(1200 * MAX_STALENESS, 1000)),
    end: mend,
  },
  {
    name: "a listener that is late, and is within maxStaleness now and then",
    begin: each(({ listener }) => listener.delay(50, 800 * MAX_STALENESS)),
    end: mend,
  },
  {
    name: "a listener that is late, and then half open with what is under way",
    begin: each(({ listener }) => {
      listener.delay(600 * MAX_STALENESS);
      stalling.push(setTimeout(listener.stall, 1000 * MAX_STALENESS));
    }),
    end: async () => {
      for (const timer of stalling.splice(0)) clearTimeout(timer);
      await mend();
    },
  },
  {
    name: "a listener that the server ends",
    begin: () =>
      sql`select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'`,
    end: () => {},
  },
  { name: "a pool that is half open", begin: each(({ pool }) => pool.stall()), end: mend },
  {
    name: "a pool whose answers are overtaken by the notifications",
    begin: async (sessions) => {
      change(sessions);
      await each(({ pool }) => pool.delay(100, 200))();
    },
    end: async () => {
      changing!.isOver = true;
      await changing!.done;
      await mend();
    },
  },
  {
    name: "a pool and a listener that are late",
    begin: each(({ listener, pool }) => {
      listener.delay(100, 300);
      pool.delay(0, 300);
    }),
    end: mend,
  },
  {
    name: "triggers that are switched off and on again",
    begin: () => switchTriggers(sql, "disable"),
    end: () => switchTriggers(sql, "enable always"),
  },
  {
    name: "a server that is killed and starts again",
    begin: async () => {
      await primary().kill();
      await primary().start();
    },
    end: () => {},
  },
];

/** Signs in, revokes while a fault lasts, and expects no grant that began later than maxStaleness after a commit. */
async function play({ name, begin, end, by }: Fault): Promise<void> {
  const ways = by ?? Object.keys(revocations).filter((it) => it !== "TRUNCATE");
  const sessions: Session[] = [];
  for (const way of ways) sessions.push(await signIn(way));
  await validateAll("before the fault", sessions);
  const steps = [
    { at: 500 * random(), run: () => begin(sessions) },
    ...sessions.map((it) => ({
      at: 1000 * random(),
      run: async () => {
        await revocations[it.by]!(it);
        it.committed = clock();
      },
    })),
  ].sort((one, other) => one.at - other.at);
  const start = clock();
  for (const { at, run } of steps) {
    await sleep(Math.max(0, start + at - clock()));
    await retried(run);
  }
  // One that has not come to an end is another test's.
  assert.ok(sessions.every(({ committed }) => committed < Infinity));
  const last = Math.max(...sessions.map(({ committed }) => committed));
  await sleep(Math.max(0, last + MAX_STALENESS * 1000 + 300 - clock()));
  await end();
  await sleep(300);

  for (const worker of workers) {
    const { sessions: seen } = await worker.report();
    for (const { id, by, committed } of sessions) {
      const began = seen[id]!.granted + worker.offset.low;
      const late = began - committed;
      assert.ok(
        late <= MAX_STALENESS * 1000,
        `Seed ${SEED}, ${worker.name}: granted ${late} ms after the commit of ${by}, with ${name}`,
      );
    }
  }
  // And it is no rule of a cache that answers nothing.
  await validateAll(`after ${name}`, [await signIn("psql"), await signIn("psql")]);
}

/** Runs a step again if its connection was lost: a server that was killed has ended it. */
async function retried(run: () => unknown): Promise<void> {
  for (let tries = 1;; tries++) {
    try {
      await run();
      return;
    } catch (error) {
      if (tries === 20) throw error;
      await sleep(100);
    }
  }
}

describe("no validation that began later than maxStaleness after the commit is granted, in real processes", () => {
  test("whose clocks can be compared", () => {
    for (const { name, offset: { low, high } } of workers) {
      assert.ok(low <= high && high - low < 250, `${name}: ${low} to ${high} ms`);
    }
  });

  for (const fault of faults) test(`with ${fault.name}`, () => play(fault));

  test("with a failover to a standby that is promoted", async () => {
    const [old, standby] = cluster.nodes;
    await sql`alter system set synchronous_standby_names = 'any 1 (*)'`;
    await sql`alter system set synchronous_commit = 'remote_apply'`;
    await sql`select pg_reload_conf()`;
    await play({
      name: "a failover",
      begin: async () => {
        await old!.kill();
        await standby!.promote();
        cluster.nodes.reverse();
        await sql.end({ timeout: 0 });
        sql = openAdmin();
        await sql`alter system reset synchronous_standby_names`;
        await sql`select pg_reload_conf()`;
        await each(({ listener, pool }) => {
          listener.retarget(primary().url);
          pool.retarget(primary().url);
        })();
      },
      end: () => {},
    });
  });

  test("whose clocks can still be compared", async () => {
    for (const worker of workers) {
      const { low, high } = await offsetOf(worker);
      const { offset } = worker;
      assert.ok(low <= offset.high && high >= offset.low, `${worker.name}: ${low} to ${high} ms`);
    }
  });

  test("and a sweep of what is over ends none of them", async () => {
    const kept = await signIn("psql");
    await validateAll("before the sweep", [kept]);
    await sweepSessions(sql);
    await validateAll("after the sweep", [kept]);
  });
});

/** Opens a cache in this process, whose client is another one from a moment on. */
async function openCache() {
  let target = sql as unknown as Sql;
  const client: Sql = (strings, ...values) => target(strings, ...values);
  const listen = (channel: string, hear: (payload: string) => void, relisten: () => void) =>
    sql.listen(channel, hear, relisten);
  const cache = await createSessionCache({ sql: client, listen, maxStaleness: 60 });
  return { cache, sql: client, moveTo: (other: Sql) => void (target = other) };
}

describe("an answer of the database", () => {
  // Of a transaction that switches the triggers off, there is none.
  for (const by of Object.keys(revocations).filter((it) => !it.includes("switches"))) {
    test(`that is overtaken by the notification of ${by} is given, and not kept`, async () => {
      const { cache, sql: client, moveTo } = await openCache();
      const { validateSession } = configure({ cache });
      const session = await signIn(by);
      const other = await signIn("nothing");
      const headers = new Headers({ cookie: session.cookie });
      await validateSession(new Headers({ cookie: other.cookie }), client);
      const { promise: held, resolve: release } = Promise.withResolvers<void>();
      const { promise: read, resolve: isRead } = Promise.withResolvers<void>();
      moveTo((strings, ...values) => ({
        then: (resolve, reject) =>
          (sql as unknown as Sql)(strings, ...values).then((rows) => {
            isRead();
            return held.then(() => rows);
          }).then(resolve, reject),
      }));
      const overtaken = validateSession(headers, client);
      await read;
      await revocations[by]!(session);
      // The other one is revoked after it, so that its notification comes after it, too.
      await revocations.psql!(other);
      await until("the notification", () => cache.stats().sessions === 0);
      moveTo(sql as unknown as Sql);
      release();
      assert.ok((await overtaken).session);
      assert.equal(cache.stats().sessions, 0);
      assert.equal((await validateSession(headers, client)).session, null);
      await cache.close();
    });
  }
});

describe("a store that fails", () => {
  const stranger = () => new Headers({ cookie: `__Host-session=${createToken().token}` });
  const calls: Record<string, (sql: Sql, policy: Policy) => Promise<unknown>> = {
    createSession: (sql, policy) => createSession("ada", sql, policy),
    insertSession: (sql, policy) => {
      const { id, digest } = createToken();
      const [createdAt, expiresAt] = [new Date("2026-01-01"), new Date("2099-01-01")];
      return insertSession({ id, digest, userId: 1, createdAt, expiresAt }, sql, policy);
    },
    getUserId: (sql, policy) => getUserId("ada", sql, policy),
    validateSession: (sql, policy) => validateSession(stranger(), sql, policy),
    rotateSession: (sql, policy) => rotateSession(stranger(), sql, policy),
    reauthenticateSession: (sql, policy) => reauthenticateSession(stranger(), sql, policy),
    updateSession: (sql, policy) => updateSession(stranger(), { a: 1 }, sql, policy),
    listSessions: (sql, policy) => listSessions(1, sql, policy),
    revokeSession: (sql, policy) => revokeSession(stranger(), sql, policy),
    revokeSessions: (sql, policy) => revokeSessions({ userId: 1 }, sql, policy),
    sweepSessions: (sql, policy) => sweepSessions(sql, policy),
  };
  /** What a call has come to: the error, or the reason. */
  const outcome = (call: Promise<unknown>) =>
    call.then(
      (result) => `result ${(result as { reason?: string } | undefined)?.reason}`,
      ({ name, code, sqlstate, message }) => [name, code, sqlstate, message].join(),
    );
  const broken: { name: string; happens: (way: Proxy) => unknown; expected: RegExp }[] = [
    { name: "is well", happens: () => {}, expected: /^result (undefined|unknown)$/ },
    {
      name: "refuses connections",
      happens: ({ cut }) => cut(),
      expected: /^SessionError,STORE_UNAVAILABLE,/,
    },
    {
      name: "never answers",
      happens: ({ stall }) => stall(),
      expected: /^SessionError,STORE_TIMEOUT,/,
    },
    {
      name: "ends each connection at its answer",
      happens: ({ cutReply }) => cutReply(),
      expected: /^SessionError,STORE_(UNAVAILABLE|TIMEOUT),/,
    },
  ];
  for (const { name, happens, expected } of broken) {
    test(`because it ${name} is to every function what it is without a cache`, async () => {
      await Promise.all(
        Object.entries(calls).map(async ([which, call]) => {
          const { cache, sql: client, moveTo } = await openCache();
          const outcomes: string[] = [];
          for (const policy of [{ queryTimeout: 1 }, { queryTimeout: 1, cache }]) {
            const way = await openProxy(primary().url);
            const faulty = postgres(way.url, { max: 1, onnotice: () => {} });
            const own = faulty as unknown as Sql;
            await faulty`select 1`;
            await happens(way);
            moveTo(own);
            outcomes.push(await outcome(call("cache" in policy ? client : own, policy)));
            moveTo(sql as unknown as Sql);
            await faulty.end({ timeout: 0 });
            way.cut();
          }
          await cache.close();
          assert.equal(outcomes[1], outcomes[0], which);
          assert.match(outcomes[0]!, expected, which);
        }),
      );
    });
  }
});
