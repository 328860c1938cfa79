import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createSession, createToken, revokeSession, validateSession } from "../mod.ts";
import { counted, type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

describe("revokeSession", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`ends the presented session and clears its cookie, through ${client}`, async () => {
      const created = await createSession("ada", db.sql);
      const { sql, statements } = counted(db.clients[client]!);
      const { session, headers } = await revokeSession(withCookie(created.headers), sql);
      assert.equal(statements.length, 1);
      const [row] = await db.sql`select * from coatcheck.sessions where id = ${created.session.id}`;
      assert.deepEqual(session, {
        ...created.session,
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
    const visits = await Promise.all(
      Array.from({ length: 20 }, () => validateSession(withCookie(headers), db.sql)),
    );
    for (const visit of visits) {
      assert.deepEqual([visit.session, visit.reason, visit.revokedReason], [
        null,
        "revoked",
        "admin",
      ]);
    }
  });

  test("ends nothing twice, and keeps the first reason", async () => {
    const { headers } = await createSession("ada", db.sql);
    assert.ok((await revokeSession(withCookie(headers), db.sql, { reason: "first" })).session);
    const again = await revokeSession(withCookie(headers), db.sql, { reason: "second" });
    assert.equal(again.session, null);
    assert.equal(again.headers.getSetCookie().length, 1);
    assert.equal((await validateSession(withCookie(headers), db.sql)).revokedReason, "first");
  });

  test("ends a session once for 20 parallel sign-outs", async () => {
    const { headers } = await createSession("ada", db.sql);
    const all = await Promise.all(
      Array.from({ length: 20 }, () => revokeSession(withCookie(headers), db.sql)),
    );
    assert.equal(all.filter(({ session }) => session).length, 1);
  });

  test("clears the cookie where there is no session, without asking the database", async () => {
    const { sql, statements } = counted(db.sql);
    for (const cookie of ["", "__Host-session=nonsense"]) {
      const { session, headers } = await revokeSession(new Headers({ cookie }), sql);
      assert.equal(session, null);
      assert.match(headers.get("set-cookie")!, /; Expires=Thu, 01 Jan 1970/);
    }
    assert.deepEqual(statements, []);
  });

  test("ends nothing by an id and a forged secret", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const before = await db.sql`select *, xmin from coatcheck.sessions where id = ${session.id}`;
    const forged = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    assert.equal((await revokeSession(forged, db.sql)).session, null);
    const after = await db.sql`select *, xmin from coatcheck.sessions where id = ${session.id}`;
    assert.deepEqual([...after], [...before]);
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  test("ends a session that one policy calls idle, as another may call it alive", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    await db.sql`update coatcheck.sessions
      set last_seen_at = last_seen_at - interval '2 hours' where id = ${session.id}`;
    const strict = { idleTimeout: 3600 };
    assert.equal((await validateSession(withCookie(headers), db.sql, strict)).reason, "idle");
    assert.ok((await revokeSession(withCookie(headers), db.sql, strict)).session);
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "revoked");
  });

  test("ends a session of a user who is out of the view, whose name it does not know", async () => {
    await db.sql`insert into users values (5, 'eve')`;
    const { headers } = await createSession("eve", db.sql);
    await db.sql`create or replace view coatcheck.users as
      select id, username from users where username <> 'eve'`;
    const { session } = await revokeSession(withCookie(headers), db.sql);
    assert.deepEqual([session?.userId, session?.username], [5, null]);
    await db.sql`create or replace view coatcheck.users as select id, username from users`;
  });

  test("wins over a touch that it waits for", async () => {
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
