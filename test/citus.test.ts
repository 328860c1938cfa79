// On a Citus cluster, whose coordinator CITUS_URL names: it comes neither from npm nor from Debian.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import process from "node:process";
import { type Client, conformance } from "../conformance.ts";
import {
  batched,
  configure,
  createGuestSession,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  migrate,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type SessionEvent,
  type Sql,
  type SqlValue,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type CitusDatabase, type Layout, openCluster, prepare } from "./runner/citus.ts";
import { withCookie } from "./runner/database.ts";

const { CITUS_URL } = process.env;
const LAYOUTS: Layout[] = ["distributed by id", "local to the coordinator"];

test("CITUS_URL names a coordinator with workers", async () => {
  assert.ok(CITUS_URL, "Run it with: CITUS_URL=postgres://… npm test -- citus");
  const db = await openCluster(CITUS_URL);
  try {
    assert.ok(db.workers.length > 0);
  } finally {
    await db.close();
  }
});

for (const hasUsers of CITUS_URL ? [true, false] : []) {
  const where = hasUsers ? "with" : "without";
  test(`what waits for its shard for more than a second is written and reported, ${where} users on the coordinator`, async () => {
    const db = await openCluster(CITUS_URL!, { hasUsers });
    try {
      await prepare(db, "distributed by id");
      const signIn = async () => withCookie((await createSession("ada", db.sql)).headers);
      const visitor = withCookie((await createGuestSession(db.sql)).headers);
      const used = await signIn();
      const rotated = await signIn();
      const proved = await signIn();
      const updated = await signIn();
      await db.sql`
        update coatcheck.sessions set last_seen_at = statement_timestamp() - interval '1 hour'`;
      const { id, digest } = createToken();
      const [createdAt, expiresAt] = [new Date(), new Date(Date.now() + 60_000)];
      // As the move of a shard does.
      let calls: Promise<unknown>[] = [];
      await db.sql.begin(async (tx) => {
        await tx`select lock_shard_metadata(7, array_agg(shardid)) from pg_dist_shard
          where logicalrelid = 'coatcheck.sessions'::regclass`;
        calls = [
          createSession("ada", db.sql, { replaces: visitor, keep: ["cart"] }),
          createSession({ userId: 1 }, db.sql),
          createGuestSession(db.sql),
          insertSession({ id, digest, userId: 1, createdAt, expiresAt }, db.sql),
          validateSession(used, db.sql),
          rotateSession(rotated, db.sql),
          reauthenticateSession(proved, db.sql),
          updateSession(updated, { a: 1 }, db.sql),
        ];
        await tx`select pg_sleep(1.5)`;
      });
      const results = await Promise.allSettled(calls);
      assert.deepEqual(results.filter(({ status }) => status === "rejected"), []);
    } finally {
      await db.close();
    }
  });
}

for (const layout of CITUS_URL ? LAYOUTS : []) {
  describe(`on Citus, ${layout}`, () => {
    let db: CitusDatabase;
    beforeAll(async () => {
      db = await openCluster(CITUS_URL!);
      await prepare(db, layout);
    });
    afterAll(() => db.close());

    /** Ages a session by so many seconds. Citus refuses timestamptz - interval beside a column. */
    const age = (id: string, seconds: number) => {
      const instants = ["created_at", "authenticated_at", "last_seen_at", "expires_at"];
      const aged = [...instants, "rotation_seen_at"].map((column) =>
        `${column} = to_timestamp(extract(epoch from ${column} at time zone 'utc')::float8 - ${seconds})`
      );
      return db.sql.unsafe(`update coatcheck.sessions set ${aged.join()} where id = '${id}'`);
    };

    for (const name of ["plain", "batched"]) {
      test(`a session lives and ends, ${name}`, async () => {
        const sql: Sql = name === "batched" ? batched(db.sql) : db.sql;
        const events: string[] = [];
        const onEvent = (event: SessionEvent) =>
          events.push("reason" in event ? `${event.type}: ${event.reason}` : event.type);
        const options = { onEvent };

        const created = await createSession("ada", sql, { ...options, data: { cart: 1 } });
        const { id, userId } = created.session;
        assert.equal(userId, 1);
        assert.equal(await getUserId("ada", sql), 1);
        const first = withCookie(created.headers);
        assert.equal((await validateSession(first, sql, options)).session?.username, "ada");

        await age(id, 600);
        const touched = await validateSession(first, sql, options);
        assert.ok(Date.now() - touched.session!.lastSeenAt.getTime() < 60_000);
        const stale = await validateSession(first, sql, { ...options, authenticatedWithin: 60 });
        assert.equal(stale.reason, "stale");

        const rotated = await rotateSession(first, sql, options);
        const second = withCookie(rotated.headers);
        const again = await validateSession(first, sql, options);
        assert.equal(
          withCookie(again.headers).get("cookie"),
          withCookie(rotated.headers).get("cookie"),
        );
        assert.equal((await validateSession(second, sql, options)).session?.id, id);

        const updated = await updateSession(
          second,
          { cart: undefined, theme: "dark" },
          sql,
          options,
        );
        assert.deepEqual(updated.session?.data, { theme: "dark" });
        const late = await updateSession(second, { theme: "light" }, sql, {
          ...options,
          version: 0,
        });
        assert.deepEqual([late.reason, late.session?.data], ["conflict", { theme: "dark" }]);

        const proved = await reauthenticateSession(second, sql, options);
        const third = withCookie(proved.headers);
        assert.equal((await validateSession(second, sql, options)).reason, "unknown");

        const guest = await createGuestSession(sql, { ...options, data: { cart: 2 } });
        const visitor = withCookie(guest.headers);
        assert.equal((await validateSession(visitor, sql, options)).reason, "guest");
        for (const user of ["grace", { userId: 2 }]) {
          const kept = await createSession(user, sql, {
            ...options,
            replaces: visitor,
            keep: ["cart"],
          });
          assert.deepEqual(kept.session.data, user === "grace" ? { cart: 2 } : {});
        }

        const replacing = await createSession({ userId: 1 }, sql, { ...options, replaces: third });
        assert.equal((await validateSession(third, sql, options)).revokedReason, "replaced");
        const others = await Promise.all(
          Array.from({ length: 12 }, () => createSession("ada", sql, options)),
        );
        const all = await listSessions(1, sql);
        assert.equal(all.length, 13);
        const [page, rest] = [
          await listSessions(1, sql, { limit: 5 }),
          await listSessions(1, sql, { after: all[4]!.id }),
        ];
        assert.deepEqual([...page, ...rest].map(({ id }) => id), all.map(({ id }) => id));
        const validated = await Promise.all(
          others.map(({ headers }) => validateSession(withCookie(headers), sql, options)),
        );
        assert.deepEqual(
          validated.map(({ session }) => session?.id),
          others.map(({ session }) => session.id),
        );

        const limited = await createSession("ada", sql, { ...options, maxSessions: 3 });
        assert.equal((await listSessions(1, sql)).length, 3);
        const one = await listSessions(1, sql);
        const oldest = one.find((session) => session.id !== limited.session.id)!;
        const ended = await revokeSessions({ userId: 1, id: oldest.id }, sql, options);
        assert.deepEqual(ended.map(({ id, username }) => [id, username]), [[oldest.id, "ada"]]);
        await revokeSessions({ userId: 1, except: limited.session.id }, sql, options);
        assert.deepEqual((await listSessions(1, sql)).map(({ id }) => id), [limited.session.id]);
        const { session } = await revokeSession(withCookie(limited.headers), sql, options);
        assert.equal(session?.revokedReason, "signed-out");
        await createSession("grace", sql, options);
        await revokeSessions({ userIds: [1, 2] }, sql, options);
        assert.deepEqual(await listSessions(2, sql), []);

        const { id: otherId, digest } = createToken();
        const [createdAt, expiresAt] = [new Date(), new Date(Date.now() + 60_000)];
        await insertSession({ id: otherId, digest, userId: 2, createdAt, expiresAt }, sql);
        await age(otherId, 120);
        const { swept } = await sweepSessions(sql, { retention: 0 });
        assert.equal(swept, 20);
        const [left] = await db.sql`select count(*)::integer as rows from coatcheck.sessions`;
        assert.equal(left!.rows, 0);
        assert.equal(replacing.session.username, "ada");
        assert.ok(events.includes("refused: stale") && events.includes("revoked: limit"));
        await assert.rejects(createSession("nobody", sql), { code: "USER_NOT_FOUND" });
      });
    }

    test("a validation rotates by age, and a reused secret revokes the session", async () => {
      const policy = configure({ rotateAfter: 60, rotationGrace: 5 });
      const { session: { id }, headers } = await policy.createSession("ada", db.sql);
      await age(id, 120);
      const rotated = await policy.validateSession(withCookie(headers), db.sql);
      assert.notEqual(rotated.headers.get("set-cookie"), null);
      await policy.validateSession(withCookie(rotated.headers), db.sql);
      await age(id, 10);
      const reused = await policy.validateSession(withCookie(headers), db.sql);
      assert.equal(reused.reason, "reused");
      const ended = await policy.validateSession(withCookie(rotated.headers), db.sql);
      assert.equal(ended.revokedReason, "reused");
    });

    test("20 parallel rotations arrive at one secret", async () => {
      for (let round = 0; round < 5; round++) {
        const { headers } = await createSession("ada", db.sql);
        const results = await Promise.all(
          Array.from({ length: 20 }, () => rotateSession(withCookie(headers), db.sql)),
        );
        const cookies = new Set(results.map(({ headers }) => headers.get("set-cookie")));
        assert.equal(cookies.size, 1);
        assert.ok(!cookies.has(null));
      }
    });

    test("parallel sign-ins with a limit of one leave at least one session, and one more sign-in leaves one", async () => {
      for (let round = 0; round < 10; round++) {
        await Promise.all(
          Array.from({ length: 5 }, () => createSession("grace", db.sql, { maxSessions: 1 })),
        );
        assert.ok((await listSessions(2, db.sql)).length >= 1);
      }
      await createSession("grace", db.sql, { maxSessions: 1 });
      assert.equal((await listSessions(2, db.sql)).length, 1);
    });

    test("a transaction commits and rolls back what the functions do in it", async () => {
      const undone = new Error();
      await db.sql.begin(async (tx) => {
        await createSession("ada", tx);
        throw undone;
      }).catch((error: unknown) => assert.equal(error, undone));
      const committed = await db.sql.begin(async (tx) => {
        const { session } = await createSession("ada", tx, { maxSessions: 100 });
        await revokeSessions({ userId: 1, id: session.id }, tx);
        return session.id;
      });
      const [row] = await db.sql`
        select revoked_reason from coatcheck.sessions where id = ${committed}`;
      assert.equal(row!.revoked_reason, "revoked");
    });

    test("deleting a user deletes the sessions", async () => {
      await db.sql`insert into users values (3, 'gone')`;
      const { headers } = await createSession("gone", db.sql);
      await db.sql`delete from users where id = 3`;
      assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
    });

    test("migrating once more changes nothing", async () => {
      assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: true });
    });

    test("migrating with notify is refused if the sessions are distributed, and changes nothing", async () => {
      const migrating = migrate(db.sql, { notify: true });
      if (layout === "local to the coordinator") {
        assert.deepEqual((await migrating).applied, ["005_notify"]);
        await db.sql`drop function coatcheck.notify() cascade`;
        await db.sql`delete from coatcheck.migrations where name = '005_notify'`;
      } else {
        await assert.rejects(migrating, { code: "STORE_REJECTED", sqlstate: "CC011" });
      }
      assert.deepEqual((await migrate(db.sql)).applied, []);
      const [row] = await db.sql`select to_regprocedure('coatcheck.notify()') is null as clean`;
      assert.equal(row!.clean, true);
    });

    test("migrating makes a lost foreign key, primary key and index again", async () => {
      const { headers } = await createSession("ada", db.sql);
      const lost = "alter table coatcheck.sessions drop constraint";
      await db.sql.unsafe(`${lost} sessions_user_id_fkey`);
      await db.sql.unsafe(`${lost} sessions_pkey`);
      await db.sql.unsafe("drop index coatcheck.sessions_user_id");
      const users = { table: "users", id: "id" };
      const applied = ["002_sessions"];
      assert.deepEqual(await migrate(db.sql, { users }), { applied, foreignKey: true });
      assert.deepEqual(await migrate(db.sql, { users }), { applied: [], foreignKey: true });
      assert.ok((await validateSession(withCookie(headers), db.sql)).session);
      const rows = await db.sql`select pg_get_indexdef(indexrelid) from pg_index
        where indrelid = 'coatcheck.sessions'::regclass`;
      assert.equal(rows.length, 2);
    });

    if (layout === "distributed by id") {
      test("a revocation is on the worker's disk when it returns, also if the worker does not wait for its log", async () => {
        const positions = async (position: string) =>
          await Promise.all(db.workers.map(async (worker) => {
            const [row] = await worker.unsafe(`select pg_${position}_lsn()::text as at`);
            return row!.at as string;
          }));
        for (const worker of db.workers) {
          await worker`alter system set synchronous_commit = off`;
          await worker`select pg_reload_conf()`;
        }
        try {
          const { session: { id }, headers } = await createSession("ada", db.sql);
          const [shard] = await db.sql`
            select n.nodeport as port from pg_dist_placement p
            join pg_dist_node n using (groupid)
            where p.shardid = get_shard_id_for_distribution_column('coatcheck.sessions', ${id}::text::uuid)`;
          const before = await positions("current_wal_insert");
          await revokeSession(withCookie(headers), db.sql);
          const after = await positions("current_wal_flush");
          for (const [i, worker] of db.workers.entries()) {
            if (worker.options.port[0] !== shard!.port) continue;
            const [row] = await worker`
              select ${after[i]!}::text::pg_lsn > ${before[i]!}::text::pg_lsn as flushed`;
            assert.equal(row!.flushed, true);
          }
        } finally {
          for (const worker of db.workers) {
            await worker`alter system reset synchronous_commit`;
            await worker`select pg_reload_conf()`;
          }
        }
      });

      describe("the plan", () => {
        /** How many shards each statement of a call is sent to; null for a plan without tasks. */
        async function tasksOf(call: (sql: Sql) => Promise<unknown>): Promise<(number | null)[]> {
          const sent: { text: string; values: SqlValue[] }[] = [];
          await call(async (strings, ...values) => {
            sent.push({ text: strings.reduce((text, part, i) => `${text}$${i}${part}`), values });
            return await db.sql(strings, ...values);
          });
          const found: (number | null)[] = [];
          for (const { text, values } of sent) {
            const rows = await db.sql.unsafe(`explain (costs off) ${text}`, values, {
              prepare: true,
            });
            const plan = rows.map((row) => String(row["QUERY PLAN"])).join("\n");
            const [, count] = /Task Count: (\d+)/.exec(plan) ?? [];
            found.push(count === undefined ? null : Number(count));
          }
          return found;
        }

        const policy = configure({ rotateAfter: 3600 });
        let headers: Headers;
        const fresh = async (seconds = 0) => {
          const created = await policy.createSession("ada", db.sql);
          if (seconds > 0) await age(created.session.id, seconds);
          headers = withCookie(created.headers);
        };
        const single: { name: string; age?: number; call: (sql: Sql) => Promise<unknown> }[] = [
          { name: "a validation", call: (sql) => policy.validateSession(headers, sql) },
          {
            name: "a validation with a touch",
            age: 600,
            call: (sql) => policy.validateSession(headers, sql),
          },
          {
            name: "a validation that rotates",
            age: 7200,
            call: (sql) => policy.validateSession(headers, sql),
          },
          { name: "a rotation", call: (sql) => policy.rotateSession(headers, sql) },
          {
            name: "a rotation of the previous secret",
            call: async (sql) => {
              await policy.rotateSession(headers, db.sql);
              return await policy.rotateSession(headers, sql);
            },
          },
          { name: "a reauthentication", call: (sql) => policy.reauthenticateSession(headers, sql) },
          { name: "an update", call: (sql) => policy.updateSession(headers, { a: 1 }, sql) },
          {
            name: "an update of another version",
            call: (sql) => policy.updateSession(headers, { a: 1 }, sql, { version: 7 }),
          },
          { name: "a sign-out", call: (sql) => policy.revokeSession(headers, sql) },
        ];
        for (const { name, age, call } of single) {
          test(`of ${name} is one task on one shard`, async () => {
            await fresh(age);
            const tasks = await tasksOf(call);
            assert.ok(tasks.length > 0);
            assert.ok(tasks.every((count) => count === 1), String(tasks));
          });
        }
      });
    }
  });

  if (layout === "distributed by id") {
    describe(`on Citus, ${layout}`, () => {
      conformance({
        test,
        afterAll,
        async open(): Promise<Client> {
          const db = await openCluster(CITUS_URL!);
          /** Distributes the tables that the suite and the migrations make, as soon as they are there. */
          const distributing = (sql: Sql): Sql => async (strings, ...values) => {
            const result = await sql(strings, ...values);
            const text = strings.join("?");
            const [, users] =
              /create table (coatcheck_conformance\.(?:users|members))/.exec(text) ?? [];
            if (users) await db.sql`select create_reference_table(${users}::text::regclass)`;
            if (/create table coatcheck\.sessions \(\s+id uuid/.test(text)) {
              await db.sql`select create_distributed_table('coatcheck.sessions', 'id')`;
            }
            return result;
          };
          return {
            sql: distributing(db.sql),
            begin: (run) => db.sql.begin((tx) => run(tx)),
            close: () => db.close(),
          };
        },
      });
    });
  }
}
