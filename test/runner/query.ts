// A process that hands over pg's `query`, which is no tagged template, and then goes on.
import pg from "pg";
import process from "node:process";
import { createSession, type Sql } from "../../mod.ts";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL! });
const client = new pg.Client({ connectionString: process.env.DATABASE_URL! });
const wrong = [pool.query, pool.query.bind(pool), client.query, client.query.bind(client)];
for (const query of wrong) {
  await createSession("ada", query as unknown as Sql).catch((error) => console.log(`${error}`));
}
const { rows: [row] } = await pool.query("select 'goes on' as text");
console.log(row.text);
await pool.end();
