// Lucia 3, with the schema of its page on PostgreSQL and the sign-in of its tutorial: a SELECT of the
// user by name, createSession, createSessionCookie.
import { NodePostgresAdapter, PostgresJsAdapter } from "@lucia-auth/adapter-postgresql";
import { Lucia } from "lucia";
import postgres from "postgres";
import { openPool } from "../pool.mjs";
import { md5, sample, userOf, USERS } from "../sample.mjs";
import { fill } from "../seed.mjs";

export async function seed(url, sessions) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`create table auth_user (id text primary key, username text not null unique)`;
  await sql`
    insert into auth_user
    select left(md5('user' || n), 16), 'user' || n from generate_series(1, ${USERS}::int) n`;
  await sql`vacuum (analyze) auth_user`;
  await sql`
    create table user_session (
      id text primary key,
      expires_at timestamptz not null,
      user_id text not null references auth_user (id)
    )`;
  await fill(sql, "user_session", () =>
    sql`
      insert into user_session
      select md5('session' || n) || left(md5('more' || n), 8), now() + interval '30 days',
        left(md5('user' || 1 + n % ${USERS}::int), 16)
      from generate_series(1, ${sessions}::int) n`);
  await sql.end();
}

export const cookieOf = (session) =>
  `auth_session=${md5(`session${session}`)}${md5(`more${session}`).slice(0, 8)}`;

export function open(url, { client, pool, sessions, seed }) {
  const { adapter, userByName, close } = client === "pg"
    ? throughPg(url, pool)
    : throughPostgres(url, pool);
  const lucia = new Lucia(adapter, { getUserAttributes: ({ username }) => ({ username }) });
  const presented = sample(16_384, sessions, seed).map(cookieOf);

  async function create(username) {
    const user = await userByName(username);
    if (!user) return null;
    const session = await lucia.createSession(user.id, {});
    return lucia.createSessionCookie(session.id).serialize();
  }

  const validate = async (cookie) =>
    (await lucia.validateSession(lucia.readSessionCookie(cookie))).user;

  return {
    create: (index) => create(`user${userOf(index)}`),
    validate: (index) => validate(presented[index % presented.length]),
    check: {
      created: async () => (await create("user7")).split(";")[0],
      seeded: () => cookieOf(7),
      wrong: (right) => `${right.slice(0, -8)}aaaaaaaa`,
      validate: async (cookie) => (await validate(cookie))?.username ?? null,
      user: (n) => `user${n}`,
    },
    close,
  };
}

const TABLES = { user: "auth_user", session: "user_session" };

function throughPg(url, max) {
  const pool = openPool(url, max);
  return {
    adapter: new NodePostgresAdapter(pool, TABLES),
    userByName: async (username) => {
      const { rows } = await pool.query("select * from auth_user where username = $1", [username]);
      return rows[0];
    },
    close: () => pool.end(),
  };
}

function throughPostgres(url, max) {
  const sql = postgres(url, { max, onnotice: () => {} });
  return {
    adapter: new PostgresJsAdapter(sql, TABLES),
    userByName: async (username) =>
      (await sql`select * from auth_user where username = ${username}`)[0],
    close: () => sql.end({ timeout: 5 }),
  };
}
