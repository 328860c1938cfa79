import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  createSession,
  createToken,
  getUserId,
  insertSession,
  migrate,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase({ bare: true });
});
afterAll(() => db.close());

/** Leaves nothing but an empty schema for the app's own table of users. */
async function startAnew(): Promise<void> {
  for (const schema of ["coatcheck", "app"]) {
    await db.sql.unsafe(`drop schema if exists ${schema} cascade`);
  }
  await db.sql.unsafe("create schema app");
}

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
        const visit = await validateSession(withCookie(headers), sql);
        assert.equal(visit.session?.userId, userId);
        const { id: sessionId, digest } = createToken();
        const expiresAt = new Date(Date.now() + 60_000);
        const record = { id: sessionId, digest, userId, createdAt: new Date(), expiresAt };
        assert.equal((await insertSession(record, sql)).userId, userId);
        for (const nobody of ["nobody-of-that-key", "-1"]) {
          await assert.rejects(createSession({ userId: nobody }, sql), { code: "USER_NOT_FOUND" });
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
    test(`of type ${name} is found by that type's own rules`, async () => {
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
      for (const nobody of ["Anna", "a name that is too long for it", "?!"]) {
        await assert.rejects(getUserId(nobody, db.sql), { code: "USER_NOT_FOUND" });
      }
    });
  }

  test("that matches two rows is an error, and inserts nothing", async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text)");
    await db.sql`insert into app.users values (1, 'ann'), (3, 'bob')`;
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    await db.sql`insert into app.users values (2, 'ann')`;
    const { headers } = await createSession("bob", db.sql);
    const ambiguous = (purpose: string) => ({
      name: "SessionError",
      code: "UNEXPECTED_RESULT",
      message: `Cannot ${purpose} as coatcheck.users must have one row for the user, got more`,
    });
    await assert.rejects(
      createSession("ann", db.sql, { replaces: withCookie(headers) }),
      ambiguous("store the session"),
    );
    await assert.rejects(getUserId("ann", db.sql), ambiguous("find the user"));
    assert.equal((await db.sql`select from coatcheck.sessions`).length, 1);
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
    assert.ok((await createSession({ userId: 2 }, db.sql)).session);
  });

  test("is looked up by itself, whatever else the view has", async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text unique)");
    await db.sql`insert into app.users values (1, 'ann')`;
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    await db.sql.unsafe(`create or replace view coatcheck.users
      as select id, username, 1 / (id - 1) as broken from app.users`);
    assert.equal((await createSession("ann", db.sql)).session.username, "ann");
    assert.equal(await getUserId("ann", db.sql), 1);
  });

  test("belongs to nobody whose key the sessions cannot hold", async () => {
    await startAnew();
    await db.sql.unsafe("create table app.users (id integer primary key, username text unique)");
    await migrate(db.sql, { users: { table: "app.users", id: "id" } });
    // As the table grows up, and the view is made anew.
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
