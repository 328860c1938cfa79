// express-session with connect-pg-simple: the table that it ships, and a pool, "the recommended one".
// The middleware needs a request, so the calls that it makes to its store are made here directly.
import { readFileSync } from "node:fs";
import connectPgSimple from "connect-pg-simple";
import signature from "cookie-signature";
import session from "express-session";
import postgres from "postgres";
import { openPool } from "../pool.mjs";
import { md5, sample, userOf, USERS } from "../sample.mjs";
import { fill } from "../seed.mjs";

export const SECRET = "a secret of the benchmark, and of nothing else";
const LIFETIME = 30 * 86_400_000;

export async function seed(url, sessions) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users select n, 'user' || n from generate_series(1, ${USERS}::int) n`;
  await sql`vacuum (analyze) users`;
  const table = new URL("../node_modules/connect-pg-simple/table.sql", import.meta.url);
  await sql.unsafe(readFileSync(table, "utf8"));
  await fill(sql, "session", () =>
    sql`
      insert into session
      select md5('session' || n), json_build_object(
          'cookie', json_build_object('originalMaxAge', ${LIFETIME}::bigint,
            'expires', now() + interval '30 days', 'httpOnly', true, 'path', '/'),
          'userId', 1 + n % ${USERS}::int, 'username', 'user' || 1 + n % ${USERS}::int),
        now() + interval '30 days'
      from generate_series(1, ${sessions}::int) n`);
  await sql.end();
}

export const cookieOf = (n) => cookie(md5(`session${n}`));

const cookie = (sid) => `connect.sid=${encodeURIComponent(`s:${signature.sign(sid, SECRET)}`)}`;

/** The middleware, its store and its pool. */
export function middleware(url, { pool: max, touch }) {
  const pool = openPool(url, max);
  const PgStore = connectPgSimple(session);
  const store = new PgStore({ pool, disableTouch: !touch });
  const handler = session({
    store,
    secret: SECRET,
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: LIFETIME },
  });
  const close = async () => {
    await store.close();
    await pool.end();
  };
  return { pool, store, handler, close };
}

export async function userByName(pool, username) {
  const { rows } = await pool.query("select id, username from users where username = $1", [
    username,
  ]);
  return rows[0];
}

export function open(url, { pool: max, touch, sessions, seed }) {
  const { pool, store, close } = middleware(url, { pool: max, touch });
  const presented = sample(16_384, sessions, seed).map(cookieOf);
  const ask = (method, ...args) =>
    new Promise((resolve, reject) =>
      store[method](...args, (error, result) => error ? reject(error) : resolve(result))
    );

  async function create(username) {
    const user = await userByName(pool, username);
    if (!user) return null;
    const request = { headers: {}, connection: {} };
    store.generate(request);
    Object.assign(request.session, { userId: user.id, username });
    await ask("set", request.sessionID, request.session);
    return request.session.cookie.serialize(
      "connect.sid",
      `s:${signature.sign(request.sessionID, SECRET)}`,
    );
  }

  async function validate(header) {
    const signed = decodeURIComponent(header.slice("connect.sid=".length));
    const sid = signature.unsign(signed.slice(2), SECRET);
    if (sid === false) return null;
    const found = await ask("get", sid);
    if (found && touch) await ask("touch", sid, found);
    return found;
  }

  return {
    create: (index) => create(`user${userOf(index)}`),
    validate: (index) => validate(presented[index % presented.length]),
    check: {
      created: async () => (await create("user7")).split(";")[0],
      seeded: () => cookieOf(7),
      wrong: () => cookie("x".repeat(32)),
      validate: async (header) => (await validate(header))?.username ?? null,
      user: (n) => `user${n}`,
    },
    close,
  };
}
