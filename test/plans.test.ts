import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import { startPostgres } from "../scripts/postgres.mjs";
import {
  batched,
  configure,
  createSession,
  createToken,
  insertSession,
  rotateSession,
  type Sql,
  type SqlValue,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
/** One connection, so that its settings and counters are those of these statements. */
let own: postgres.Sql;
beforeAll(async () => {
  db = await openDatabase();
  own = postgres(db.url, { max: 1, onnotice: () => {} });
});
afterAll(async () => {
  await own.end({ timeout: 5 });
  await db.close();
});

/** Inserts enough rows for the planner to use its statistics. */
async function fillTables(): Promise<void> {
  await db.sql`insert into users select i, 'user' || i from generate_series(3, 1002) i`;
  await db.sql`insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at,
      last_seen_at, expires_at, persistent, data)
    select gen_random_uuid(), 3 + i % 1000, decode(md5(i::text), 'hex'), now(), now(), now(),
      now() + interval '30 days', true, '{}' from generate_series(1, 2000) i`;
  await db.sql`alter table coatcheck.sessions set (autovacuum_enabled = off)`;
  await db.sql`alter table users set (autovacuum_enabled = off)`;
  await db.sql`alter table coatcheck.sessions alter column user_id set (n_distinct = 10000)`;
  await db.sql`analyze users, coatcheck.sessions`;
}

/** Makes the planner expect so many sessions, and ten thousand users. */
async function pretend(sessions: number): Promise<void> {
  // The planner takes the rows of a page from here, and the pages from the file.
  await db
    .sql`update pg_class set reltuples = case when relname ~ 'session' then ${sessions} else 1e4 end
    where oid in ('users'::regclass, 'users_pkey'::regclass, 'users_username_key'::regclass,
      'coatcheck.sessions'::regclass, 'coatcheck.sessions_pkey'::regclass,
      'coatcheck.sessions_user_id'::regclass)`;
}

interface Plan {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly Plans?: Plan[];
}

/** How a statement reads the two tables: `sessions by sessions_pkey`. */
function reads(plan: Plan): string[] {
  const { "Node Type": node, "Relation Name": table, "Index Name": index, Plans = [] } = plan;
  // The index of a bitmap is named in a node below.
  const scans = table && /Scan/.test(node) && node !== "Bitmap Heap Scan";
  const own = index ? [`by ${index}`] : scans ? [`${table}: ${node}`] : [];
  return [...own, ...Plans.flatMap(reads)];
}

const literal = (value: SqlValue) =>
  typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : String(value);

/** How every statement of a call reads the tables, by a generic plan and by one for these values. */
async function plansOf(call: (sql: Sql) => Promise<unknown>): Promise<string[]> {
  const sent: { text: string; values: SqlValue[] }[] = [];
  await call(async (strings, ...values) => {
    sent.push({ text: strings.reduce((text, part, i) => `${text}$${i}${part}`), values });
    return await own(strings, ...values);
  });
  const found: string[] = [];
  for (const { text, values } of sent) {
    await own.unsafe(`prepare hot as ${text}`);
    for (const mode of ["force_generic_plan", "force_custom_plan"]) {
      await own.unsafe(`set plan_cache_mode = ${mode}`);
      const [row] = await own.unsafe(
        `explain (format json) execute hot(${values.map(literal).join()})`,
      );
      found.push(...reads(row!["QUERY PLAN"][0].Plan));
    }
    await own.unsafe("deallocate hot");
  }
  return found;
}

describe("the plan of a hot statement", () => {
  const functions = configure({ maxSessions: 50, rotateAfter: 3600 });
  const user = (i: number) => `user${i}`;
  let headers: Headers;
  const fresh = async (age = "0") => {
    const created = await functions.createSession(user(7), db.sql);
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - ${age}::text::interval,
      authenticated_at = authenticated_at - ${age}::text::interval
      where id = ${created.session.id}`;
    headers = withCookie(created.headers);
    return created.session;
  };
  /** Rotates the session, uses its new secret, and lets the grace period pass. */
  const reuse = async () => {
    const rotated = await rotateSession(headers, db.sql);
    await validateSession(withCookie(rotated.headers), db.sql);
    await db.sql`update coatcheck.sessions set rotation_seen_at = now() - interval '1 hour'
      where rotation_seen_at is not null`;
  };
  beforeAll(fillTables);

  const statements: { name: string; age?: string; call: (sql: Sql) => Promise<unknown> }[] = [
    { name: "a sign-in with a limit", call: (sql) => functions.createSession(user(8), sql) },
    {
      name: "a sign-in by key that replaces",
      call: (sql) => createSession({ userId: 9 }, sql, { replaces: headers }),
    },
    { name: "getUserId", call: (sql) => functions.getUserId(user(10), sql) },
    { name: "a validation", call: (sql) => functions.validateSession(headers, sql) },
    {
      name: "a validation with a touch",
      age: "10 minutes",
      call: (sql) => functions.validateSession(headers, sql),
    },
    {
      name: "a validation that rotates",
      age: "2 hours",
      call: (sql) => functions.validateSession(headers, sql),
    },
    {
      name: "a validation after a lost answer",
      call: async (sql) => {
        await rotateSession(headers, db.sql);
        return functions.validateSession(headers, sql);
      },
    },
    {
      name: "a validation of a reused secret",
      call: async (sql) => {
        await reuse();
        return functions.validateSession(headers, sql);
      },
    },
    {
      name: "a refused rotation",
      call: async (sql) => {
        await reuse();
        return functions.rotateSession(headers, sql);
      },
    },
    {
      name: "an update with a conflict",
      call: (sql) => functions.updateSession(headers, { a: 1 }, sql, { version: 9 }),
    },
    {
      name: "a sign-in that fails at its second statement",
      call: (sql) =>
        functions.createSession(user(8), async (strings, ...values) => {
          const rows = await sql(strings, ...values);
          if (/'limit'/.test(strings.join())) throw new Error("gone");
          return rows;
        }).catch(() => {}),
    },
    {
      name: "a page of a list",
      call: async (sql) => {
        const { userId, id } = await fresh();
        return functions.listSessions(userId, sql, { limit: 10, after: id });
      },
    },
    { name: "a rotation", call: (sql) => functions.rotateSession(headers, sql) },
    { name: "a reauthentication", call: (sql) => functions.reauthenticateSession(headers, sql) },
    { name: "an update", call: (sql) => functions.updateSession(headers, { a: 1 }, sql) },
    { name: "a list", call: (sql) => functions.listSessions(11, sql) },
    { name: "a sign-out", call: (sql) => functions.revokeSession(headers, sql) },
    ...[1, 2, 16, 64, 256].map((count) => ({
      name: `a revocation by ${count} users`,
      call: (sql: Sql) => {
        const userIds = Array.from({ length: count }, (_, i) => 100 + i);
        return functions.revokeSessions({ userIds }, sql);
      },
    })),
    {
      name: "a revocation of a locked session",
      call: async (sql) => {
        const { userId, id } = await fresh();
        const other = await db.sql.reserve();
        await other`begin`;
        await other`select from coatcheck.sessions where id = ${id} for update`;
        let statements = 0;
        await functions.revokeSessions({ userId }, async (strings, ...values) => {
          if (++statements === 2) await other`rollback`;
          return await sql(strings, ...values);
        });
        other.release();
        assert.equal(statements, 2);
      },
    },
    {
      name: "a revocation of all others",
      call: async (sql) => {
        const { userId, id } = await fresh();
        return functions.revokeSessions({ userId, except: id }, sql);
      },
    },
  ];
  // The planner would rather read a small table as a whole.
  const many = [2, 15, 128].flatMap((count) => {
    const times = (call: (i: number) => Promise<unknown>) =>
      Promise.all(Array.from({ length: count }, (_, i) => call(i)));
    return [
      {
        name: `a batch of ${count} sign-ins`,
        call: (sql: Sql) => times((i) => createSession(user(100 + i), sql)),
      },
      {
        name: `a batch of ${count} sign-ins that replace`,
        call: (sql: Sql) => times((i) => createSession(user(100 + i), sql, { replaces: headers })),
      },
      {
        name: `a batch of ${count} validations`,
        call: (sql: Sql) => times(() => validateSession(headers, sql)),
      },
    ].map(({ name, call }) => ({ name, call: (sql: Sql) => call(batched(sql)) }));
  });
  const cases: (typeof statements[number] & { sessions: number })[] = [
    ...[...statements, ...many].map((it) => ({ ...it, sessions: 1_000_000 })),
    ...many.map((it) => ({ ...it, sessions: 2_000 })),
  ];
  for (const { name, age, call, sessions } of cases) {
    test(`of ${name} reads ${sessions} sessions by an index only`, async () => {
      await pretend(sessions);
      await fresh(age);
      const found = await plansOf(call);
      assert.ok(found.length > 0);
      assert.deepEqual(found.filter((read) => !read.startsWith("by ")), []);
    });
  }

  test("of a sweep reads its own blocks", async () => {
    const found = await plansOf((sql) => functions.sweepSessions(sql));
    assert.deepEqual([...new Set(found)].sort(), [
      "sessions: Tid Range Scan",
      "sessions: Tid Scan",
    ]);
  });
});

// On a server of its own, and so on one runtime: an open transaction of another test, even in another
// database, keeps pages from being pruned.
if ("Bun" in globalThis) {
  describe("an update of a session", () => {
    let quiet: { url: string; stop: () => Promise<void> };
    let db: Database;
    let own: postgres.Sql;
    beforeAll(async () => {
      quiet = await startPostgres(undefined, ["fsync=off"]);
      db = await openDatabase({ server: quiet.url });
      own = postgres(db.url, { max: 1, onnotice: () => {} });
    });
    afterAll(async () => {
      await own?.end({ timeout: 5 });
      await db?.close();
      await quiet?.stop();
    });

    // Not all, as autovacuum reads some pages meanwhile.
    const NEARLY = 0.95;
    const counters = async () => {
      const [row] = await own`select n_tup_upd::integer as all, n_tup_hot_upd::integer as hot
      from pg_stat_user_tables where relid = 'coatcheck.sessions'::regclass`;
      return row as unknown as { all: number; hot: number };
    };
    const updates = async (run: () => Promise<void>) => {
      await own`select pg_stat_force_next_flush()`;
      const before = await counters();
      await run();
      await own`select pg_stat_force_next_flush()`;
      const after = await counters();
      return { all: after.all - before.all, hot: after.hot - before.hot };
    };

    test("by a touch is heap-only, even on pages that are full of new sessions", async () => {
      const requests = await fill();
      const policy = { touchInterval: 0 };
      const found = await updates(async () => {
        for (let round = 0; round < 3; round++) {
          for (const headers of requests) await validateSession(headers, own, policy);
        }
      });
      assert.equal(found.all, 600);
      assert.ok(found.hot >= NEARLY * found.all, `${found.hot}`);
    });

    test("by a rotation is heap-only, except for a row in ten at the first rotation, which makes the row longer", async () => {
      const requests = await fill();
      const policy = { touchInterval: 0, rotateAfter: 1800, rotationGrace: 5 };
      const rotateAll = async () => {
        for (const [i, headers] of requests.entries()) {
          const id = headers.get("cookie")!.slice(15, 51);
          await own`update coatcheck.sessions set rotated_at = now() - interval '1 hour',
          rotation_seen_at = rotation_seen_at - interval '1 hour' where id = ${id}`;
          const rotated = await validateSession(headers, own, policy);
          requests[i] = withCookie(rotated.headers);
          await validateSession(requests[i]!, own, policy);
        }
      };
      for (const least of [0.85, NEARLY, NEARLY]) {
        const { all, hot } = await updates(rotateAll);
        // For each session: one ageing, one rotation, one touch that records the first sight.
        assert.equal(all, 600);
        assert.ok(hot >= least * all, `${hot}`);
      }
    });

    /** Sessions on pages that are full by the fillfactor. */
    async function fill(): Promise<Headers[]> {
      const requests: Headers[] = [];
      for (let i = 0; i < 200; i++) {
        const { id, digest, token } = createToken();
        const [createdAt, expiresAt] = [new Date(), new Date(Date.now() + 86_400_000)];
        await insertSession({ id, digest, userId: 1, createdAt, expiresAt }, own);
        requests.push(new Headers({ cookie: `__Host-session=${token}` }));
      }
      await own`vacuum coatcheck.sessions`;
      return requests;
    }
  });
}
