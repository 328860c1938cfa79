// What the triggers of 005_notify send: every statement, and the notifications that come of it. What is looked at
// is the server, so one client is enough.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import {
  batched,
  configure,
  createGuestSession,
  createSession,
  createToken,
  insertSession,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
let listener: postgres.Sql;
let heard: string[] = [];
let arrive: (marker: string) => void = () => {};
beforeAll(async () => {
  db = await openDatabase({ notify: true });
  listener = postgres(db.url, { max: 1 });
  await listener.listen("coatcheck", (payload) => {
    if (payload.startsWith("marker:")) arrive(payload);
    else heard.push(payload);
  });
});
afterAll(async () => {
  await listener.end({ timeout: 5 });
  await db.close();
});

/**
 * What a call notifies of. A notification of this test's own follows. They arrive in the order of the commits, so
 * all that the call has sent is here with it.
 */
async function notified(call: () => Promise<unknown>): Promise<string[]> {
  await call();
  const marker = `marker:${crypto.randomUUID()}`;
  const arrived = new Promise<void>((resolve) => {
    arrive = (payload) => payload === marker && resolve();
  });
  await db.sql.notify("coatcheck", marker);
  await arrived;
  const all = heard.toSorted();
  heard = [];
  return all;
}

/** Leaves out what was sent before. */
const flush = () => notified(async () => {});

/** A new session of ada, and the request that presents it. */
async function signIn() {
  const { session, headers } = await createSession("ada", db.sql, { data: { a: 1 } });
  return { id: session.id, request: withCookie(headers) };
}
type SignedIn = Awaited<ReturnType<typeof signIn>>;

const set = (id: string, assignments: string) =>
  db.sql.unsafe(`update coatcheck.sessions set ${assignments} where id = '${id}'`);
const rowOf = async (id: string) =>
  (await db.sql`select * from coatcheck.sessions where id = ${id}`)[0]!;
const HOUR = "interval '1 hour'";

interface Case {
  readonly name: string;
  /** What happens before: nobody listens to it. */
  readonly first?: (own: SignedIn) => Promise<unknown>;
  /** What is listened to. Returns what it must notify of. */
  readonly call: (own: SignedIn) => Promise<readonly string[]>;
}

/** Runs one case, with a session of its own. */
async function check({ first, call }: Case): Promise<void> {
  await db.sql`truncate coatcheck.sessions`;
  const own = await signIn();
  await first?.(own);
  await flush();
  let expected: readonly string[] = [];
  const all = await notified(async () => {
    expected = await call(own);
  });
  assert.deepEqual(all, expected.toSorted());
}

/** Rotates the session, shows the new secret, and ends the grace period. Returns the request with the new one. */
async function rotated({ id, request }: SignedIn): Promise<Headers> {
  const { headers } = await rotateSession(request, db.sql);
  const current = withCookie(headers);
  await validateSession(current, db.sql);
  await set(
    id,
    `rotation_seen_at = rotation_seen_at - ${HOUR}, last_seen_at = last_seen_at - ${HOUR}`,
  );
  return current;
}

const functions: Case[] = [
  {
    name: "a new session, by name, by key, imported, in a batch, or of a guest: nothing",
    call: async () => {
      const { id, digest } = createToken();
      const [createdAt, expiresAt] = [new Date(), new Date(Date.now() + 60_000)];
      const batch = batched(db.sql);
      await Promise.all([
        createSession("ada", db.sql),
        createSession({ userId: 2 }, db.sql),
        insertSession({ id, digest, userId: 1, createdAt, expiresAt }, db.sql),
        createGuestSession(db.sql),
        ...Array.from({ length: 5 }, () => createSession("grace", batch)),
      ]);
      assert.equal((await db.sql`select from coatcheck.sessions`).length, 10);
      return [];
    },
  },
  {
    name: "a validation and a list: nothing",
    call: async ({ request }) => {
      assert.ok((await validateSession(request, db.sql)).session);
      assert.equal((await listSessions(1, db.sql)).length, 1);
      return [];
    },
  },
  {
    name: "a validation that records a use: nothing",
    first: ({ id }) => set(id, `last_seen_at = last_seen_at - ${HOUR}`),
    call: async ({ id, request }) => {
      const before = await rowOf(id);
      assert.ok((await validateSession(request, db.sql)).session);
      assert.ok((await rowOf(id)).last_seen_at > before.last_seen_at);
      return [];
    },
  },
  {
    name: "the first sight of a new secret: nothing",
    call: async ({ id, request }) => {
      const { headers } = await rotateSession(request, db.sql);
      await flush();
      await validateSession(withCookie(headers), db.sql);
      assert.ok((await rowOf(id)).rotation_seen_at);
      return [];
    },
  },
  {
    name: "a use that forgets a rotation's salt: nothing",
    call: async (own) => {
      const current = await rotated(own);
      await flush();
      await validateSession(current, db.sql);
      assert.equal((await rowOf(own.id)).rotation_salt, null);
      return [];
    },
  },
  {
    name: "a rotation",
    call: async ({ id, request }) => {
      await rotateSession(request, db.sql);
      return [`changed:${id}`];
    },
  },
  {
    name: "a rotation that another request was first with: nothing",
    first: ({ request }) => rotateSession(request, db.sql),
    call: async ({ request }) => {
      assert.ok((await rotateSession(request, db.sql)).headers.get("set-cookie"));
      return [];
    },
  },
  {
    name: "a rotation within a validation",
    first: ({ id }) =>
      set(id, `created_at = created_at - ${HOUR}, authenticated_at = created_at - ${HOUR}`),
    call: async ({ id, request }) => {
      const { headers } = await configure({ rotateAfter: 60 }).validateSession(request, db.sql);
      assert.ok(headers.get("set-cookie"));
      return [`changed:${id}`];
    },
  },
  {
    name: "a reused secret, which revokes the session",
    first: rotated,
    call: async ({ id, request }) => {
      assert.equal((await validateSession(request, db.sql)).reason, "reused");
      return [`revoked:${id}`];
    },
  },
  {
    name: "a reauthentication",
    call: async ({ id, request }) => {
      assert.ok((await reauthenticateSession(request, db.sql)).session);
      return [`changed:${id}`];
    },
  },
  {
    name: "an update",
    call: async ({ id, request }) => {
      assert.ok((await updateSession(request, { b: 2 }, db.sql)).session);
      return [`changed:${id}`];
    },
  },
  {
    name: "an update in conflict: nothing",
    call: async ({ request }) => {
      const { reason } = await updateSession(request, { b: 2 }, db.sql, { version: 7 });
      assert.equal(reason, "conflict");
      return [];
    },
  },
  {
    name: "a sign-out",
    call: async ({ id, request }) => {
      await revokeSession(request, db.sql);
      return [`revoked:${id}`];
    },
  },
  {
    name: "a second sign-out: nothing",
    first: ({ request }) => revokeSession(request, db.sql),
    call: async ({ request }) => {
      await revokeSession(request, db.sql);
      return [];
    },
  },
  {
    name: "a revocation of all sessions but one",
    first: () => createSession("grace", db.sql),
    call: async (own) => {
      const [other, kept] = [await signIn(), await signIn()];
      await revokeSessions({ userId: 1, except: kept.id }, db.sql);
      return [`revoked:${own.id}`, `revoked:${other.id}`];
    },
  },
  {
    name: "a sign-in that replaces another session",
    call: async ({ id, request }) => {
      await createSession("grace", db.sql, { replaces: request });
      return [`revoked:${id}`];
    },
  },
  {
    name: "a sign-in beyond the most sessions of a user",
    call: async ({ id }) => {
      await createSession("ada", db.sql, { maxSessions: 1 });
      return [`revoked:${id}`];
    },
  },
  {
    name: "a sign-in that keeps a guest's data",
    call: async () => {
      const { guest, headers } = await createGuestSession(db.sql, { data: { cart: 1 } });
      const options = { replaces: withCookie(headers), keep: ["cart"] };
      const { session } = await createSession("ada", db.sql, options);
      assert.deepEqual(session.data, { cart: 1 });
      return [`revoked:${guest!.id}`];
    },
  },
  {
    name: "a sweep of an expired and of a revoked session: nothing",
    first: async ({ id, request }) => {
      await revokeSession(request, db.sql);
      const { id: expired } = await signIn();
      await set(expired, `expires_at = statement_timestamp() - ${HOUR}`);
      await set(id, `revoked_at = revoked_at - ${HOUR}`);
    },
    call: async () => {
      assert.equal((await sweepSessions(db.sql, { retention: 60 })).swept, 2);
      return [];
    },
  },
  {
    name: "a sweep of an idle session, which another policy could call live",
    first: ({ id }) => set(id, `last_seen_at = last_seen_at - ${HOUR}`),
    call: async ({ id }) => {
      assert.equal((await sweepSessions(db.sql, { idleTimeout: 60 })).swept, 1);
      return [`revoked:${id}`];
    },
  },
  {
    name: "the deletion of a user, by the foreign key",
    first: () => db.sql`insert into users values (7, 'gone')`,
    call: async () => {
      const [one, two] = [
        await createSession("gone", db.sql),
        await createSession("gone", db.sql),
      ];
      await revokeSession(withCookie(two.headers), db.sql);
      await flush();
      await db.sql`delete from users where id = 7`;
      return [`revoked:${one.session.id}`];
    },
  },
  {
    name: "a revocation that is rolled back: nothing",
    call: async ({ id, request }) => {
      await db.sql.begin(async (sql) => {
        await revokeSession(request, sql);
        throw new Error("no");
      }).catch(() => {});
      await db.sql.begin(async (sql) => {
        await sql.savepoint(async (sql) => {
          await revokeSessions({ userId: 1 }, sql);
          throw new Error("no");
        }).catch(() => {});
      });
      assert.equal((await rowOf(id)).revoked_at, null);
      return [];
    },
  },
  {
    name: "several changes and the end in one transaction, each once",
    call: async ({ id, request }) => {
      await db.sql.begin(async (sql) => {
        await updateSession(request, { b: 1 }, sql);
        await updateSession(request, { b: 2 }, sql);
        await revokeSession(request, sql);
      });
      return [`changed:${id}`, `revoked:${id}`];
    },
  },
];

describe("each function notifies of", () => {
  for (const it of functions) test(it.name, () => check(it));
});

type Kind = "revoked" | "changed";
const OTHER = "00000000-0000-4000-8000-000000000000";
const statements: {
  readonly name: string;
  readonly first?: string;
  readonly sql: string;
  readonly sends?: Kind;
}[] = [
  { name: "a revocation", sql: "set revoked_at = now()", sends: "revoked" },
  { name: "a revocation in the future", sql: "set revoked_at = 'infinity'", sends: "revoked" },
  {
    name: "a revocation beside a use",
    sql: "set revoked_at = now(), last_seen_at = now()",
    sends: "revoked",
  },
  { name: "another id", sql: `set id = '${OTHER}'`, sends: "revoked" },
  { name: "another user", sql: "set user_id = 2", sends: "changed" },
  { name: "no user", sql: "set user_id = null", sends: "changed" },
  {
    name: "another user beside a use",
    sql: "set user_id = 2, last_seen_at = now()",
    sends: "changed",
  },
  { name: "another digest", sql: "set digest = sha256('x')", sends: "changed" },
  { name: "a previous digest", sql: "set previous_digest = digest", sends: "changed" },
  { name: "a rotation", sql: "set rotated_at = now()", sends: "changed" },
  { name: "another creation", sql: `set created_at = created_at - ${HOUR}`, sends: "changed" },
  {
    name: "an older proof",
    sql: `set authenticated_at = authenticated_at - ${HOUR}`,
    sends: "changed",
  },
  { name: "an earlier deadline", sql: `set expires_at = expires_at - ${HOUR}`, sends: "changed" },
  { name: "a deadline in the past", sql: `set expires_at = now() - ${HOUR}`, sends: "changed" },
  { name: "a later deadline", sql: `set expires_at = expires_at + ${HOUR}`, sends: "changed" },
  { name: "a cookie that ends with the browser", sql: "set persistent = false", sends: "changed" },
  { name: "another version", sql: "set version = 9", sends: "changed" },
  { name: "other data", sql: `set data = '{"a": 2}'`, sends: "changed" },
  {
    name: "a use that is taken back",
    sql: `set last_seen_at = last_seen_at - ${HOUR}`,
    sends: "changed",
  },
  { name: "a use that never was", sql: "set last_seen_at = '-infinity'", sends: "changed" },
  { name: "a use", sql: "set last_seen_at = clock_timestamp()" },
  { name: "a use in the future", sql: "set last_seen_at = 'infinity'" },
  { name: "the first sight of a secret", sql: "set rotation_seen_at = now()" },
  { name: "another salt, which opens nothing", sql: "set rotation_salt = sha256('x')" },
  { name: "a reason", sql: "set revoked_reason = 'x'" },
  {
    name: "a write of the same values",
    sql: "set id = id, user_id = user_id, data = data, digest = digest",
  },
  {
    name: "a change of a revoked session",
    first: "update coatcheck.sessions set revoked_at = now()",
    sql: "set data = '{}', user_id = 2, revoked_at = now()",
  },
  {
    name: "a revocation that is taken back",
    first: "update coatcheck.sessions set revoked_at = now()",
    sql: "set revoked_at = null",
  },
];
const deletions: typeof statements = [
  { name: "a live session", sql: "delete from coatcheck.sessions", sends: "revoked" },
  {
    name: "a revoked session",
    first: "update coatcheck.sessions set revoked_at = now()",
    sql: "delete from coatcheck.sessions",
  },
  {
    name: "an expired session",
    first: `update coatcheck.sessions set expires_at = now() - ${HOUR}`,
    sql: "delete from coatcheck.sessions",
  },
];

for (const role of ["origin", "replica"]) {
  const all = [
    ...statements.map((it) => ({ ...it, sql: `update coatcheck.sessions ${it.sql}` })),
    ...deletions.map((it) => ({ ...it, name: `the deletion of ${it.name}` })),
  ];
  const run = (statement: string) =>
    db.sql.begin(async (sql) => {
      await sql.unsafe(`set local session_replication_role = ${role}`);
      await sql.unsafe(statement);
    });

  describe(`SQL notifies, with session_replication_role = ${role}, of`, () => {
    for (const { name, first, sql, sends } of all) {
      test(`${name}: ${sends ?? "nothing"}`, () =>
        check({
          name,
          ...(first && { first: () => db.sql.unsafe(first) }),
          call: async ({ id }) => {
            await run(sql);
            return sends ? [`${sends}:${id}`] : [];
          },
        }));
    }

    test("each row of a statement", () =>
      check({
        name: "",
        call: async (own) => {
          const [other, guest] = [await signIn(), await createGuestSession(db.sql)];
          await run("update coatcheck.sessions set revoked_at = now()");
          return [own.id, other.id, guest.guest!.id].map((id) => `revoked:${id}`);
        },
      }));

    test("a truncation: truncated", () =>
      check({
        name: "",
        call: async () => {
          await run("truncate coatcheck.sessions");
          return ["truncated"];
        },
      }));
  });
}

describe("a trigger of the app before the update", () => {
  const cases: { name: string; body: string; sql: string; sends?: Kind }[] = [
    {
      name: "that revokes",
      body: "new.revoked_at := now();",
      sql: "last_seen_at = now()",
      sends: "revoked",
    },
    {
      name: "that gives it to another user",
      body: "new.user_id := 2;",
      sql: "last_seen_at = now()",
      sends: "changed",
    },
    {
      name: "that keeps it from being revoked",
      body: "new.revoked_at := null;",
      sql: "revoked_at = now()",
    },
    { name: "that swallows the revocation", body: "return null;", sql: "revoked_at = now()" },
  ];
  for (const { name, body, sql, sends } of cases) {
    test(`${name}: ${sends ?? "nothing"} is notified of, as that is what happened`, async () => {
      await db.sql.unsafe(`
        create function meddle() returns trigger language plpgsql as $$ begin ${body} return new; end $$;
        create trigger meddle before update on coatcheck.sessions for each row execute function meddle()`);
      try {
        await check({
          name,
          call: async ({ id }) => {
            await set(id, sql);
            return sends ? [`${sends}:${id}`] : [];
          },
        });
      } finally {
        await db.sql`drop function meddle cascade`;
      }
    });
  }
});
