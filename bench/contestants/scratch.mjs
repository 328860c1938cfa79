// "From scratch": the code that Lucia's guide teaches since the library was retired (lucia-auth/lucia,
// code/auth_session.ts): `<id>.<secret>`, SHA-256 by WebCrypto, a comparison in constant time, and a touch
// an hour. A create looks the user up first; a validate joins the users for the name.
import postgres from "postgres";
import { md5, sample, sha256, userOf, USERS } from "../sample.mjs";
import { fill } from "../seed.mjs";

const LIFETIME = 10 * 86_400_000;
const HOUR = 3_600_000;
const ATTRIBUTES = "Path=/; Max-Age=864000; Secure; HttpOnly; SameSite=Lax";

export async function seed(url, sessions) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users select n, 'user' || n from generate_series(1, ${USERS}::int) n`;
  await sql`vacuum (analyze) users`;
  await sql`
    create table auth_session (
      id text not null primary key,
      user_id integer not null references users (id),
      secret_hash bytea not null,
      token_last_verified_at timestamptz not null,
      created_at timestamptz not null
    )`;
  await fill(sql, "auth_session", () =>
    sql`
      insert into auth_session
      select left(md5('session' || n), 16), 1 + n % ${USERS}::int,
        sha256(sha256(('secret' || n)::bytea)), now(), now()
      from generate_series(1, ${sessions}::int) n`);
  await sql.end();
}

export function cookieOf(session) {
  const id = md5(`session${session}`).slice(0, 16);
  return `session=${id}.${sha256(`secret${session}`).toString("base64")}`;
}

export function open(url, { pool, prepare = true, sessions, seed }) {
  const sql = postgres(url, { max: pool, prepare, onnotice: () => {} });
  const presented = sample(16_384, sessions, seed).map(cookieOf);

  async function create(username) {
    const [user] = await sql`select id from users where username = ${username}`;
    if (!user) return null;
    const now = new Date();
    const id = randomId();
    const secret = crypto.getRandomValues(new Uint8Array(32));
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", secret));
    await sql`
      insert into auth_session (id, user_id, secret_hash, token_last_verified_at, created_at)
      values (${id}, ${user.id}, ${hash}, ${now}, ${now})`;
    return `session=${id}.${secret.toBase64()}; ${ATTRIBUTES}`;
  }

  async function validate(cookie) {
    const now = Date.now();
    const parts = cookie.slice("session=".length).split(".");
    if (parts.length !== 2) return null;
    let secret;
    try {
      secret = Uint8Array.fromBase64(parts[1]);
    } catch {
      return null;
    }
    const [session] = await sql`
      select s.id, s.user_id, s.secret_hash, s.token_last_verified_at, s.created_at, u.username
      from auth_session s join users u on u.id = s.user_id where s.id = ${parts[0]}`;
    if (!session) return null;
    const age = now - session.token_last_verified_at.getTime();
    if (age >= LIFETIME) return null;
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", secret));
    if (!isEqual(hash, session.secret_hash)) return null;
    if (age >= HOUR) {
      await sql`
        update auth_session set token_last_verified_at = ${new Date(now)} where id = ${session.id}`;
    }
    return session;
  }

  return {
    create: (index) => create(`user${userOf(index)}`),
    validate: (index) => validate(presented[index % presented.length]),
    check: {
      created: async () => (await create("user7")).split(";")[0],
      seeded: () => cookieOf(7),
      wrong: (right) => right.replace(/\.[^.]*$/, `.${btoa("x".repeat(32))}`),
      validate: async (cookie) => (await validate(cookie))?.username ?? null,
      user: (n) => `user${n}`,
    },
    close: () => sql.end({ timeout: 5 }),
  };
}

// 16 characters of 5 bits, as in the guide.
function randomId() {
  const alphabet = "abcdefghijkmnpqrstuvwxyz23456789";
  let id = "";
  for (const byte of crypto.getRandomValues(new Uint8Array(16))) id += alphabet[byte >> 3];
  return id;
}

function isEqual(one, other) {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let index = 0; index < one.length; index++) difference |= one[index] ^ other[index];
  return difference === 0;
}
