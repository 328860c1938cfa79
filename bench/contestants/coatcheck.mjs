// From source on Bun and Deno, from dist/ on Node: as each of them gets it.
import process from "node:process";
import postgres from "postgres";
import { md5, sample, sha256, userOf, USERS } from "../sample.mjs";
import { fill } from "../seed.mjs";

const onNode = !process.versions.bun && !process.versions.deno;
export const coatcheck = await import(onNode ? "../../dist/mod.js" : "../../mod.ts");

// Of ten sessions one is due for a touch. The others were last seen in an hour, so that none falls due
// while the run lasts, whenever its turn comes.
export const isDue = (session) => session % 10 === 0;

// Of ten sessions one is over, where the growth of a table is measured.
export const isDead = (session) => session % 10 === 5;

/** @param {{ due?: boolean, dead?: boolean }} which Whether all are due, and whether some are dead. */
export async function seed(url, sessions, { due = false, dead = false } = {}) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users select n, 'user' || n from generate_series(1, ${USERS}::int) n`;
  await sql`vacuum (analyze) users`;
  await coatcheck.migrate(sql, { users: { table: "users", id: "id", username: "username" } });
  await fill(sql, "coatcheck.sessions", () =>
    sql`
      insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at, last_seen_at,
        expires_at, persistent, data)
      select md5('session' || n)::uuid, 1 + n % ${USERS}::int,
        sha256(sha256(('secret' || n)::bytea)), now(), now(),
        case when ${due} or n % 10 = 0 then now() else now() + interval '1 hour' end,
        case when ${dead} and n % 10 = 5 then now() else now() + interval '30 days' end, true, '{}'
      from generate_series(1, ${sessions}::int) n`);
  await sql.end();
}

/** The Cookie header of a seeded session. */
export function cookieOf(session) {
  const hex = md5(`session${session}`);
  const id = hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  return `__Host-session=${id}.${sha256(`secret${session}`).toString("base64url")}`;
}

export function connect(url, { client, pool }) {
  const sql = client === "Bun.SQL"
    ? new globalThis.Bun.SQL(url, { max: pool })
    : postgres(url, { max: pool, onnotice: () => {} });
  return { sql, close: () => sql.end({ timeout: 5 }) };
}

/** The client as the verbs take it. */
export function shaped(sql, { batched }) {
  return batched ? coatcheck.batched(sql) : sql;
}

export const hasBatched = () => typeof coatcheck.batched === "function";

/** Numbers of live sessions, of which a touch is due or not. */
export const liveSample = (count, sessions, seed, due = false) =>
  sample(count, sessions, seed).filter((n) => isDue(n) === due && !isDead(n));

export function open(url, { client, pool, batched, touch, sessions, seed, distinct = 16_384 }) {
  const { sql: plain, close } = connect(url, { client, pool });
  const sql = shaped(plain, { batched });
  const { createSession, validateSession } = coatcheck.configure(touch ? { touchInterval: 0 } : {});
  const headersOf = (cookie) => new Headers({ cookie });
  // A Fetch runtime hands the headers over as an object, so they are made before.
  const presented = liveSample(distinct, sessions, seed, touch).map((n) => headersOf(cookieOf(n)));
  return {
    create: (index) => createSession(`user${userOf(index)}`, sql),
    validate: async (index) =>
      (await validateSession(presented[index % presented.length], sql)).session?.username,
    check: {
      created: async () =>
        headersOf((await createSession("user7", sql)).headers.get("set-cookie").split(";")[0]),
      seeded: () => headersOf(cookieOf(7)),
      wrong: (right) => headersOf(right.get("cookie").replace(/.{43}$/, "A".repeat(43))),
      validate: async (headers) => (await validateSession(headers, sql)).session?.username ?? null,
      user: (n) => `user${n}`,
    },
    close,
  };
}
