// Auth.js with its adapter for pg. The users sign in by e-mail, as Auth.js does it.
import { Auth } from "@auth/core";
import PostgresAdapter from "@auth/pg-adapter";
import pg from "pg";
import { tradeIn } from "../../auth-js.ts";
import { Jar } from "../jar.mjs";

export const users = { table: "users", id: "id", username: "email" };
export const names = { ada: "ada@example.com", grace: "grace@example.com" };
export const old = "__Secure-authjs.session-token";
export const data = {};
export const last = "select max(expires) from sessions";
export { tradeIn };

export async function createTables(sql) {
  await sql`
    create table users (
      id serial primary key,
      name varchar(255),
      email varchar(255) unique,
      "emailVerified" timestamptz,
      image text
    )`;
  await sql`
    create table sessions (
      id serial primary key,
      "userId" integer not null,
      expires timestamptz not null,
      "sessionToken" varchar(255) not null
    )`;
  await sql`
    create table accounts (
      id serial primary key,
      "userId" integer not null,
      type varchar(255) not null,
      provider varchar(255) not null,
      "providerAccountId" varchar(255) not null,
      refresh_token text,
      access_token text,
      expires_at bigint,
      id_token text,
      scope text,
      session_state text,
      token_type text
    )`;
  await sql`
    create table verification_token (
      identifier text not null,
      expires timestamptz not null,
      token text not null,
      primary key (identifier, token)
    )`;
  await sql`insert into users (email) values (${names.ada}), (${names.grace})`;
}

const ORIGIN = "https://app.example/auth";

export function open(url) {
  const pool = new pg.Pool({ connectionString: url, max: 2 }).on("error", () => {});
  const mail = [];
  const config = {
    adapter: PostgresAdapter(pool),
    basePath: "/auth",
    secret: "a secret of the tests, and of nothing else",
    trustHost: true,
    // It logs the cookie with a NUL, which PostgreSQL refuses.
    logger: { error() {} },
    session: { strategy: "database" },
    providers: [{
      id: "email",
      type: "email",
      name: "Email",
      from: "app@app.example",
      maxAge: 3600,
      options: {},
      sendVerificationRequest: ({ url }) => void mail.push(url),
    }],
  };
  const ask = async (jar, url, form) => {
    const body = form && new URLSearchParams(form);
    const method = form ? "POST" : "GET";
    const request = new Request(url, { method, body, headers: { cookie: jar.header } });
    const response = await Auth(request, config);
    const lines = response.headers.getSetCookie();
    jar.keep(lines);
    return { response, lines };
  };
  const post = async (jar, path, form) => {
    const { response } = await ask(jar, `${ORIGIN}/csrf`);
    const { csrfToken } = await response.json();
    return await ask(jar, `${ORIGIN}/${path}`, { csrfToken, ...form });
  };
  return {
    async signIn(username) {
      const jar = new Jar();
      await post(jar, "signin/email", { email: username });
      const { lines } = await ask(jar, mail.pop());
      return lines.filter((it) => it.startsWith(`${old}=`));
    },
    async whoIs(cookie) {
      const headers = { cookie };
      const response = await Auth(new Request(`${ORIGIN}/session`, { headers }), config);
      return (await response.json())?.user?.email ?? null;
    },
    signOut: (cookie) => post(new Jar(cookie.split("; ")), "signout", {}),
    rows: async () => (await pool.query("select from sessions")).rowCount,
    expire: () => pool.query("update sessions set expires = now()"),
    deleteUser: (username) => pool.query("delete from users where email = $1", [username]),
    close: () => pool.end(),
  };
}

export const claims = {};
