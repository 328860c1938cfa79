// The limit: the same statements, sent by PostgreSQL's own load generator, which is written in C.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import postgres from "postgres";
import { USERS } from "./sample.mjs";

export const ROWS = 50;

/** One statement for fifty sessions. */
const manyRows = (sessions) => ({
  create: {
    sets: [
      `\\set u random(1, ${USERS})`,
      "\\set a random(0, 4611686018427387904)",
      "\\set b random(0, 4611686018427387904)",
    ],
    sql: `
insert into coatcheck.sessions
  (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
select md5(:a::text || :b::text || k)::uuid, u.id, decode(md5(:a::text || k) || md5(:b::text || k), 'hex'),
  statement_timestamp(), statement_timestamp(), statement_timestamp(),
  statement_timestamp() + interval '30 days', true, '{}'
from generate_series(1, ${ROWS}) k
cross join lateral (
  select id from coatcheck.users where username = 'user' || 1 + (:u::integer + 197 * k) % ${USERS}
  offset 0
) u
returning id, user_id, created_at, authenticated_at, last_seen_at, expires_at, persistent, version, data`,
  },
  validate: {
    sets: [`\\set n random(1, ${sessions})`],
    sql: `
select s.*, u.username
from coatcheck.sessions s
cross join lateral (select username from coatcheck.users u where u.id = s.user_id offset 0) u
where s.id = any(array(
  select md5('session' || 1 + (:n::bigint + 15485863::bigint * k) % ${sessions})::uuid
  from generate_series(1, ${ROWS}) k))`,
  },
});

/**
 * Writes the scripts of pgbench, after each has been checked once.
 *
 * @param statements The statements of coatcheck, from `statements.mjs`.
 */
export async function openPgbench(path, url, statements, sessions) {
  const scripts = { 1: statements, [ROWS]: manyRows(sessions) };
  const folder = mkdtempSync(join(os.tmpdir(), "coatcheck-pgbench-"));
  const file = (operation, rows) => join(folder, `${operation}-${rows}.sql`);
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    for (const [rows, operations] of Object.entries(scripts)) {
      for (const [operation, script] of Object.entries(operations)) {
        await prove(sql, operation, Number(rows), script.sql);
        writeFileSync(file(operation, rows), `${script.sets.join("\n")}\n${script.sql};\n`);
      }
    }
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  } finally {
    await sql.end();
  }
  return {
    measure: async (operation, rows, clients, seconds) => {
      const threads = Math.min(clients, os.availableParallelism());
      // The time of pgbench starts before its clients have connected, so that only the last report counts.
      const time = seconds + 1 + Math.floor(clients / 30);
      const flags = [
        "-n",
        "-M",
        "prepared",
        "-c",
        clients,
        "-j",
        threads,
        "-T",
        time,
        "-P",
        seconds,
      ];
      const { stderr } = await promisify(execFile)(
        path,
        [...flags.map(String), "-f", file(operation, rows)],
        { env: { ...process.env, ...environment(url) }, timeout: (time + 60) * 1000 },
      );
      const last = [...stderr.matchAll(/^progress: .* ([\d.]+) tps, lat ([\d.]+) ms/gm)].at(-1);
      if (!last) throw new Error(`pgbench printed no progress report:\n${stderr}`);
      return { perSecond: rows * Number(last[1]), mean: Number(last[2]) };
    },
    close: () => rmSync(folder, { recursive: true, force: true }),
  };
}

// Arguments can be read by every user of the machine, so the password is not among them.
function environment(url) {
  const { hostname, port, username, password, pathname } = new URL(url);
  return {
    PGHOST: hostname,
    PGPORT: port || "5432",
    PGUSER: decodeURIComponent(username),
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: pathname.slice(1),
  };
}

async function prove(sql, operation, rows, text) {
  const plain = text.replace(/:([uabn])\b/g, (_, name) => ({ u: 7, a: 11, b: 13, n: 7 })[name]);
  await sql.begin(async (transaction) => {
    const count = async () =>
      Number((await transaction`select count(*) from coatcheck.sessions`)[0].count);
    const before = await count();
    await transaction`savepoint before`;
    const answer = await transaction.unsafe(plain);
    const made = await count() - before;
    const found = /user\d/.test(JSON.stringify(answer[0] ?? "")) || "user_id" in (answer[0] ?? {});
    await transaction`rollback to before`;
    if (answer.length !== rows || !found || made !== (operation === "create" ? rows : 0)) {
      throw new Error(
        `pgbench, ${operation} of ${rows}: got ${answer.length} rows and ${made} new sessions`,
      );
    }
  });
}
