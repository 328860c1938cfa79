// A table full of expired rows, and its sweep beside a user who comes back.
import assert from "node:assert/strict";
import type postgres from "postgres";
import { createSession, type Sql, sweepSessions, validateSession } from "../../mod.ts";
import { withCookie } from "./database.ts";

/** Fills the table, sweeps it while a live session is looked up through each client, and says what was seen. */
export async function sweepExpired(sql: postgres.Sql, rows: number, clients: Sql[]) {
  await sql`truncate coatcheck.sessions`;
  const { session, headers } = await createSession("ada", sql);
  const request = withCookie(headers);
  // In parts, so that none takes long.
  for (let left = rows; left > 0; left -= 100_000) {
    await sql`insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at,
        last_seen_at, expires_at, persistent, data)
      select gen_random_uuid(), 1, decode(md5(i::text) || md5(i::text), 'hex'),
        now() - interval '40 days', now() - interval '40 days', now() - interval '40 days',
        now() - interval '10 days', true, '{}'
      from generate_series(1, ${Math.min(left, 100_000)}::integer) i`;
  }
  await sql`analyze coatcheck.sessions`;
  const seen = { steps: 0, mostRows: 0, longestStep: 0, lookUps: 0, slowestLookUp: 0 };
  const plans = [await planOf(sql, session.id)];

  const modes = new Set<string>();
  let isOver = false;
  const lookUp = async (client: Sql) => {
    while (!isOver) {
      const start = performance.now();
      assert.ok((await validateSession(request, client, { queryTimeout: 30 })).session);
      seen.slowestLookUp = Math.max(seen.slowestLookUp, performance.now() - start);
      seen.lookUps++;
      const locks = await sql`select mode from pg_locks where granted
        and relation = 'coatcheck.sessions'::regclass and pid <> pg_backend_pid()`;
      for (const { mode } of locks) modes.add(mode);
    }
  };
  const looking = Promise.all(clients.map(lookUp));
  try {
    let [before, then] = [0, performance.now()];
    const { swept } = await sweepSessions(sql, {
      queryTimeout: 30,
      onProgress: ({ swept }) => {
        const now = performance.now();
        seen.steps++;
        seen.mostRows = Math.max(seen.mostRows, swept - before);
        seen.longestStep = Math.max(seen.longestStep, now - then);
        [before, then] = [swept, now];
      },
    });
    assert.equal(swept, rows);
  } finally {
    isOver = true;
    await looking;
  }
  plans.push(await planOf(sql, session.id));
  for (const plan of plans) assert.match(plan, /Index Scan using sessions_pkey/);
  // 100 blocks of 8 KiB hold no more rows of this size.
  assert.ok(seen.mostRows <= 10_000, `${seen.mostRows} rows in a step`);
  assert.ok(seen.steps >= rows / 10_000, `${seen.steps} steps`);
  assert.ok(seen.lookUps > 0);
  // Autovacuum has a lock of its own, which lets reads and writes pass.
  for (const mode of modes) {
    assert.match(mode, /^(AccessShare|RowShare|RowExclusive|ShareUpdateExclusive)Lock$/);
  }
  return seen;
}

async function planOf(sql: postgres.Sql, id: string): Promise<string> {
  const rows = await sql.unsafe(
    `explain select from coatcheck.sessions where id = '${id}' and digest = ''`,
  );
  return rows.map((it) => it["QUERY PLAN"]).join("\n");
}
