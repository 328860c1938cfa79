import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  configure,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  type SessionEvent,
  type Sql,
  validateSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const rowOf = async (id: string) => {
  const [row] = await db.sql`select * from coatcheck.sessions where id = ${id}`;
  return row!;
};
const DAY = 86_400_000;
const countRows = async () => (await db.sql`select from coatcheck.sessions`).length;

describe("createSession", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`stores what it returns, in one statement, through ${client}`, async () => {
      const { sql, statements } = counted(db.clients[client]!);
      const { session } = await createSession("ada", sql, { data: { theme: "dark" } });
      assert.equal(statements.length, 1);
      const row = await rowOf(session.id);
      assert.deepEqual(session, {
        id: row.id,
        userId: 1,
        username: "ada",
        createdAt: row.created_at,
        authenticatedAt: row.authenticated_at,
        lastSeenAt: row.last_seen_at,
        expiresAt: row.expires_at,
        idleExpiresAt: new Date(row.last_seen_at.getTime() + 7 * DAY),
        persistent: true,
        version: 0,
        data: { theme: "dark" },
      });
      assert.equal(row.revoked_at, null);
    });
  }

  test("takes a key instead of a username", async () => {
    const { session } = await createSession({ userId: 2 }, db.sql);
    assert.equal(session.username, "grace");
    assert.equal((await createSession({ userId: "2" }, db.sql)).session.userId, 2);
  });

  test("sets exactly one cookie, and Cache-Control: no-store", async () => {
    const { headers } = await createSession("ada", db.sql);
    assert.equal(headers.getSetCookie().length, 1);
    assert.match(
      headers.getSetCookie()[0]!,
      /^__Host-session=[\w.-]{80}; Secure; HttpOnly; Max-Age=2592000; SameSite=Lax; Path=\/$/,
    );
    assert.equal(headers.get("cache-control"), "no-store");
    assert.deepEqual([...headers.keys()].sort(), ["cache-control", "set-cookie"]);
  });

  test("gives the row and the cookie the same deadline", async () => {
    const { session, headers } = await createSession("ada", db.sql, { absoluteTimeout: 7200 });
    assert.equal(session.expiresAt.getTime() - session.createdAt.getTime(), 7_200_000);
    assert.match(headers.get("set-cookie")!, /; Max-Age=7200;/);
  });

  test("issues a cookie that ends with the browser unless the session is persistent", async () => {
    for (const options of [{ persistent: false }, { cookie: { persistent: false } }]) {
      const { session, headers } = await createSession("ada", db.sql, options);
      assert.equal(session.persistent, false);
      assert.doesNotMatch(headers.get("set-cookie")!, /Max-Age|Expires/);
    }
    const { session } = await createSession("ada", db.sql, {
      persistent: true,
      cookie: { persistent: false },
    });
    assert.equal(session.persistent, true);
  });

  test("stores the digest of the secret, and the secret nowhere", async () => {
    const { session, headers } = await createSession("ada", db.sql, { data: { a: "b" } });
    const secret = secretOf(headers);
    const bytes = Buffer.from(secret, "base64url");
    const row = await rowOf(session.id);
    assert.deepEqual(Buffer.from(row.digest), createHash("sha256").update(bytes).digest());
    const [{ dump }] = await db
      .sql`select string_agg(s::text, ' ') as dump from coatcheck.sessions s` as unknown as [
        { dump: string },
      ];
    for (const spelling of ["base64url", "base64", "hex"] as const) {
      assert.ok(!dump.includes(bytes.toString(spelling).replace(/=+$/, "")), spelling);
    }
    assert.ok(!JSON.stringify(session).includes(secret));
  });

  test("puts only the id and the secret into the cookie", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const value = headers.get("set-cookie")!.split(";")[0]!.slice("__Host-session=".length);
    assert.equal(value, `${session.id}.${secretOf(headers)}`);
  });

  test("revokes the session that replaces presents, in a second statement", async () => {
    const before = await createSession("grace", db.sql);
    const { sql, statements } = counted(db.sql);
    const events: SessionEvent[] = [];
    const after = await createSession("ada", sql, {
      replaces: withCookie(before.headers),
      onEvent: (event) => events.push(event),
    });
    assert.equal(statements.length, 2);
    assert.match(statements[0]!, /insert into coatcheck\.sessions/);
    assert.match(statements[1]!, /update coatcheck\.sessions s set revoked_at/);
    assert.notEqual(after.session.id, before.session.id);
    assert.notEqual(secretOf(after.headers), secretOf(before.headers));
    const result = await validateSession(withCookie(before.headers), db.sql);
    assert.equal(result.reason, "revoked");
    assert.equal(result.revokedReason, "replaced");
    assert.ok((await validateSession(withCookie(after.headers), db.sql)).session);
    assert.deepEqual(events, [
      { type: "created", id: after.session.id, userId: 1 },
      { type: "revoked", id: before.session.id, userId: 2, reason: "replaced" },
    ]);
  });

  test("revokes no session whose id replaces presents with another secret", async () => {
    const { session, headers } = await createSession("grace", db.sql);
    const forged = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    await createSession("ada", db.sql, { replaces: forged });
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  test("creates the session even if replaces presents no token, or a malformed one", async () => {
    for (const cookie of ["", "a=b", "__Host-session=", "__Host-session=x; __Host-session=y"]) {
      assert.ok(
        (await createSession("ada", db.sql, { replaces: new Headers({ cookie }) })).session,
      );
    }
  });

  test("revokes nothing if the user is unknown", async () => {
    const before = await createSession("grace", db.sql);
    const replaces = withCookie(before.headers);
    await assert.rejects(createSession("nobody", db.sql, { replaces }), { code: "USER_NOT_FOUND" });
    assert.ok((await validateSession(replaces, db.sql)).session);
  });

  test("rejects an unknown user, and stores no row", async () => {
    const rows = await countRows();
    for (
      const name of ["nobody", "Ada", " ada", "ada ", "adа", "' or 1=1--", "__proto__", "null"]
    ) {
      await assert.rejects(createSession(name, db.sql), {
        name: "SessionError",
        code: "USER_NOT_FOUND",
        message: "createSession: user not found in coatcheck.users",
      });
    }
    for (const userId of [3, "3", "one", "", "1; drop table users", 2 ** 40, "1e3"]) {
      if (userId === "") continue;
      await assert.rejects(createSession({ userId }, db.sql), { code: "USER_NOT_FOUND" });
    }
    assert.equal(await countRows(), rows);
  });

  test("creates 100 sessions for 100 parallel sign-ins of one user", async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => createSession("ada", db.sql)));
    assert.equal(new Set(all.map(({ session }) => session.id)).size, 100);
    assert.equal(new Set(all.map(({ headers }) => secretOf(headers))).size, 100);
  });

  test("is part of the caller's transaction", async () => {
    let headers = new Headers();
    await assert.rejects(
      db.sql.begin(async (transaction) => {
        ({ headers } = await createSession("ada", transaction));
        assert.ok((await validateSession(withCookie(headers), transaction)).session);
        throw new Error("rolled back");
      }),
      { message: "rolled back" },
    );
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
  });

  test("rejects a user who is deleted while it waits", async () => {
    await db.sql`insert into users values (9, 'gone')`;
    const rows = await countRows();
    const other = await db.sql.reserve();
    await other`begin`;
    await other`delete from users where id = 9`;
    const creating = assert.rejects(createSession("gone", db.sql), { code: "USER_NOT_FOUND" });
    await db.waiting();
    await other`commit`;
    other.release();
    await creating;
    assert.equal(await countRows(), rows);
  });

  test("waits until queryTimeout for a user whom the caller has locked, unless it gets the transaction", async () => {
    await db.sql`insert into users values (10, 'own')`;
    await db.sql.begin(async (tx) => {
      await tx`select from users where id = 10 for update`;
      await assert.rejects(createSession("own", db.sql, { queryTimeout: 1 }), {
        code: "STORE_TIMEOUT",
      });
      assert.equal((await createSession("own", tx)).session.userId, 10);
    });
    await db.sql.begin(async (tx) => {
      await tx`select from users where id = 10 for no key update`;
      assert.equal((await createSession("own", db.sql)).session.userId, 10);
    });
  });

  test("rejects a user without a username, whose session would not be valid", async () => {
    await db.sql`create or replace view coatcheck.users as
      select id, nullif(username, 'grace') as username from users`;
    await assert.rejects(createSession({ userId: 2 }, db.sql), { code: "USER_NOT_FOUND" });
    await db.sql`create or replace view coatcheck.users as select id, username from users`;
    assert.ok((await createSession({ userId: 2 }, db.sql)).session);
  });

  test("distinguishes usernames that normalization or case folding would make equal", async () => {
    await db.sql`insert into users values (20, ${"é"}), (21, ${"e\u0301"}), (22, 'ß'), (23, 'ss')`;
    assert.equal((await createSession("é", db.sql)).session.userId, 20);
    assert.equal((await createSession("e\u0301", db.sql)).session.userId, 21);
    assert.equal((await createSession("ß", db.sql)).session.userId, 22);
  });

  test("keeps a hostile username as it is, and out of the headers", async () => {
    const name = `"\r\nSet-Cookie: a=b; \u202e<script>{$1}\\`;
    await db.sql`insert into users values (24, ${name})`;
    const { session, headers } = await createSession(name, db.sql);
    assert.equal(session.username, name);
    assert.equal(headers.getSetCookie().length, 1);
  });

  test("reports a check constraint of the app as STORE_REJECTED", async () => {
    await db
      .sql`alter table coatcheck.sessions add constraint apps_own check (data <> '{"no": 1}')`;
    await assert.rejects(createSession("ada", db.sql, { data: { no: 1 } }), {
      code: "STORE_REJECTED",
      sqlstate: "23514",
    });
    await db.sql`alter table coatcheck.sessions drop constraint apps_own`;
  });

  test("rejects numbers that PostgreSQL writes with too many digits", async () => {
    const numbers = Array.from({ length: 300 }, () => 1e308);
    await assert.rejects(createSession("ada", db.sql, { data: { numbers } }), RangeError);
    const few = { numbers: numbers.slice(0, 100), text: "1e+308".repeat(300) };
    assert.deepEqual((await createSession("ada", db.sql, { data: few })).session.data, few);
  });

  test("keeps data as it is", async () => {
    const data = { a: [1, 2.5, null, true], "ключ": "\\u0000 \" ' $1", nested: { deep: {} } };
    assert.deepEqual((await createSession("ada", db.sql, { data })).session.data, data);
  });
});

describe("maxSessions", () => {
  test("revokes the session that was not used for the longest time, and never the new one", async () => {
    await db.sql`insert into users values (30, 'max')`;
    const policy = { maxSessions: 2 };
    const first = await createSession("max", db.sql, policy);
    const second = await createSession("max", db.sql, policy);
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour'
      where id = ${second.session.id}`;
    // A use that is recorded after the sign-in makes no session older than it.
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at + interval '1 minute'
      where id = ${first.session.id}`;
    const { sql, statements } = counted(db.sql);
    const third = await createSession("max", sql, policy);
    assert.equal(statements.length, 2);
    const fourth = await createSession("max", db.sql, { maxSessions: 1 });
    const results = [];
    for (const { headers } of [first, second, third, fourth]) {
      const { reason, revokedReason } = await validateSession(withCookie(headers), db.sql);
      results.push([reason, revokedReason]);
    }
    const limited = ["revoked", "limit"];
    assert.deepEqual(results, [limited, limited, limited, [undefined, undefined]]);
    // By microseconds, of which a Date has lost the last three digits.
    const order = await db.sql`
      select id from (
        select id, created_at as at from coatcheck.sessions where revoked_at is null
        union all select id, revoked_at from coatcheck.sessions
      ) it
      where id in ${
      db.sql([first, second, fourth].map(({ session }) => session.id))
    } and at is not null
      order by at`;
    const ids = [second, fourth, first].map(({ session }) => session.id);
    assert.deepEqual(order.map(({ id }) => id), ids);
  });

  test("counts only the user's live sessions", async () => {
    await db.sql`insert into users values (31, 'few')`;
    const policy = { maxSessions: 2 };
    await createSession("few", db.sql);
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '8 days'
      where user_id = 31`;
    const live = await createSession("few", db.sql, policy);
    await createSession("few", db.sql, policy);
    assert.ok((await validateSession(withCookie(live.headers), db.sql)).session);
    const [row] = await db.sql`select count(*)::integer from coatcheck.sessions
      where user_id = 31 and revoked_at is not null`;
    assert.equal(row!.count, 0);
  });

  test("leaves a locked session live for no longer than until the next sign-in", async () => {
    await db.sql`insert into users values (42, 'locked')`;
    const locked = await createSession("locked", db.sql);
    const free = await createSession("locked", db.sql);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${locked.session.id} for update`;
    const liveIds = async () => (await listSessions(42, db.sql)).map(({ id }) => id);
    const events: SessionEvent[] = [];
    const policy = { maxSessions: 1, queryTimeout: 30 };
    const onEvent = (event: SessionEvent) => events.push(event);
    const start = performance.now();
    const { session } = await createSession("locked", db.sql, { ...policy, onEvent });
    // It tries for half a second, and succeeds all the same.
    assert.ok(performance.now() - start < 20_000);
    assert.deepEqual(events, [
      { type: "created", id: session.id, userId: 42 },
      { type: "revoked", id: free.session.id, userId: 42, reason: "limit" },
    ]);
    assert.deepEqual(await liveIds(), [session.id, locked.session.id]);
    await other`rollback`;
    other.release();
    const next = await createSession("locked", db.sql, policy);
    assert.deepEqual(await liveIds(), [next.session.id]);
  });

  test("revokes a session whose lock is released within half a second", async () => {
    await db.sql`insert into users values (43, 'briefly locked')`;
    const locked = await createSession("briefly locked", db.sql);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${locked.session.id} for update`;
    let limits = 0;
    const sql: Sql = async (strings, ...values) => {
      const rows = await db.sql(strings, ...values);
      if (/'limit'/.test(strings.join("?")) && ++limits === 2) await other`rollback`;
      return rows;
    };
    const { session } = await createSession("briefly locked", sql, { maxSessions: 1 });
    other.release();
    assert.equal(limits, 3);
    assert.deepEqual((await listSessions(43, db.sql)).map(({ id }) => id), [session.id]);
  });
});

describe("a sign-in whose second statement fails", () => {
  const liveRows = async () =>
    (await db.sql`select id from coatcheck.sessions where revoked_at is null order by id`)
      .map(({ id }) => id);

  /** A client that fails the statements that match, before or after they are run. */
  function failing(pattern: RegExp, isRun: boolean): Sql {
    return async (strings, ...values) => {
      const isFailing = pattern.test(strings.join("?"));
      const rows = isFailing && !isRun ? [] : await db.sql(strings, ...values);
      if (isFailing) throw Object.assign(new Error("gone"), { code: "ECONNRESET" });
      return rows;
    };
  }
  const unreachable = {
    name: "SessionError",
    code: "STORE_UNAVAILABLE",
    message: "createSession: the database is unreachable (ECONNRESET)",
  };
  const revocation = /update coatcheck\.sessions .* revoked_reason = \?/;
  const limitation = /update coatcheck\.sessions .* revoked_reason = 'limit'/;
  const deletion = /delete from coatcheck\.sessions/;

  for (const isRun of [false, true]) {
    const what = isRun ? "the reply to the statement is lost" : "the statement fails";

    test(`rejects and leaves no new session if ${what} that replaces sends`, async () => {
      const { session, headers } = await createSession("grace", db.sql);
      const before = await liveRows();
      const events: SessionEvent[] = [];
      const options = {
        replaces: withCookie(headers),
        onEvent: (event: SessionEvent) => events.push(event),
      };
      for (const user of ["ada", { userId: 1 }]) {
        const sql = failing(revocation, isRun);
        await assert.rejects(createSession(user, sql, options), unreachable);
      }
      assert.deepEqual(await liveRows(), before.filter((id) => !isRun || id !== session.id));
      assert.deepEqual(events, []);
    });

    test(`rejects and leaves no new session if ${what} that maxSessions sends`, async () => {
      const userId = isRun ? 41 : 40;
      await db.sql`insert into users values (${userId}, ${`limited ${isRun}`})`;
      const { session } = await createSession({ userId }, db.sql);
      const before = await liveRows();
      const sql = failing(limitation, isRun);
      const events: SessionEvent[] = [];
      const options = { maxSessions: 1, onEvent: (event: SessionEvent) => events.push(event) };
      await assert.rejects(createSession({ userId }, sql, options), unreachable);
      assert.deepEqual(await liveRows(), before.filter((id) => !isRun || id !== session.id));
      assert.deepEqual(events, []);
    });
  }

  test("reports the session that it has replaced, if the statement after that fails", async () => {
    const { session, headers } = await createSession("grace", db.sql);
    const events: SessionEvent[] = [];
    const options = {
      replaces: withCookie(headers),
      maxSessions: 1,
      onEvent: (event: SessionEvent) => events.push(event),
    };
    await assert.rejects(createSession("grace", failing(limitation, false), options), unreachable);
    const { id, userId } = session;
    assert.deepEqual(events, [{ type: "revoked", id, userId, reason: "replaced" }]);
    assert.equal((await validateSession(withCookie(headers), db.sql)).revokedReason, "replaced");
  });

  test("rejects and leaves no new session if the presented one is locked until queryTimeout", async () => {
    const { session, headers } = await createSession("grace", db.sql);
    const before = await liveRows();
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${session.id} for update`;
    const options = { replaces: withCookie(headers), queryTimeout: 1 };
    await assert.rejects(createSession("ada", db.sql, options), {
      name: "SessionError",
      code: "STORE_TIMEOUT",
      message: "createSession: the database did not answer within queryTimeout, 1 s",
    });
    assert.deepEqual(await liveRows(), before);
    await other`rollback`;
    other.release();
  });

  test("rejects with the first error if the new session cannot be deleted either", async () => {
    const { headers } = await createSession("grace", db.sql);
    const before = await liveRows();
    const both = new RegExp(`${revocation.source}|${deletion.source}`);
    const options = { replaces: withCookie(headers) };
    await assert.rejects(createSession("ada", failing(both, false), options), unreachable);
    // No cookie of it was issued: a limit or its deadline ends it.
    assert.equal((await liveRows()).filter((id) => !before.includes(id)).length, 1);
  });

  test("leaves the caller's transaction to the caller", async () => {
    const { headers } = await createSession("grace", db.sql);
    const before = await liveRows();
    const replaces = withCookie(headers);
    await assert.rejects(
      db.sql.begin(async (transaction) => {
        const sql: Sql = async (strings, ...values) => {
          if (revocation.test(strings.join("?"))) await transaction`select 1 / 0`;
          return await transaction(strings, ...values);
        };
        await createSession("ada", sql, { replaces });
      }),
      { code: "STORE_REJECTED", sqlstate: "22012" },
    );
    assert.deepEqual(await liveRows(), before);
    assert.ok((await validateSession(replaces, db.sql)).session);
  });
});

describe("insertSession", () => {
  const record = () => {
    const { id, digest, token } = createToken();
    const createdAt = new Date("2026-01-02T03:04:05.678Z");
    const expiresAt = new Date("2099-01-02T03:04:05.678Z");
    return {
      token,
      record: { id, digest, userId: 1, createdAt, expiresAt, data: { from: "else" } },
    };
  };

  test("stores a session under the given id, digest and times, and issues no cookie", async () => {
    const { record: given, token } = record();
    const session = await insertSession(given, db.sql);
    assert.equal(session.id, given.id);
    assert.deepEqual(session.createdAt, given.createdAt);
    assert.deepEqual(session.authenticatedAt, given.createdAt);
    assert.deepEqual(session.expiresAt, given.expiresAt);
    assert.deepEqual(session.data, { from: "else" });
    const { lastSeenAt, idleExpiresAt } = session;
    assert.equal(idleExpiresAt.getTime(), lastSeenAt.getTime() + 7 * DAY);
    const headers = new Headers({ cookie: `__Host-session=${token}` });
    assert.equal((await validateSession(headers, db.sql)).reason, "expired");
  });

  test("returns instants of every century to the millisecond", async () => {
    const createdAt = new Date("0001-01-01T00:00:00.001Z");
    const ends = [
      "0969-08-15T01:02:03.679Z",
      "2262-04-11T23:47:16.855Z",
      "4196-10-04T15:34:16.758Z",
      "9999-12-31T23:59:59.999Z",
    ];
    for (const expiresAt of ends.map((end) => new Date(end))) {
      const session = await insertSession({ ...record().record, createdAt, expiresAt }, db.sql);
      assert.deepEqual([session.createdAt, session.expiresAt], [createdAt, expiresAt]);
    }
  });

  test("sets idleExpiresAt no later than expiresAt", async () => {
    const expiresAt = new Date(Date.now() + 60_000);
    const session = await insertSession({ ...record().record, expiresAt }, db.sql);
    assert.deepEqual(session.idleExpiresAt, expiresAt);
  });

  test("never sets authenticatedAt in the future", async () => {
    const { record: given, token } = record();
    const session = await insertSession({ ...given, createdAt: new Date("2090-01-01") }, db.sql);
    assert.ok(session.authenticatedAt.getTime() < Date.now() + 86_400_000);
    const headers = new Headers({ cookie: `__Host-session=${token}` });
    const asking = { authenticatedWithin: 0 };
    assert.equal((await validateSession(headers, db.sql, asking)).reason, "stale");
  });

  test("stores a session that its token opens", async () => {
    const { record: given, token } = record();
    await insertSession({ ...given, createdAt: new Date() }, db.sql);
    const headers = new Headers({ cookie: `__Host-session=${token}` });
    assert.equal((await validateSession(headers, db.sql)).session?.username, "ada");
  });

  test("rejects an id that exists, and leaves the row as it was", async () => {
    const { session } = await createSession("grace", db.sql);
    const before = await rowOf(session.id);
    await assert.rejects(insertSession({ ...record().record, id: session.id }, db.sql), {
      name: "SessionError",
      code: "STORE_REJECTED",
      sqlstate: "23505",
      message: "insertSession: the database rejected the statement (SQLSTATE 23505)",
    });
    assert.deepEqual(await rowOf(session.id), before);
  });

  test("rejects an unknown key", async () => {
    await assert.rejects(insertSession({ ...record().record, userId: 404 }, db.sql), {
      code: "USER_NOT_FOUND",
    });
  });
});

describe("getUserId", () => {
  test("finds the key of a username", async () => {
    assert.equal(await getUserId("grace", db.sql), 2);
  });

  test("rejects an unknown username", async () => {
    await assert.rejects(getUserId("nobody", db.sql), {
      name: "SessionError",
      code: "USER_NOT_FOUND",
      message: "getUserId: user not found in coatcheck.users",
    });
  });
});

describe("configure", () => {
  test("binds the policy to every function", async () => {
    const functions = configure({ absoluteTimeout: 600, cookie: { secure: false } });
    const { headers } = await functions.createSession("ada", db.sql, { persistent: true });
    assert.match(headers.get("set-cookie")!, /^session=[^;]+; HttpOnly; Max-Age=600;/);
    assert.ok((await functions.validateSession(withCookie(headers), db.sql)).session);
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "absent");
    assert.equal(await functions.getUserId("ada", db.sql), 1);
    const { session } = await functions.revokeSession(withCookie(headers), db.sql, {
      reason: "bye",
    });
    assert.equal(session?.revokedReason, "bye");
  });
});
