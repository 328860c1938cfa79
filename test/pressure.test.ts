import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import postgres from "postgres";
import {
  batched,
  createSession,
  listSessions,
  migrate,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type SessionError,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
import { sweepExpired } from "./runner/expired.ts";
import { catchStrays, type Pool, pools } from "./runner/pools.ts";
import { openProxy } from "./runner/proxy.mjs";
import { runtime } from "./runner/runtime.ts";
import { startTraffic } from "./runner/traffic.ts";
import { until } from "./runner/until.ts";

let db: Database;
const watch = catchStrays();
beforeAll(async () => {
  db = await openDatabase();
  await db.sql`insert into users values (3, 'edsger'), (4, 'barbara')`;
});
afterAll(async () => {
  await db.close();
  watch.end();
});

const userOf = (worker: number) => ["ada", "grace", "edsger", "barbara"][worker % 4]!;
const signedIn = async (username = "ada") =>
  withCookie((await createSession(username, db.sql)).headers);

/** The statements that the server runs for others, and the transactions that are open. */
async function underWay(): Promise<number> {
  const [row] = await db.sql`select count(*)::integer as count from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'`;
  return row!.count;
}

/** Runs with a pool of each client, and that pool `batched`. */
function through(
  name: string,
  run: (pool: { sql: Sql; tagged: Pool["sql"] }) => Promise<void>,
  options: { batched?: boolean; url?: () => string } = {},
): void {
  for (const [driver, open] of Object.entries(pools)) {
    test(`${name}, through ${driver}${options.batched ? ", batched" : ""}`, async () => {
      const pool = open([options.url?.() ?? db.url]);
      try {
        await run({ sql: options.batched ? batched(pool.sql) : pool.sql, tagged: pool.sql });
      } finally {
        await pool.end();
      }
    });
  }
}

/** Runs statements of an administrator while users come and go, whose every call must succeed. */
async function whileInUse(sql: Sql, run: () => Promise<void>): Promise<void> {
  const traffic = startTraffic(sql, { userOf, queryTimeout: 30 });
  await traffic.succeeded(50);
  await run();
  await traffic.succeeded(50);
  const { wrong, errors } = await traffic.stop();
  assert.deepEqual([wrong, [...errors]], [[], []]);
  const { gone, back } = await traffic.verify(db.sql);
  assert.deepEqual([gone, back], [[], []]);
}

describe("a table in use", () => {
  let columns = 0;
  through("answers every call while columns are added, renamed and migrated", async ({ sql }) => {
    const name = `new_${++columns}`;
    await whileInUse(sql, async () => {
      await db.sql.unsafe(`alter table coatcheck.sessions add column ${name} text`);
      await db.sql.unsafe(`alter table users add column ${name} text not null default 'x'`);
      await db.sql`alter table users rename column username to login`;
      await createSession("ada", sql);
      await migrate(db.sql, { users: { table: "users", id: "id", username: "login" } });
      await db.sql`alter table users rename column login to username`;
      await db.sql.unsafe(`alter table coatcheck.sessions drop column ${name}`);
      await db.sql.unsafe(`alter table users drop column ${name}`);
      await migrate(db.sql, { users: { table: "users", id: "id" } });
    });
  });

  through("answers every call while it is vacuumed, analyzed and reindexed", async ({ sql }) => {
    await whileInUse(sql, async () => {
      for (const table of ["coatcheck.sessions", "users"]) {
        await db.sql.unsafe(`analyze ${table}`);
        await db.sql.unsafe(`vacuum ${table}`);
        await db.sql.unsafe(`reindex table concurrently ${table}`);
        await db.sql.unsafe(`vacuum (full, analyze) ${table}`);
      }
    });
  });
});

describe("an outage of three seconds under load", () => {
  for (const [driver, open] of Object.entries(pools)) {
    test(`is over for every call a second after the database is back, through ${driver}`, async () => {
      const proxy = await openProxy(db.url);
      const pool = open([proxy.url], 10);
      try {
        const traffic = startTraffic(pool.sql, { workers: 10, userOf });
        await traffic.succeeded(100);
        proxy.cut();
        await sleep(3000);
        await proxy.resume();
        // What was called before may have until then.
        await sleep(1100);
        const before = new Map(traffic.seen.errors);
        assert.ok(before.size > 0);
        await sleep(3000);
        const { wrong, errors } = await traffic.stop();
        assert.deepEqual([wrong, errors], [[], before]);
      } finally {
        await pool.end();
        proxy.cut();
      }
    });
  }
});

describe("a database whose transactions are serializable", () => {
  let serializable: Database;
  beforeAll(async () => {
    serializable = await openDatabase();
    const name = new URL(serializable.url).pathname.slice(1);
    await serializable.sql.unsafe(
      `alter database ${name} set default_transaction_isolation = 'serializable'`,
    );
  });
  afterAll(() => serializable?.close());
  const url = () => serializable.url;
  const create = async (sql: Sql) => withCookie((await createSession("ada", sql)).headers);

  const changes: Record<string, (sql: Sql, headers: Headers) => Promise<unknown>> = {
    createSession: (sql, headers) => createSession("ada", sql, { replaces: headers }),
    rotateSession: (sql, headers) => rotateSession(headers, sql),
    reauthenticateSession: (sql, headers) => reauthenticateSession(headers, sql),
    updateSession: (sql, headers) => updateSession(headers, { a: 1 }, sql),
    revokeSession: (sql, headers) => revokeSession(headers, sql),
    revokeSessions: (sql) => revokeSessions({ userId: 1 }, sql),
  };

  through(
    "says 40001 to a write that another one has come before, and does it at the next try",
    async ({ sql, tagged }) => {
      for (const [name, change] of Object.entries(changes)) {
        const headers = await create(sql);
        let losing: Promise<unknown> | undefined;
        await tagged.begin("isolation level read committed", async (tx) => {
          await tx`update coatcheck.sessions set data = '{"b": 1}' where revoked_at is null`;
          losing = change(sql, headers);
          losing.catch(() => {});
          await serializable.waiting();
        });
        await assert.rejects(losing!, {
          code: "STORE_UNAVAILABLE",
          sqlstate: "40001",
          message: `${name}: the database rejected the statement (SQLSTATE 40001)`,
        });
        assert.ok((await validateSession(headers, sql)).session);
        await change(sql, headers);
      }
    },
    { url },
  );

  through("loses no update of those that succeed at the same time", async ({ sql }) => {
    const headers = await create(sql);
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => updateSession(headers, { [`key${i}`]: i }, sql)),
    );
    const stored = results.flatMap(({ status }, i) => status === "fulfilled" ? [`key${i}`] : []);
    for (const it of results) {
      if (it.status === "rejected") assert.equal((it.reason as SessionError).sqlstate, "40001");
    }
    const { session } = await validateSession(headers, sql);
    assert.deepEqual(Object.keys(session!.data).sort(), stored.sort());
    assert.ok(stored.length > 0);
    assert.equal(session!.version, stored.length);
  }, { url });

  through(
    "answers at least one of ten validations that record a use at the same time, and says 40001 to the others",
    async ({ sql }) => {
      const headers = await create(sql);
      const results = await Promise.allSettled(
        Array.from({ length: 10 }, () => validateSession(headers, sql, { touchInterval: 0 })),
      );
      for (const it of results) {
        if (it.status === "fulfilled") assert.ok(it.value.session);
        else {
          assert.deepEqual([it.reason.code, it.reason.sqlstate], ["STORE_UNAVAILABLE", "40001"]);
        }
      }
      assert.ok(results.some(({ status }) => status === "fulfilled"));
    },
    { url },
  );

  through(
    "validates, creates, lists and sweeps beside each other without an error",
    async ({ sql }) => {
      const headers = await create(sql);
      await Promise.all(Array.from({ length: 10 }, async () => {
        assert.ok((await validateSession(headers, sql)).session);
        assert.ok((await createSession("grace", sql)).session);
        await listSessions(2, sql);
        await sweepSessions(sql);
      }));
    },
    { url },
  );
});

describe("a server without a connection to spare", () => {
  const role = `web_${crypto.randomUUID().slice(0, 8)}`;
  const url = () => Object.assign(new URL(db.url), { username: role, password: "secret" }).href;
  beforeAll(async () => {
    await db.sql.unsafe(`create role ${role} login password 'secret' connection limit 1`);
    for (const it of ["usage on schema coatcheck", "all on all tables in schema coatcheck"]) {
      await db.sql.unsafe(`grant ${it} to ${role}`);
    }
  });
  afterAll(async () => {
    await db.sql.unsafe(`drop owned by ${role}`);
    await db.sql.unsafe(`drop role ${role}`);
  });

  through(
    "is unavailable, leaves the cookie alone, and is reached when one is free",
    async ({ sql }) => {
      const headers = await signedIn();
      await until("no connection is left", async () => {
        const [row] = await db.sql`select from pg_stat_activity where usename = ${role} limit 1`;
        return !row;
      });
      const other = postgres(url(), { max: 1 });
      try {
        await other`select 1`;
        const denied = { code: "STORE_UNAVAILABLE", sqlstate: "53300" };
        await assert.rejects(validateSession(headers, sql), denied);
        await assert.rejects(createSession("ada", sql), denied);
        await assert.rejects(revokeSession(headers, sql), denied);
      } finally {
        await other.end();
      }
      await until("a connection is free", () =>
        validateSession(headers, sql).then(
          ({ session }) => session !== null,
          ({ code }) => {
            assert.equal(code, "STORE_UNAVAILABLE");
            return false;
          },
        ));
    },
    { url },
  );
});

describe("a network that", () => {
  for (const [driver, open] of Object.entries(pools)) {
    /** Runs with a way to the database, whose four connections are open. */
    const onTheWay = async (
      run: (
        way: Awaited<ReturnType<typeof openProxy>>,
        sql: Sql,
        headers: Headers,
      ) => Promise<void>,
    ) => {
      const way = await openProxy(db.url);
      const pool = open([way.url]);
      try {
        const headers = await signedIn();
        await Promise.all(
          Array.from(
            { length: 16 },
            () => validateSession(headers, pool.sql, { queryTimeout: 30 }),
          ),
        );
        await run(way, pool.sql, headers);
        assert.equal(await pool.sql`select 1`.then(() => true), true);
        await until("the server is idle", async () => await underWay() === 0);
        assert.ok(way.connections() <= 8, `${way.connections()} connections`);
      } finally {
        await pool.end();
        way.cut();
      }
    };

    test(`takes 200 ms and up to 100 more in each direction makes calls slow, and none fails, through ${driver}`, async () => {
      await onTheWay(async (way, sql, headers) => {
        way.delay(200, 100);
        const start = performance.now();
        const results = await Promise.all(
          Array.from({ length: 8 }, () => validateSession(headers, sql, { queryTimeout: 30 })),
        );
        assert.ok(performance.now() - start > 399);
        assert.ok(results.every(({ session }) => session?.username === "ada"));
        await way.resume();
      });
    });

    for (const fault of ["holds all that comes", "passes on 100 bytes a second"]) {
      test(`${fault} is abandoned in time by 1,000 calls, and works again at once when it is mended, through ${driver}`, async () => {
        await onTheWay(async (way, sql, headers) => {
          if (fault === "holds all that comes") way.stall();
          else way.trickle(100);
          const start = performance.now();
          const results = await Promise.allSettled(
            Array.from({ length: 1000 }, () => validateSession(headers, sql, { queryTimeout: 1 })),
          );
          const seconds = (performance.now() - start) / 1000;
          assert.ok(seconds < 20, `${seconds} s`);
          const codes = new Set(
            results.map((it) => it.status === "fulfilled" ? "none" : it.reason.code),
          );
          assert.deepEqual([...codes], ["STORE_TIMEOUT"]);
          await way.resume();
          assert.ok((await validateSession(headers, sql, { queryTimeout: 30 })).session);
        });
      });
    }
  }
});

describe("a burst", () => {
  /** Holds an exclusive lock on the sessions while it runs. */
  const locked = async (run: () => Promise<void>) => {
    const other = await db.sql.reserve();
    await other`begin`;
    await other`lock table coatcheck.sessions in access exclusive mode`;
    try {
      await run();
    } finally {
      await other`rollback`;
      other.release();
    }
  };
  const count = (results: PromiseSettledResult<unknown>[]) => {
    const codes: Record<string, number> = {};
    for (const it of results) {
      const key = it.status === "fulfilled"
        ? "answered"
        : `${it.reason.code}: ${it.reason.message}`;
      codes[key] = (codes[key] ?? 0) + 1;
    }
    return codes;
  };

  through(
    "fills the queue of 10,000, and rejects the rest at once; what waits ends at its deadline, and the next call is answered",
    async ({ sql }) => {
      const headers = await signedIn();
      assert.ok((await validateSession(headers, sql)).session);
      let earlier: Promise<unknown> | undefined;
      await locked(async () => {
        // A statement of each kind of batch is under way, and the queue is empty.
        const first = Array.from(
          { length: 256 },
          () => validateSession(headers, sql, { queryTimeout: 60 }),
        );
        earlier = Promise.allSettled(first);
        await db.waiting();
        const results = count(
          await Promise.allSettled(
            Array.from(
              { length: 12_000 },
              () => validateSession(headers, sql, { queryTimeout: 1 }),
            ),
          ),
        );
        assert.deepEqual(results, {
          "STORE_TIMEOUT: validateSession: the database did not answer within queryTimeout, 1 s":
            10_000,
          "STORE_UNAVAILABLE: validateSession: the database is unreachable (QUEUE_FULL)": 2_000,
        });
        // The places of those that have given up are free, though nothing was answered.
        await assert.rejects(validateSession(headers, sql, { queryTimeout: 1 }), {
          code: "STORE_TIMEOUT",
        });
      });
      assert.ok((await validateSession(headers, sql, { queryTimeout: 30 })).session);
      await earlier;
      assert.ok((await createSession("ada", sql, { queryTimeout: 30 })).session);
      await until("the server is idle", async () => await underWay() === 0);
    },
    { batched: true },
  );

  through("ends at its deadline, and the next call is answered", async ({ sql }) => {
    const headers = await signedIn();
    assert.ok((await validateSession(headers, sql)).session);
    await locked(async () => {
      const results = count(
        await Promise.allSettled(
          Array.from({ length: 2000 }, () => validateSession(headers, sql, { queryTimeout: 1 })),
        ),
      );
      assert.deepEqual(Object.values(results), [2000]);
      assert.match(Object.keys(results)[0]!, /^STORE_TIMEOUT: /);
    });
    assert.ok((await validateSession(headers, sql, { queryTimeout: 30 })).session);
    await until("the server is idle", async () => await underWay() === 0);
  });

  test("leaves no timer, so that a process ends when its calls are answered", async () => {
    const child = start("burst.ts");
    const [code] = await once(child, "close");
    assert.deepEqual([code, child.output], [0, "500\n500\n"]);
  });
});

/** Starts a program of test/runner on this runtime. */
function start(name: string): ChildProcess & { output: string } {
  const [program, ...args] = runtime.run;
  const root = fileURLToPath(new URL("..", import.meta.url));
  const child = spawn(
    join(root, "node_modules", ".bin", program!),
    [...args, join("test", "runner", name)],
    {
      cwd: root,
      env: { ...process.env, DATABASE_URL: db.url },
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const started = Object.assign(child, { output: "" });
  child.stdout.setEncoding("utf8").on("data", (text: string) => started.output += text);
  return started;
}

describe("a process", () => {
  test("that is killed between the INSERT and its answer leaves a row that no cookie opens, and that is swept", async () => {
    const rows = async () =>
      (await db.sql`select id::text from coatcheck.sessions`).map(({ id }) => id);
    const before = new Set(await rows());
    const child = start("signin.ts");
    const closed = once(child, "close");
    await until("it has inserted", () => child.output !== "");
    child.kill("SIGKILL");
    await closed;
    assert.equal(child.output, "Stored\n");
    const added = (await rows()).filter((id) => !before.has(id));
    assert.equal(added.length, 1);
    await db.sql`update coatcheck.sessions set created_at = created_at - interval '1 year',
      authenticated_at = authenticated_at - interval '1 year',
      last_seen_at = last_seen_at - interval '1 year', expires_at = expires_at - interval '1 year'
      where id = ${added[0]!}`;
    await sweepSessions(db.sql);
    assert.deepEqual((await rows()).filter((id) => !before.has(id)), []);
  });
});

describe("100,000 expired rows", () => {
  test("are swept in small steps, beside which a live session is found by its index at any time", async () => {
    const opened = Object.values(pools).map((open) => open([db.url]));
    try {
      await sweepExpired(db.sql, 100_000, opened.map(({ sql }) => sql));
    } finally {
      for (const it of opened) await it.end();
    }
  });
});

describe("the process", () => {
  test("has survived, without an unhandled rejection", async () => {
    await new Promise((resolve) => setTimeout(resolve));
    assert.deepEqual(watch.strays, []);
  });
});
