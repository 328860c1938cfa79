import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  createSession,
  createToken,
  listSessions,
  revokeSession,
  revokeSessions,
  type RevokeTarget,
  rotateSession,
  type SessionEvent,
  validateSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

describe("revokeSession", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`revokes the presented session and clears its cookie, through ${client}`, async () => {
      const created = await createSession("ada", db.sql);
      const { sql, statements } = counted(db.clients[client]!);
      const { session, headers } = await revokeSession(withCookie(created.headers), sql);
      assert.equal(statements.length, 1);
      const [row] = await db.sql`select * from coatcheck.sessions where id = ${created.session.id}`;
      const { idleExpiresAt: _, ...kept } = created.session;
      assert.deepEqual(session, {
        ...kept,
        revokedAt: row!.revoked_at,
        revokedReason: "signed-out",
      });
      assert.deepEqual(headers.getSetCookie(), [
        "__Host-session=; Secure; HttpOnly; SameSite=Lax; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
      ]);
      assert.equal(headers.get("cache-control"), "no-store");
    });
  }

  test("is seen by the very next validation, on every connection", async () => {
    const { headers } = await createSession("ada", db.sql);
    await revokeSession(withCookie(headers), db.sql, { reason: "admin" });
    const results = await Promise.all(
      Array.from({ length: 20 }, () => validateSession(withCookie(headers), db.sql)),
    );
    for (const result of results) {
      assert.deepEqual([result.session, result.reason, result.revokedReason], [
        null,
        "revoked",
        "admin",
      ]);
    }
  });

  test("revokes a session once, and keeps the first reason", async () => {
    const { headers } = await createSession("ada", db.sql);
    assert.ok((await revokeSession(withCookie(headers), db.sql, { reason: "first" })).session);
    const again = await revokeSession(withCookie(headers), db.sql, { reason: "second" });
    assert.equal(again.session, null);
    assert.equal(again.headers.getSetCookie().length, 1);
    assert.equal((await validateSession(withCookie(headers), db.sql)).revokedReason, "first");
  });

  test("revokes a session once for 20 parallel sign-outs", async () => {
    const { headers } = await createSession("ada", db.sql);
    const all = await Promise.all(
      Array.from({ length: 20 }, () => revokeSession(withCookie(headers), db.sql)),
    );
    assert.equal(all.filter(({ session }) => session).length, 1);
  });

  test("clears the cookie without SQL if no token is presented", async () => {
    const { sql, statements } = counted(db.sql);
    for (const cookie of ["", "__Host-session=nonsense"]) {
      const { session, headers } = await revokeSession(new Headers({ cookie }), sql);
      assert.equal(session, null);
      assert.match(headers.get("set-cookie")!, /; Expires=Thu, 01 Jan 1970/);
    }
    assert.deepEqual(statements, []);
  });

  test("revokes nothing by an id and a forged secret", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const before = await db.sql`select *, xmin from coatcheck.sessions where id = ${session.id}`;
    const forged = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    assert.equal((await revokeSession(forged, db.sql)).session, null);
    const after = await db.sql`select *, xmin from coatcheck.sessions where id = ${session.id}`;
    assert.deepEqual([...after], [...before]);
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  test("revokes a session that is idle under one policy, because it may be live under another", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    await db.sql`update coatcheck.sessions
      set last_seen_at = last_seen_at - interval '2 hours' where id = ${session.id}`;
    const strict = { idleTimeout: 3600 };
    assert.equal((await validateSession(withCookie(headers), db.sql, strict)).reason, "idle");
    assert.ok((await revokeSession(withCookie(headers), db.sql, strict)).session);
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "revoked");
  });

  test("revokes a session of a user who left the view, and returns username null", async () => {
    await db.sql`insert into users values (5, 'eve')`;
    const { headers } = await createSession("eve", db.sql);
    await db.sql`create or replace view coatcheck.users as
      select id, username from users where username <> 'eve'`;
    const { session } = await revokeSession(withCookie(headers), db.sql);
    assert.deepEqual([session?.userId, session?.username], [5, null]);
    await db.sql`create or replace view coatcheck.users as select id, username from users`;
  });

  test("revokes the session after a touch that it waits for", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`update coatcheck.sessions set last_seen_at = statement_timestamp()
      where id = ${session.id}`;
    const revoking = revokeSession(withCookie(headers), db.sql);
    const settled = revoking.then(() => "settled");
    await db.waiting();
    await other`commit`;
    other.release();
    assert.equal(await settled, "settled");
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "revoked");
  });
});

describe("revokeSessions", () => {
  let users = 100;

  /** A user whom no other test has, with some sessions. */
  async function newUser(sessions: number) {
    const userId = users++;
    await db.sql`insert into users values (${userId}, ${`user${userId}`})`;
    const all = [];
    for (let i = 0; i < sessions; i++) {
      const { session, headers } = await createSession({ userId }, db.sql);
      all.push({ id: session.id, session, headers: withCookie(headers) });
    }
    return { userId, all, ids: all.map(({ id }) => id).sort() };
  }

  const idsOf = (sessions: { id: string }[]) => sessions.map(({ id }) => id).sort();

  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`revokes all sessions of a user, and no others, through ${client}`, async () => {
      const [mine, other] = [await newUser(3), await newUser(1)];
      const { sql, statements } = counted(db.clients[client]!);
      const revoked = await revokeSessions({ userId: mine.userId }, sql, { reason: "breach" });
      assert.equal(statements.length, 1);
      assert.deepEqual(idsOf(revoked), mine.ids);
      const [row] = await db.sql`select revoked_at from coatcheck.sessions where id = ${
        revoked[0]!.id
      }`;
      const { session } = mine.all.find(({ id }) => id === revoked[0]!.id)!;
      const { idleExpiresAt: _, ...kept } = session;
      assert.deepEqual(revoked[0], {
        ...kept,
        revokedAt: row!.revoked_at,
        revokedReason: "breach",
      });
      assert.deepEqual(await revokeSessions({ userId: mine.userId }, sql), []);
      assert.deepEqual(idsOf(await listSessions(other.userId, sql)), other.ids);
    });
  }

  test("is seen by the very next validation, on every connection", async () => {
    const { userId, all } = await newUser(1);
    await revokeSessions({ userId }, db.sql);
    const results = await Promise.all(
      Array.from({ length: 20 }, () => validateSession(all[0]!.headers, db.sql)),
    );
    for (const { session, reason, revokedReason } of results) {
      assert.deepEqual([session, reason, revokedReason], [null, "revoked", "revoked"]);
    }
  });

  test("revokes all but one, in any letter case of its id", async () => {
    const { userId, all, ids } = await newUser(3);
    const [stays] = all;
    const except = stays!.id.toUpperCase();
    const revoked = await revokeSessions({ userId, except }, db.sql);
    assert.deepEqual(idsOf(revoked), ids.filter((id) => id !== stays!.id));
    assert.ok((await validateSession(stays!.headers, db.sql)).session);
    assert.deepEqual(await revokeSessions({ userId, except }, db.sql), []);
  });

  test("revokes one session of a user by its id, and never another user's", async () => {
    const [mine, other] = [await newUser(2), await newUser(1)];
    const theirs = { userId: mine.userId, id: other.ids[0]! };
    assert.deepEqual(await revokeSessions(theirs, db.sql), []);
    assert.ok((await validateSession(other.all[0]!.headers, db.sql)).session);
    const own = { userId: mine.userId, id: mine.ids[0]! };
    assert.deepEqual(idsOf(await revokeSessions(own, db.sql)), [mine.ids[0]]);
    assert.equal((await listSessions(mine.userId, db.sql)).length, 1);
  });

  test("revokes nothing and sends no SQL for an id that is not a UUID", async () => {
    const { userId } = await newUser(1);
    const { sql, statements } = counted(db.sql);
    for (const id of ["", "1", "*", "' or true --", `${crypto.randomUUID()}x`]) {
      assert.deepEqual(await revokeSessions({ userId, id }, sql), []);
    }
    assert.deepEqual(statements, []);
    assert.equal((await listSessions(userId, db.sql)).length, 1);
  });

  test("revokes nothing if a key is present but undefined", async () => {
    const { userId } = await newUser(1);
    for (
      const target of [{ userId, id: undefined }, { userId, except: undefined }, {
        userIds: undefined,
      }]
    ) {
      await assert.rejects(revokeSessions(target as unknown as RevokeTarget, db.sql), TypeError);
    }
    assert.equal((await listSessions(userId, db.sql)).length, 1);
  });

  test("revokes the sessions of several users at once, even if one of them is unknown", async () => {
    const [one, two, three] = [await newUser(2), await newUser(1), await newUser(1)];
    const userIds = [two.userId, 404, one.userId, two.userId];
    const revoked = await revokeSessions({ userIds }, db.sql);
    assert.deepEqual(idsOf(revoked), [...one.ids, ...two.ids].sort());
    assert.equal((await listSessions(three.userId, db.sql)).length, 1);
    assert.deepEqual(await revokeSessions({ userIds: [] }, db.sql), []);
  });

  test("revokes none if one of the keys is impossible", async () => {
    const { userId } = await newUser(1);
    const target = { userIds: [userId, "abc"] };
    await assert.rejects(revokeSessions(target, db.sql), { code: "USER_NOT_FOUND" });
    assert.equal((await listSessions(userId, db.sql)).length, 1);
    // Even if the planner knows that there is nothing to revoke.
    for (
      const change of [
        "update coatcheck.sessions set revoked_at = now()",
        "truncate coatcheck.sessions",
      ]
    ) {
      await db.sql.unsafe(change);
      await db.sql`vacuum analyze coatcheck.sessions`;
      await assert.rejects(revokeSessions(target, db.sql), { code: "USER_NOT_FOUND" });
    }
  });

  test("revokes idle sessions, and not those past their stored deadline", async () => {
    const { userId, all } = await newUser(2);
    await db.sql`update coatcheck.sessions
      set last_seen_at = last_seen_at - interval '8 days' where id = ${all[0]!.id}`;
    await db.sql`update coatcheck.sessions
      set expires_at = expires_at - interval '31 days' where id = ${all[1]!.id}`;
    assert.deepEqual(idsOf(await revokeSessions({ userId }, db.sql)), [all[0]!.id]);
  });

  test("revokes a rotated session under both secrets", async () => {
    const { userId, all } = await newUser(1);
    const rotated = await rotateSession(all[0]!.headers, db.sql);
    await revokeSessions({ userId }, db.sql);
    for (const headers of [all[0]!.headers, withCookie(rotated.headers)]) {
      assert.equal((await validateSession(headers, db.sql)).reason, "revoked");
    }
  });

  test("revokes the other sessions at once if one is locked, and waits for that one", async () => {
    const { userId, all, ids } = await newUser(3);
    const [locked, ...others] = all;
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${locked!.id} for update`;
    const revoking = revokeSessions({ userId }, db.sql);
    await db.waiting();
    for (const { headers } of others) {
      assert.equal((await validateSession(headers, db.sql)).reason, "revoked");
    }
    await other`commit`;
    other.release();
    const revoked = await revoking;
    assert.deepEqual(revoked.map(({ id }) => id), ids);
    assert.ok(revoked.every(({ revokedReason }) => revokedReason === "revoked"));
    assert.deepEqual(await listSessions(userId, db.sql), []);
  });

  test("does not return a locked session that another call has revoked meanwhile", async () => {
    const { userId, all } = await newUser(2);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`update coatcheck.sessions set revoked_at = now(), revoked_reason = 'first'
      where id = ${all[0]!.id}`;
    const revoking = revokeSessions({ userId }, db.sql);
    await db.waiting();
    await other`commit`;
    other.release();
    assert.deepEqual((await revoking).map(({ id }) => id), [all[1]!.id]);
    assert.equal((await validateSession(all[0]!.headers, db.sql)).revokedReason, "first");
  });

  test("rejects if a session stays locked until queryTimeout, and emits what it has revoked", async () => {
    const { userId, all } = await newUser(2);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${all[0]!.id} for update`;
    const events: SessionEvent[] = [];
    const options = { queryTimeout: 1, onEvent: (event: SessionEvent) => events.push(event) };
    await assert.rejects(revokeSessions({ userId }, db.sql, options), {
      name: "SessionError",
      code: "STORE_TIMEOUT",
      message: "revokeSessions: the database did not answer within queryTimeout, 1 s",
    });
    const id = all[1]!.id;
    assert.deepEqual(events, [{ type: "revoked", id, userId, reason: "revoked" }]);
    assert.equal((await validateSession(all[1]!.headers, db.sql)).reason, "revoked");
    await other`rollback`;
    other.release();
  });

  test("does not deadlock with 60 calls that name the same users in other orders", async () => {
    const all = [];
    for (let i = 0; i < 6; i++) all.push(await newUser(5));
    const userIds = all.map(({ userId }) => userId);
    const calls = Array.from({ length: 60 }, (_, i) => {
      const order = [...userIds.slice(i % 6), ...userIds.slice(0, i % 6)];
      return revokeSessions({ userIds: i % 2 ? order : order.reverse() }, db.sql);
    });
    const revoked = (await Promise.all(calls)).flat();
    assert.deepEqual(idsOf(revoked), all.flatMap(({ ids }) => ids).sort());
  });
});

describe("a revocation", () => {
  test("is written to disk before it returns, even with synchronous_commit = off", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const revocations = [
      (sql: typeof db.sql) => revokeSession(withCookie(headers), sql),
      (sql: typeof db.sql) => revokeSessions({ userId: session.userId }, sql),
      (sql: typeof db.sql) => createSession("ada", sql, { replaces: withCookie(headers) }),
    ];
    for (const revoke of revocations) {
      for (const [before, after] of [["off", "on"], ["local", "local"], ["on", "on"]]) {
        await createSession("ada", db.sql);
        await assert.rejects(
          db.sql.begin(async (transaction) => {
            await transaction`select set_config('synchronous_commit', ${before!}, true)`;
            await revoke(transaction as unknown as typeof db.sql);
            const [row] = await transaction`select current_setting('synchronous_commit') as now`;
            assert.equal(row!.now, after);
            throw new Error("the next one finds the session live");
          }),
          { message: "the next one finds the session live" },
        );
      }
    }
  });
});
