// What triggers of the app may do to the sessions, and rows that no function of ours writes. What is looked at is
// the server, so one client is enough where nothing else is said.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import {
  batched,
  configure,
  createSession,
  createToken,
  insertSession,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Sql,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

/** Runs work while a trigger does something before each INSERT or UPDATE of a session. */
async function beneath(
  event: "insert" | "update",
  body: string,
  work: () => Promise<void>,
): Promise<void> {
  await db.sql.unsafe(`
    create function meddle() returns trigger language plpgsql as $$ begin ${body} end $$;
    create trigger meddle before ${event} on coatcheck.sessions
      for each row execute function meddle()`);
  try {
    await work();
  } finally {
    await db.sql`drop function meddle cascade`;
  }
}

const rowsOf = async (what: "s" | "id" = "s") =>
  (await db.sql.unsafe(`select ${what}::text as it from coatcheck.sessions s order by id`))
    .map(({ it }) => it as string);
const signedIn = async (sql: Sql = db.sql) => {
  const { session, headers } = await createSession("ada", sql, { data: { a: 1 } });
  return { session, headers: withCookie(headers) };
};
const CHANGED = { name: "SessionError", code: "UNEXPECTED_RESULT" };

const meddlings = [
  { name: "gives the session to another user", body: "new.user_id := 2; return new;" },
  {
    name: "puts the end in the past",
    body: "new.expires_at := now() - interval '1 hour'; return new;",
  },
  {
    name: "puts the whole life in the past",
    body: `new.created_at := now() - interval '2 hours'; new.authenticated_at := new.created_at;
      new.last_seen_at := new.created_at; new.expires_at := now() - interval '1 hour'; return new;`,
  },
  { name: "removes the end", body: "new.expires_at := 'infinity'; return new;" },
  { name: "changes the digest", body: "new.digest := sha256('other'); return new;" },
  { name: "revokes the session", body: "new.revoked_at := now(); return new;" },
  { name: "puts the last use in the past", body: "new.last_seen_at := '2000-01-01'; return new;" },
  {
    name: "puts the last use into the future",
    body: "new.last_seen_at := now() + interval '20 days'; return new;",
  },
  {
    name: "puts the proof of identity in the past",
    body: "new.authenticated_at := '2000-01-01'; return new;",
  },
  { name: "makes the creation infinite", body: "new.created_at := '-infinity'; return new;" },
  { name: "writes data that is no object", body: "new.data := '[1]'; return new;" },
];

describe("a trigger before the INSERT", () => {
  const more: { name: string; body: string; leaves?: boolean }[] = [
    { name: "swallows it", body: "return null;" },
    {
      name: "changes the id",
      body: "new.id := gen_random_uuid(); return new;",
      // Under an id of the trigger's, which no token has.
      leaves: true,
    },
  ];
  for (const { name, body, leaves = false } of [...more, ...meddlings] as typeof more) {
    test(`that ${name} makes every sign-in throw, and leaves no session with a token`, async () => {
      const before = await rowsOf();
      await beneath("insert", body, async () => {
        const record = () => {
          const { id, digest } = createToken();
          const [createdAt, expiresAt] = [new Date(), new Date(Date.now() + 60_000)];
          return { id, digest, userId: 1, createdAt, expiresAt };
        };
        for (const client of [...Object.values(db.clients), batched(db.sql)]) {
          const calls = [
            createSession("ada", client),
            createSession({ userId: 1 }, client),
            createSession("ada", client),
            createSession("ada", client),
            createSession("ada", client),
            insertSession(record(), client),
            insertSession(record(), client),
            insertSession(record(), client),
          ];
          for (const result of await Promise.allSettled(calls)) {
            assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
          }
        }
        await assert.rejects(createSession("nobody", db.sql), { code: "USER_NOT_FOUND" });
      });
      if (leaves) await db.sql`delete from coatcheck.sessions`;
      else assert.deepEqual(await rowsOf(), before);
    });
  }

  test("that adds to the data, or shortens the session, is obeyed", async () => {
    const body =
      `new.data := new.data || '{"ip": "::1"}'; new.expires_at := now() + interval '1 hour';
      return new;`;
    await beneath("insert", body, async () => {
      for (const client of [db.sql, batched(db.sql)]) {
        const [{ session, headers }] = await Promise.all([
          createSession("ada", client, { data: { a: 1 } }),
          createSession("ada", client),
          createSession({ userId: 1 }, client),
        ]);
        assert.deepEqual(session.data, { a: 1, ip: "::1" });
        const life = session.expiresAt.getTime() - session.createdAt.getTime();
        assert.ok(life > 3_590_000 && life <= 3_600_000, `${life}`);
        assert.ok((await validateSession(withCookie(headers), client)).session);
      }
    });
  });

  test("does not keep a session from being imported that is already over", async () => {
    const { id, digest } = createToken();
    const [createdAt, expiresAt] = [new Date(Date.now() - 9000), new Date(Date.now() - 1000)];
    const session = await insertSession({ id, digest, userId: 1, createdAt, expiresAt }, db.sql);
    assert.deepEqual(session.expiresAt, expiresAt);
  });
});

describe("a trigger before the UPDATE", () => {
  const writes: { name: string; write: (headers: Headers) => Promise<unknown> }[] = [
    { name: "rotateSession", write: (headers) => rotateSession(headers, db.sql) },
    { name: "reauthenticateSession", write: (headers) => reauthenticateSession(headers, db.sql) },
    { name: "updateSession", write: (headers) => updateSession(headers, { b: 2 }, db.sql) },
    {
      name: "validateSession that rotates",
      write: (headers) => configure({ rotateAfter: 60 }).validateSession(headers, db.sql),
    },
    {
      name: "validateSession that touches",
      write: (headers) => configure({ touchInterval: 0 }).validateSession(headers, db.sql),
    },
  ];
  for (const { name, body } of meddlings) {
    test(`that ${name} makes every write throw, and hand out no cookie`, async () => {
      for (const { name, write } of writes) {
        const { session, headers } = await signedIn();
        await db.sql`update coatcheck.sessions
          set authenticated_at = authenticated_at - interval '2 minutes' where id = ${session.id}`;
        const others = async () => (await rowsOf()).filter((row) => !row.includes(session.id));
        const before = await others();
        await beneath("update", body, () => assert.rejects(write(headers), CHANGED, name));
        assert.deepEqual(await others(), before, name);
      }
    });
  }

  test("that swallows it makes every write throw, but a validation, which issues no cookie", async () => {
    for (const { name, write } of writes) {
      const { headers } = await signedIn();
      await beneath("update", "return null;", async () => {
        if (name.startsWith("validate")) {
          const result = await write(headers) as Awaited<ReturnType<typeof validateSession>>;
          assert.equal(result.session?.userId, 1);
          assert.deepEqual([...result.headers], []);
        } else await assert.rejects(write(headers), { code: "STORE_UNAVAILABLE" });
      });
      assert.equal((await validateSession(headers, db.sql)).session?.userId, 1);
    }
  });

  const kept = [
    { name: "swallows it", body: "return null;" },
    { name: "undoes it", body: "new.revoked_at := null; return new;" },
  ];
  for (const { name, body } of kept) {
    test(`that ${name} makes every revocation throw`, async () => {
      const { session: { id, userId }, headers } = await signedIn();
      await beneath("update", body, async () => {
        await assert.rejects(revokeSession(headers, db.sql), CHANGED);
        await assert.rejects(revokeSessions({ userId }, db.sql), CHANGED);
        await assert.rejects(revokeSessions({ userId, id }, db.sql), CHANGED);
        const before = await rowsOf("id");
        await assert.rejects(createSession("ada", db.sql, { replaces: headers }), CHANGED);
        await assert.rejects(createSession("ada", db.sql, { maxSessions: 1 }), CHANGED);
        assert.deepEqual(await rowsOf("id"), before);
      });
      assert.equal((await validateSession(headers, db.sql)).session?.id, id);
      assert.equal((await revokeSession(headers, db.sql)).session?.id, id);
    });
  }

  for (const { name, body } of kept) {
    test(`that ${name} makes a reused secret throw: the other party is still signed in`, async () => {
      const { session, headers } = await signedIn();
      const rotated = await rotateSession(headers, db.sql);
      await validateSession(withCookie(rotated.headers), db.sql);
      await db
        .sql`update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 hour'
        where id = ${session.id}`;
      const events: unknown[] = [];
      const onEvent = (event: unknown) => events.push(event);
      await beneath("update", body, async () => {
        await assert.rejects(validateSession(headers, db.sql, { onEvent }), CHANGED);
        await assert.rejects(rotateSession(headers, db.sql, { onEvent }), CHANGED);
      });
      assert.deepEqual(events, []);
      assert.equal((await validateSession(headers, db.sql)).reason, "reused");
      assert.equal(
        (await validateSession(withCookie(rotated.headers), db.sql)).reason,
        "revoked",
      );
    });
  }

  test("that swallows one of two revocations of a sign-out does not keep the other from its end", async () => {
    const two = [await signedIn(), await signedIn()];
    for (const { session: { id } } of two) {
      const both = new Headers({ cookie: two.map((it) => it.headers.get("cookie")).join("; ") });
      const body = `if new.id = '${id}' then return null; end if; return new;`;
      await beneath("update", body, () => assert.rejects(revokeSession(both, db.sql), CHANGED));
      const live = await Promise.all(two.map((it) => validateSession(it.headers, db.sql)));
      assert.deepEqual(
        live.map((it) => it.session?.id),
        two.map((it) => it.session.id)
          .map((it) => it === id ? id : undefined),
      );
      await db.sql`update coatcheck.sessions set revoked_at = null, revoked_reason = null`;
    }
  });

  test("that swallows it does not fail a sign-out that had nothing to revoke", async () => {
    const { session, headers } = await signedIn();
    await revokeSession(headers, db.sql);
    await beneath("update", "return null;", async () => {
      assert.equal((await revokeSession(headers, db.sql)).session, null);
      const { id, userId } = session;
      assert.deepEqual(await revokeSessions({ userId, id }, db.sql), []);
      assert.ok((await createSession("ada", db.sql, { replaces: headers })).session);
    });
  });
});

describe("a row whose data is no object", () => {
  for (const data of ["[]", "[1]", "null", `"text"`, "1", "true"]) {
    test(`opens nothing if it is ${data}, and can be revoked`, async () => {
      const { session: { id, userId }, headers } = await signedIn();
      const other = await signedIn();
      await db.sql`update coatcheck.sessions set data = ${data}::text::jsonb where id = ${id}`;
      const before = await rowsOf();
      const writing = configure({ touchInterval: 0, rotateAfter: 60 });
      await assert.rejects(validateSession(headers, db.sql), CHANGED);
      await assert.rejects(writing.validateSession(headers, db.sql), CHANGED);
      await assert.rejects(rotateSession(headers, db.sql), CHANGED);
      await assert.rejects(reauthenticateSession(headers, db.sql), CHANGED);
      await assert.rejects(updateSession(headers, { a: 1 }, db.sql), CHANGED);
      assert.deepEqual(await rowsOf(), before);
      assert.ok((await listSessions(userId, db.sql)).every((session) => session.id !== id));
      const batch = batched(db.sql);
      const results = await Promise.allSettled(
        [headers, other.headers, headers, other.headers].map((it) => validateSession(it, batch)),
      );
      assert.deepEqual(results.map((it) => it.status === "fulfilled"), [false, true, false, true]);
      assert.deepEqual((await revokeSession(headers, db.sql)).session?.data, {});
    });
  }
});

describe("a policy of row-level security that hides the sessions from writes", () => {
  test("makes every revocation throw, as the session is still live", async () => {
    const role = `coatcheck_hidden_${crypto.randomUUID().replaceAll("-", "")}`;
    await db.sql.unsafe(`create role ${role} login password 'app';
      grant usage on schema coatcheck to ${role};
      grant select on coatcheck.users to ${role};
      grant select, insert, update, delete on coatcheck.sessions to ${role};
      alter table coatcheck.sessions enable row level security;
      create policy reads on coatcheck.sessions for select to ${role} using (true);
      create policy adds on coatcheck.sessions for insert to ${role} with check (true);
      create policy changes on coatcheck.sessions for update to ${role} using (false)`);
    const url = Object.assign(new URL(db.url), { username: role, password: "app" });
    const client = postgres(url.href, { max: 2, onnotice: () => {} });
    try {
      for (const sql of [client, batched(client)]) {
        const { session: { id, userId }, headers } = await signedIn(sql);
        await assert.rejects(revokeSession(headers, sql), CHANGED);
        await assert.rejects(revokeSessions({ userId, id }, sql), CHANGED);
        await assert.rejects(createSession("ada", sql, { replaces: headers }), CHANGED);
        assert.equal((await validateSession(headers, db.sql)).session?.id, id);
      }
    } finally {
      await client.end({ timeout: 5 });
      await db.sql.unsafe(`alter table coatcheck.sessions disable row level security;
        drop policy reads on coatcheck.sessions; drop policy adds on coatcheck.sessions;
        drop policy changes on coatcheck.sessions; drop owned by ${role}; drop role ${role}`);
    }
  });
});

describe("an error in a trigger", () => {
  const errors = [
    { name: "a foreign key of its own", sqlstate: "23503" },
    { name: "a text too long", sqlstate: "22001" },
    { name: "a text that is no number", sqlstate: "22P02" },
    { name: "a number out of range", sqlstate: "22003" },
    { name: "a table that is missing", sqlstate: "42P01" },
    { name: "a column that is missing", sqlstate: "42703" },
  ];
  for (const { name, sqlstate } of errors) {
    test(`is told as rejected, not as an unknown user or a missing schema: ${name}`, async () => {
      const { session: { userId } } = await signedIn();
      const raises = `raise exception using errcode = '${sqlstate}', message = 'in the audit log';`;
      const rejected = { code: "STORE_REJECTED", sqlstate };
      for (const client of [...Object.values(db.clients), batched(db.sql)]) {
        await beneath("insert", raises, async () => {
          await assert.rejects(createSession("ada", client), rejected);
          await assert.rejects(createSession({ userId: 1 }, client), rejected);
          await assert.rejects(createSession("nobody", client), { code: "USER_NOT_FOUND" });
        });
        await beneath("update", raises, async () => {
          await assert.rejects(revokeSessions({ userId }, client), rejected);
        });
      }
    });
  }
});
