// iron-session, which keeps the session in the cookie alone.
import assert from "node:assert/strict";
import process from "node:process";
import { getIronSession } from "iron-session";
import postgres from "postgres";
import { Jar, parse } from "../jar.mjs";

const BEFORE = "the password before that, of the tests and of nothing else";
const PASSWORDS = { 1: BEFORE, 2: "the password of the tests, and of nothing else" };
process.env.SESSION_PASSWORD_1 = PASSWORDS[1];
process.env.SESSION_PASSWORD_2 = PASSWORDS[2];
const { tradeIn } = await import("../../iron-session.ts");

export const users = { table: "users", id: "id", username: "username" };
export const old = "iron-session";
export const data = { theme: "dark" };
/** There is no row: a copy of the cookie outlives a sign-out. */
export const isStateless = true;
/** The cookie is signed. */
export const isProtected = true;
export { tradeIn };

export async function createTables(sql) {
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users values (1, 'ada'), (2, 'grace')`;
}

export function open(url, others) {
  const sql = postgres(url, { max: 2, onnotice: () => {} });
  const options = { cookieName: old, password: PASSWORDS, ...others };
  const ask = async (cookie, change) => {
    const response = new Response();
    const request = new Request("https://app.example/", { headers: { cookie } });
    const session = await getIronSession(request, response, options);
    await change?.(session);
    return { session, lines: response.headers.getSetCookie() };
  };
  return {
    ask,
    async signIn(username, more) {
      const [user] = await sql`select id from users where username = ${username}`;
      const { lines } = await ask("", async (session) => {
        Object.assign(session, { userId: user.id, ...data, ...more });
        await session.save();
      });
      return lines;
    },
    async whoIs(cookie) {
      const { session } = await ask(cookie);
      const [user] = await sql`select username from users where id = ${session.userId ?? null}`;
      return user?.username ?? null;
    },
    signOut: async (cookie) => (await ask(cookie, (session) => session.destroy())).lines,
    deleteUser: (username) => sql`delete from users where username = ${username}`,
    close: () => sql.end({ timeout: 5 }),
  };
}

export const claims = {
  "refuses an expired seal": async (context) => {
    const { now } = Date;
    // The seal's own clock. The library tolerates a minute.
    Date.now = () => now() - 15 * 86_400_000;
    const lines = await context.library.signIn("ada").finally(() => Date.now = now);
    const { value } = parse(lines[0]);
    assert.equal(await context.library.whoIs(`${old}=${value}`), null);
    const { status } = await context.visit(`${old}=${value}`);
    assert.equal(status, 401);
    assert.equal((await context.sessions()).length, 0);
  },

  "takes each of several passwords, and no other": async (context) => {
    for (
      const [password, status] of [[{ 1: BEFORE }, 200], [PASSWORDS, 200], [
        { 2: "another password of the tests, and of nothing else" },
        401,
      ], [{ 3: PASSWORDS[2] }, 401]]
    ) {
      const library = open(context.url, { password });
      const lines = await library.signIn("ada");
      await library.close();
      const { header } = new Jar(lines);
      assert.equal(await context.library.whoIs(header), status === 200 ? "ada" : null);
      assert.equal((await context.visit(lines)).status, status);
    }
    assert.equal((await context.sessions()).length, 2);
  },

  "takes a session in several cookies, and clears each": async (context) => {
    const chunked = open(context.url, { chunk: true });
    const jar = new Jar(await chunked.signIn("ada", { text: "x".repeat(6000) }));
    assert.deepEqual(jar.names, [`${old}.0`, `${old}.1`, `${old}.2`]);
    assert.equal(await chunked.whoIs(jar.header), "ada");
    await chunked.close();
    const { text } = await context.visit(jar, "/session");
    assert.equal(JSON.parse(text).data.text.length, 6000);
    assert.deepEqual(jar.names, ["__Host-session"]);
  },

  "leaves a session without a user to the old app": async (context) => {
    const { lines } = await context.library.ask("", async (session) => {
      session.theme = "dark";
      await session.save();
    });
    const answer = await context.visit(lines);
    assert.equal(answer.status, 401);
    assert.deepEqual(answer.lines, []);
  },

  "keeps a cookie that ends with the browser so": async (context) => {
    const library = open(context.url, { cookieOptions: { maxAge: undefined } });
    const lines = await library.signIn("ada");
    await library.close();
    assert.equal(parse(lines[0]).isPersistent, false);
    const jar = new Jar(lines);
    assert.equal((await context.visit(jar)).text, "ada");
    assert.deepEqual(jar.names, ["__Host-session"]);
    jar.close();
    assert.deepEqual(jar.names, []);
  },
};
