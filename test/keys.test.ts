import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  batched,
  type CreatedSession,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  migrate,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase({ bare: true });
});
afterAll(() => db.close());

/** Drops everything but an empty schema for the app's own table of users. */
async function startAnew(): Promise<void> {
  for (const schema of ["coatcheck", "app"]) {
    await db.sql.unsafe(`drop schema if exists ${schema} cascade`);
  }
  await db.sql.unsafe("create schema app");
}

/** The error for a view in which the user of a call has two rows. */
const ambiguous = (caller: string) => ({
  name: "SessionError",
  code: "UNEXPECTED_RESULT",
  message: `${caller}: coatcheck.users has more than one row for the user; ` +
    "make id and username unique in it",
});

const UUID = "0b5b7c1e-9a55-4c0c-8f0b-3d1f5a9a7e11";
const kinds = [
  { name: "smallint", type: "smallint", id: "7", userId: 7 },
  { name: "integer", type: "integer", id: "2147483647", userId: 2147483647 },
  { name: "bigint", type: "bigint", id: "9007199254740993", userId: "9007199254740993" },
  { name: "uuid", type: "uuid", id: UUID, userId: UUID },
  { name: "text", type: "text", id: "usr_É'1", userId: "usr_É'1" },
  { name: "text in a collation of its own", type: `text collate "C"`, id: "Ann", userId: "Ann" },
  { name: "varchar(8)", type: "varchar(8)", id: "ann", userId: "ann" },
  { name: "a domain over integer", type: "app.key", id: "7", userId: 7 },
];

describe("a user's key", () => {
  for (const { name, type, id, userId } of kinds) {
    for (const client of ["postgres.js", "Bun.SQL"]) {
      if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

      test(`of type ${name} comes back as a ${typeof userId}, through ${client}`, async () => {
        await startAnew();
        await db.sql.unsafe("create domain app.key as integer check (value > 0)");
        await db.sql.unsafe(
          `create table app.users (id ${type} primary key, username text unique)`,
        );
        await db.sql.unsafe(`insert into app.users values ($1, 'ann')`, [id]);
        const sql = db.clients[client]!;
        await migrate(sql, { users: { table: "app.users", id: "id" } });

        assert.equal(await getUserId("ann", sql), userId);
        const { session, headers } = await createSession("ann", sql);
        assert.equal(session.userId, userId);
        assert.equal((await createSession({ userId }, sql)).session.username, "ann");
        const result = await validateSession(withCookie(headers), sql);
        assert.equal(result.session?.userId, userId);
        const { id: sessionId, digest } = createToken();
        const expiresAt = new Date(Date.now() + 60_000);
        const record = { id: sessionId, digest, userId, createdAt: new Date(), expiresAt };
        assert.equal((await insertSession(record, sql)).userId, userId);
        for (const unknown of ["no-such-key", "-1"]) {
          await assert.rejects(createSession({ userId: unknown }, sql), { code: "USER_NOT_FOUND" });
        }
      });
    }
  }
});

describe("a username", () => {
  const types = [
    { name: "citext", type: "citext", username: "Ann", asked: "aNN" },
    { name: "varchar(5)", type: "varchar(5)", username: "Ann", asked: "Ann" },
    { name: "char(8), padded", type: "char(8)", username: "Ann", asked: "Ann" },
    { name: "a domain", type: "app.handle", username: "Ann", asked: "Ann" },
  ];
  for (const { name, type, username, asked } of types) {
    test(`of type ${name} is compared by the rules of that type`, async () => {
      await startAnew();
      await db.sql.unsafe("create domain app.handle as text check (value ~ '^[A-Za-z]+$')");
      await db.sql.unsafe("create extension if not exists citext");
      await db.sql.unsafe(
        `create table app.users (id integer primary key, username ${type} unique)`,
      );
      await db.sql.unsafe(`insert into app.users values (1, '${username}')`);
      await migrate(db.sql, { users: { table: "app.users", id: "id" } });
      const { session } = await createSession(asked, db.sql);
      assert.equal(session.userId, 1);
      assert.equal(session.username.trimEnd(), "Ann");
      for (const unknown of ["Anna", "a name that is too long for it", "?!"]) {
        await assert.rejects(getUserId(unknown, db.sql), { code: "USER_NOT_FOUND" });
      }
    });
  }

  test("of two users is rejected, and stores no session", async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text)");
    await db.sql`insert into app.users values (1, 'ann'), (3, 'bob')`;
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    await db.sql`insert into app.users values (2, 'ann')`;
    const { headers } = await createSession("bob", db.sql);
    await assert.rejects(
      createSession("ann", db.sql, { replaces: withCookie(headers) }),
      ambiguous("createSession"),
    );
    await assert.rejects(getUserId("ann", db.sql), ambiguous("getUserId"));
    assert.equal((await db.sql`select from coatcheck.sessions`).length, 1);
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
    assert.ok((await createSession({ userId: 2 }, db.sql)).session);
  });

  test("is looked up by its own column, even if another column of the view fails", async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text unique)");
    await db.sql`insert into app.users values (1, 'ann')`;
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    await db.sql.unsafe(`create or replace view coatcheck.users
      as select id, username, 1 / (id - 1) as broken from app.users`);
    assert.equal((await createSession("ann", db.sql)).session.username, "ann");
    assert.equal(await getUserId("ann", db.sql), 1);
  });

  test("of a user whose key is out of range for coatcheck.sessions is unknown", async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text unique)");
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    // The key gets a wider type, and the view is created again.
    await db.sql.unsafe(`drop view coatcheck.users;
      alter table coatcheck.sessions drop constraint if exists sessions_user_id_fkey;
      alter table app.users alter id type bigint;
      create view coatcheck.users as select id, username from app.users`);
    await db.sql`insert into app.users values (9007199254740993, 'ann'), (3000000000, 'bob')`;
    for (const name of ["ann", "bob"]) {
      await assert.rejects(getUserId(name, db.sql), { code: "USER_NOT_FOUND" });
      await assert.rejects(createSession(name, db.sql), { code: "USER_NOT_FOUND" });
    }
  });
});

describe("a view in which one id has two usernames", () => {
  let ann: CreatedSession;
  let bob: CreatedSession;
  const countRows = async () => (await db.sql`select from coatcheck.sessions`).length;

  beforeAll(async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text unique)");
    await db.sql`insert into app.users values (1, 'ann'), (2, 'bob'), (3, 'eve')`;
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    [ann, bob] = [await createSession("ann", db.sql), await createSession("bob", db.sql)];
    await db.sql`create or replace view coatcheck.users as
      select id, username from app.users
      union all select id, 'eve' from app.users where username = 'ann'
      union all select 1, 'ann by another name'`;
  });

  const users = ["ann", "ann by another name", "eve", { userId: 1 }, { userId: "1" }];

  test("creates no session for that user, by any name or by key", async () => {
    const rows = await countRows();
    for (const user of users) {
      await assert.rejects(createSession(user, db.sql), ambiguous("createSession"));
    }
    const { id, digest } = createToken();
    const expiresAt = new Date(Date.now() + 60_000);
    const record = { id, digest, userId: 1, createdAt: new Date(), expiresAt };
    await assert.rejects(insertSession(record, db.sql), ambiguous("insertSession"));
    assert.equal(await countRows(), rows);
  });

  test("creates no session for that user in a batch, and those of the others", async () => {
    const rows = await countRows();
    const sql = batched(db.sql);
    const results = await Promise.allSettled([
      ...users.map((user) => createSession(user, sql)),
      createSession("bob", sql),
      createSession({ userId: 2 }, sql),
    ]);
    const outcomes = results.map((it) => it.status === "fulfilled" ? it.value.session : it.reason);
    for (const { code } of outcomes.slice(0, users.length)) assert.equal(code, "UNEXPECTED_RESULT");
    for (const { username } of outcomes.slice(users.length)) assert.equal(username, "bob");
    assert.equal(await countRows(), rows + 2);
  });

  test("opens no session of that user, and writes to none", async () => {
    const request = withCookie(ann.headers);
    const table = async () =>
      (await db.sql`select * from coatcheck.sessions order by id`).map((row) => ({ ...row }));
    const before = await table();
    const calls = {
      validateSession: () => validateSession(request, db.sql),
      rotateSession: () => rotateSession(request, db.sql),
      reauthenticateSession: () => reauthenticateSession(request, db.sql),
      updateSession: () => updateSession(request, { a: 1 }, db.sql),
      listSessions: () => listSessions(1, db.sql),
    };
    for (const [name, call] of Object.entries(calls)) await assert.rejects(call, ambiguous(name));
    assert.deepEqual(await table(), before);
  });

  test("opens no session of that user in a batch, and those of the others", async () => {
    const sql = batched(db.sql);
    const [first, second, third] = await Promise.allSettled([
      validateSession(withCookie(ann.headers), sql),
      validateSession(withCookie(bob.headers), sql),
      validateSession(withCookie(ann.headers), sql),
    ]);
    for (const result of [first, third]) {
      assert.equal(result!.status === "rejected" && result!.reason.code, "UNEXPECTED_RESULT");
    }
    assert.deepEqual(second!.status === "fulfilled" && second!.value.session, bob.session);
  });

  test("does not hinder the sign-in of another user that replaces a session of that one", async () => {
    await db.sql`create or replace view coatcheck.users as select id, username from app.users`;
    const { headers } = await createSession("ann", db.sql);
    await db.sql`create or replace view coatcheck.users as
      select id, username from app.users union all select 1, 'ann by another name'`;
    const { session } = await createSession("bob", db.sql, { replaces: withCookie(headers) });
    assert.equal(session.username, "bob");
    const [row] = await db.sql`select revoked_reason from coatcheck.sessions
      where user_id = 1 order by created_at desc limit 1`;
    assert.equal(row!.revoked_reason, "replaced");
  });

  test("revokes the sessions of that user, with username null", async () => {
    const { session } = await revokeSession(withCookie(ann.headers), db.sql);
    assert.deepEqual([session?.id, session?.username], [ann.session.id, null]);
    await db.sql`update coatcheck.sessions set revoked_at = null, revoked_reason = null
      where id = ${ann.session.id}`;
    for (const target of [{ userId: 1 }, { userIds: [1] }, { userId: 1, id: ann.session.id }]) {
      const revoked = await revokeSessions(target, db.sql);
      assert.deepEqual(revoked.map(({ id, username }) => [id, username]), [[ann.session.id, null]]);
      await db.sql`update coatcheck.sessions set revoked_at = null, revoked_reason = null
        where id = ${ann.session.id}`;
    }
    const both = await revokeSessions({ userIds: [1, 2] }, db.sql);
    assert.ok(both.length >= 2);
    for (const { userId, username } of both) assert.equal(username, userId === 1 ? null : "bob");
  });

  test("sweeps the sessions of that user", async () => {
    const rows = await countRows();
    await db.sql`update coatcheck.sessions set expires_at = now() - interval '1 day'`;
    await db.sql`update coatcheck.sessions set revoked_at = now()`;
    assert.deepEqual(await sweepSessions(db.sql, { retention: 0 }), { swept: rows });
  });
});

describe("a view in which one username has two ids", () => {
  test("never opens the session of the one as a session of the other", async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text)");
    await db.sql`insert into app.users values (1, 'ann')`;
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    const { session, headers } = await createSession("ann", db.sql);
    await db.sql`insert into app.users values (2, 'ann')`;
    await assert.rejects(createSession("ann", db.sql), ambiguous("createSession"));
    await assert.rejects(getUserId("ann", db.sql), ambiguous("getUserId"));
    assert.deepEqual((await validateSession(withCookie(headers), db.sql)).session, session);
    const other = await createSession({ userId: 2 }, db.sql);
    const result = await validateSession(withCookie(other.headers), db.sql);
    assert.equal(result.session?.userId, 2);
    assert.deepEqual((await listSessions(1, db.sql)).map(({ id }) => id), [session.id]);
    assert.deepEqual((await listSessions(2, db.sql)).map(({ id }) => id), [other.session.id]);
  });
});
