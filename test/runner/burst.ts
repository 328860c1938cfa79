// Makes many calls that have minutes to wait, and ends when all are answered, unless something is left that waits.
// Run by test/pressure.test.ts.
import process from "node:process";
import postgres from "postgres";
import { batched, createSession, type Sql, validateSession } from "../../mod.ts";
import { withCookie } from "./database.ts";

const pool = postgres(process.env.DATABASE_URL!, { max: 4 });
for (const sql of [pool as unknown as Sql, batched(pool as unknown as Sql)]) {
  const { headers } = await createSession("ada", sql, { queryTimeout: 600 });
  const request = withCookie(headers);
  const calls = Array.from(
    { length: 500 },
    () => validateSession(request, sql, { queryTimeout: 600 }),
  );
  console.log((await Promise.all(calls)).filter(({ session }) => session).length);
}
await pool.end();
