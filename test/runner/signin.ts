// Signs ada in, and is killed before the answer of the INSERT has come. Run by test/pressure.test.ts.
import process from "node:process";
import postgres from "postgres";
import { createSession, type Sql } from "../../mod.ts";

const pool = postgres(process.env.DATABASE_URL!);
const sql: Sql = async (strings, ...values) => {
  await pool(strings, ...values as string[]);
  console.log("Stored");
  return await new Promise(() => setInterval(() => {}, 60_000));
};
const { headers } = await createSession("ada", sql, { queryTimeout: 60 });
console.log(headers.get("set-cookie"));
