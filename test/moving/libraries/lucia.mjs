// Lucia, with the tables of its page on PostgreSQL, and an attribute of the session.
import { PostgresJsAdapter } from "@lucia-auth/adapter-postgresql";
import { Lucia } from "lucia";
import postgres from "postgres";
import { tradeIn } from "../../lucia.ts";

export const users = { table: "auth_user", id: "id", username: "username" };
export const old = "auth_session";
export const data = { country: "NL" };
export const last = "select max(expires_at) from user_session";
export { tradeIn };

export async function createTables(sql) {
  await sql`create table auth_user (id text primary key, username text not null unique)`;
  await sql`
    create table user_session (
      id text primary key,
      expires_at timestamptz not null,
      user_id text not null references auth_user (id) on delete cascade,
      country text not null
    )`;
  await sql`insert into auth_user values ('a1b2c3', 'ada'), ('d4e5f6', 'grace')`;
}

export function open(url) {
  const sql = postgres(url, { max: 2, onnotice: () => {} });
  const adapter = new PostgresJsAdapter(sql, { user: "auth_user", session: "user_session" });
  const lucia = new Lucia(adapter, { getUserAttributes: ({ username }) => ({ username }) });
  const validate = async (cookie) => {
    const id = lucia.readSessionCookie(cookie);
    return id ? await lucia.validateSession(id) : { session: null, user: null };
  };
  return {
    async signIn(username) {
      const [user] = await sql`select id from auth_user where username = ${username}`;
      const session = await lucia.createSession(user.id, data);
      return [lucia.createSessionCookie(session.id).serialize()];
    },
    whoIs: async (cookie) => (await validate(cookie)).user?.username ?? null,
    async signOut(cookie) {
      const { session } = await validate(cookie);
      await lucia.invalidateSession(session.id);
    },
    rows: async () => (await sql`select from user_session`).length,
    expire: () => sql`update user_session set expires_at = now()`,
    deleteUser: (username) => sql`delete from auth_user where username = ${username}`,
    close: () => sql.end({ timeout: 5 }),
  };
}

export const claims = {
  "gives another session to another sign-in": async ({ library, visit, sessions }) => {
    for (const username of ["ada", "ada", "grace"]) {
      const { status } = await visit(await library.signIn(username));
      if (status !== 200) throw new Error(`The answer is ${status}`);
    }
    const rows = await sessions();
    if (new Set(rows.map(({ id }) => id)).size !== 3) throw new Error("Two share a session");
  },
};
