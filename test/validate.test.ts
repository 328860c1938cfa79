import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  createSession,
  createToken,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Sql,
  sweepSessions,
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

/** A session whose instants are some seconds older: time passes by ageing the row. */
async function aged(
  seconds: number,
  columns = "created_at authenticated_at last_seen_at expires_at",
) {
  const { session, headers } = await createSession("ada", db.sql);
  await age(session.id, seconds, columns);
  return { id: session.id, headers: withCookie(headers) };
}

async function age(id: string, seconds: number, columns: string) {
  for (const column of columns.split(" ")) {
    await db.sql`update coatcheck.sessions
      set ${db.sql(column)} = ${
      db.sql(column)
    } - make_interval(secs => ${seconds}) where id = ${id}`;
  }
}

async function lastSeen(id: string): Promise<string> {
  const [row] = await db
    .sql`select last_seen_at::text as at from coatcheck.sessions where id = ${id}`;
  return row!.at;
}

describe("validateSession", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`finds the session of a cookie with one SELECT, through ${client}`, async () => {
      const created = await createSession("ada", db.sql, { data: { cart: [1] } });
      const { sql, statements } = counted(db.clients[client]!);
      const result = await validateSession(withCookie(created.headers), sql);
      assert.deepEqual(result.session, created.session);
      assert.equal(result.reason, undefined);
      assert.deepEqual([...result.headers], []);
      assert.equal(statements.length, 1);
      assert.doesNotMatch(statements[0]!, /insert|update|delete/);
    });
  }

  test("sends no SQL if no token is presented", async () => {
    const { sql, statements } = counted(db.sql);
    const { id, token } = createToken();
    const cookies = [
      { name: "no cookie", cookie: "", reason: "absent" },
      { name: "another cookie", cookie: "theme=dark", reason: "absent" },
      { name: "the name in capitals", cookie: `__HOST-SESSION=${token}`, reason: "absent" },
      { name: "an empty value", cookie: "__Host-session=", reason: "malformed" },
      { name: "the id alone", cookie: `__Host-session=${id}`, reason: "malformed" },
      { name: "SQL", cookie: "__Host-session=' or 1=1--", reason: "malformed" },
      {
        name: "two that are no tokens",
        cookie: `__Host-session=x; __Host-session=${id}`,
        reason: "malformed",
      },
    ];
    for (const { name, cookie, reason } of cookies) {
      const result = await validateSession(new Headers({ cookie }), sql);
      assert.deepEqual(
        [result.session, result.reason, [...result.headers]],
        [null, reason, []],
        name,
      );
    }
    assert.deepEqual(statements, []);
  });

  test("reads the token from the cookie only", async () => {
    const { headers } = await createSession("ada", db.sql);
    const [, token] = headers.get("set-cookie")!.match(/=([^;]+)/)!;
    const result = await validateSession(new Headers({ authorization: `Bearer ${token}` }), db.sql);
    assert.equal(result.reason, "absent");
  });

  test("opens no session with another secret, another id or a digest", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const secret = secretOf(headers);
    const [{ digest }] = await db
      .sql`select digest from coatcheck.sessions where id = ${session.id}` as unknown as [
        { digest: Uint8Array },
      ];
    const stolen = Buffer.from(digest).toString("base64url");
    const zeros = "A".repeat(43);
    for (
      const token of [
        `${session.id}.${createToken().secret}`,
        `${crypto.randomUUID()}.${secret}`,
        `${session.id}.${stolen}`,
        `${session.id}.${zeros}`,
        `00000000-0000-0000-0000-000000000000.${zeros}`,
      ]
    ) {
      const result = await validateSession(
        new Headers({ cookie: `__Host-session=${token}` }),
        db.sql,
      );
      assert.deepEqual([result.session, result.reason, [...result.headers]], [null, "unknown", []]);
    }
  });

  test("never reports the reason for a wrong secret", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    await revokeSession(withCookie(headers), db.sql);
    const guess = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    assert.equal((await validateSession(guess, db.sql)).reason, "unknown");
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "revoked");
  });

  test("ends a session that was not used for idleTimeout", async () => {
    const alive = await aged(7 * DAY - 60, "last_seen_at");
    assert.ok((await validateSession(alive.headers, db.sql)).session);
    const idle = await aged(7 * DAY, "last_seen_at");
    const result = await validateSession(idle.headers, db.sql);
    assert.deepEqual([result.session, result.reason], [null, "idle"]);
  });

  test("ends a session at its deadline, however much it is used", async () => {
    const alive = await aged(30 * DAY - 60, "created_at authenticated_at expires_at");
    assert.ok((await validateSession(alive.headers, db.sql)).session);
    const expired = await aged(30 * DAY, "created_at authenticated_at expires_at");
    const result = await validateSession(expired.headers, db.sql);
    assert.deepEqual([result.session, result.reason], [null, "expired"]);
  });

  test("ends a session sooner under a shorter policy, and reports that deadline", async () => {
    const { headers } = await aged(3600, "created_at authenticated_at");
    const shorter = { absoluteTimeout: 3600 };
    assert.equal((await validateSession(headers, db.sql, shorter)).reason, "expired");
    const { session } = await validateSession(headers, db.sql, { absoluteTimeout: 7200 });
    assert.equal(session!.expiresAt.getTime() - session!.authenticatedAt.getTime(), 7_200_000);
    assert.equal((await validateSession(headers, db.sql, { idleTimeout: 60 })).reason, undefined);
  });

  test("ends a session at its stored deadline, even under a longer policy", async () => {
    const { session, headers } = await createSession("ada", db.sql, { absoluteTimeout: 60 });
    await age(session.id, 60, "created_at authenticated_at expires_at");
    const result = await validateSession(withCookie(headers), db.sql, {
      absoluteTimeout: 400 * DAY,
    });
    assert.equal(result.reason, "expired");
  });

  test("treats the exact instant of a deadline as past", async () => {
    const at = "2026-01-01 00:00:00.123456+00";
    const headers = withCookie((await createSession("ada", db.sql)).headers);
    const id = headers.get("cookie")!.slice(15, 51);
    // The same statement, at a fixed instant.
    const frozen: Sql = async (strings, ...values) => {
      const text = strings.map((part, i) => i ? `$${i}${part}` : part).join("");
      const then = text.replaceAll("statement_timestamp()", `timestamptz '${at}'`);
      return await db.sql.unsafe(then, values);
    };
    const columns = [
      { column: "expires_at", before: "expires_at = $1", reason: "expired" },
      { column: "last_seen_at", before: "last_seen_at = $1 - interval '7 days'", reason: "idle" },
    ];
    for (const { column, before, reason } of columns) {
      for (const [shift, expected] of [["0", reason], ["1 microsecond", undefined]] as const) {
        await db.sql.unsafe(
          `update coatcheck.sessions set created_at = $1, authenticated_at = $1,
            last_seen_at = $1, expires_at = '9999-12-31' where id = '${id}'`.replaceAll(
            "$1",
            `'${at}'`,
          ),
        );
        await db.sql.unsafe(
          `update coatcheck.sessions set ${before} + interval '${shift}' where id = '${id}'`
            .replaceAll("$1", `timestamptz '${at}'`),
        );
        const result = await validateSession(headers, frozen, { touchInterval: false });
        assert.equal(result.reason, expected, `${column} + ${shift}`);
      }
    }
  });

  test("reports idleExpiresAt, idleTimeout after lastSeenAt and no later than expiresAt", async () => {
    const { headers } = await aged(DAY, "created_at authenticated_at expires_at");
    const cases = [
      { name: "the defaults", policy: {}, seconds: 7 * DAY },
      { name: "a shorter timeout", policy: { idleTimeout: 60 }, seconds: 60 },
      { name: "its deadline", policy: { idleTimeout: 30 * DAY }, seconds: 29 * DAY },
      {
        name: "a shorter deadline",
        policy: { absoluteTimeout: 2 * DAY, idleTimeout: 2 * DAY },
        seconds: DAY,
      },
    ];
    for (const { name, policy, seconds } of cases) {
      const { session } = await validateSession(headers, db.sql, policy);
      const { lastSeenAt, expiresAt, idleExpiresAt } = session!;
      const after = (idleExpiresAt.getTime() - lastSeenAt.getTime()) / 1000;
      assert.equal(after, seconds, name);
      assert.ok(idleExpiresAt <= expiresAt, name);
    }
  });

  test("moves idleExpiresAt with a touch", async () => {
    const { headers } = await aged(DAY, "last_seen_at");
    const read = await validateSession(headers, db.sql, { touchInterval: false });
    const touched = await validateSession(headers, db.sql);
    for (const { session } of [read, touched]) {
      assert.equal(+session!.idleExpiresAt - +session!.lastSeenAt, 7 * DAY * 1000);
    }
    const moved = +touched.session!.idleExpiresAt - +read.session!.idleExpiresAt;
    assert.ok(moved >= DAY * 1000, `${moved} ms`);
  });

  test("uses the database's clock, not the app's", async () => {
    const { headers } = await createSession("ada", db.sql);
    const { now } = Date;
    try {
      for (const skew of [-3650, -1, 1, 3650]) {
        Date.now = () => now() + skew * DAY * 1000;
        assert.ok((await validateSession(withCookie(headers), db.sql)).session, `${skew} days`);
      }
    } finally {
      Date.now = now;
    }
  });

  test("sees time pass inside a long transaction", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    await db.sql.begin(async (transaction) => {
      await transaction`update coatcheck.sessions
        set expires_at = clock_timestamp() + interval '50 ms' where id = ${session.id}`;
      assert.ok((await validateSession(withCookie(headers), transaction)).session);
      await transaction`select pg_sleep(0.06)`;
      assert.equal((await validateSession(withCookie(headers), transaction)).reason, "expired");
    });
  });

  test("sees time pass inside a long transaction, as all other functions do", async () => {
    const made = await Promise.all([1, 2, 3].map(() => createSession("grace", db.sql)));
    const [first, second, third] = made.map(({ headers }) => withCookie(headers));
    const used = await aged(60, "last_seen_at");
    const unused = await aged(60, "last_seen_at");
    await db.sql.begin(async (transaction) => {
      const seen = async () =>
        (await validateSession(used.headers, transaction, { touchInterval: 0 })).session!
          .lastSeenAt;
      const before = await seen();
      await transaction`update coatcheck.sessions
        set expires_at = clock_timestamp() + interval '50 ms' where user_id = 2`;
      await transaction`update coatcheck.sessions
        set last_seen_at = clock_timestamp() - interval '59.95 s' where id = ${unused.id}`;
      await transaction`select pg_sleep(0.06)`;
      assert.ok(await seen() > before);
      const idle = await rotateSession(unused.headers, transaction, { idleTimeout: 60 });
      assert.equal(idle.reason, "idle");
      assert.equal((await rotateSession(first!, transaction)).reason, "expired");
      assert.equal((await reauthenticateSession(second!, transaction)).reason, "expired");
      assert.equal((await updateSession(third!, { a: 1 }, transaction)).reason, "expired");
      assert.deepEqual(await listSessions(2, transaction), []);
      // A session that has expired is not revoked.
      assert.deepEqual(await revokeSessions({ userId: 2 }, transaction), []);
      const later = await createSession("grace", transaction, { maxSessions: 1 });
      assert.ok(later.session.createdAt > before);
      assert.equal(+later.session.expiresAt - +later.session.createdAt, 30 * DAY * 1000);
      const { session } = await revokeSession(third!, transaction);
      assert.ok(session!.revokedAt > session!.expiresAt);
      await sweepSessions(transaction, { retention: 0 });
      for (const swept of [first!, third!]) {
        assert.equal((await validateSession(swept, transaction)).reason, "unknown");
      }
    });
  });

  test("records a use once per touchInterval, and reports when", async () => {
    const { id, headers } = await aged(299, "last_seen_at");
    const before = await lastSeen(id);
    await validateSession(headers, db.sql);
    assert.equal(await lastSeen(id), before);
    await age(id, 1, "last_seen_at");
    const { sql, statements } = counted(db.sql);
    const { session } = await validateSession(headers, sql);
    assert.equal(statements.length, 2);
    assert.ok(Math.abs(session!.lastSeenAt.getTime() - Date.now()) < 60_000);
    assert.equal(new Date(await lastSeen(id)).getTime(), session!.lastSeenAt.getTime());
    await validateSession(headers, sql);
    assert.equal(statements.length, 3);
  });

  test("fails if the view has two rows for the user, even if they are equal", async () => {
    const { headers } = await createSession("ada", db.sql);
    const request = withCookie(headers);
    await db.sql`create or replace view coatcheck.users as
      select id, username from users union all select id, username from users`;
    try {
      const calls = {
        validateSession: () => validateSession(request, db.sql),
        updateSession: () => updateSession(request, {}, db.sql, { version: 9 }),
      };
      for (const [name, call] of Object.entries(calls)) {
        await assert.rejects(call, {
          name: "SessionError",
          code: "UNEXPECTED_RESULT",
          message: `${name}: coatcheck.users has more than one row for the user; ` +
            "make id and username unique in it",
        });
      }
    } finally {
      await db.sql`create or replace view coatcheck.users as select id, username from users`;
    }
    assert.ok((await validateSession(request, db.sql)).session);
  });

  test("touches a due session once for 100 parallel requests", async () => {
    const { headers } = await aged(600, "last_seen_at");
    let touched = 0;
    const counting: Sql = async (strings, ...values) => {
      const rows = await db.clients["postgres.js"]!(strings, ...values) as unknown[];
      if (strings.join().includes("update coatcheck")) touched += rows.length;
      return rows;
    };
    const results = await Promise.all(
      Array.from({ length: 100 }, () => validateSession(headers, counting)),
    );
    assert.ok(results.every(({ session }) => session));
    assert.equal(touched, 1);
  });

  test("does not wait for a row that another transaction has locked", async () => {
    const { headers, id } = await aged(600, "last_seen_at");
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${id} for update`;
    const { session } = await validateSession(headers, db.sql, { queryTimeout: 2 });
    assert.equal(session!.id, id);
    await other`rollback`;
    other.release();
  });

  test("writes nothing with touchInterval: false", async () => {
    const { headers } = await aged(600, "last_seen_at");
    const { sql, statements } = counted(db.sql);
    assert.ok((await validateSession(headers, sql, { touchInterval: false })).session);
    assert.equal(statements.length, 1);
  });

  test("works in a read-only transaction while nothing is due", async () => {
    const { headers } = await createSession("ada", db.sql);
    await db.sql.begin("read only", async (transaction) => {
      assert.ok((await validateSession(withCookie(headers), transaction)).session);
    });
  });

  test("never revives a revoked session by a touch", async () => {
    const { id, headers } = await aged(600, "last_seen_at");
    const other = await db.sql.reserve();
    // The row was live when it was read, and is revoked before the touch.
    const paused: Sql = async (strings, ...values) => {
      if (strings.join().includes("update coatcheck")) {
        await other`update coatcheck.sessions set revoked_at = now(), revoked_reason = 'admin'
          where id = ${id}`;
      }
      return await db.sql(strings, ...values);
    };
    await validateSession(headers, paused);
    other.release();
    const result = await validateSession(headers, db.sql);
    assert.deepEqual([result.reason, result.revokedReason], ["revoked", "admin"]);
    assert.ok(Date.now() - new Date(await lastSeen(id)).getTime() > 300_000);
  });

  test("refuses the session of a user who left the view, and keeps its row", async () => {
    await db.sql`insert into users values (5, 'eve')`;
    const { headers } = await createSession("eve", db.sql);
    await db.sql`create or replace view coatcheck.users as
      select id, username from users where username <> 'eve'`;
    const result = await validateSession(withCookie(headers), db.sql);
    assert.deepEqual([result.session, result.reason, [...result.headers]], [null, "user", []]);
    await db.sql`create or replace view coatcheck.users as select id, username from users`;
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  test("knows no session of a user who was deleted", async () => {
    await db.sql`insert into users values (6, 'mallory')`;
    const { headers } = await createSession("mallory", db.sql);
    await db.sql`delete from users where id = 6`;
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
  });

  test("refuses a session with an infinite instant, and accepts unusual ones", async () => {
    for (const column of ["created_at", "last_seen_at", "expires_at", "authenticated_at"]) {
      for (const instant of ["infinity", "-infinity", "4000-01-01 BC", "20000-01-01"]) {
        const { session, headers } = await createSession("ada", db.sql);
        await db.sql`update coatcheck.sessions
          set ${db.sql(column)} = ${instant}::text::timestamptz where id = ${session.id}`;
        const { session: found, reason } = await validateSession(withCookie(headers), db.sql);
        if (/infinity/.test(instant)) assert.match(reason ?? "", /^(expired|idle)$/, column);
        assert.ok(!found || !Number.isNaN(found.expiresAt.getTime()));
      }
    }
  });

  test("ends a session of a clock that was a year ahead, in every function", async () => {
    const { id, headers } = await aged(-365 * DAY);
    for (const policy of [{}, { touchInterval: false }, { authenticatedWithin: 60 }] as const) {
      assert.equal((await validateSession(headers, db.sql, policy)).reason, "expired");
    }
    assert.equal((await rotateSession(headers, db.sql)).reason, "expired");
    assert.equal((await updateSession(headers, { a: 1 }, db.sql)).reason, "expired");
    assert.equal((await reauthenticateSession(headers, db.sql)).reason, "expired");
    assert.ok((await listSessions(1, db.sql)).every((session) => session.id !== id));
    assert.equal((await revokeSession(headers, db.sql)).session?.id, id);
  });

  test("takes no proof as recent that is of a clock ahead, and records uses by the clock of now", async () => {
    const { headers } = await aged(-5 * DAY);
    const within = { authenticatedWithin: 3600 };
    assert.equal((await validateSession(headers, db.sql, within)).reason, "stale");
    const { session } = await validateSession(headers, db.sql);
    assert.ok(session!.lastSeenAt <= new Date(Date.now() + 60_000));
    const proved = await reauthenticateSession(headers, db.sql);
    const current = withCookie(proved.headers);
    assert.ok((await validateSession(current, db.sql, within)).session);
    assert.ok(proved.session!.createdAt <= new Date(Date.now() + 60_000));
  });

  test("keeps the sessions if the clock is set back by an hour, and ends none later than that", async () => {
    const used = await aged(-3600);
    assert.ok((await validateSession(used.headers, db.sql)).session);
    const ended = await aged(30 * DAY - 3600);
    await age(ended.id, 7200 - 30 * DAY, "last_seen_at");
    await age(ended.id, 3600, "created_at authenticated_at expires_at");
    assert.equal((await validateSession(ended.headers, db.sql)).reason, "expired");
    await age(ended.id, -3600, "created_at authenticated_at last_seen_at expires_at");
    assert.ok((await validateSession(ended.headers, db.sql)).session);
    await age(ended.id, 3600, "created_at authenticated_at last_seen_at expires_at");
    assert.equal((await validateSession(ended.headers, db.sql)).reason, "expired");
  });

  test("refuses a session that was created, proved or used after its end", async () => {
    for (const column of ["created_at", "authenticated_at", "last_seen_at"]) {
      const { session, headers } = await createSession("ada", db.sql);
      await db.sql`update coatcheck.sessions
        set expires_at = now() + interval '1 minute', ${
        db.sql(column)
      } = now() + interval '1 minute'
        where id = ${session.id}`;
      assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "expired", column);
      assert.equal((await rotateSession(withCookie(headers), db.sql)).reason, "expired", column);
    }
  });

  test("stores no row for a visitor who is not signed in", async () => {
    const rows = async () => (await db.sql`select from coatcheck.sessions`).length;
    const before = await rows();
    await Promise.all(Array.from({ length: 500 }, async () => {
      const headers = new Headers({ cookie: `__Host-session=${createToken().token}` });
      assert.equal((await validateSession(headers, db.sql)).reason, "unknown");
      assert.equal((await revokeSession(headers, db.sql)).session, null);
    }));
    assert.equal(await rows(), before);
  });
});
