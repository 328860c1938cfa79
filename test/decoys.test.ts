// What an attacker does who may create objects in a schema of the search_path: operators and functions that
// fit a call better than those of PostgreSQL. What is looked at is the server, so one runtime is enough.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import { batched, configure, createToken, migrate, type Sql, validateSession } from "../mod.ts";
import type { Statement } from "../src/sql.ts";
import * as module from "../src/statements.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
import { plantDecoys } from "./runner/decoys.ts";

const isBun = "Bun" in globalThis;
const suite: (name: string, tests: () => void) => void = isBun ? describe : () => {};

const texts = Object.values(module).flatMap((it) => typeof it === "object" ? [it as Statement] : [])
  .map(({ text }) => text).join("\n");
/** The functions of all statements, by their names in pg_catalog. */
const FUNCTIONS = [...new Set(Array.from(texts.matchAll(/\b([a-z_]+)\(/g), ([, name]) => name!))]
  // And those of the trigger in 005_notify.
  .concat("concat", "pg_notify", "texteq", "uuid_ne")
  .filter((name) => !/^(any|array|coalesce|greatest|least|exists|c|k|in|as|from|and)$/.test(name));
/** What operands of the statements are, beside what catalogs hold. */
const TYPES = [
  "bytea",
  "double precision",
  "interval",
  "numeric",
  "tid",
  "timestamptz",
  "timestamp",
  "uuid[]",
  "app.handle",
  "app.number",
];

suite("operators and functions of another schema", () => {
  let db: Database;
  if (isBun) {
    beforeAll(async () => {
      db = await openDatabase({ bare: true });
      await db.sql.unsafe("create schema app");
      await db.sql.unsafe("create extension citext schema app");
      await db.sql.unsafe("create domain app.handle as text");
      await db.sql.unsafe("create domain app.number as integer");
      await plantDecoys(db.sql, FUNCTIONS, TYPES);
    });
    afterAll(() => db.close());
  }

  test("come first, if a call does not have the exact types of PostgreSQL's own", async () => {
    assert.ok(FUNCTIONS.length > 12, FUNCTIONS.join());
    const calls = [
      "select 'a'::varchar = 'b'::varchar",
      "select 1::oid = 'users'::regclass",
      "select pg_typeof(1::integer)",
      "select decode('aa'::varchar, 'hex')",
      "select octet_length('a'::varchar)",
    ];
    for (const call of calls) await assert.rejects(db.sql.unsafe(call), /decoy/, call);
  });

  const keys: { type: string; key: string; other: string }[] = [
    { type: "integer", key: "1", other: "2" },
    { type: "bigint", key: "1", other: "2" },
    { type: "app.number", key: "1", other: "2" },
    {
      type: "uuid",
      key: "00000000-0000-4000-8000-000000000001",
      other: "00000000-0000-4000-8000-000000000002",
    },
    { type: "text", key: "k1", other: "k2" },
    { type: "varchar(40)", key: "k1", other: "k2" },
    { type: "app.handle", key: "k1", other: "k2" },
    { type: "app.citext", key: "k1", other: "k2" },
  ];
  for (const { type, key, other } of keys) {
    for (const names of ["text", "varchar(40)", "app.handle", "app.citext"]) {
      test(`are not called by any function, for users by ${type} and names in ${names}`, async () => {
        await db.sql.unsafe("drop schema if exists coatcheck cascade");
        await db.sql.unsafe("drop table if exists app.users");
        await db.sql.unsafe(
          `create table app.users (id ${type} primary key, username ${names} unique)`,
        );
        await db.sql.unsafe(
          `insert into app.users values ('${key}', 'ada'), ('${other}', 'admin')`,
        );
        const client = postgres(db.url, {
          max: 2,
          fetch_types: false,
          onnotice: () => {},
          connection: { search_path: "public, app" },
        });
        try {
          await migrate(client, { users: { table: "app.users", id: "id" }, notify: true });
          for (const sql of [client, batched(client)]) await live(sql, key);
        } finally {
          await client.end({ timeout: 5 });
        }
      });
    }
  }

  /** Calls every function once and more. */
  async function live(sql: Sql, key: string): Promise<void> {
    const policy = configure({ touchInterval: 0, maxSessions: 3, rotationGrace: 5 });
    const created = await policy.createSession("ada", sql);
    const { userId } = created.session;
    assert.deepEqual([String(userId), created.session.username], [key, "ada"]);
    assert.equal(await policy.getUserId("ada", sql), userId);
    const first = withCookie(created.headers);
    const validations = await Promise.all([1, 2, 3].map(() => policy.validateSession(first, sql)));
    for (const { session } of validations) assert.equal(session?.username, "ada");
    const rotated = await policy.rotateSession(first, sql);
    const again = await policy.rotateSession(first, sql);
    assert.equal(
      withCookie(again.headers).get("cookie"),
      withCookie(rotated.headers).get("cookie"),
    );
    const second = withCookie(rotated.headers);
    assert.equal((await policy.validateSession(first, sql)).session?.username, "ada");
    assert.equal((await policy.updateSession(second, { a: 1 }, sql)).session?.version, 1);
    const conflict = await policy.updateSession(second, { a: 2 }, sql, { version: 0 });
    assert.equal(conflict.reason, "conflict");
    const proved = await policy.reauthenticateSession(second, sql);
    const third = withCookie(proved.headers);
    const replacing = await policy.createSession({ userId }, sql, { replaces: third });
    assert.equal((await policy.validateSession(third, sql)).revokedReason, "replaced");
    await Promise.all([1, 2, 3].map(() => policy.createSession({ userId }, sql)));
    await Promise.all([1, 2, 3].map(() => policy.createSession("ada", sql)));
    const listed = await policy.listSessions(userId, sql);
    assert.equal(listed.length, 3);
    assert.equal((await policy.listSessions(userId, sql, { after: listed[0]!.id })).length, 2);
    assert.equal((await policy.revokeSession(withCookie(replacing.headers), sql)).session, null);
    const one = await policy.revokeSessions({ userId, id: listed[0]!.id }, sql);
    assert.deepEqual(one.map(({ username }) => username), ["ada"]);
    await policy.revokeSessions({ userIds: [userId] }, sql);
    assert.deepEqual(await policy.listSessions(userId, sql), []);

    const due = configure({ rotateAfter: 60 });
    const { id, digest, token } = createToken();
    const createdAt = new Date(Date.now() - 120_000);
    const expiresAt = new Date(Date.now() + 60_000);
    await policy.insertSession({ id, digest, userId, createdAt, expiresAt }, sql);
    const old = new Headers({ cookie: `__Host-session=${token}` });
    const renewed = await due.validateSession(old, sql);
    const current = withCookie(renewed.headers);
    await due.validateSession(current, sql);
    await db.sql.unsafe(`set search_path = pg_catalog; update coatcheck.sessions
      set rotation_seen_at = rotation_seen_at - interval '1 hour' where id = '${id}'; reset search_path`);
    assert.equal((await validateSession(old, sql)).reason, "reused");
    assert.equal((await validateSession(current, sql)).revokedReason, "reused");
    await configure({ idleTimeout: 60 }).sweepSessions(sql, { retention: 0 });
  }
});
