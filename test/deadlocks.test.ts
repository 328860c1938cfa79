// An app deletes or locks a user while that user signs in and out: its own statement is never a deadlock's
// victim, and ours recover by themselves.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import {
  batched,
  createSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Sql,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

const ROUNDS = 25;

let db: Database;
let app: postgres.Sql;
beforeAll(async () => {
  db = await openDatabase();
  app = postgres(db.url, { max: 2, onnotice: () => {} });
});
afterAll(async () => {
  await app.end({ timeout: 5 });
  await db.close();
});

const user = { userId: 1 };
const deletes = (tx: postgres.TransactionSql) => tx`delete from users where id = 1`;
const locksAndRevokes = async (tx: postgres.TransactionSql) => {
  await tx`select from users where id = 1 for update`;
  await revokeSessions(user, tx);
};

const cases: {
  name: string;
  app: (tx: postgres.TransactionSql) => PromiseLike<unknown>;
  calls: (sql: Sql, signedIn: Headers[]) => Promise<unknown>[];
}[] = [
  {
    name: "deleting a user beside sign-ins that replace",
    app: deletes,
    calls: (sql, signedIn) => signedIn.map((replaces) => createSession(user, sql, { replaces })),
  },
  {
    name: "deleting a user beside sign-ins with a limit",
    app: deletes,
    calls: (sql, signedIn) => signedIn.map(() => createSession("ada", sql, { maxSessions: 2 })),
  },
  {
    name: "deleting a user beside revocations of all sessions",
    app: deletes,
    calls: (sql) => Array.from({ length: 6 }, () => revokeSessions(user, sql)),
  },
  {
    name: "locking a user, and revoking in that transaction, beside sign-ins that replace",
    app: locksAndRevokes,
    calls: (sql, signedIn) =>
      signedIn.map((replaces) => createSession("ada", sql, { replaces, maxSessions: 3 })),
  },
  {
    name: "deleting a user beside all of them",
    app: deletes,
    calls: (sql, [one, two, three, ...others]) => [
      createSession("ada", sql, { replaces: one!, maxSessions: 3 }),
      createSession(user, sql, { replaces: two! }),
      revokeSessions({ userIds: [1, 2] }, sql),
      revokeSession(three!, sql),
      ...others.map((headers) => rotateSession(headers, sql)),
    ],
  },
];

describe("the app's own statement", () => {
  for (const { name, app: work, calls } of cases) {
    test(`is in no deadlock: ${name}`, async () => {
      let deadlocks = 0;
      for (const [client, sql] of Object.entries(db.clients)) {
        for (let round = 0; round < ROUNDS; round++) {
          await db.sql`insert into users values (1, 'ada') on conflict do nothing`;
          const signedIn = await Promise.all(
            Array.from({ length: 6 }, () => createSession("ada", db.sql)),
          );
          const requests = signedIn.map(({ headers }) => withCookie(headers));
          const [own, ...ours] = await Promise.allSettled([
            app.begin((tx) => work(tx)),
            ...calls(sql, requests),
          ]);
          if (own.status === "rejected" && own.reason.code === "40P01") deadlocks++;
          else assert.equal(own.status, "fulfilled", `${client}: ${JSON.stringify(own)}`);
          for (const call of ours) {
            const error = call.status === "rejected" ? call.reason : undefined;
            if (error?.sqlstate === "40P01") deadlocks++;
            else assert.ok(!error || error.code === "USER_NOT_FOUND", `${client}: ${error}`);
          }
        }
      }
      // PostgreSQL itself waits, in spite of SKIP LOCKED, if another transaction changes a row at the instant at
      // which it is to be locked: in 2 of 5,400 rounds on two busy cores.
      assert.ok(deadlocks <= 1, `${deadlocks} deadlocks`);
    });
  }
});

describe("a session whose row the app holds", () => {
  /** Holds the row of a session in a transaction of the app, until it is released. */
  async function hold(id: string): Promise<() => Promise<void>> {
    const held = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const transaction = app.begin(async (tx) => {
      await tx`select from coatcheck.sessions where id = ${id} for update`;
      held.resolve();
      await released.promise;
    });
    await held.promise;
    return async () => {
      released.resolve();
      await transaction;
    };
  }
  const start = async () => {
    await db.sql`delete from coatcheck.sessions`;
    await db.sql`insert into users values (1, 'ada') on conflict do nothing`;
  };
  const live = async () =>
    (await db.sql`select id::text from coatcheck.sessions where revoked_at is null`).map(({ id }) =>
      id
    );

  test("is revoked by revokeSessions once it is released, and the others at once", async () => {
    await start();
    const [held, other] = [await createSession("ada", db.sql), await createSession("ada", db.sql)];
    const release = await hold(held.session.id);
    const revoking = revokeSessions(user, db.sql);
    await db.waiting();
    assert.deepEqual(await live(), [held.session.id]);
    await release();
    const ended = await revoking;
    assert.deepEqual(
      ended.map(({ id }) => id),
      [held.session.id, other.session.id].sort(),
    );
    assert.deepEqual(await live(), []);
  });

  test("is revoked with 10,500 others, which takes more than one statement", async () => {
    await start();
    const held = await createSession("ada", db.sql);
    await db.sql`insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at,
        last_seen_at, expires_at, persistent, data)
      select gen_random_uuid(), 1, '', now(), now(), now(), now() + interval '1 day', true, '{}'
      from generate_series(1, 10500)`;
    const release = await hold(held.session.id);
    const revoking = revokeSessions(user, db.sql, { queryTimeout: 60 });
    // Until the first statement is over, in which the held session may be or not.
    let left: number;
    do {
      const [row] = await db.sql`
        select count(*)::integer as left from coatcheck.sessions where revoked_at is null`;
      left = row!.left;
    } while (left > 502);
    await release();
    assert.equal((await revoking).length, 10_501);
    assert.deepEqual(await live(), []);
  });

  test("fails a revocation that waits longer than queryTimeout, and the others stay revoked", async () => {
    await start();
    const [held] = [await createSession("ada", db.sql), await createSession("ada", db.sql)];
    const release = await hold(held.session.id);
    await assert.rejects(revokeSessions(user, db.sql, { queryTimeout: 1 }), {
      code: "STORE_TIMEOUT",
    });
    assert.deepEqual(await live(), [held.session.id]);
    await release();
  });

  test("stays beside a sign-in with a limit, and is revoked by the next one", async () => {
    await start();
    const held = await createSession("ada", db.sql);
    const release = await hold(held.session.id);
    const second = await createSession("ada", db.sql, { maxSessions: 1 });
    assert.deepEqual((await live()).sort(), [held.session.id, second.session.id].sort());
    await release();
    const third = await createSession("ada", db.sql, { maxSessions: 1 });
    assert.deepEqual(await live(), [third.session.id]);
  });
});

describe("a batch of sign-ins", () => {
  test("gives up a user that the app holds long before the app's own wait is a deadlock", async () => {
    await db.sql`insert into users select n, 'user' || n from generate_series(11, 13) n`;
    const sql = batched(db.sql);
    for (let round = 0; round < 3; round++) {
      const { settled } = await app.begin(async (tx) => {
        await tx`set local deadlock_timeout = '150ms'`;
        await tx`select from users where id = 12 for update`;
        // The first two are sent at once; the others wait, and are one statement.
        const calls = [13, 13, 11, 12].map((userId) => createSession({ userId }, sql));
        const settled = Promise.allSettled(calls);
        await db.waiting();
        await tx`delete from users where id = 11`;
        return { settled };
      });
      await settled;
      await db.sql`insert into users values (11, 'user11')`;
    }
  });
});
