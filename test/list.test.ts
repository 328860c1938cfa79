import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createSession, listSessions, revokeSession, rotateSession } from "../mod.ts";
import { counted, type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
let users = 100;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

/** A user whom no other test has. */
async function newUser(): Promise<number> {
  const id = users++;
  await db.sql`insert into users values (${id}, ${`user${id}`})`;
  return id;
}

const signIn = async (userId: number, ago = 0, column = "last_seen_at") => {
  const created = await createSession({ userId }, db.sql, { data: { ago } });
  await db.sql`update coatcheck.sessions set ${db.sql(column)} =
    ${db.sql(column)} - make_interval(secs => ${ago}) where id = ${created.session.id}`;
  return { ...created.session, headers: withCookie(created.headers), response: created.headers };
};

describe("listSessions", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`lists a user's sessions, last used first, through ${client}`, async () => {
      const userId = await newUser();
      const other = await newUser();
      const [old, now] = [await signIn(userId, 3600), await signIn(userId, 0)];
      const middle = await signIn(userId, 60);
      await signIn(other);
      const { sql, statements } = counted(db.clients[client]!);
      const all = await listSessions(userId, sql);
      assert.equal(statements.length, 1);
      assert.deepEqual(all.map(({ id }) => id), [now.id, middle.id, old.id]);
      const { headers: _, response: __, ...session } = now;
      assert.deepEqual(all[0], session);
    });
  }

  test("lists live sessions alone, by the policy of the moment", async () => {
    const userId = await newUser();
    const live = await signIn(userId);
    await revokeSession((await signIn(userId)).headers, db.sql);
    const hour = await signIn(userId, 3600);
    await signIn(userId, 8 * 86_400);
    await signIn(userId, 31 * 86_400, "expires_at");
    await signIn(userId, 31 * 86_400, "authenticated_at");
    const ids = async (policy?: object) =>
      (await listSessions(userId, db.sql, policy)).map(({ id }) => id);
    assert.deepEqual(await ids(), [live.id, hour.id]);
    assert.deepEqual(await ids({ idleTimeout: 3600 }), [live.id]);
  });

  test("holds nothing that opens a session", async () => {
    const userId = await newUser();
    const { headers, response } = await signIn(userId);
    const rotated = await rotateSession(headers, db.sql);
    const text = JSON.stringify(await listSessions(userId, db.sql));
    for (const handedOut of [response, rotated.headers]) {
      assert.ok(!text.includes(secretOf(handedOut)));
    }
    assert.doesNotMatch(text, /digest|salt|secret/);
  });

  test("lists none for a user who is unknown, deleted, or out of the view", async () => {
    assert.deepEqual(await listSessions(404, db.sql), []);
    const userId = await newUser();
    await signIn(userId);
    await db.sql.unsafe(`create or replace view coatcheck.users as
      select id, username from users where id <> ${userId}`);
    assert.deepEqual(await listSessions(userId, db.sql), []);
    await db.sql`create or replace view coatcheck.users as select id, username from users`;
    assert.equal((await listSessions(userId, db.sql)).length, 1);
    await db.sql`delete from users where id = ${userId}`;
    assert.deepEqual(await listSessions(userId, db.sql), []);
  });

  test("says of a key that no user could have that there is no such user", async () => {
    // Also where the planner knows that there is nothing to read.
    for (
      const change of [
        "",
        "update coatcheck.sessions set revoked_at = now()",
        "truncate coatcheck.sessions",
      ]
    ) {
      await db.sql.unsafe(change);
      await db.sql`vacuum analyze coatcheck.sessions`;
      for (const userId of ["abc", "1 or 1=1", 2 ** 40]) {
        await assert.rejects(listSessions(userId, db.sql), { code: "USER_NOT_FOUND" });
      }
    }
  });
});
