import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import process from "node:process";
import postgres from "postgres";
import {
  batched,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  SessionError,
  type SessionErrorCode,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
import { openProxy, type Proxy } from "./runner/proxy.mjs";

/** A client with one connection, so that what happens to it happens to the next call. */
interface Client {
  readonly sql: Sql & { begin<T>(mode: string, run: (sql: Sql) => Promise<T>): Promise<T> };
  /** Resolves when the connection has been lost. */
  readonly lost: Promise<void>;
  readonly end: () => Promise<unknown>;
}

type Connect = (url: string) => Client;
const drivers: Record<string, Connect> = {
  "postgres.js": (url) => {
    const { promise: lost, resolve: onclose } = Promise.withResolvers<void>();
    const sql = postgres(url, { max: 1, onclose: () => onclose(), onnotice: () => {} });
    return { sql: sql as unknown as Client["sql"], lost, end: () => sql.end({ timeout: 0 }) };
  },
};
// The global of Bun, if there is one; its types would declare all globals of Bun.
const { Bun } = globalThis as {
  Bun?: {
    SQL: new (
      url: string,
      options: object,
    ) => Client["sql"] & { close(options: object): Promise<void> };
  };
};
if (Bun) {
  drivers["Bun.SQL"] = (url) => {
    const { promise: lost, resolve: onclose } = Promise.withResolvers<void>();
    const sql = new Bun.SQL(url, { max: 1, onclose: () => onclose() });
    // It is not awaited, as it may never resolve (oven-sh/bun #32095).
    return {
      sql,
      lost,
      end: () => Promise.resolve(void sql.close({ timeout: 0 }).catch(() => {})),
    };
  };
}

let db: Database;
const strays: unknown[] = [];
const note = (reason: unknown) => strays.push(reason);
beforeAll(async () => {
  process.on("unhandledRejection", note);
  process.on("uncaughtException", note);
  db = await openDatabase();
});
afterAll(async () => {
  await db.close();
  process.off("unhandledRejection", note);
  process.off("uncaughtException", note);
});

/** Runs with a client of a URL, and closes it. */
async function using<T>(
  connect: Connect,
  url: string,
  run: (client: Client) => Promise<T>,
): Promise<T> {
  const client = connect(url);
  try {
    return await run(client);
  } finally {
    await client.end();
  }
}

/** Signs in without the fault; returns what a browser would send. */
const signedIn = async () => withCookie((await createSession("ada", db.sql)).headers);
const countRows = async () => (await db.sql`select from coatcheck.sessions`).length;

const stranger = new Headers({ cookie: `__Host-session=${createToken().token}` });
const SLOW = { queryTimeout: 1 };

/** A call; without a policy, its queryTimeout is a second. */
type Call = (sql: Sql, policy?: Policy) => Promise<unknown>;

/** Every function; those with `reads` take no lock and write nothing. */
const functions: { name: string; reads?: true; call: Call }[] = [
  { name: "createSession", call: (sql, policy = SLOW) => createSession("ada", sql, policy) },
  {
    name: "insertSession",
    call: (sql, policy = SLOW) => {
      const { id, digest } = createToken();
      const [createdAt, expiresAt] = [new Date("2026-01-01"), new Date("2099-01-01")];
      return insertSession({ id, digest, userId: 1, createdAt, expiresAt }, sql, policy);
    },
  },
  { name: "getUserId", reads: true, call: (sql, policy = SLOW) => getUserId("ada", sql, policy) },
  {
    name: "validateSession",
    reads: true,
    call: (sql, policy = SLOW) => validateSession(stranger, sql, policy),
  },
  { name: "rotateSession", call: (sql, policy = SLOW) => rotateSession(stranger, sql, policy) },
  {
    name: "reauthenticateSession",
    call: (sql, policy = SLOW) => reauthenticateSession(stranger, sql, policy),
  },
  {
    name: "updateSession",
    call: (sql, policy = SLOW) => updateSession(stranger, { a: 1 }, sql, policy),
  },
  { name: "listSessions", reads: true, call: (sql, policy = SLOW) => listSessions(1, sql, policy) },
  { name: "revokeSession", call: (sql, policy = SLOW) => revokeSession(stranger, sql, policy) },
  // Of grace, who has no sessions: those of ada are counted after the fault.
  {
    name: "revokeSessions",
    call: (sql, policy = SLOW) => revokeSessions({ userId: 2 }, sql, policy),
  },
  { name: "sweepSessions", call: (sql, policy = SLOW) => sweepSessions(sql, policy) },
];

/** Expects an error of the store, in time: neither a session, nor a reason, nor a cookie. */
async function fails(
  call: Promise<unknown>,
  codes: SessionErrorCode | SessionErrorCode[],
  sqlstate?: RegExp,
): Promise<void> {
  const start = performance.now();
  await assert.rejects(call, (error: SessionError) => {
    assert.ok(error instanceof SessionError, String(error));
    assert.ok([codes].flat().includes(error.code), `${error.code}: ${error.message}`);
    if (sqlstate) assert.match(error.sqlstate ?? "", sqlstate);
    assert.match(error.message, messageOf(error));
    return true;
  });
  const seconds = (performance.now() - start) / 1000;
  assert.ok(seconds < 10, `${seconds} s`);
}

/** What an error of a store says: the function, and a constant that tells nothing of the statement. */
function messageOf({ code, sqlstate }: SessionError): RegExp {
  const names = functions.map(({ name }) => name).join("|");
  const reason = sqlstate
    ? `the database rejected the statement \\(SQLSTATE ${sqlstate}\\)`
    : code === "STORE_TIMEOUT"
    ? "the database did not answer within queryTimeout, 1 s"
    : "the database is unreachable \\([A-Z][A-Z_]+\\)";
  return new RegExp(`^(${names}): ${reason}$`);
}

/** Serves a port of the loopback address while a test runs. */
async function serving(
  server: Server,
  run: (url: string) => Promise<void>,
): Promise<void> {
  const open = new Set<Socket>();
  server.on("connection", (socket) => {
    open.add(socket);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await run(at(server));
  } finally {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

function at(server: Server): string {
  const { port } = server.address() as AddressInfo;
  return Object.assign(new URL(db.url), { hostname: "127.0.0.1", port: String(port) }).href;
}

/** Connects to the database through a proxy while a test runs. */
async function between(
  connect: Connect,
  run: (client: Client, proxy: Proxy) => Promise<void>,
): Promise<void> {
  const proxy = await openProxy(db.url);
  try {
    await using(connect, proxy.url, (client) => run(client, proxy));
  } finally {
    proxy.cut();
  }
}

/** Holds an exclusive lock on both tables while a test runs. */
async function locked(run: () => Promise<void>): Promise<void> {
  const other = await db.sql.reserve();
  await other`begin`;
  await other`lock table coatcheck.sessions, users in access exclusive mode`;
  try {
    await run();
  } finally {
    await other`rollback`;
    other.release();
  }
}

const UNREACHED: SessionErrorCode[] = ["STORE_UNAVAILABLE", "STORE_TIMEOUT"];

for (const [driver, connect] of Object.entries(drivers)) {
  describe(`a store behind ${driver}`, () => {
    test("that refuses connections is unavailable to every function", async () => {
      const closed = createServer();
      let url = "";
      await serving(closed, (it) => Promise.resolve(void (url = it)));
      for (const { call } of functions) {
        await using(connect, url, ({ sql }) => fails(call(sql), "STORE_UNAVAILABLE"));
      }
    });

    test("that accepts and never answers is abandoned in time by every function", async () => {
      await serving(createServer(), async (url) => {
        await Promise.all(
          functions.map(({ call }) =>
            using(connect, url, ({ sql }) => fails(call(sql), "STORE_TIMEOUT"))
          ),
        );
      });
    });

    test("that accepts and closes at once is abandoned in time by every function", async () => {
      await serving(createServer((socket) => socket.end()), async (url) => {
        await Promise.all(
          functions.map(({ call }) =>
            using(connect, url, ({ sql }) => fails(call(sql), UNREACHED))
          ),
        );
      });
    });

    test("that answers in another protocol is abandoned in time", async () => {
      const web = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
      await serving(web, async (url) => {
        await using(connect, url, ({ sql }) => fails(createSession("ada", sql, SLOW), UNREACHED));
      });
    });

    test("that goes silent after a call is abandoned in time by every function", async () => {
      await Promise.all(functions.map(async ({ call }) => {
        await between(connect, async ({ sql }, proxy) => {
          await call(sql, {});
          proxy.stall();
          await fails(call(sql), "STORE_TIMEOUT");
        });
      }));
    });

    test("whose reply is lost after the INSERT issues no cookie, and leaves at most one row", async () => {
      await between(connect, async ({ sql }, proxy) => {
        await createSession("ada", sql);
        const rows = await countRows();
        proxy.cutReply();
        await fails(createSession("ada", sql, SLOW), UNREACHED);
        await proxy.resume();
        assert.ok([rows, rows + 1].includes(await countRows()));
        const { headers } = await createSession("ada", sql);
        assert.ok((await validateSession(withCookie(headers), sql)).session);
      });
    });

    test("whose reply is lost after a sign-out leaves the cookie alone, and the session revoked", async () => {
      const headers = await signedIn();
      await between(connect, async ({ sql }, proxy) => {
        await revokeSession(await signedIn(), sql);
        proxy.cutReply();
        await fails(revokeSession(headers, sql, SLOW), UNREACHED);
        await proxy.resume();
        assert.equal((await validateSession(headers, sql)).reason, "revoked");
      });
    });

    /** Loses the reply to a call, on a connection that has sent its statement before. */
    async function losing(
      call: (headers: Headers, sql: Sql, policy?: Policy) => Promise<unknown>,
      headers: Headers,
    ) {
      await between(connect, async ({ sql }, proxy) => {
        await call(await signedIn(), sql);
        proxy.cutReply();
        await fails(call(headers, sql, SLOW), UNREACHED);
      });
    }

    test("whose reply is lost after a rotation hands out the new cookie again to the old one", async () => {
      const before = await signedIn();
      await losing(rotateSession, before);
      const result = await validateSession(before, db.sql);
      assert.equal(result.session?.username, "ada");
      const rotated = withCookie(result.headers);
      assert.equal((await validateSession(rotated, db.sql)).session?.id, result.session?.id);
      assert.deepEqual([...(await validateSession(before, db.sql)).headers], []);
    });

    test("whose reply is lost after a reauthentication makes the old cookie unknown", async () => {
      const before = await signedIn();
      await losing(reauthenticateSession, before);
      const result = await validateSession(before, db.sql);
      assert.deepEqual([result.session, result.reason, [...result.headers]], [null, "unknown", []]);
    });

    test("whose reply is lost after an update has written once, and reports a conflict to the next try", async () => {
      const before = await signedIn();
      const add = (headers: Headers, sql: Sql, policy?: Policy) =>
        updateSession(headers, { cart: 1 }, sql, { ...policy, version: 0 });
      await losing(add, before);
      const { reason, session } = await add(before, db.sql);
      assert.deepEqual([reason, session?.data, session?.version], ["conflict", { cart: 1 }, 1]);
    });

    test("that is lost between the INSERT and the limit of a sign-in issues no cookie, and keeps the limit next time", async () => {
      const userId = driver === "Bun.SQL" ? 11 : 12;
      const username = `one of ${driver}`;
      await db.sql`insert into users values (${userId}, ${username})`;
      const limited = { maxSessions: 1 };
      await between(connect, async ({ sql }, proxy) => {
        await createSession(username, sql, limited);
        let sent = 0;
        const losing: Sql = (strings, ...values) => {
          if (++sent === 2) proxy.cutReply();
          return sql(strings, ...values);
        };
        await fails(createSession(username, losing, { ...SLOW, ...limited }), UNREACHED);
        // The INSERT, the limit, and the DELETE of the new session, which fails too.
        assert.equal(sent, 3);
      });
      const { session } = await createSession(username, db.sql, limited);
      const live = await listSessions(userId, db.sql);
      assert.deepEqual(live.map(({ id }) => id), [session.id]);
    });

    test("that resets the connection between the statements of a sign-in is reached by the next call", async () => {
      await between(connect, async ({ sql }, proxy) => {
        let sent = 0;
        const losing: Sql = (strings, ...values) => {
          if (++sent === 2) proxy.cutReply("resetAndDestroy");
          return sql(strings, ...values);
        };
        const signIn = async (sql: Sql) =>
          createSession("ada", sql, { ...SLOW, replaces: await signedIn() });
        // Prepares the statements: postgres.js sends no second one while it prepares.
        await signIn(sql);
        await fails(signIn(losing), UNREACHED);
        // The INSERT, the revocation, and the DELETE of the new session, which comes at once.
        assert.equal(sent, 3);
        await proxy.resume();
        for (let i = 0; i < 3; i++) assert.ok((await createSession("ada", sql)).session);
      });
    });

    test("that resets the connection while batched calls wait fails those under way, and answers the others", async () => {
      const headers = await signedIn();
      await between(connect, async (client, proxy) => {
        const sql = batched(client.sql);
        const validate = () => validateSession(headers, sql);
        await validate();
        proxy.cutReply("resetAndDestroy");
        // Each is sent by itself, and the next ones wait for one of them.
        const failing: Promise<void>[] = [];
        for (let i = 0; i < 2; i++) {
          failing.push(fails(validate(), UNREACHED));
          await null;
        }
        const waiting = Array.from({ length: 20 }, validate);
        await Promise.all(failing);
        await proxy.resume();
        for (const { session } of await Promise.all(waiting)) assert.ok(session);
        for (let i = 0; i < 3; i++) assert.ok((await validate()).session);
      });
    });

    test("that closed the idle connection is reached by the next call", async () => {
      const headers = await signedIn();
      await using(connect, db.url, async ({ sql, lost }) => {
        const [row] = await sql`select pg_backend_pid() as pid` as [{ pid: number }];
        await db.sql`select pg_terminate_backend(${row.pid})`;
        await lost;
        assert.ok((await validateSession(headers, sql)).session);
        assert.ok((await createSession("ada", sql)).session);
      });
    });

    for (const { name, call } of functions) {
      test(`that closed the connection during ${name} is unavailable, and is reached again`, async () => {
        await using(connect, db.url, async ({ sql, lost }) => {
          const [row] = await sql`select pg_backend_pid() as pid` as [{ pid: number }];
          const rows = await countRows();
          await locked(async () => {
            const failing = fails(call(sql), "STORE_UNAVAILABLE");
            await db.waiting();
            await db.sql`select pg_terminate_backend(${row.pid})`;
            await failing;
          });
          await lost;
          assert.equal(await countRows(), rows);
          // postgres.js 3.4.9 rejects the next call with the old error as well (porsager/postgres #1215).
          if (driver === "postgres.js") {
            await createSession("ada", sql).catch(({ code }) =>
              assert.equal(code, "STORE_UNAVAILABLE")
            );
          }
          assert.ok((await createSession("ada", sql)).session);
        });
      });
    }

    test("that is locked is abandoned in time, and is reached by the next call", async () => {
      const headers = await signedIn();
      await using(connect, db.url, async ({ sql }) => {
        await locked(() => fails(validateSession(headers, sql, SLOW), "STORE_TIMEOUT"));
        assert.ok((await validateSession(headers, sql)).session);
      });
    });

    test("whose only connection is in use is abandoned in time, and is reached by the next call", async () => {
      const headers = await signedIn();
      await using(connect, db.url, async ({ sql }) => {
        const { promise: done, resolve: finish } = Promise.withResolvers<void>();
        const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
        const holding = sql.begin("read write", async (transaction) => {
          await transaction`select 1`;
          begin();
          await done;
        });
        await begun;
        await fails(validateSession(headers, sql, SLOW), "STORE_TIMEOUT");
        finish();
        await holding;
        assert.ok((await validateSession(headers, sql)).session);
      });
    });

    const limits = [
      { name: "lock_timeout", limit: "set local lock_timeout = 50", sqlstate: /^55P03$/ },
      { name: "statement_timeout", limit: "set local statement_timeout = 50", sqlstate: /^57014$/ },
    ];
    for (const { name, limit, sqlstate } of limits) {
      test(`that stops at its own ${name} is out of time for every function, and is reached by the next call`, async () => {
        const headers = await signedIn();
        const set = Object.assign([limit], { raw: [limit] });
        Object.defineProperty(set, "raw", { enumerable: false });
        await using(connect, db.url, async ({ sql }) => {
          await locked(async () => {
            for (const { call } of functions) {
              await sql.begin("read write", async (transaction) => {
                await transaction(set as never);
                await fails(call(transaction), "STORE_TIMEOUT", sqlstate);
              }).catch(isPostgres);
            }
          });
          assert.ok((await validateSession(headers, sql)).session);
        });
      });
    }

    test("that is read-only is unavailable to writes, and validates sessions", async () => {
      const headers = await signedIn();
      const rows = await countRows();
      await using(connect, db.url, async ({ sql }) => {
        for (const { reads, call } of functions) {
          await sql.begin("read only", async (transaction) => {
            assert.ok((await validateSession(headers, transaction)).session);
            if (reads) await call(transaction);
            else await fails(call(transaction), "STORE_UNAVAILABLE", /^25006$/);
          }).catch(isPostgres);
        }
      });
      assert.equal(await countRows(), rows);
      assert.ok((await validateSession(headers, db.sql)).session);
    });

    test("whose transaction has failed rejects every function, without a retry", async () => {
      await using(connect, db.url, async ({ sql }) => {
        for (const { call } of functions) {
          await sql.begin("read write", async (transaction) => {
            await assert.rejects(async () => await transaction`select 1 / 0`);
            await fails(call(transaction), "STORE_REJECTED", /^25P02$/);
          }).catch(isPostgres);
        }
        assert.ok((await createSession("ada", sql)).session);
      });
    });

    test("whose transaction is rolled back does not know a session that was created in it", async () => {
      const before = await signedIn();
      const rows = await countRows();
      let headers = new Headers();
      await using(connect, db.url, async ({ sql }) => {
        await assert.rejects(
          sql.begin("read write", async (transaction) => {
            ({ headers } = await createSession("ada", transaction, { replaces: before }));
            assert.ok((await validateSession(withCookie(headers), transaction)).session);
            throw new Error("rolled back");
          }),
          { message: "rolled back" },
        );
        const result = await validateSession(withCookie(headers), sql);
        assert.deepEqual([result.session, result.reason, [...result.headers]], [
          null,
          "unknown",
          [],
        ]);
        assert.ok((await validateSession(before, sql)).session);
      });
      assert.equal(await countRows(), rows);
    });

    const refusals = [
      {
        name: "the role",
        // A role that does not exist: with trust authentication, every password is right. A server that asks
        // for one answers 28P01 in both cases.
        change: { username: "coatcheck_none", password: "wrong" },
        sqlstate: /^28(P01|000)$/,
      },
      { name: "the database's name", change: { pathname: "/coatcheck_none" }, sqlstate: /^3D000$/ },
    ];
    for (const { name, change, sqlstate } of refusals) {
      test(`that rejects ${name} is reported with its SQLSTATE only`, async () => {
        const { href: url } = Object.assign<URL, Partial<URL>>(new URL(db.url), change);
        await using(
          connect,
          url,
          ({ sql }) => fails(createSession("ada", sql, SLOW), "STORE_REJECTED", sqlstate),
        );
      });
    }
  });
}

/** Ignores the error of a transaction whose statement has failed, and no other. */
function isPostgres(error: Error): void {
  assert.match(error.name, /Postgres/, String(error));
}

describe("the process", () => {
  test("has survived, without an unhandled rejection", async () => {
    await new Promise((resolve) => setTimeout(resolve));
    assert.deepEqual(strays, []);
  });
});
