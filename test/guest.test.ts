import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  batched,
  configure,
  createGuestSession,
  createSession,
  getUserId,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type SessionEvent,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
  withSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

/** A guest with data, and the headers of a request that presents it. */
async function open(data: object = { cart: ["umbrella"] }, sql: Sql = db.sql) {
  const { guest, headers } = await createGuestSession(sql, {
    data: data as Record<string, unknown>,
  });
  return { guest: guest!, headers: withCookie(headers) };
}

const rowOf = async (id: string) =>
  (await db.sql`select * from coatcheck.sessions where id = ${id}`)[0];

describe("createGuestSession", () => {
  for (const client of ["postgres.js", "Bun.SQL", "batched"]) {
    test(`stores a session without a user, and returns its cookie, through ${client}`, async () => {
      const sql = client === "batched" ? batched(db.sql) : db.clients[client];
      if (!sql) return assert.equal(client, "Bun.SQL", "Only Bun has Bun.SQL");
      const events: SessionEvent[] = [];
      const onEvent = (event: SessionEvent) => events.push(event);
      const { session, guest, reason, headers } = await createGuestSession(sql, {
        data: { cart: ["umbrella"] },
        onEvent,
      });
      assert.deepEqual([session, reason], [null, "guest"]);
      assert.deepEqual(Object.keys(guest!).sort(), [
        "createdAt",
        "data",
        "expiresAt",
        "id",
        "idleExpiresAt",
        "lastSeenAt",
        "persistent",
        "version",
      ]);
      assert.deepEqual(guest!.data, { cart: ["umbrella"] });
      assert.deepEqual(events, [{ type: "created", id: guest!.id }]);
      assert.match(
        headers.get("set-cookie")!,
        /^__Host-session=[^;]{80}; Secure; HttpOnly; Max-Age=2592000; SameSite=Lax; Path=\/$/,
      );
      assert.equal(headers.get("cache-control"), "no-store");
      const row = await rowOf(guest!.id);
      assert.equal(row!.user_id, null);
      assert.ok(!JSON.stringify(row).includes(secretOf(headers)));
    });
  }

  test("answers with the live session or guest that the request presents, and creates nothing", async () => {
    const user = withCookie((await createSession("ada", db.sql)).headers);
    const { guest, headers } = await open();
    const count = async () => (await db.sql`select count(*) from coatcheck.sessions`)[0]!.count;
    const before = await count();
    const signedIn = await createGuestSession(db.sql, { headers: user });
    assert.equal(signedIn.session?.username, "ada");
    assert.deepEqual([...signedIn.headers], []);
    const known = await createGuestSession(db.sql, { headers, data: { cart: [] } });
    assert.deepEqual(known.guest, guest);
    assert.equal(await count(), before);
    assert.equal((await validateSession(user, db.sql)).session?.username, "ada");
  });

  test("creates nothing beside two live tokens, as a new cookie could end the user's", async () => {
    const user = withCookie((await createSession("ada", db.sql)).headers);
    const planted = await open();
    const both = new Headers({
      cookie: `${user.get("cookie")}; ${planted.headers.get("cookie")}`,
    });
    const count = async () => (await db.sql`select count(*) from coatcheck.sessions`)[0]!.count;
    const before = await count();
    for (let visit = 0; visit < 3; visit++) {
      const result = await createGuestSession(db.sql, { headers: both, data: { cart: [] } });
      assert.deepEqual([result.session, result.guest, result.reason], [
        null,
        undefined,
        "malformed",
      ]);
      assert.deepEqual([...result.headers], []);
    }
    assert.equal(await count(), before);
    assert.equal((await validateSession(user, db.sql)).session?.username, "ada");
  });

  test("clears the twin of the cookie, if the request has two that open nothing", async () => {
    const two = new Headers({ cookie: "__Host-session=a; __Host-session=b" });
    const { guest, headers } = await createGuestSession(db.sql, { headers: two });
    assert.ok(guest);
    assert.equal(headers.getSetCookie().length, 2);
  });

  test("creates a guest if what the request presents is dead, or is nothing", async () => {
    const { headers } = await open();
    await revokeSession(headers, db.sql);
    for (const request of [headers, new Headers(), new Headers({ cookie: "__Host-session=x" })]) {
      const { guest, headers: issued } = await createGuestSession(db.sql, { headers: request });
      assert.ok(guest);
      assert.equal(issued.getSetCookie().length, 1);
    }
  });

  test("is one statement", async () => {
    const { sql, statements } = counted(db.sql);
    await createGuestSession(sql);
    assert.equal(statements.length, 1);
  });

  test("returns a token if the transport is bearer", async () => {
    const api = configure({ transport: "bearer" });
    const { token, headers } = await api.createGuestSession(db.sql, { data: { cart: [] } });
    assert.deepEqual(headers.getSetCookie(), []);
    const request = new Headers({ authorization: `Bearer ${token}` });
    assert.deepEqual((await api.validateSession(request, db.sql)).guest?.data, { cart: [] });
  });

  test("says that the schema is that of an earlier version, if each session needs a user", async () => {
    await db
      .sql`alter table coatcheck.sessions add constraint old check (user_id is not null) not valid`;
    await db.sql`alter table coatcheck.sessions drop constraint old`;
    const old = await openDatabase();
    try {
      await old.sql`alter table coatcheck.sessions alter user_id set not null`;
      await assert.rejects(createGuestSession(old.sql), {
        code: "SCHEMA_MISSING",
        sqlstate: "23502",
        message: "createGuestSession: coatcheck.sessions is that of an earlier version; " +
          "run migrate(sql)",
      });
    } finally {
      await old.close();
    }
  });

  test("tells a column of the app's own that needs a value from an earlier schema", async () => {
    const own = await openDatabase();
    try {
      await own.sql`alter table coatcheck.sessions add tenant text not null default 'x'`;
      await own.sql`alter table coatcheck.sessions alter tenant drop default`;
      for (const sql of Object.values(own.clients)) {
        await assert.rejects(createGuestSession(sql), {
          code: "STORE_REJECTED",
          sqlstate: "23502",
        });
      }
    } finally {
      await own.close();
    }
  });

  test("refuses options of the wrong type, before any SQL", async () => {
    const sql: Sql = () => assert.fail("sent SQL");
    for (
      const options of [{ data: [] }, { data: "x" }, { persistent: 1 }, { headers: {} }, {
        user: 1,
      }]
    ) {
      await assert.rejects(createGuestSession(sql, options as never), { name: "TypeError" });
    }
  });
});

describe("a guest", () => {
  test("is no session to code that knows nothing of guests", async () => {
    const { headers } = await open();
    for (const call of [validateSession, rotateSession, reauthenticateSession]) {
      const { session, reason } = await call(headers, db.sql);
      assert.equal(session, null, call.name);
      assert.equal(reason, "guest", call.name);
      headers.set("cookie", (await open()).headers.get("cookie")!);
    }
    const handle = withSession((_request, { session }) => {
      return new Response(session?.username, { status: session ? 200 : 401 });
    }, db.sql);
    const request = new Request("https://app.example/", { headers });
    assert.equal((await handle(request)).status, 401);
  });

  test("is touched, and rotated by age, as a session is", async () => {
    const { guest, headers } = await open();
    await db.sql`update coatcheck.sessions set created_at = created_at - interval '1 hour',
      authenticated_at = authenticated_at - interval '1 hour',
      last_seen_at = last_seen_at - interval '1 hour' where id = ${guest.id}`;
    const touched = await validateSession(headers, db.sql);
    assert.ok(touched.guest!.lastSeenAt.getTime() > Date.now() - 60_000);
    const policy = { rotateAfter: 60 };
    const results = await Promise.all(
      Array.from({ length: 10 }, () => validateSession(headers, db.sql, policy)),
    );
    const issued = results.flatMap((it) => it.headers.getSetCookie());
    assert.equal(new Set(issued.map((it) => it.split(";")[0])).size, 1);
    for (const it of results) assert.equal(it.guest?.id, guest.id);
    const next = new Headers({ cookie: issued[0]!.split(";")[0]! });
    assert.deepEqual((await validateSession(next, db.sql)).guest?.data, guest.data);
  });

  test("is rotated on request, and ends if the old secret comes back", async () => {
    const { guest, headers } = await open();
    const events: SessionEvent[] = [];
    const onEvent = (event: SessionEvent) => events.push(event);
    const rotated = await rotateSession(headers, db.sql, { onEvent });
    assert.equal(rotated.guest?.id, guest.id);
    const next = withCookie(rotated.headers);
    await validateSession(next, db.sql);
    await db
      .sql`update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 hour'
      where id = ${guest.id}`;
    assert.equal((await validateSession(headers, db.sql, { onEvent })).reason, "reused");
    assert.equal((await validateSession(next, db.sql)).reason, "revoked");
    assert.deepEqual(events, [
      { type: "rotated", id: guest.id },
      { type: "reused", id: guest.id },
      { type: "refused", reason: "reused", id: guest.id },
    ]);
  });

  test("is updated without a refusal; a conflict of versions keeps its reason", async () => {
    const { guest, headers } = await open({ cart: ["umbrella"], theme: "dark" });
    const updated = await updateSession(headers, { cart: ["coat"] }, db.sql);
    assert.deepEqual([updated.session, updated.reason], [null, undefined]);
    assert.deepEqual(updated.guest?.data, { cart: ["coat"], theme: "dark" });
    assert.equal(updated.guest?.version, guest.version + 1);
    const conflict = await updateSession(headers, { cart: [] }, db.sql, { version: 0 });
    assert.deepEqual([conflict.session, conflict.reason], [null, "conflict"]);
    assert.deepEqual(conflict.guest, updated.guest);
    await assert.rejects(updateSession(headers, { a: "x".repeat(70_000) }, db.sql), {
      name: "RangeError",
    });
  });

  test("is not reauthenticated, and its secret stays", async () => {
    const { guest, headers } = await open();
    const { statements, sql } = counted(db.sql);
    const result = await reauthenticateSession(headers, sql);
    assert.deepEqual([result.session, result.reason, result.guest?.id], [null, "guest", guest.id]);
    assert.deepEqual(result.headers.getSetCookie(), []);
    assert.equal(statements.length, 2);
    assert.equal((await validateSession(headers, db.sql)).guest?.id, guest.id);
  });

  test("ends by revokeSession, by both timeouts, and for a policy that is stricter", async () => {
    const { headers } = await open();
    const events: SessionEvent[] = [];
    const onEvent = (event: SessionEvent) => events.push(event);
    const { session, headers: cleared } = await revokeSession(headers, db.sql, { onEvent });
    assert.equal(session, null);
    assert.match(cleared.get("set-cookie")!, /Expires=Thu, 01 Jan 1970/);
    assert.deepEqual(events.map(({ type }) => type), ["revoked"]);
    assert.equal((await validateSession(headers, db.sql)).revokedReason, "signed-out");
    for (const [column, reason] of [["last_seen_at", "idle"], ["expires_at", "expired"]] as const) {
      const { guest, headers } = await open();
      await db.sql`update coatcheck.sessions
        set ${db.sql(column)} = ${db.sql(column)} - interval '40 days' where id = ${guest.id}`;
      assert.equal((await validateSession(headers, db.sql)).reason, reason);
    }
  });

  test("is listed, counted and revoked with no user", async () => {
    const { headers } = await open();
    await revokeSessions({ userIds: [1, 2] }, db.sql);
    await createSession("ada", db.sql, { maxSessions: 1 });
    assert.equal((await listSessions(await getUserId("ada", db.sql), db.sql)).length, 1);
    assert.equal((await validateSession(headers, db.sql)).guest?.data.cart instanceof Array, true);
  });

  test("is not asked for a recent proof of identity", async () => {
    const { headers } = await open();
    const result = await validateSession(headers, db.sql, { authenticatedWithin: 0 });
    assert.equal(result.reason, "guest");
  });

  test("is live for batched validations, beside sessions", async () => {
    const sql = batched(db.sql);
    const { headers } = await open();
    const user = withCookie((await createSession("ada", sql)).headers);
    const results = await Promise.all(
      [headers, user, headers, user, headers, user].map((it) => validateSession(it, sql)),
    );
    assert.deepEqual(
      results.map((it) => it.session?.username ?? it.reason),
      ["guest", "ada", "guest", "ada", "guest", "ada"],
    );
  });

  test("is swept if it was not used for guestIdleTimeout, by default idleTimeout; a user's session stays", async () => {
    await db.sql`delete from coatcheck.sessions`;
    const [old, fresh] = [await open(), await open()];
    const { session } = await createSession("ada", db.sql);
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '2 days'
      where id in (${old.guest.id}, ${session.id})`;
    const ids = async () =>
      (await db.sql`select id::text from coatcheck.sessions`).map(({ id }) => id);
    await sweepSessions(db.sql);
    assert.equal((await ids()).length, 3);
    await sweepSessions(db.sql, { guestIdleTimeout: 86_400 });
    assert.deepEqual((await ids()).sort(), [fresh.guest.id, session.id].sort());
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '8 days'`;
    await sweepSessions(db.sql);
    assert.deepEqual(await ids(), [session.id]);
  });
});

describe("createSession that keeps", () => {
  const users = [{ name: "by name", user: "ada" }, { name: "by key", user: { userId: 1 } }];
  for (const { name, user } of users) {
    for (const client of ["postgres.js", "Bun.SQL", "batched"]) {
      test(`takes the named keys of the guest, and ends the guest, ${name} through ${client}`, async () => {
        const sql = client === "batched" ? batched(db.sql) : db.clients[client];
        if (!sql) return assert.equal(client, "Bun.SQL", "Only Bun has Bun.SQL");
        const { guest, headers } = await open({
          cart: ["umbrella"],
          theme: "dark",
          returnTo: "/x",
        });
        const events: SessionEvent[] = [];
        const { session, headers: issued } = await createSession(user, sql, {
          replaces: headers,
          keep: ["cart", "theme", "absent", `a"b\\c`],
          data: { theme: "light" },
          onEvent: (event) => events.push(event),
        });
        assert.deepEqual(session.data, { cart: ["umbrella"], theme: "light" });
        assert.notEqual(session.id, guest.id);
        assert.equal((await validateSession(withCookie(issued), sql)).session?.id, session.id);
        const before = await validateSession(headers, sql);
        assert.deepEqual([before.reason, before.revokedReason], ["revoked", "replaced"]);
        assert.deepEqual(events, [
          { type: "created", id: session.id, userId: 1 },
          { type: "revoked", id: guest.id, reason: "replaced" },
        ]);
      });
    }
  }

  test("keeps nothing of a user's session, and revokes it", async () => {
    const { headers } = await createSession("grace", db.sql, { data: { cart: ["diamonds"] } });
    const old = withCookie(headers);
    const { session } = await createSession("ada", db.sql, { replaces: old, keep: ["cart"] });
    assert.deepEqual(session.data, {});
    assert.equal((await validateSession(old, db.sql)).revokedReason, "replaced");
  });

  test("keeps nothing of a guest that is over, and of one by another secret", async () => {
    const policy = { idleTimeout: 60 };
    for (const end of ["idle", "revoked", "expired", "forged"]) {
      const { guest, headers } = await open();
      if (end === "idle") {
        await db.sql`update coatcheck.sessions set last_seen_at = now() - interval '2 minutes'
          where id = ${guest.id}`;
      } else if (end === "revoked") await revokeSession(headers, db.sql);
      else if (end === "expired") {
        await db.sql`update coatcheck.sessions set expires_at = now() - interval '1 second'
          where id = ${guest.id}`;
      } else {headers.set(
          "cookie",
          headers.get("cookie")!.replace(/.{5}$/, "AAAAA").slice(0, -1) + "A",
        );}
      const { session } = await createSession("ada", db.sql, {
        ...policy,
        replaces: headers,
        keep: ["cart"],
      });
      assert.deepEqual(session.data, {}, end);
    }
  });

  test("loses no update that was answered before the sign-in, in 60 races", async () => {
    for (let round = 0; round < 60; round++) {
      const { headers } = await open({ cart: [] });
      const update = updateSession(headers, { cart: ["umbrella"] }, db.sql);
      const signIn = createSession("ada", db.sql, { replaces: headers, keep: ["cart"] });
      const [updated, { session }] = await Promise.all([update, signIn]);
      if (updated.guest) assert.deepEqual(session.data, { cart: ["umbrella"] }, `round ${round}`);
      else assert.equal(updated.reason, "revoked");
    }
  });

  test("signs in once more if the guest was kept by another sign-in, and keeps it once", async () => {
    const { headers } = await open();
    const results = await Promise.all(
      Array.from(
        { length: 6 },
        () => createSession("ada", db.sql, { replaces: headers, keep: ["cart"] }),
      ),
    );
    const kept = results.filter(({ session }) => "cart" in session.data);
    assert.equal(kept.length, 1);
    assert.equal(new Set(results.map(({ session }) => session.id)).size, 6);
  });

  test("drops what is too large, says so by an event, and signs in", async () => {
    const { guest, headers } = await open({ big: "x".repeat(65_000) });
    for (const key of ["more", "most"]) {
      await updateSession(headers, { [key]: "y".repeat(30_000) }, db.sql);
    }
    const events: SessionEvent[] = [];
    const { session } = await createSession("ada", db.sql, {
      replaces: headers,
      keep: ["big", "more", "most"],
      data: { given: "z".repeat(20_000) },
      onEvent: (event) => events.push(event),
    });
    assert.deepEqual(Object.keys(session.data), ["given"]);
    assert.deepEqual(events, [
      { type: "created", id: session.id, userId: 1 },
      { type: "dropped", id: session.id, userId: 1 },
      { type: "revoked", id: guest.id, reason: "replaced" },
    ]);
  });

  test("keeps the guest of a sign-in that fails later, in a transaction", async () => {
    const { guest, headers } = await open();
    await assert.rejects(
      db.sql.begin(async (tx) => {
        const failing: Sql = (strings, ...values) =>
          strings.join("").includes("excess")
            ? Promise.reject(Object.assign(new Error(), { code: "57014" }))
            : tx(strings, ...values as string[]);
        await createSession("ada", failing, { replaces: headers, keep: ["cart"], maxSessions: 1 });
      }),
      { code: "STORE_TIMEOUT" },
    );
    assert.deepEqual((await validateSession(headers, db.sql)).guest, guest);
  });

  test("leaves the guest as it was if nobody signs in", async () => {
    const { guest, headers } = await open();
    for (const user of ["nobody", { userId: 77 }]) {
      await assert.rejects(
        createSession(user, db.sql, { replaces: headers, keep: ["cart"] }),
        { code: "USER_NOT_FOUND" },
      );
    }
    await assert.rejects(db.sql.begin(async (tx) => {
      await createSession("ada", tx, { replaces: headers, keep: ["cart"] });
      throw new Error("rolled back");
    }));
    assert.deepEqual((await validateSession(headers, db.sql)).guest, guest);
  });

  test("keeps of the one live guest of several cookies, and ends them all", async () => {
    const [one, other] = [await open({ cart: [1] }), await open({ cart: [2] })];
    await revokeSession(other.headers, db.sql);
    const both = new Headers({
      cookie: `${other.headers.get("cookie")}; ${one.headers.get("cookie")}`,
    });
    const { session } = await createSession("ada", db.sql, { replaces: both, keep: ["cart"] });
    assert.deepEqual(session.data, { cart: [1] });
    assert.equal((await validateSession(one.headers, db.sql)).reason, "revoked");
  });

  test("refuses keys that are none, too many, and no replaces beside them", async () => {
    const sql: Sql = () => assert.fail("sent SQL");
    const replaces = new Headers();
    const misuse: [object, string][] = [
      [{ replaces, keep: "cart" }, "TypeError"],
      [{ replaces, keep: [1] }, "TypeError"],
      [{ replaces, keep: [""] }, "RangeError"],
      [{ replaces, keep: ["\0"] }, "RangeError"],
      [{ replaces, keep: Array.from({ length: 101 }, (_, n) => `k${n}`) }, "RangeError"],
      [{ keep: ["cart"] }, "TypeError"],
    ];
    for (const [options, name] of misuse) {
      await assert.rejects(createSession("ada", sql, options as never), { name });
    }
  });
});
