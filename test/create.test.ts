import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  configure,
  createSession,
  createToken,
  getUserId,
  insertSession,
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

  test("sets exactly one cookie, and says that the answer must not be stored", async () => {
    const { headers } = await createSession("ada", db.sql);
    assert.equal(headers.getSetCookie().length, 1);
    assert.match(
      headers.getSetCookie()[0]!,
      /^__Host-session=[\w.-]{80}; Secure; HttpOnly; Max-Age=2592000; SameSite=Lax; Path=\/$/,
    );
    assert.equal(headers.get("cache-control"), "no-store");
    assert.deepEqual([...headers.keys()].sort(), ["cache-control", "set-cookie"]);
  });

  test("keeps the deadline of the row and of the cookie together", async () => {
    const { session, headers } = await createSession("ada", db.sql, { absoluteTimeout: 7200 });
    assert.equal(session.expiresAt.getTime() - session.createdAt.getTime(), 7_200_000);
    assert.match(headers.get("set-cookie")!, /; Max-Age=7200;/);
  });

  test("hands out a cookie that ends with the browser where nobody asked to be remembered", async () => {
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

  test("puts nothing into the cookie but the id and the secret", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const value = headers.get("set-cookie")!.split(";")[0]!.slice("__Host-session=".length);
    assert.equal(value, `${session.id}.${secretOf(headers)}`);
  });

  test("ends the session that the browser presented, in the same statement", async () => {
    const before = await createSession("grace", db.sql);
    const { sql, statements } = counted(db.sql);
    const after = await createSession("ada", sql, { replaces: withCookie(before.headers) });
    assert.equal(statements.length, 1);
    assert.notEqual(after.session.id, before.session.id);
    assert.notEqual(secretOf(after.headers), secretOf(before.headers));
    const visit = await validateSession(withCookie(before.headers), db.sql);
    assert.equal(visit.reason, "revoked");
    assert.equal(visit.revokedReason, "replaced");
    assert.ok((await validateSession(withCookie(after.headers), db.sql)).session);
  });

  test("leaves a session alone whose id is presented with another secret", async () => {
    const { session, headers } = await createSession("grace", db.sql);
    const forged = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    await createSession("ada", db.sql, { replaces: forged });
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  test("signs in all the same where nothing, or nonsense, is presented", async () => {
    for (const cookie of ["", "a=b", "__Host-session=", "__Host-session=x; __Host-session=y"]) {
      assert.ok(
        (await createSession("ada", db.sql, { replaces: new Headers({ cookie }) })).session,
      );
    }
  });

  test("ends nothing where the sign-in fails", async () => {
    const before = await createSession("grace", db.sql);
    const replaces = withCookie(before.headers);
    await assert.rejects(createSession("nobody", db.sql, { replaces }), { code: "USER_NOT_FOUND" });
    assert.ok((await validateSession(replaces, db.sql)).session);
  });

  test("refuses a username that nobody has, without a row", async () => {
    const rows = await countRows();
    for (
      const name of ["nobody", "Ada", " ada", "ada ", "adа", "' or 1=1--", "__proto__", "null"]
    ) {
      await assert.rejects(createSession(name, db.sql), {
        name: "SessionError",
        code: "USER_NOT_FOUND",
        message:
          "Cannot find the user as coatcheck.users must have one row for them, got none",
      });
    }
    for (const userId of [3, "3", "one", "", "1; drop table users", 2 ** 40, "1e3"]) {
      if (userId === "") continue;
      await assert.rejects(createSession({ userId }, db.sql), { code: "USER_NOT_FOUND" });
    }
    assert.equal(await countRows(), rows);
  });

  test("makes 100 sessions of 100 parallel sign-ins of one user", async () => {
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

  test("finds no user who is deleted before it commits", async () => {
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

  test("finds nobody in a row without a username, as no session of theirs would be valid", async () => {
    await db.sql`create or replace view coatcheck.users as
      select id, nullif(username, 'grace') as username from users`;
    await assert.rejects(createSession({ userId: 2 }, db.sql), { code: "USER_NOT_FOUND" });
    await db.sql`create or replace view coatcheck.users as select id, username from users`;
    assert.ok((await createSession({ userId: 2 }, db.sql)).session);
  });

  test("keeps usernames apart that a weaker spelling would join", async () => {
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

  test("leaves an error of a check of the app's own to the app", async () => {
    await db
      .sql`alter table coatcheck.sessions add constraint apps_own check (data <> '{"no": 1}')`;
    await assert.rejects(createSession("ada", db.sql, { data: { no: 1 } }), {
      code: "STORE_REJECTED",
      sqlstate: "23514",
    });
    await db.sql`alter table coatcheck.sessions drop constraint apps_own`;
  });

  test("refuses numbers that PostgreSQL would spell with more digits than fit", async () => {
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
  test("ends the session that was not used for longest, and never the one just made", async () => {
    await db.sql`insert into users values (30, 'max')`;
    const policy = { maxSessions: 2 };
    const first = await createSession("max", db.sql, policy);
    const second = await createSession("max", db.sql, policy);
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour'
      where id = ${second.session.id}`;
    // Uses that are noted after the sign-in make nobody older than it.
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at + interval '1 minute'
      where id = ${first.session.id}`;
    const { sql, statements } = counted(db.sql);
    const third = await createSession("max", sql, policy);
    assert.equal(statements.length, 2);
    const fourth = await createSession("max", db.sql, { maxSessions: 1 });
    const visits = [];
    for (const { headers } of [first, second, third, fourth]) {
      const { reason, revokedReason } = await validateSession(withCookie(headers), db.sql);
      visits.push([reason, revokedReason]);
    }
    const ended = ["revoked", "limit"];
    assert.deepEqual(visits, [ended, ended, ended, [undefined, undefined]]);
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

  test("counts the user's live sessions alone", async () => {
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

  test("stores a session under the given id, digest and times, and hands out nothing", async () => {
    const { record: given, token } = record();
    const session = await insertSession(given, db.sql);
    assert.equal(session.id, given.id);
    assert.deepEqual(session.createdAt, given.createdAt);
    assert.deepEqual(session.authenticatedAt, given.createdAt);
    assert.deepEqual(session.expiresAt, given.expiresAt);
    assert.deepEqual(session.data, { from: "else" });
    const headers = new Headers({ cookie: `__Host-session=${token}` });
    assert.equal((await validateSession(headers, db.sql)).reason, "expired");
  });

  test("gives instants of every century back to the millisecond", async () => {
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

  test("takes nobody's proof for one of the future", async () => {
    const { record: given, token } = record();
    const session = await insertSession({ ...given, createdAt: new Date("2090-01-01") }, db.sql);
    assert.ok(session.authenticatedAt.getTime() < Date.now() + 86_400_000);
    const headers = new Headers({ cookie: `__Host-session=${token}` });
    const asking = { authenticatedWithin: 0 };
    assert.equal((await validateSession(headers, db.sql, asking)).reason, "stale");
  });

  test("makes a session that its token opens", async () => {
    const { record: given, token } = record();
    await insertSession({ ...given, createdAt: new Date() }, db.sql);
    const headers = new Headers({ cookie: `__Host-session=${token}` });
    assert.equal((await validateSession(headers, db.sql)).session?.username, "ada");
  });

  test("refuses an id that exists, and leaves the row as it was", async () => {
    const { session } = await createSession("grace", db.sql);
    const before = await rowOf(session.id);
    await assert.rejects(insertSession({ ...record().record, id: session.id }, db.sql), {
      name: "SessionError",
      code: "STORE_REJECTED",
      sqlstate: "23505",
      message: "Cannot store the session as the database must accept the statement: " +
        "received SQLSTATE 23505",
    });
    assert.deepEqual(await rowOf(session.id), before);
  });

  test("refuses a key that nobody has", async () => {
    await assert.rejects(insertSession({ ...record().record, userId: 404 }, db.sql), {
      code: "USER_NOT_FOUND",
    });
  });
});

describe("getUserId", () => {
  test("finds the key of a username", async () => {
    assert.equal(await getUserId("grace", db.sql), 2);
  });

  test("throws where nobody has the username", async () => {
    await assert.rejects(getUserId("nobody", db.sql), {
      name: "SessionError",
      code: "USER_NOT_FOUND",
      message: "Cannot find the user as coatcheck.users must have one row for them, got none",
    });
  });
});

describe("configure", () => {
  test("binds the policy to every verb", async () => {
    const verbs = configure({ absoluteTimeout: 600, cookie: { secure: false } });
    const { headers } = await verbs.createSession("ada", db.sql, { persistent: true });
    assert.match(headers.get("set-cookie")!, /^session=[^;]+; HttpOnly; Max-Age=600;/);
    assert.ok((await verbs.validateSession(withCookie(headers), db.sql)).session);
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "absent");
    assert.equal(await verbs.getUserId("ada", db.sql), 1);
    const { session } = await verbs.revokeSession(withCookie(headers), db.sql, { reason: "bye" });
    assert.equal(session?.revokedReason, "bye");
  });
});
