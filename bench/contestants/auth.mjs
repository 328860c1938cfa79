// Auth.js' adapter for pg, called as @auth/core calls it: getUserByEmail and createSession with a random
// UUID; getSessionAndUser. Its documented schema has no index on sessionToken and none on email: each
// request would scan a million sessions. Both are added here, in its favour.
import PostgresAdapter from "@auth/pg-adapter";
import postgres from "postgres";
import { openPool } from "../pool.mjs";
import { md5, sample, userOf, USERS } from "../sample.mjs";
import { fill } from "../seed.mjs";

const LIFETIME = 30 * 86_400_000;

export async function seed(url, sessions) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`
    create table users (
      id serial,
      name varchar(255),
      email varchar(255),
      "emailVerified" timestamptz,
      image text,
      primary key (id)
    )`;
  await sql`create unique index on users (email)`;
  await sql`
    insert into users (name, email)
    select 'user' || n, 'user' || n || '@example.com' from generate_series(1, ${USERS}::int) n`;
  await sql`vacuum (analyze) users`;
  await sql`
    create table sessions (
      id serial,
      "userId" integer not null,
      expires timestamptz not null,
      "sessionToken" varchar(255) not null,
      primary key (id)
    )`;
  await sql`create unique index on sessions ("sessionToken")`;
  await fill(sql, "sessions", () =>
    sql`
      insert into sessions ("userId", expires, "sessionToken")
      select 1 + n % ${USERS}::int, now() + interval '30 days', md5('session' || n)::uuid::text
      from generate_series(1, ${sessions}::int) n`);
  await sql.end();
}

const NAME = "authjs.session-token";

export const cookieOf = (session) =>
  `${NAME}=${md5(`session${session}`).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-")}`;

export function open(url, { pool: max, sessions, seed }) {
  const pool = openPool(url, max);
  const adapter = PostgresAdapter(pool);
  const presented = sample(16_384, sessions, seed).map(cookieOf);

  async function create(email) {
    const user = await adapter.getUserByEmail(email);
    if (!user) return null;
    const expires = new Date(Date.now() + LIFETIME);
    const { sessionToken } = await adapter.createSession({
      sessionToken: crypto.randomUUID(),
      userId: user.id,
      expires,
    });
    return `${NAME}=${sessionToken}; Path=/; Expires=${expires.toUTCString()}; HttpOnly; SameSite=Lax`;
  }

  async function validate(cookie) {
    const found = await adapter.getSessionAndUser(cookie.slice(NAME.length + 1));
    return found && found.session.expires.getTime() > Date.now() ? found : null;
  }

  return {
    create: (index) => create(`user${userOf(index)}@example.com`),
    validate: (index) => validate(presented[index % presented.length]),
    check: {
      created: async () => (await create("user7@example.com")).split(";")[0],
      seeded: () => cookieOf(7),
      wrong: () => `${NAME}=${crypto.randomUUID()}`,
      validate: async (cookie) => (await validate(cookie))?.user.name ?? null,
      user: (n) => `user${n}`,
    },
    close: () => pool.end(),
  };
}
