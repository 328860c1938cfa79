// better-auth, with the tables of its own migrations, and its sign-in by password.
import assert from "node:assert/strict";
import process from "node:process";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import pg from "pg";
import { Jar, parse } from "../jar.mjs";

const SECRET = "zR3kV9wq-of-the-tests-and-of-nothing-else-Lp8";
process.env.BETTER_AUTH_SECRET = SECRET;
const { tradeIn } = await import("../../better-auth.ts");

export const users = { table: "user", id: "id", username: "email" };
export const names = { ada: "ada@example.com", grace: "grace@example.com" };
export const old = "__Secure-better-auth.session_token";
export const data = { userAgent: "a browser" };
/** The cookie is signed. */
export const isProtected = true;
export const last = 'select max("expiresAt") from session';
export { tradeIn };

const ORIGIN = "https://app.example";
const PASSWORD = "a password of the tests";

const settings = (database, others) => ({
  database,
  baseURL: ORIGIN,
  secret: SECRET,
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { disabled: true },
  ...others,
});

function connect(url, others) {
  const pool = new pg.Pool({ connectionString: url, max: 2 }).on("error", () => {});
  const auth = betterAuth(settings(pool, others));
  const ask = async (path, { body, cookie = "" } = {}) => {
    const response = await auth.handler(
      new Request(`${ORIGIN}/api/auth/${path}`, {
        method: body ? "POST" : "GET",
        headers: {
          cookie,
          origin: ORIGIN,
          "content-type": "application/json",
          "user-agent": "a browser",
        },
        body: body && JSON.stringify(body),
      }),
    );
    assert.ok(response.ok, `${path}: ${response.status}`);
    return response;
  };
  return { pool, ask };
}

export async function createTables(_sql, url) {
  const { pool, ask } = connect(url);
  await (await getMigrations(settings(pool))).runMigrations();
  for (const [name, email] of Object.entries(names)) {
    await ask("sign-up/email", { body: { name, email, password: PASSWORD } });
  }
  await pool.query("delete from session");
  await pool.end();
}

export function open(url, others) {
  const { pool, ask } = connect(url, others);
  return {
    async signIn(email, { isPersistent = true } = {}) {
      const body = { email, password: PASSWORD, rememberMe: isPersistent };
      return (await ask("sign-in/email", { body })).headers.getSetCookie();
    },
    whoIs: async (cookie) =>
      (await (await ask("get-session", { cookie })).json())?.user.email ?? null,
    signOut: (cookie) => ask("sign-out", { body: {}, cookie }),
    rows: async () => (await pool.query("select from session")).rowCount,
    expire: () => pool.query(`update session set "expiresAt" = now() - interval '1 second'`),
    deleteUser: (email) => pool.query(`delete from "user" where email = $1`, [email]),
    close: () => pool.end(),
  };
}

export const canForget = true;

export const claims = {
  "refuses a cookie of a secret before the newest, as better-auth does": async (context) => {
    const before = open(context.url, { secret: "another-secret-of-the-tests-Qm4xT7-only-these" });
    const lines = await before.signIn(names.ada);
    await before.close();
    const { header } = new Jar(lines);
    assert.equal(await context.library.whoIs(header), null);
    assert.equal((await context.visit(lines)).status, 401);
    assert.equal((await context.sessions()).length, 0);
  },

  "takes the newest of several secrets, as better-auth does": async (context) => {
    const secrets = [{ version: 2, value: SECRET }, { version: 1, value: `${SECRET}-before` }];
    const rotated = open(context.url, { secret: undefined, secrets });
    const lines = await rotated.signIn(names.ada);
    await rotated.close();
    assert.equal((await context.visit(lines)).text, names.ada);
  },

  "clears the copy of the session that the cookie cache keeps": async (context) => {
    const session = { cookieCache: { enabled: true } };
    const cached = open(context.url, { session });
    const lines = await cached.signIn(names.ada, { isPersistent: false });
    const jar = new Jar(lines);
    assert.deepEqual(jar.names.sort(), [
      "__Secure-better-auth.dont_remember",
      "__Secure-better-auth.session_data",
      old,
    ]);
    const { status } = await context.visit(jar);
    assert.equal(status, 200);
    assert.deepEqual(jar.names, ["__Host-session"]);
    assert.equal(await cached.whoIs(jar.header), null);
    await cached.close();
  },

  "takes a forged dont_remember for none": async (context) => {
    const jar = new Jar(await context.library.signIn(names.ada));
    jar.keep(["__Secure-better-auth.dont_remember=true.AAAA; Path=/"]);
    const { lines } = await context.visit(jar);
    const ours = lines.map(parse).find(({ name }) => name === "__Host-session");
    assert.equal(ours.isPersistent, true);
  },
};
