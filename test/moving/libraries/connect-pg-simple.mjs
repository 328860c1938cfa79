// express-session with connect-pg-simple, in an Express app.
import assert from "node:assert/strict";
import { once } from "node:events";
import process from "node:process";
import connectPgSimple from "connect-pg-simple";
import express from "express";
import session from "express-session";
import pg from "pg";
import { Jar } from "../jar.mjs";

const SECRET = "the secret of the tests, and of nothing else";
const BEFORE = "the secret before that, and of nothing else";
process.env.SESSION_SECRET = SECRET;
process.env.OLD_SESSION_SECRET = BEFORE;
const { tradeIn } = await import("../../connect-pg-simple.ts");
const { sessions } = await import("../../express.ts");

export const users = { table: "users", id: "id", username: "username" };
export const old = "connect.sid";
export const data = { cart: ["a book", "a pen"] };
/** The cookie is signed. */
export const isProtected = true;
/** It may hold a session without a user. */
export const keepsUnknown = true;
export const last = "select max(expire) from session";
export { tradeIn };

export async function createTables(sql, url) {
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users values (1, 'ada'), (2, 'grace')`;
  // The store makes its table with its first statement.
  const library = await open(url);
  await library.signIn("ada");
  await library.close();
  await sql`delete from session`;
}

export async function open(url, { secret = [SECRET, BEFORE], ...others } = {}) {
  const pool = new pg.Pool({ connectionString: url, max: 2 }).on("error", () => {});
  const PgStore = connectPgSimple(session);
  const store = new PgStore({ pool, createTableIfMissing: true });
  const app = express();
  app.use((req, _res, next) => {
    req.isForgotten = req.query.forget === "yes";
    next();
  });
  app.use(session({
    store,
    secret,
    resave: false,
    saveUninitialized: false,
    cookie: (req) => ({ maxAge: req.isForgotten ? null : 86_400_000 }),
    ...others,
  }));
  app.get("/sign-in/:name", async (req, res) => {
    const { rows: [user] } = await pool.query("select id from users where username = $1", [
      req.params.name,
    ]);
    Object.assign(req.session, { userId: user.id, ...data });
    res.end();
  });
  app.get("/cart", (req, res) => {
    req.session.cart = ["a lamp"];
    res.end();
  });
  app.get("/sign-out", (req, res) => req.session.destroy(() => res.end()));
  app.get("/", async (req, res) => {
    const { rows: [user] } = await pool.query("select username from users where id = $1", [
      req.session.userId ?? null,
    ]);
    res.json(user?.username ?? null);
  });
  // A page that began before the trade and ends after it.
  let hold;
  app.get("/slow", async (req, res) => {
    req.session.page = "slow";
    await new Promise((resolve) => hold = resolve);
    res.end();
  });
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const ask = (path, cookie = "") =>
    fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers: { cookie } });
  return {
    ask,
    held: async () => {
      while (!hold) await new Promise(setImmediate);
      return hold;
    },
    async signIn(username, { isPersistent = true } = {}) {
      const response = await ask(`/sign-in/${username}?forget=${isPersistent ? "no" : "yes"}`);
      return response.headers.getSetCookie();
    },
    whoIs: async (cookie) => await (await ask("/", cookie)).json(),
    signOut: (cookie) => ask("/sign-out", cookie),
    rows: async () => (await pool.query("select from session")).rowCount,
    expire: () => pool.query("update session set expire = now() - interval '1 second'"),
    deleteUser: (username) => pool.query("delete from users where username = $1", [username]),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await store.close();
      await pool.end();
    },
  };
}

export const canForget = true;

export const claims = {
  "takes each of several secrets, and no other": async (context) => {
    for (const [secret, status] of [[BEFORE, 200], [SECRET, 200], ["another", 401], ["x", 401]]) {
      const library = await open(context.url, { secret });
      const lines = await library.signIn("ada");
      await library.close();
      const { header } = new Jar(lines);
      assert.equal(await context.library.whoIs(header), status === 200 ? "ada" : null);
      assert.equal((await context.visit(lines)).status, status);
    }
    assert.equal((await context.sessions()).length, 2);
  },

  "leaves a session without a user to the old app": async (context) => {
    const jar = new Jar((await context.library.ask("/cart")).headers.getSetCookie());
    const { status, lines } = await context.visit(jar);
    assert.equal(status, 401);
    assert.deepEqual(lines, []);
    assert.equal(await context.library.rows(), 1);
  },

  "refuses the old cookie if the old app has written its row again": async (context) => {
    const lines = await context.library.signIn("ada");
    const { header } = new Jar(lines);
    const slow = context.library.ask("/slow", header);
    const finish = await context.library.held();
    const jar = new Jar(lines);
    assert.equal((await context.visit(jar)).status, 200);
    assert.equal(await context.library.rows(), 0);
    finish();
    await slow;
    assert.equal(await context.library.rows(), 1, "the store writes with `on conflict do update`");
    // In the grace period it is a request that was under way.
    assert.equal((await context.visit(lines)).status, 200);
    assert.equal((await context.visit(jar)).status, 200);
    await context.settle();
    assert.equal((await context.visit(lines)).status, 401);
    const [row, ...others] = await context.sessions();
    assert.equal(row.revoked_reason, "reused");
    assert.equal(others.length, 0);
  },

  "throws if the data is too large, and leaves the row": async (context) => {
    const lines = await context.library.signIn("ada");
    await context.sql`
      update session set sess = jsonb_set(sess::jsonb, '{cart}', to_jsonb(repeat('x', 70000)))`;
    assert.equal((await context.visit(lines)).status, 500);
    assert.equal(await context.library.rows(), 1);
    assert.equal((await context.sessions()).length, 0);
  },

  "works as the middleware of Express": async (context) => {
    const app = express();
    app.use(sessions(context.sql));
    app.get("/", (_req, res) => res.end(String(res.locals.result.session?.username)));
    const server = app.listen(0, "127.0.0.1");
    await once(server, "listening");
    const jar = new Jar(await context.library.signIn("ada"));
    const ask = async () => {
      const url = `http://127.0.0.1:${server.address().port}/`;
      const response = await fetch(url, { headers: { cookie: jar.header } });
      jar.keep(response.headers.getSetCookie());
      return { text: await response.text(), lines: response.headers.getSetCookie().length };
    };
    try {
      assert.deepEqual(await ask(), { text: "ada", lines: 2 });
      assert.deepEqual(jar.names, ["__Host-session"]);
      assert.deepEqual(await ask(), { text: "ada", lines: 0 });
    } finally {
      server.closeAllConnections();
      server.close();
    }
  },
};
