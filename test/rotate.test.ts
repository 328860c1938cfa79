import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  configure,
  createSession,
  createToken,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type SessionEvent,
  type Sql,
  updateSession,
  validateSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const DAY = 86_400;
const ALL = "created_at authenticated_at last_seen_at expires_at rotated_at rotation_seen_at";

/** Time passes for a session: the instants in its row move back. */
async function age(id: string, seconds: number, columns = ALL) {
  for (const column of columns.split(" ")) {
    await db.sql`update coatcheck.sessions set ${db.sql(column)} =
      ${db.sql(column)} - make_interval(secs => ${seconds}) where id = ${id}`;
  }
}

const rowOf = async (id: string) => {
  const [row] = await db.sql`select *, xmin::text from coatcheck.sessions where id = ${id}`;
  return row!;
};

const signedIn = async (options?: Parameters<typeof createSession>[2]) => {
  const { session, headers } = await createSession("ada", db.sql, options);
  return { id: session.id, session, headers: withCookie(headers), response: headers };
};

/** What a cookie opens now: null for a session, and else the reason. Nothing is written. */
const reasonOf = async (headers: Headers, policy: Policy = {}) =>
  (await validateSession(headers, db.sql, { ...policy, touchInterval: false })).reason ?? null;

describe("rotateSession", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`gives the session a new secret in one statement, through ${client}`, async () => {
      const { session, headers, response } = await signedIn({ data: { cart: [1] } });
      const { sql, statements } = counted(db.clients[client]!);
      const rotated = await rotateSession(headers, sql);
      assert.equal(statements.length, 1);
      const { lastSeenAt, idleExpiresAt, ...kept } = rotated.session!;
      const { lastSeenAt: before, idleExpiresAt: _, ...was } = session;
      assert.deepEqual(kept, was);
      assert.ok(lastSeenAt >= before);
      assert.equal(idleExpiresAt.getTime(), lastSeenAt.getTime() + 7 * DAY * 1000);
      assert.equal(rotated.headers.getSetCookie().length, 1);
      assert.equal(rotated.headers.get("cache-control"), "no-store");
      assert.notEqual(secretOf(rotated.headers), secretOf(response));
      const result = await validateSession(withCookie(rotated.headers), sql);
      assert.equal(result.session?.id, session.id);
    });
  }

  test("gives 20 parallel callers one new secret, and leaves each with a session", async () => {
    const { headers } = await signedIn();
    const results = await Promise.all(
      Array.from({ length: 20 }, () => rotateSession(headers, db.sql)),
    );
    assert.equal(new Set(results.map((result) => secretOf(result.headers))).size, 1);
    for (const result of results) assert.equal(await reasonOf(withCookie(result.headers)), null);
  });

  test("hands out the same new secret again after a lost answer, in a rotation or a validation", async () => {
    const { headers } = await signedIn();
    const lost = await rotateSession(headers, db.sql);
    const again = await rotateSession(headers, db.sql);
    assert.equal(secretOf(again.headers), secretOf(lost.headers));
    const result = await validateSession(headers, db.sql);
    assert.equal(secretOf(result.headers), secretOf(lost.headers));
    assert.equal(result.headers.get("cache-control"), "no-store");
    assert.equal(await reasonOf(withCookie(result.headers)), null);
  });

  test("hands out the same new secret again with touchInterval: false, and records no use", async () => {
    const functions = configure({ touchInterval: false });
    const old = withCookie((await createSession("ada", db.sql)).headers);
    const first = await functions.rotateSession(old, db.sql);
    const second = await functions.rotateSession(old, db.sql);
    assert.equal(secretOf(second.headers), secretOf(first.headers));
    assert.deepEqual(second.session, first.session);
  });

  test("accepts the previous secret until the new one is seen, however long that takes", async () => {
    const { id, headers } = await signedIn();
    const { headers: rotated } = await rotateSession(headers, db.sql);
    for (let days = 0; days < 12; days += 6) {
      await age(id, 6 * DAY);
      assert.ok((await validateSession(headers, db.sql)).session);
    }
    assert.equal(await reasonOf(withCookie(rotated)), null);
  });

  test("accepts the previous secret for rotationGrace after the new one was seen, without a cookie", async () => {
    const { id, headers } = await signedIn();
    const { headers: rotated } = await rotateSession(headers, db.sql);
    await validateSession(withCookie(rotated), db.sql);
    await age(id, 25);
    const result = await validateSession(headers, db.sql);
    assert.equal(result.session?.id, id);
    // The browser has the new one. Without it, this may be another browser.
    assert.deepEqual([...result.headers], []);
  });

  test("revokes the session if the previous secret comes after the grace period", async () => {
    const events: SessionEvent[] = [];
    const { id, headers } = await signedIn();
    const { headers: rotated } = await rotateSession(headers, db.sql);
    await validateSession(withCookie(rotated), db.sql);
    await age(id, 30);
    const result = await validateSession(headers, db.sql, { onEvent: (it) => events.push(it) });
    assert.deepEqual([result.session, result.reason, [...result.headers]], [null, "reused", []]);
    const victim = await validateSession(withCookie(rotated), db.sql);
    assert.deepEqual([victim.reason, victim.revokedReason], ["revoked", "reused"]);
    assert.deepEqual(events, [
      { type: "reused", id, userId: 1 },
      { type: "refused", reason: "reused", id, userId: 1 },
    ]);
  });

  test("takes a request that a proxy held back beside a rotation for reuse, unless rotationGrace is longer", async () => {
    for (
      const { rotationGrace, reason } of [
        { rotationGrace: 30, reason: "reused" },
        { rotationGrace: 600, reason: undefined },
      ]
    ) {
      const { id, headers: upload } = await signedIn();
      const tab = withCookie((await rotateSession(upload, db.sql)).headers);
      await validateSession(tab, db.sql);
      await age(id, 300);
      assert.equal((await validateSession(upload, db.sql, { rotationGrace })).reason, reason);
      const { session } = await validateSession(tab, db.sql, { rotationGrace });
      assert.equal(session === null, reason === "reused");
    }
  });

  test("ends the session of all who start from one stored cookie, once the first of them has rotated it", async () => {
    const { id, headers: stored } = await signedIn();
    await age(id, 3600);
    const first = withCookie((await validateSession(stored, db.sql, { rotateAfter: 60 })).headers);
    assert.ok((await validateSession(first, db.sql, { rotateAfter: 60 })).session);
    await age(id, 30);
    assert.equal((await validateSession(stored, db.sql, { rotateAfter: 60 })).reason, "reused");
    assert.equal(await reasonOf(first), "revoked");

    const { id: other, headers: kept } = await signedIn();
    await age(other, 3600);
    for (let tests = 0; tests < 3; tests++) {
      assert.ok((await validateSession(kept, db.sql, { rotateAfter: false })).session);
      await age(other, 60);
    }
  });

  test("revokes the session of a reused secret in every function that reads one", async () => {
    for (const call of [rotateSession, reauthenticateSession]) {
      const { id, headers } = await signedIn();
      await validateSession(withCookie((await rotateSession(headers, db.sql)).headers), db.sql);
      await age(id, 30);
      assert.equal((await call(headers, db.sql)).reason, "reused");
      assert.equal(await reasonOf(headers), "revoked");
    }
    const { id, headers } = await signedIn();
    await validateSession(withCookie((await rotateSession(headers, db.sql)).headers), db.sql);
    await age(id, 30);
    assert.equal((await updateSession(headers, { a: 1 }, db.sql)).reason, "reused");
    assert.equal((await rowOf(id)).revoked_reason, "reused");
  });

  for (
    const { name, call, reason } of [
      { name: "even if it is rotated meanwhile", call: rotateSession, reason: "revoked" },
      {
        name: "but not if its user reauthenticates meanwhile",
        call: reauthenticateSession,
        reason: null,
      },
    ]
  ) {
    test(`revokes the session of a reused secret, ${name}`, async () => {
      const { id, headers } = await signedIn();
      const rotated = withCookie((await rotateSession(headers, db.sql)).headers);
      await validateSession(rotated, db.sql);
      await age(id, 30);
      let next = new Headers();
      // Between the statement that reads the session and the one that revokes it.
      const between: Sql = async (strings, ...values) => {
        if (strings.join().includes("'reused'") && strings.join().includes("update")) {
          next = withCookie((await call(rotated, db.sql)).headers);
        }
        return await db.clients["postgres.js"]!(strings, ...values);
      };
      assert.equal((await validateSession(headers, between)).reason, "reused");
      assert.equal(await reasonOf(next), reason);
    });
  }

  test("revokes the session of a reused secret in a write, even with touchInterval: false", async () => {
    for (const call of [rotateSession, reauthenticateSession]) {
      const { id, headers } = await signedIn();
      await validateSession(withCookie((await rotateSession(headers, db.sql)).headers), db.sql);
      await age(id, 30);
      assert.equal((await call(headers, db.sql, { touchInterval: false })).reason, "reused");
      assert.equal((await rowOf(id)).revoked_reason, "reused");
    }
  });

  test("refuses a reused secret and revokes nothing in a validation with touchInterval: false", async () => {
    const { id, headers } = await signedIn();
    const { headers: rotated } = await rotateSession(headers, db.sql);
    await validateSession(withCookie(rotated), db.sql);
    await age(id, 30);
    const before = await rowOf(id);
    assert.equal(await reasonOf(headers), "reused");
    assert.deepEqual(await rowOf(id), before);
  });

  test("applies the rotationGrace of the policy", async () => {
    const { id, headers } = await signedIn();
    const { headers: rotated } = await rotateSession(headers, db.sql);
    await validateSession(withCookie(rotated), db.sql);
    await age(id, 100);
    assert.equal(await reasonOf(headers, { rotationGrace: 101 }), null);
    assert.equal(await reasonOf(headers, { rotationGrace: 100 }), "reused");
    assert.equal(await reasonOf(headers, { rotationGrace: 5 }), "reused");
  });

  for (
    const { name, use } of [
      { name: "a validation", use: (headers: Headers) => validateSession(headers, db.sql) },
      { name: "a rotation", use: (headers: Headers) => rotateSession(headers, db.sql) },
      { name: "an update", use: (headers: Headers) => updateSession(headers, { a: 1 }, db.sql) },
    ]
  ) {
    test(`counts the grace period from ${name} with the new secret`, async () => {
      const { id, headers } = await signedIn();
      const rotated = withCookie((await rotateSession(headers, db.sql)).headers);
      await age(id, 3600);
      await use(rotated);
      await use(rotated);
      await age(id, 29);
      assert.equal(await reasonOf(headers), null);
      await age(id, 1);
      assert.equal(await reasonOf(headers), "reused");
    });
  }

  test("keeps both secrets until the last rotation is over", async () => {
    const { id, headers } = await signedIn();
    const rotated = withCookie((await rotateSession(headers, db.sql)).headers);
    const before = await rowOf(id);
    for (let tries = 0; tries < 2; tries++) {
      const early = await rotateSession(rotated, db.sql);
      assert.equal(early.session?.id, id);
      assert.deepEqual([...early.headers], []);
      assert.equal((await rotateSession(headers, db.sql)).headers.getSetCookie().length, 1);
    }
    const { digest, previous_digest, rotation_salt } = await rowOf(id);
    assert.deepEqual(
      [digest, previous_digest, rotation_salt],
      [before.digest, before.previous_digest, before.rotation_salt],
    );
    await age(id, 30);
    const settled = await rotateSession(rotated, db.sql);
    assert.notEqual(secretOf(settled.headers), rotated.get("cookie")!.slice(-43));
  });

  test("accepts only one previous secret", async () => {
    const { id, headers: first } = await signedIn();
    const second = withCookie((await rotateSession(first, db.sql)).headers);
    await validateSession(second, db.sql);
    await age(id, 30);
    const third = withCookie((await rotateSession(second, db.sql)).headers);
    assert.equal(await reasonOf(first), "unknown");
    assert.equal(await reasonOf(second), null);
    assert.equal(await reasonOf(third), null);
  });

  test("changes no byte of the row for a forged secret with a known id", async () => {
    const { id } = await signedIn();
    const before = await rowOf(id);
    const forged = new Headers({ cookie: `__Host-session=${id}.${createToken().secret}` });
    for (const call of [rotateSession, reauthenticateSession, validateSession, revokeSession]) {
      const result = await call(forged, db.sql);
      assert.equal(result.session, null, call.name);
    }
    assert.equal((await updateSession(forged, { a: 1 }, db.sql)).reason, "unknown");
    assert.deepEqual(await rowOf(id), before);
  });

  test("keeps the deadline, and issues a cookie that ends with it", async () => {
    const { id, session, headers } = await signedIn({ absoluteTimeout: 7200 });
    await age(id, 3600);
    const rotated = await rotateSession(headers, db.sql, { absoluteTimeout: 30 * DAY });
    const until = session.expiresAt.getTime() - 3_600_000;
    assert.equal(rotated.session!.expiresAt.getTime(), until);
    const [, maxAge] = rotated.headers.get("set-cookie")!.match(/; Max-Age=(\d+);/)!;
    assert.ok(Number(maxAge) <= 3600 && Number(maxAge) > 3540, `${maxAge}`);
  });

  test("keeps a cookie that ends with the browser", async () => {
    const { headers } = await signedIn({ persistent: false });
    const rotated = await rotateSession(headers, db.sql);
    assert.equal(rotated.session?.persistent, false);
    assert.doesNotMatch(rotated.headers.get("set-cookie")!, /Max-Age|Expires/);
  });

  test("issues a Max-Age that browsers accept, whatever the row says", async () => {
    const { id, headers } = await signedIn();
    await db.sql`update coatcheck.sessions
      set expires_at = '9999-01-01', authenticated_at = now() + interval '300 days' where id = ${id}`;
    const rotated = await rotateSession(headers, db.sql, { absoluteTimeout: 400 * DAY });
    assert.match(rotated.headers.get("set-cookie")!, /; Max-Age=34560000;/);

    // Later than a Date can be.
    await db.sql`update coatcheck.sessions
      set expires_at = '290000-01-01', authenticated_at = '290000-01-01' where id = ${id}`;
    const later = await rotateSession(withCookie(rotated.headers), db.sql);
    assert.doesNotMatch(later.headers.get("set-cookie") ?? "", /Max-Age/);
  });

  test("rotates no session that has ended, and reports the reason", async () => {
    const revoked = await signedIn();
    await revokeSession(revoked.headers, db.sql);
    assert.equal((await rotateSession(revoked.headers, db.sql)).reason, "revoked");
    const idle = await signedIn();
    await age(idle.id, 8 * DAY, "last_seen_at");
    assert.equal((await rotateSession(idle.headers, db.sql)).reason, "idle");
    const expired = await signedIn();
    await age(expired.id, 31 * DAY, "authenticated_at");
    const result = await rotateSession(expired.headers, db.sql);
    assert.deepEqual([result.session, result.reason, [...result.headers]], [null, "expired", []]);
    assert.equal((await rotateSession(new Headers(), db.sql)).reason, "absent");
  });

  test("lets a sign-out or a new sign-in with the previous secret revoke the session", async () => {
    const out = await signedIn();
    await rotateSession(out.headers, db.sql);
    assert.equal((await revokeSession(out.headers, db.sql)).session?.id, out.id);
    const again = await signedIn();
    await rotateSession(again.headers, db.sql);
    await createSession("ada", db.sql, { replaces: again.headers });
    assert.equal((await rowOf(again.id)).revoked_reason, "replaced");
  });

  test("accepts a rotated secret again for rotationGrace before and after, if the clock was set back", async () => {
    const { id, headers } = await signedIn();
    const rotated = withCookie((await rotateSession(headers, db.sql)).headers);
    await validateSession(rotated, db.sql);
    await age(id, 3600);
    assert.equal(await reasonOf(headers), "reused");
    // Two hours back: the new secret was first seen in an hour.
    await age(id, -7200);
    assert.equal(await reasonOf(headers), "reused");
    assert.equal(await reasonOf(rotated), null);
    const now = await validateSession(rotated, db.sql, { touchInterval: 60 });
    assert.ok(now.session!.lastSeenAt.getTime() < Date.now() + 60_000);
    assert.equal((await rowOf(id)).rotation_salt, null);
    await age(id, 3565, "rotation_seen_at");
    assert.equal(await reasonOf(headers), "reused");
    await age(id, 10, "rotation_seen_at");
    assert.equal(await reasonOf(headers), null);
    await age(id, 60, "rotation_seen_at");
    assert.equal((await validateSession(headers, db.sql)).reason, "reused");
    assert.equal(await reasonOf(rotated), "revoked");
  });

  test("rotates a session that was rotated under a clock that was ahead", async () => {
    const { id, headers } = await signedIn();
    const first = withCookie((await rotateSession(headers, db.sql)).headers);
    await validateSession(first, db.sql);
    await age(id, -3600, "rotated_at rotation_seen_at last_seen_at");
    const due = await validateSession(first, db.sql, { rotateAfter: 60 });
    assert.equal(await reasonOf(withCookie(due.headers)), null);
    const { rotated_at, last_seen_at } = await rowOf(id);
    assert.ok(rotated_at <= new Date(Date.now() + 60_000));
    assert.ok(last_seen_at <= new Date(Date.now() + 60_000));
  });

  test("does not know the secret before the previous one: a thief who has rotated twice is not detected", async () => {
    const events: SessionEvent[] = [];
    const onEvent = (event: SessionEvent) => events.push(event);
    const { id, session: { userId }, headers: owners } = await signedIn();
    let thiefs = owners;
    for (let rotations = 0; rotations < 2; rotations++) {
      thiefs = withCookie((await rotateSession(thiefs, db.sql)).headers);
      await validateSession(thiefs, db.sql);
      await age(id, 60);
    }
    // The id is public, so a secret that the row cannot tell from a wrong one must revoke nothing.
    assert.equal((await validateSession(owners, db.sql, { onEvent })).reason, "unknown");
    assert.deepEqual(events, [{ type: "refused", reason: "unknown", id }]);
    assert.equal((await revokeSession(owners, db.sql)).session, null);
    const { session } = await createSession("ada", db.sql, { replaces: owners });
    assert.equal(await reasonOf(thiefs), null);
    // What ends it: the user's own authority, after the sign-in.
    const revoked = await revokeSessions({ userId, except: session.id }, db.sql);
    assert.ok(revoked.some((it) => it.id === id));
    assert.equal(await reasonOf(thiefs), "revoked");
  });

  test("clears the salt after the grace period, so that the new secret cannot be derived any more", async () => {
    const { id, headers } = await signedIn();
    const rotated = withCookie((await rotateSession(headers, db.sql)).headers);
    await validateSession(rotated, db.sql);
    assert.ok((await rowOf(id)).rotation_salt);
    await age(id, 301);
    await validateSession(rotated, db.sql);
    assert.equal((await rowOf(id)).rotation_salt, null);
    assert.equal(await reasonOf(headers), "reused");
  });

  test("leaves no secret, old or new, in any column", async () => {
    const { headers, response } = await signedIn();
    const rotated = await rotateSession(headers, db.sql);
    const renewed = await reauthenticateSession(headers, db.sql);
    const again = await rotateSession(withCookie(renewed.headers), db.sql);
    const [row] = await db
      .sql`select string_agg(s::text, ' ') as dump from coatcheck.sessions s`;
    for (const handedOut of [response, rotated.headers, renewed.headers, again.headers]) {
      const bytes = Buffer.from(secretOf(handedOut), "base64url");
      for (const spelling of ["base64url", "base64", "hex"] as const) {
        assert.ok(!row!.dump.includes(bytes.toString(spelling).replace(/=+$/, "")), spelling);
      }
    }
  });
});

describe("rotateAfter", () => {
  const policy = { rotateAfter: 3600, rotationGrace: 30 };

  test("rotates in a validation once the secret is that old, and not before", async () => {
    const { id, headers, response } = await signedIn();
    await age(id, 3500);
    assert.deepEqual([...(await validateSession(headers, db.sql, policy)).headers], []);
    await age(id, 100);
    const { sql, statements } = counted(db.sql);
    const result = await validateSession(headers, sql, policy);
    assert.equal(statements.length, 2);
    assert.equal(result.session?.id, id);
    assert.notEqual(secretOf(result.headers), secretOf(response));
    assert.equal(await reasonOf(withCookie(result.headers)), null);
  });

  test("counts from the last rotation", async () => {
    const { id, headers } = await signedIn();
    await age(id, 3600);
    const rotated = withCookie((await validateSession(headers, db.sql, policy)).headers);
    await validateSession(rotated, db.sql, policy);
    await age(id, 3500);
    assert.deepEqual([...(await validateSession(rotated, db.sql, policy)).headers], []);
    await age(id, 100);
    const next = await validateSession(rotated, db.sql, policy);
    assert.equal(next.headers.getSetCookie().length, 1);
  });

  test("waits for no lock: a locked session is rotated by the next validation", async () => {
    const { id, headers } = await signedIn();
    await age(id, 3600);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${id} for update`;
    const result = await validateSession(headers, db.sql, { ...policy, queryTimeout: 2 });
    assert.deepEqual([result.session?.id, [...result.headers]], [id, []]);
    await other`rollback`;
    other.release();
    assert.equal(
      (await validateSession(headers, db.sql, policy)).headers.getSetCookie().length,
      1,
    );
  });

  test("issues its cookie even if the session is stale", async () => {
    const { id, headers } = await signedIn();
    await age(id, 3600);
    const result = await validateSession(headers, db.sql, { ...policy, authenticatedWithin: 60 });
    assert.deepEqual([result.session, result.reason], [null, "stale"]);
    assert.equal(await reasonOf(withCookie(result.headers)), null);
  });
});

describe("reauthenticateSession", () => {
  test("moves authenticatedAt, and restarts both timeouts", async () => {
    const { id, session, headers } = await signedIn({ data: { cart: 1 } });
    await age(id, 5 * DAY);
    const { sql, statements } = counted(db.sql);
    const result = await reauthenticateSession(headers, sql);
    assert.equal(statements.length, 1);
    const row = await rowOf(id);
    assert.deepEqual(result.session, {
      ...session,
      createdAt: row.created_at,
      authenticatedAt: row.authenticated_at,
      lastSeenAt: row.last_seen_at,
      expiresAt: row.expires_at,
      idleExpiresAt: new Date(row.last_seen_at.getTime() + 7 * DAY * 1000),
    });
    const now = result.session!.authenticatedAt.getTime();
    assert.equal(result.session!.lastSeenAt.getTime(), now);
    assert.equal(result.session!.expiresAt.getTime() - now, 30 * DAY * 1000);
    assert.ok(now - result.session!.createdAt.getTime() >= 5 * DAY * 1000);
    assert.match(result.headers.get("set-cookie")!, /; Max-Age=2592000;/);
    assert.equal(result.headers.get("cache-control"), "no-store");
  });

  test("satisfies authenticatedWithin, and a stale answer keeps the cookie", async () => {
    const { id, headers } = await signedIn();
    await age(id, 301);
    const asking = { authenticatedWithin: 300 };
    const stale = await validateSession(headers, db.sql, asking);
    assert.deepEqual([stale.session, stale.reason, [...stale.headers]], [null, "stale", []]);
    assert.ok((await validateSession(headers, db.sql)).session);
    const { headers: renewed } = await reauthenticateSession(headers, db.sql);
    assert.equal((await validateSession(withCookie(renewed), db.sql, asking)).session?.id, id);
    await rotateSession(withCookie(renewed), db.sql);
    assert.equal((await validateSession(withCookie(renewed), db.sql, asking)).session?.id, id);
  });

  test("locks out a thief of the old secret at once, who can revoke nothing", async () => {
    const { id, headers: stolen } = await signedIn();
    const { headers: renewed } = await reauthenticateSession(stolen, db.sql);
    for (const call of [validateSession, rotateSession, reauthenticateSession]) {
      const result = await call(stolen, db.sql);
      assert.deepEqual([result.session, result.reason, [...result.headers]], [null, "unknown", []]);
    }
    assert.equal((await revokeSession(stolen, db.sql)).session, null);
    assert.equal((await validateSession(withCookie(renewed), db.sql)).session?.id, id);
  });

  test("locks out a thief who has rotated before", async () => {
    const { id, headers } = await signedIn();
    const thief = withCookie((await rotateSession(headers, db.sql)).headers);
    await validateSession(thief, db.sql);
    const { headers: renewed } = await reauthenticateSession(headers, db.sql);
    assert.equal(await reasonOf(thief), "unknown");
    assert.equal(await reasonOf(headers), "unknown");
    assert.equal((await validateSession(withCookie(renewed), db.sql)).session?.id, id);
  });

  test("creates a secret that does not depend on the one before", async () => {
    const { id, headers } = await signedIn();
    const secrets = new Set<string>();
    for (let tries = 0; tries < 5; tries++) {
      const before = await rowOf(id);
      const result = await reauthenticateSession(headers, db.sql);
      secrets.add(secretOf(result.headers));
      await db.sql`update coatcheck.sessions set digest = ${before.digest} where id = ${id}`;
    }
    assert.equal(secrets.size, 5);
  });

  test("revives nothing", async () => {
    const revoked = await signedIn();
    await revokeSession(revoked.headers, db.sql);
    const idle = await signedIn();
    await age(idle.id, 7 * DAY);
    const expired = await signedIn();
    await age(expired.id, 30 * DAY, "authenticated_at");
    for (
      const [{ id, headers }, reason] of [[revoked, "revoked"], [idle, "idle"], [
        expired,
        "expired",
      ]] as const
    ) {
      const before = await rowOf(id);
      const result = await reauthenticateSession(headers, db.sql);
      assert.deepEqual([result.session, result.reason, [...result.headers]], [null, reason, []]);
      assert.deepEqual(await rowOf(id), before);
    }
  });
});
