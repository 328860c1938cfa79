// Servers of 0.1.0 and of this edition work on one schema during a deployment, whichever made it.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import * as current from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
import { importRelease } from "./runner/release.ts";

// The functions have the same names and arguments in both.
type Edition = typeof current;
const USERS = { table: "app.users", id: "id", username: "username" };

let db: Database;
let previous: Edition;
beforeAll(async () => {
  db = await openDatabase({ bare: true });
  previous = await importRelease<Edition>("0.1.0");
});
afterAll(() => db.close());

test("The older edition is the one before this one", () => {
  assert.notEqual(previous.createSession, current.createSession);
  assert.equal(previous.migrations.length, 2);
  assert.deepEqual(
    previous.migrations.map(({ name }) => name),
    current.migrations.slice(0, 2).map(({ name }) => name),
  );
});

const schemas: { name: string; make: () => Promise<unknown> }[] = [
  { name: "that 0.1.0 made", make: () => previous.migrate(db.sql, { users: USERS }) },
  { name: "that this edition made", make: () => current.migrate(db.sql, { users: USERS }) },
  {
    name: "that this edition made, which notifies",
    make: () => current.migrate(db.sql, { users: USERS, notify: true }),
  },
  {
    name: "that 0.1.0 made and this edition migrated",
    make: async () => {
      await previous.migrate(db.sql, { users: USERS });
      const { applied } = await current.migrate(db.sql, { users: USERS });
      const later = current.migrations.slice(2).filter(({ optional }) => !optional);
      assert.deepEqual(applied, later.map(({ name }) => name));
      assert.deepEqual(await previous.migrate(db.sql, { users: USERS }), { applied: [] });
    },
  },
];
const keys = [
  { type: "integer", key: "1" },
  { type: "uuid", key: "00000000-0000-4000-8000-000000000001" },
  { type: "varchar(40)", key: "k1" },
];

for (const { name, make } of schemas) {
  for (const { type, key } of keys) {
    describe(`on a schema ${name}, with keys of ${type}`, () => {
      beforeAll(async () => {
        await db.sql.unsafe("drop schema if exists coatcheck, app cascade");
        await db.sql.unsafe("create schema app");
        await db.sql.unsafe(
          `create table app.users (id ${type} primary key, username varchar(40) unique)`,
        );
        await db.sql.unsafe(`insert into app.users values ('${key}', 'ada')`);
        await make();
      });

      const pairs = [
        { from: "0.1.0", to: "this edition", editions: () => [previous, current] as const },
        { from: "this edition", to: "0.1.0", editions: () => [current, previous] as const },
      ];
      for (const { from, to, editions } of pairs) {
        for (const kind of ["plain", "batched"]) {
          test(`a session of ${from} goes on and ends in ${to}, ${kind}`, async () => {
            const [one, two] = editions();
            const [sql, other] = kind === "batched"
              ? [one.batched(db.sql), two.batched(db.sql)]
              : [db.sql, db.sql];
            await live(one, two, sql, other, key);
          });
        }
      }
    });
  }
}

async function live(
  one: Edition,
  two: Edition,
  sql: current.Sql,
  other: current.Sql,
  key: string,
): Promise<void> {
  const created = await one.createSession("ada", sql, { data: { cart: 1 } });
  const { id, userId } = created.session;
  assert.equal(String(userId), key);
  assert.equal(await two.getUserId("ada", other), userId);
  const first = withCookie(created.headers);
  const validated = await two.validateSession(first, other, { touchInterval: 0 });
  assert.deepEqual([validated.session?.id, validated.session?.data], [id, { cart: 1 }]);

  // A rotation whose answer was lost is healed by the other edition, with the same secret.
  const rotated = await one.rotateSession(first, sql);
  const healed = await two.rotateSession(first, other);
  assert.equal(withCookie(healed.headers).get("cookie"), withCookie(rotated.headers).get("cookie"));
  const again = await two.validateSession(first, other);
  assert.equal(withCookie(again.headers).get("cookie"), withCookie(rotated.headers).get("cookie"));
  const second = withCookie(rotated.headers);
  assert.equal((await two.validateSession(second, other)).session?.id, id);

  const updated = await two.updateSession(second, { theme: "dark", cart: undefined }, other);
  assert.deepEqual(updated.session?.data, { theme: "dark" });
  const late = await one.updateSession(second, { theme: "light" }, sql, { version: 0 });
  assert.equal(late.reason, "conflict");

  const proved = await two.reauthenticateSession(second, other);
  const third = withCookie(proved.headers);
  assert.equal((await one.validateSession(second, sql)).reason, "unknown");
  assert.equal((await one.validateSession(third, sql)).session?.id, id);

  const replacing = await two.createSession({ userId }, other, { replaces: third });
  assert.equal((await one.validateSession(third, sql)).revokedReason, "replaced");
  const many = await Promise.all([1, 2, 3, 4].map(() => one.createSession("ada", sql)));
  const results = await Promise.all(
    many.map(({ headers }) => two.validateSession(withCookie(headers), other)),
  );
  for (const { session } of results) assert.equal(session?.username, "ada");
  const [lists, otherLists] = [
    await one.listSessions(userId, sql),
    await two.listSessions(userId, other),
  ];
  assert.deepEqual(lists.map(({ id }) => id), otherLists.map(({ id }) => id));
  assert.equal(lists.length, 5);

  await two.createSession("ada", other, { maxSessions: 2 });
  assert.equal((await one.listSessions(userId, sql)).length, 2);
  await one.revokeSession(withCookie(replacing.headers), sql);
  assert.equal((await two.validateSession(withCookie(replacing.headers), other)).reason, "revoked");
  await two.revokeSessions({ userId }, other, { reason: "password-changed" });
  assert.deepEqual(await one.listSessions(userId, sql), []);

  const aged = await one.createSession("ada", sql);
  await two.rotateSession(withCookie(aged.headers), other);
  const current = await one.rotateSession(withCookie(aged.headers), sql);
  await two.validateSession(withCookie(current.headers), other);
  await db.sql`update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 hour'
    where id = ${aged.session.id}`;
  assert.equal((await one.validateSession(withCookie(aged.headers), sql)).reason, "reused");
  assert.equal(
    (await two.validateSession(withCookie(current.headers), other)).revokedReason,
    "reused",
  );

  await one.sweepSessions(sql, { retention: 0 });
  await two.sweepSessions(other, { retention: 0 });
  const [left] = await db.sql`select count(*)::integer as rows from coatcheck.sessions`;
  assert.equal(left!.rows, 0);
}

describe("a guest of this edition", () => {
  test("is let in by no function of 0.1.0, which leaves the guest as it was", async () => {
    await db.sql.unsafe("drop schema if exists coatcheck, app cascade");
    await db.sql`create schema app`;
    await db.sql`create table app.users (id integer primary key, username text unique)`;
    await db.sql`insert into app.users values (1, 'ada')`;
    await previous.migrate(db.sql, { users: USERS });
    await current.migrate(db.sql, { users: USERS });
    const { guest, headers } = await current.createGuestSession(db.sql, { data: { cart: [1] } });
    const request = withCookie(headers);
    for (
      const call of [
        previous.validateSession,
        previous.rotateSession,
        previous.reauthenticateSession,
      ]
    ) {
      await assert.rejects(call(request, db.sql), { code: "UNEXPECTED_RESULT" }, call.name);
    }
    await assert.rejects(previous.updateSession(request, { cart: [2] }, db.sql), {
      code: "UNEXPECTED_RESULT",
    });
    assert.deepEqual(await previous.listSessions(1, db.sql), []);
    await previous.sweepSessions(db.sql);
    assert.deepEqual((await current.validateSession(request, db.sql)).guest?.data, guest!.data);
    const signedIn = await previous.createSession("ada", db.sql, { replaces: request });
    assert.equal((await current.validateSession(request, db.sql)).reason, "revoked");
    const session = await current.validateSession(withCookie(signedIn.headers), db.sql);
    assert.equal(session.session?.username, "ada");
  });
});
