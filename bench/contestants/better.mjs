// better-auth by its own API: getSession, and a sign-in endpoint in a plugin, written like those of its
// own plugins (findUserByEmail, createSession, setSessionCookie). It has the joins of its page on PostgreSQL
// and the indexes of its page on performance. With `cookieCache` the session is in a second cookie, signed, and no
// query is made: a session that was revoked stays valid for minutes.
import { createHmac } from "node:crypto";
import { betterAuth } from "better-auth";
import { createAuthEndpoint } from "better-auth/api";
import { setSessionCookie } from "better-auth/cookies";
import { getMigrations } from "better-auth/db/migration";
import postgres from "postgres";
import { openPool } from "../pool.mjs";
import { md5, sample, userOf, USERS } from "../sample.mjs";
import { fill } from "../seed.mjs";

const SECRET = "a secret of the benchmark, and of nothing else";
export const ORIGIN = "http://127.0.0.1:3000";
export const SIGN_IN = "/bench/sign-in";

const signIn = {
  id: "bench",
  endpoints: {
    benchSignIn: createAuthEndpoint(SIGN_IN, { method: "POST" }, async (ctx) => {
      const found = await ctx.context.internalAdapter.findUserByEmail(ctx.body.email);
      if (!found) throw ctx.error("UNAUTHORIZED");
      const session = await ctx.context.internalAdapter.createSession(found.user.id);
      await setSessionCookie(ctx, { session, user: found.user });
      return ctx.json({ id: found.user.id });
    }),
  },
};

// The default is five minutes, and the run takes longer.
const COOKIE_CACHE = { enabled: true, maxAge: 3600 };

const settings = (database, cookieCache) => ({
  database,
  baseURL: ORIGIN,
  secret: SECRET,
  plugins: [signIn],
  ...(cookieCache ? { session: { cookieCache: COOKIE_CACHE } } : {}),
  advanced: { database: { joins: true } },
  // It would reject a client that sends this many requests.
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
});

export async function seed(url, sessions) {
  const pool = openPool(url, 1);
  await (await getMigrations(settings(pool))).runMigrations();
  await pool.end();
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`
    insert into "user" (id, name, email, "emailVerified", "createdAt", "updatedAt")
    select md5('user' || n), 'user' || n, 'user' || n || '@example.com', true, now(), now()
    from generate_series(1, ${USERS}::int) n`;
  await sql`vacuum (analyze) "user"`;
  await sql`create index if not exists "session_userId_idx" on session ("userId")`;
  await fill(sql, "session", () =>
    sql`
      insert into session
        (id, "expiresAt", token, "createdAt", "updatedAt", "ipAddress", "userAgent", "userId")
      select md5('id' || n), now() + interval '7 days', md5('session' || n), now(), now(), '', '',
        md5('user' || 1 + n % ${USERS}::int)
      from generate_series(1, ${sessions}::int) n`);
  await sql.end();
}

const NAME = "better-auth.session_token";
const CACHE = "better-auth.session_data=";

export const cookieOf = (session) => cookie(md5(`session${session}`));

function cookie(token) {
  const signature = createHmac("sha256", SECRET).update(token).digest("base64");
  return `${NAME}=${encodeURIComponent(`${token}.${signature}`)}`;
}

export function makeAuth(url, { pool: max, cookieCache }) {
  const pool = openPool(url, max);
  let queries = 0;
  pool.on("acquire", () => queries++);
  return {
    auth: betterAuth(settings(pool, cookieCache)),
    queries: () => queries,
    close: () => pool.end(),
  };
}

/** The Cookie headers of a browser that has both cookies: that of the session, and that of the cookie cache. */
async function cachedCookiesOf(auth, sessions) {
  const cookies = [];
  const waiting = [...sessions.entries()];
  const ask = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const cookie = cookieOf(next[1]);
      const { headers } = await auth.api.getSession({
        headers: new Headers({ cookie }),
        returnHeaders: true,
      });
      const set = headers.getSetCookie().find((it) => it.startsWith(CACHE));
      if (!set) throw new Error("better-auth set no cookie for its cookie cache");
      cookies[next[0]] = `${cookie}; ${set.split(";")[0]}`;
    }
  };
  await Promise.all(Array.from({ length: 16 }, ask));
  return cookies;
}

export async function open(url, { pool, cookieCache, sessions, seed, distinct = 16_384 }) {
  const { auth, queries, close } = makeAuth(url, { pool, cookieCache });
  const headersOf = (cookie) => new Headers({ cookie });
  const chosen = sample(distinct, sessions, seed);
  const cookies = cookieCache ? await cachedCookiesOf(auth, chosen) : chosen.map(cookieOf);
  const presented = cookies.map(headersOf);

  const create = (email) =>
    auth.api.benchSignIn({ body: { email }, headers: new Headers(), returnHeaders: true });
  const validate = (headers) => auth.api.getSession({ headers });
  const usernameOf = async (headers) => (await validate(headers))?.user.name ?? null;

  return {
    create: (index) => create(`user${userOf(index)}@example.com`),
    validate: (index) => validate(presented[index % presented.length]),
    ...(cookieCache ? { misses: queries } : {}),
    cookies,
    usernameOf,
    check: {
      created: async () => {
        const { headers } = await create("user7@example.com");
        return headersOf(headers.getSetCookie()[0].split(";")[0]);
      },
      seeded: () => headersOf(cookieOf(7)),
      wrong: () => headersOf(cookie("x".repeat(32))),
      validate: usernameOf,
      user: (n) => `user${n}`,
    },
    close,
  };
}
