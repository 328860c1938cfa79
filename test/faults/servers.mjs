// What the faults share: servers with users and the schema, and the pools to them.
import { migrate } from "../../mod.ts";
import { startCluster } from "../runner/cluster.mjs";
import { pools } from "../runner/pools.ts";

/** Says that a fault cannot be injected here, and why. */
export class NotRun extends Error {}

/** The clients that take several servers in a URL, and find the primary. */
export const TAKES_SEVERAL = ["postgres.js"];

/** A commit waits until a standby has applied it. */
export const SYNCHRONOUS = [
  "alter system set synchronous_standby_names = 'any 1 (*)'",
  "alter system set synchronous_commit = 'remote_apply'",
  "select pg_reload_conf()",
];

const NAMES = ["ada", "grace", "edsger", "barbara"];

/** The user of a worker. */
export const userOf = (worker) => NAMES[worker % NAMES.length];

/** Makes the users and the schema. */
export async function prepareUsers(url) {
  await withPool("postgres.js", [url], async (sql) => {
    await sql`create table users (id integer primary key, username text not null unique)`;
    for (const [index, name] of NAMES.entries()) {
      await sql`insert into users values (${index + 1}, ${name})`;
    }
    await migrate(sql, { users: { table: "users", id: "id" } });
  });
}

/** Runs with a primary and its standbys. */
export async function withCluster(options, run) {
  const cluster = await startCluster(options);
  try {
    await prepareUsers(cluster.nodes[0].url);
    return await run(cluster.nodes);
  } finally {
    await cluster.stop();
  }
}

/** Runs with a pool to some URLs. */
export async function withPool(client, urls, run, ...options) {
  const pool = pools[client](urls, ...options);
  try {
    return await run(pool.sql);
  } finally {
    await pool.end();
  }
}

/** Throws what the model has seen that must never be. */
export function requireNone(wrong) {
  if (wrong.length > 0) throw new Error(`${wrong.length} wrong: ${wrong.slice(0, 5).join("; ")}`);
}

/** The errors of a run, as words. */
export const errorsOf = ({ calls, errors }) =>
  `${calls} calls, errors: ${
    [...errors].map(([code, count]) => `${count} ${code}`).join(", ") || "none"
  }`;
