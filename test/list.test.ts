import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  configure,
  createSession,
  listSessions,
  revokeSession,
  revokeSessions,
  rotateSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
let users = 100;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

/** A user of this test only. */
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

  test("lists only sessions that are live under the policy of the call", async () => {
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

  test("contains nothing that opens a session", async () => {
    const userId = await newUser();
    const { headers, response } = await signIn(userId);
    const rotated = await rotateSession(headers, db.sql);
    const text = JSON.stringify(await listSessions(userId, db.sql));
    for (const issued of [response, rotated.headers]) {
      assert.ok(!text.includes(secretOf(issued)));
    }
    assert.doesNotMatch(text, /digest|salt|secret/);
  });

  test("lists none for a user who is unknown, deleted, or not in the view", async () => {
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

  test("rejects a key that no user can have as USER_NOT_FOUND", async () => {
    // Even if the planner knows that there is nothing to read.
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

  test("reports idleExpiresAt under the policy of the call", async () => {
    const userId = await newUser();
    await signIn(userId, 60);
    for (const [idleTimeout, seconds] of [[undefined, 7 * 86_400], [3600, 3600]] as const) {
      const policy = idleTimeout === undefined ? {} : { idleTimeout };
      const [session] = await listSessions(userId, db.sql, policy);
      assert.equal(+session!.idleExpiresAt - +session!.lastSeenAt, seconds * 1000);
    }
  });
});

describe("a page of listSessions", () => {
  const ids = async (userId: number, page?: { limit?: number; after?: string }) =>
    (await listSessions(userId, db.sql, page)).map(({ id }) => id);

  /** A user with sessions that were used some minutes ago. */
  async function userWith(...minutes: number[]): Promise<number> {
    const userId = await newUser();
    for (const ago of minutes) await signIn(userId, ago * 60);
    return userId;
  }

  /** Sets when all sessions of a user were last used. */
  const useAllAt = async (userId: number, instant: string) => {
    await db.sql`update coatcheck.sessions set last_seen_at = ${instant}::text::timestamptz
      where user_id = ${userId}`;
  };

  for (const limit of [1, 2, 3, 7, 10_000]) {
    test(`of ${limit} continues where the last one stopped, and all add up to the list`, async () => {
      const userId = await userWith(3, 1, 4, 1, 5, 9, 2);
      const all = await ids(userId);
      assert.equal(all.length, 7);
      const found: string[] = [];
      for (let after: string | undefined;; after = found.at(-1)) {
        const page = await ids(userId, after === undefined ? { limit } : { limit, after });
        if (page.length === 0) break;
        assert.equal(page.length, Math.min(limit, all.length - found.length));
        found.push(...page);
      }
      assert.deepEqual(found, all);
    });
  }

  test("is ordered by id if sessions were last used at the same microsecond", async () => {
    const userId = await userWith(0, 0, 0, 0, 0);
    const instant = new Date().toISOString().replace("Z", "123Z");
    await useAllAt(userId, instant);
    const all = await ids(userId);
    assert.deepEqual(all, all.toSorted());
    for (const [index, after] of all.entries()) {
      assert.deepEqual(await ids(userId, { after }), all.slice(index + 1));
      assert.deepEqual(await ids(userId, { after, limit: 1 }), all.slice(index + 1, index + 2));
    }
  });

  test("takes the id in any letter case", async () => {
    const userId = await userWith(1, 2, 3);
    const [first, ...rest] = await ids(userId);
    assert.deepEqual(await ids(userId, { after: first!.toUpperCase() }), rest);
  });

  test("continues after a session that was revoked or has expired meanwhile", async () => {
    const userId = await userWith(1, 2, 3, 4);
    const [first, second, ...rest] = await ids(userId);
    await revokeSessions({ userId, id: first! }, db.sql);
    await db.sql`update coatcheck.sessions set expires_at = now() - interval '1 day'
      where id = ${second!}`;
    assert.deepEqual(await ids(userId, { after: first! }), rest);
    assert.deepEqual(await ids(userId, { after: second! }), rest);
  });

  test("is empty after the last session, and after an unknown one", async () => {
    const userId = await userWith(1, 2);
    const all = await ids(userId);
    assert.deepEqual(await ids(userId, { after: all[1]! }), []);
    assert.deepEqual(await ids(userId, { after: crypto.randomUUID() }), []);
  });

  test("is empty after another user's session, and reveals nothing of when that was used", async () => {
    const userId = await userWith(5, 10);
    for (const minutes of [1, 7, 15]) {
      const other = await userWith(minutes);
      const [after] = await ids(other);
      assert.deepEqual(await ids(userId, { after: after! }), [], `${minutes} minutes ago`);
    }
  });

  test("returns 10,000 sessions at most, and revokes all of them in steps of as many", async () => {
    await db.sql`insert into users values (990, 'many')`;
    await db.sql`
      insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at,
        last_seen_at, expires_at, persistent, data)
      select gen_random_uuid(), 990, sha256(i::text::bytea), now(), now(),
        now() - i * interval '1 second', now() + interval '1 day', true, '{}'
      from generate_series(1, 20003) i`;
    const first = await listSessions(990, db.sql);
    assert.equal(first.length, 10_000);
    const second = await listSessions(990, db.sql, { after: first.at(-1)!.id });
    assert.equal(new Set([...first, ...second].map(({ id }) => id)).size, 20_000);

    // It revokes 10,005, in two statements.
    const limiting = counted(db.sql);
    await createSession("many", limiting.sql, { maxSessions: 9_999 });
    assert.equal(limiting.statements.length, 3);
    const kept = await listSessions(990, db.sql);
    assert.deepEqual(kept.slice(1).map(({ id }) => id), first.slice(0, 9_998).map(({ id }) => id));
    await createSession("many", db.sql);
    await createSession("many", db.sql);

    const revoking = counted(db.sql);
    const revoked = await revokeSessions({ userId: 990 }, revoking.sql);
    assert.equal(new Set(revoked.map(({ id }) => id)).size, 10_001);
    assert.equal(revoking.statements.length, 2);
    assert.deepEqual(await listSessions(990, db.sql), []);
  });

  test("sends one statement", async () => {
    const userId = await userWith(1, 2, 3);
    const { sql, statements } = counted(db.sql);
    const [first] = await listSessions(userId, sql, { limit: 1 });
    await listSessions(userId, sql, { limit: 1, after: first!.id });
    assert.equal(statements.length, 2);
    assert.equal(statements[0], statements[1]);
  });

  test("is the same with configure", async () => {
    const userId = await userWith(1, 2, 3);
    const functions = configure();
    const [first, second] = await ids(userId);
    const page = await functions.listSessions(userId, db.sql, { limit: 1, after: first! });
    assert.deepEqual(page.map(({ id }) => id), [second]);
  });
});
