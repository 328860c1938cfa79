// What each app of examples/frameworks/ must do, asked over HTTP. They share one contract:
//
// - `/` signed out: "Signed out", and a form (username, password) with the button "Sign in".
// - `/` signed in: "Signed in as ada", the button "Sign out", and a list of devices: one element for each
//   session, with its id as `id`, and a form with the button "Revoke" in all but the current one.
// - `/api/session`: JSON with `username` and `id`; or 401 with `reason`.
// - Secrets are rotated after an hour (`rotateAfter: 3600`).
// - ORIGIN is the app's own origin, if a proxy stands before it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { openBrowser, sameOrigin, textOf } from "./browser.mjs";
import { prepare } from "./database.mjs";

const NAME = "__Host-session";
const ADA = { username: "ada", password: "ada-demo" };
const GRACE = { username: "grace", password: "grace-demo" };
const PUBLIC = "https://app.example";

const claims = {
  "shows a stranger the form, and answers 401": async ({ browser }) => {
    const page = await browser.ask("/");
    assert.equal(page.status, 200);
    assert.match(textOf(page.text), /Signed out/);
    const api = await browser.ask("/api/session");
    assert.equal(api.status, 401);
    assert.deepEqual(JSON.parse(api.text), { reason: "absent" });
    assert.deepEqual([...page.lines, ...api.lines], []);
  },

  "refuses a wrong password, and sets no cookie": async ({ browser, sql }) => {
    const { sent, page } = await browser.submit(await browser.ask("/"), "Sign in", {
      ...ADA,
      password: "x",
    });
    assert.match(textOf(page.text), /Wrong username or password/);
    assert.deepEqual(sent.lines, []);
    assert.equal((await live(sql)).length, 0);
  },

  "signs in with one cookie that has every attribute": async ({ browser, sql }) => {
    const { sent, page } = await signIn(browser, ADA);
    assert.match(textOf(page.text), /Signed in as ada/);
    const [line, ...others] = ours(sent);
    assert.deepEqual(others, []);
    const attributes = line.toLowerCase().split("; ").slice(1);
    for (const it of ["httponly", "secure", "samesite=lax", "path=/"]) {
      assert.ok(attributes.includes(it), `${it} is missing: ${attributes}`);
    }
    const [row] = await live(sql);
    assert.equal(browser.cookies.get(NAME).slice(0, 36), row.id);
    const lasts = attributes.map((it) =>
      it.startsWith("max-age=")
        ? Number(it.slice(8))
        : it.startsWith("expires=")
        ? (Date.parse(it.slice(8)) - Date.now()) / 1000
        : 0
    );
    assert.ok(Math.abs(Math.max(...lasts) - 30 * 86_400) < 120, `the cookie lasts ${lasts}`);
    assert.match(sent.headers.get("cache-control") ?? "", /no-store/);
    const api = await browser.ask("/api/session");
    const { username, id } = JSON.parse(api.text);
    assert.deepEqual({ username, id }, { username: "ada", id: row.id });
  },

  "ends the session that a sign-in replaces": async ({ browser, sql }) => {
    const form = await browser.ask("/");
    await signIn(browser, ADA);
    const before = browser.copy();
    const { page } = await browser.submit(form, "Sign in", GRACE);
    assert.match(textOf(page.text), /Signed in as grace/);
    assert.match(textOf((await before.ask("/")).text), /Signed out/);
    assert.equal((await live(sql)).length, 1);
  },

  "keeps pages and JSON of a session out of shared caches": async ({ browser }) => {
    await signIn(browser, ADA);
    for (const path of ["/", "/api/session"]) {
      const { headers } = await browser.ask(path);
      assert.match(headers.get("cache-control") ?? "", /no-store|private/, path);
    }
  },

  "rotates, and lets parallel requests with the old secret in": async ({ browser, sql }) => {
    await signIn(browser, ADA);
    const before = browser.cookies.get(NAME);
    const late = Array.from({ length: 6 }, () => browser.copy());
    await age(sql);
    const pages = await Promise.all(late.map((it) => it.ask("/")));
    for (const it of pages) assert.match(textOf(it.text), /Signed in as ada/);
    const after = new Set(late.map((it) => it.cookies.get(NAME)));
    after.delete(before);
    assert.equal(after.size, 1, "one new secret for all");
    browser.cookies.set(NAME, [...after][0]);
    const { page, lines } = await visit(browser);
    assert.match(textOf(page.text), /Signed in as ada/);
    assert.deepEqual(lines, [], "the new secret is not rotated again");
    assert.equal((await live(sql)).length, 1);
  },

  "rotates a session that only asks for JSON": async ({ browser, sql }) => {
    await signIn(browser, ADA);
    await age(sql);
    const before = browser.cookies.get(NAME);
    const { status, headers } = await browser.ask("/api/session");
    assert.equal(status, 200);
    assert.notEqual(browser.cookies.get(NAME), before);
    assert.match(headers.get("cache-control") ?? "", /no-store/);
    assert.equal((await browser.ask("/api/session")).status, 200);
  },

  "signs in whoever signs in, also if the session before is to be rotated": async (
    { browser, sql },
  ) => {
    const form = await browser.ask("/");
    await signIn(browser, ADA);
    await age(sql);
    const { page } = await browser.submit(form, "Sign in", GRACE);
    assert.match(textOf(page.text), /Signed in as grace/);
    assert.match(textOf((await browser.ask("/")).text), /Signed in as grace/);
    assert.deepEqual((await live(sql)).map(({ username }) => username), ["grace"]);
  },

  "signs out, also if the session is to be rotated": async ({ browser, sql }) => {
    for (const isDue of [false, true]) {
      const { page } = await signIn(browser, ADA);
      const other = browser.copy();
      if (isDue) await age(sql);
      const signedOut = await browser.submit(page, "Sign out");
      assert.match(textOf(signedOut.page.text), /Signed out/);
      assert.equal(browser.cookies.has(NAME), false);
      assert.match(textOf((await other.ask("/")).text), /Signed out/);
      assert.equal((await live(sql)).length, 0);
    }
  },

  "lists devices, and revokes another one": async ({ browser, sql }) => {
    await signIn(browser, ADA);
    const other = openBrowser(browser.base);
    await signIn(other, ADA);
    const page = await browser.ask("/");
    for (const { id } of await live(sql)) {
      assert.ok(page.text.includes(`id="${id}"`), "a device is missing");
    }
    assert.equal(page.text.match(/<button[^>]*>(?:\s|<!--.*?-->)*Revoke/g)?.length, 1);
    const revoked = await browser.submit(page, "Revoke");
    assert.match(textOf(revoked.page.text), /Signed in as ada/);
    assert.match(textOf((await other.ask("/")).text), /Signed out/);
  },

  "lets nobody revoke the session of another user": async ({ browser, sql }) => {
    await signIn(browser, ADA);
    const second = openBrowser(browser.base);
    await signIn(second, ADA);
    const page = await browser.ask("/");
    const grace = openBrowser(browser.base);
    await signIn(grace, GRACE);
    const [{ id }] = (await live(sql)).filter(({ username }) => username === "grace");
    const mine = (await live(sql)).map((it) => it.id).filter((it) => page.text.includes(it));
    const forged = { ...page, text: mine.reduce((text, it) => text.replaceAll(it, id), page.text) };
    await browser.submit(forged, "Revoke").catch(() => {});
    assert.match(textOf((await grace.ask("/")).text), /Signed in as grace/);
  },

  "refuses forms of other origins, signed in and out": async ({ browser, sql }) => {
    const form = await browser.ask("/");
    const attacks = [
      { origin: "https://evil.example", "sec-fetch-site": "cross-site" },
      { origin: "https://evil.example" },
      { origin: "null" },
    ];
    for (const headers of attacks) {
      const { sent } = await browser.submit(form, "Sign in", ADA, headers);
      assert.ok(sent.status >= 400, `${JSON.stringify(headers)} answers ${sent.status}`);
      assert.deepEqual(ours(sent), []);
      assert.equal((await live(sql)).length, 0);
    }
    const { page } = await signIn(browser, ADA);
    for (const headers of attacks) {
      const { sent } = await browser.copy().submit(page, "Sign out", {}, headers);
      assert.ok(sent.status >= 400, `${JSON.stringify(headers)} answers ${sent.status}`);
      assert.equal((await live(sql)).length, 1);
    }
  },

  "lets the forms of a browser without Sec-Fetch-Site in": async ({ browser }) => {
    const { origin } = sameOrigin(browser.base);
    const { page } = await browser.submit(await browser.ask("/"), "Sign in", ADA, { origin });
    assert.match(textOf(page.text), /Signed in as ada/);
  },

  "never writes a token into a page, or into its log": async ({ browser, output }) => {
    const { page } = await signIn(browser, ADA);
    const secret = browser.cookies.get(NAME).slice(37);
    assert.ok(!page.text.includes(secret));
    assert.ok(!(await browser.ask("/api/session")).text.includes(secret));
    assert.ok(!output().includes(secret));
  },

  "keeps the cookie while the database is unreachable": async ({ browser, cut }) => {
    await signIn(browser, ADA);
    const before = browser.cookies.get(NAME);
    cut();
    for (const path of ["/", "/api/session"]) {
      const { status, lines } = await browser.ask(path);
      assert.ok(status >= 500, `${path} answers ${status}`);
      assert.deepEqual(lines, []);
    }
    assert.equal(browser.cookies.get(NAME), before);
  },
};

/** Asks the forms of an app behind a proxy for TLS, whose requests have this `Host`. */
const behindProxy = (host) => async ({ browser, sql }) => {
  const from = (origin, site) => ({
    ...(host && { host }),
    "x-forwarded-host": "app.example",
    "x-forwarded-proto": "https",
    origin,
    ...(site && { "sec-fetch-site": site }),
  });
  const form = await browser.ask("/");
  const evil = await browser.submit(form, "Sign in", ADA, from("https://evil.example"));
  assert.ok(evil.sent.status >= 400, `answers ${evil.sent.status}`);
  assert.equal((await live(sql)).length, 0);
  for (const site of [undefined, "same-origin"]) {
    const { sent } = await browser.submit(form, "Sign in", ADA, from(PUBLIC, site));
    assert.equal(ours(sent).length, 1, `answers ${sent.status}: ${sent.text.slice(0, 300)}`);
  }
};

const proxyClaims = {
  "accepts its own forms alone behind a proxy for TLS that passes Host on": behindProxy(
    "app.example",
  ),
  "accepts its own forms alone behind a proxy for TLS that changes Host": behindProxy(undefined),
};

/** Asks an app whatever it must do. Yields each claim, and the error if it does not hold. */
export async function* check(app) {
  yield* ask(app, claims, {});
  yield* ask(app, proxyClaims, { ORIGIN: PUBLIC });
}

async function* ask(app, all, settings) {
  const database = await prepare(app.server);
  const { sql } = database;
  const port = await freePort();
  const base = `http://localhost:${port}`;
  const running = await app.start({ DATABASE_URL: database.url, PORT: String(port), ...settings });
  try {
    await ready(base, running);
    for (const [claim, holds] of Object.entries(all)) {
      await sql`delete from coatcheck.sessions`;
      const browser = Object.assign(openBrowser(base), { base });
      try {
        await holds({ browser, sql, cut: database.cut, output: running.output });
        yield { claim };
      } catch (error) {
        yield { claim, error };
      }
    }
  } catch (error) {
    yield { claim: "starts", error };
  } finally {
    await running.end();
    await database.close();
  }
}

async function ready(base, running) {
  let hasEnded = false;
  running.exited.then(() => hasEnded = true);
  for (let tries = 0; tries < 300 && !hasEnded; tries++) {
    const response = await fetch(base).catch(() => undefined);
    if (response) return;
    await sleep(100);
  }
  throw new Error(`The app does not answer:\n${running.output()}`);
}

async function freePort() {
  const server = createServer().listen(0);
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function signIn(browser, user) {
  return await browser.submit(await browser.ask("/"), "Sign in", user);
}

async function visit(browser) {
  const page = await browser.ask("/");
  return { page, lines: ours(page) };
}

const ours = ({ lines }) => lines.filter((it) => it.startsWith(`${NAME}=`));

/** The live sessions. */
async function live(sql) {
  return await sql`select s.id::text, u.username from coatcheck.sessions s join users u on u.id = s.user_id
    where s.revoked_at is null order by u.username`;
}

/** Makes every secret old enough to be rotated. */
async function age(sql) {
  await sql`update coatcheck.sessions set created_at = created_at - interval '2 hours',
    authenticated_at = authenticated_at - interval '2 hours'`;
}
