import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  AAL1,
  AAL2,
  configure,
  createSession,
  type Policy,
  revokeSession,
  type SweepProgress,
  sweepSessions,
  type SweepSessionsOptions,
  validateSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const DAY = 86_400;

/** A session some of whose instants are older. */
async function aged(columns: Record<string, number>, revoked = false): Promise<string> {
  const { session, headers } = await createSession("ada", db.sql);
  if (revoked) await revokeSession(withCookie(headers), db.sql);
  for (const [column, seconds] of Object.entries(columns)) {
    await db.sql`update coatcheck.sessions set ${db.sql(column)} =
      ${db.sql(column)} - make_interval(secs => ${seconds}) where id = ${session.id}`;
  }
  return session.id;
}

/** Empties the table. */
const fresh = async () => {
  await db.sql`truncate coatcheck.sessions`;
};

const left = async () =>
  (await db.sql`select id from coatcheck.sessions order by id`).map(({ id }) => id);

/** Rows as a month of traffic leaves them, without a call for each. */
const fill = async (rows: number, expiresIn: string) => {
  await db.sql`insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at,
      last_seen_at, expires_at, persistent, data)
    select gen_random_uuid(), 1, decode(md5(i::text) || md5(i::text), 'hex'), now(), now(), now(),
      now() + ${expiresIn}::text::interval, true, '{}' from generate_series(1, ${rows}::integer) i`;
};

describe("sweepSessions", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`deletes dead rows, and nothing else, through ${client}`, async () => {
      await fresh();
      const live = await aged({});
      const idle = await aged({ last_seen_at: 8 * DAY });
      const tombstone = await aged({ revoked_at: 29 * DAY, expires_at: 31 * DAY }, true);
      await aged({ expires_at: 30 * DAY });
      await aged({ revoked_at: 30 * DAY }, true);
      const { sql, statements } = counted(db.clients[client]!);
      assert.deepEqual(await sweepSessions(sql), { swept: 2 });
      assert.equal(statements.length, 1);
      assert.deepEqual(await left(), [live, idle, tombstone].sort());
      assert.deepEqual(await sweepSessions(sql), { swept: 0 });
    });
  }

  test("keeps a revoked session for retention", async () => {
    await fresh();
    await aged({ revoked_at: 60 }, true);
    assert.deepEqual(await sweepSessions(db.sql, { retention: 61 }), { swept: 0 });
    assert.deepEqual(await sweepSessions(db.sql, { retention: 60 }), { swept: 1 });
    await aged({}, true);
    assert.deepEqual(await sweepSessions(db.sql, { retention: 0 }), { swept: 1 });
  });

  test("deletes idle sessions only if idleTimeout is set", async () => {
    await fresh();
    await aged({ last_seen_at: 3600 });
    assert.deepEqual(await sweepSessions(db.sql), { swept: 0 });
    assert.deepEqual(await sweepSessions(db.sql, { idleTimeout: 3660 }), { swept: 0 });
    assert.deepEqual(await sweepSessions(db.sql, { idleTimeout: 3600 }), { swept: 1 });
  });

  const policies: { name: string; policy: Policy; idle: readonly number[] }[] = [
    { name: "no policy", policy: {}, idle: [] },
    { name: "idleTimeout", policy: { idleTimeout: 3600 }, idle: [3600, 8 * DAY] },
    { name: "the default idleTimeout", policy: { idleTimeout: 7 * DAY }, idle: [8 * DAY] },
    { name: "absoluteTimeout alone", policy: { absoluteTimeout: 3600 }, idle: [] },
    { name: "AAL1", policy: AAL1, idle: [] },
    { name: "AAL2", policy: AAL2, idle: [3600, 8 * DAY] },
    { name: "idleTimeout: undefined", policy: { idleTimeout: undefined } as object, idle: [] },
  ];
  for (const { name, policy, idle } of policies) {
    test(`deletes the same rows by ${name} in its options and with configure`, async () => {
      const sweeps: ((options: SweepSessionsOptions) => Promise<{ swept: number }>)[] = [
        (options) => sweepSessions(db.sql, { ...policy, ...options }),
        (options) => configure(policy).sweepSessions(db.sql, options),
      ];
      for (const sweep of sweeps) {
        await fresh();
        const live = await aged({});
        const kept = [live];
        for (const seconds of [3600, 8 * DAY]) {
          const id = await aged({ last_seen_at: seconds });
          if (!idle.includes(seconds)) kept.push(id);
        }
        await aged({ expires_at: 30 * DAY });
        await aged({ revoked_at: 60, last_seen_at: 8 * DAY }, true);
        const tombstone = await aged({ revoked_at: 30, last_seen_at: 8 * DAY }, true);
        assert.deepEqual(await sweep({ retention: 60 }), { swept: 2 + idle.length });
        assert.deepEqual(await left(), [...kept, tombstone].sort());
        assert.deepEqual(await sweep({ retention: 0 }), { swept: 1 });
        assert.deepEqual(await left(), kept.sort());
      }
    });
  }

  test("reads the whole table in batches, and reports its progress", async () => {
    await fresh();
    await fill(20_000, "-1 second");
    const live = await aged({});
    const progress: SweepProgress[] = [];
    const { swept } = await sweepSessions(db.sql, { onProgress: (it) => progress.push(it) });
    assert.equal(swept, 20_000);
    assert.deepEqual(await left(), [live]);
    const { blocks } = progress[0]!;
    assert.ok(blocks > 200, `${blocks} blocks`);
    assert.equal(progress.length, Math.ceil(blocks / 100));
    progress.forEach((it, i) => {
      assert.equal(it.blocks, blocks);
      assert.equal(it.scanned, Math.min(100 * (i + 1), blocks));
      assert.ok(it.swept > (progress[i - 1]?.swept ?? 0));
    });
    assert.equal(progress.at(-1)!.swept, 20_000);
  });

  test("stops before its next batch if its signal is aborted, and keeps what it has deleted", async () => {
    await fresh();
    await fill(20_000, "-1 second");
    const stop = new AbortController();
    const reason = new Error("shutting down");
    let first = 0;
    const onProgress = ({ swept }: SweepProgress) => {
      first = swept;
      stop.abort(reason);
    };
    await assert.rejects(sweepSessions(db.sql, { signal: stop.signal, onProgress }), reason);
    assert.ok(first > 0 && first < 20_000, `${first}`);
    assert.equal((await left()).length, 20_000 - first);
    const { sql, statements } = counted(db.sql);
    await assert.rejects(sweepSessions(sql, { signal: AbortSignal.abort(reason) }), reason);
    assert.deepEqual(statements, []);
  });

  test("awaits onProgress, and rejects with what that throws", async () => {
    for (
      const onProgress of [() => Promise.reject(new Error("full")), () => {
        throw new Error("full");
      }]
    ) {
      await assert.rejects(sweepSessions(db.sql, { onProgress }), { message: "full" });
    }
  });

  test("waits for no lock: a locked row is left for the next sweep", async () => {
    await fresh();
    const held = await aged({ expires_at: 30 * DAY });
    await aged({ expires_at: 30 * DAY });
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions where id = ${held} for key share`;
    assert.deepEqual(await sweepSessions(db.sql, { queryTimeout: 2 }), { swept: 1 });
    await other`rollback`;
    other.release();
    assert.deepEqual(await sweepSessions(db.sql), { swept: 1 });
  });

  test("deletes each session once with four sweepers at a time, beside sign-ins", async () => {
    await fresh();
    await fill(20_000, "-1 second");
    const sweeping = Array.from({ length: 4 }, () => sweepSessions(db.sql));
    const created = [];
    for (let i = 0; i < 50; i++) created.push(await createSession("ada", db.sql));
    const swept = (await Promise.all(sweeping)).reduce((sum, it) => sum + it.swept, 0);
    const rest = (await sweepSessions(db.sql)).swept;
    assert.equal(swept + rest, 20_000);
    assert.deepEqual(await left(), created.map(({ session }) => session.id).sort());
    for (const { headers } of created) {
      assert.ok((await validateSession(withCookie(headers), db.sql)).session);
    }
  });

  test("reads an empty table", async () => {
    await fresh();
    assert.deepEqual(await sweepSessions(db.sql), { swept: 0 });
  });
});
