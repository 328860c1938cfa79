// What each app of examples/frameworks/ must do, asked over HTTP. They share one contract:
//
// - `/` signed out: "Signed out", and a form (username, password) with the button "Sign in".
// - `/` signed in: "Signed in as ada", the button "Sign out", and a list of devices: one element for each
//   session, with its id as `id`, and a form with the button "Revoke" in all but the current one.
// - `/api/session`: JSON with `username` and `id`; or 401 with `reason`.
// - Secrets are rotated after an hour (`rotateAfter: 3600`).
// - ORIGIN is the app's own origin, if a proxy stands before it.
// - SIGTERM ends the app.
//
// An app WITHOUT_FORMS has text on `/` in their place, and the routes /sign-in and /sign-out. apps.mjs lists them.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { DRIVEN, NEEDS_ORIGIN, WITHOUT_FORMS } from "./apps.mjs";
import { openBrowser, sameOrigin, textOf } from "./browser.mjs";
import { drive } from "./chromium.mjs";
import { ADA, age, GRACE, live, NAME, prepare } from "./database.mjs";

const PUBLIC = "https://app.example";
const ROUTES = { "Sign in": "/sign-in", "Sign out": "/sign-out" };

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

  "answers HEAD as GET, without the body": async ({ browser, sql }) => {
    const stranger = await browser.ask("/", { method: "HEAD" });
    assert.deepEqual([stranger.status, stranger.text, stranger.lines], [200, "", []]);
    assert.equal((await browser.ask("/api/session", { method: "HEAD" })).status, 401);
    await signIn(browser, ADA);
    await age(sql);
    const { status, text, headers, lines } = await browser.ask("/", { method: "HEAD" });
    assert.deepEqual([status, text, lines.length], [200, "", 1]);
    assert.match(headers.get("cache-control") ?? "", /no-store/);
    assert.match(textOf((await browser.ask("/")).text), /Signed in as ada/);
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

  "needs ORIGIN behind a proxy for TLS that passes Host on, or not, as the docs say": async (
    { name, browser },
  ) => {
    const headers = throughProxy("app.example", PUBLIC);
    const { sent } = await browser.submit(await browser.ask("/"), "Sign in", ADA, headers);
    assert.equal(ours(sent).length, NEEDS_ORIGIN.includes(name) ? 0 : 1, `answers ${sent.status}`);
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

/** Of an app with forms. */
const formClaims = {
  "lists devices, and revokes another one": async ({ browser, sql }) => {
    await signIn(browser, ADA);
    const other = browser.another();
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
    const second = browser.another();
    await signIn(second, ADA);
    const page = await browser.ask("/");
    const grace = browser.another();
    await signIn(grace, GRACE);
    const [{ id }] = (await live(sql)).filter(({ username }) => username === "grace");
    const mine = (await live(sql)).map((it) => it.id).filter((it) => page.text.includes(it));
    const forged = { ...page, text: mine.reduce((text, it) => text.replaceAll(it, id), page.text) };
    await browser.submit(forged, "Revoke").catch(() => {});
    assert.match(textOf((await grace.ask("/")).text), /Signed in as grace/);
  },
};

/** What a browser sends with a form through a proxy for TLS. */
const throughProxy = (host, origin, site) => ({
  ...(host && { host }),
  "x-forwarded-host": "app.example",
  "x-forwarded-proto": "https",
  origin,
  ...(site && { "sec-fetch-site": site }),
});

/** Asks the forms of an app behind a proxy for TLS, whose requests have this `Host`. */
const behindProxy = (host) => async ({ browser, sql }) => {
  const form = await browser.ask("/");
  const evil = throughProxy(host, "https://evil.example");
  const { sent } = await browser.submit(form, "Sign in", ADA, evil);
  assert.ok(sent.status >= 400, `answers ${sent.status}`);
  assert.equal((await live(sql)).length, 0);
  for (const site of [undefined, "same-origin"]) {
    const own = throughProxy(host, PUBLIC, site);
    const { sent } = await browser.submit(form, "Sign in", ADA, own);
    assert.equal(ours(sent).length, 1, `answers ${sent.status}: ${sent.text.slice(0, 300)}`);
  }
};

const proxyClaims = {
  "accepts its own forms alone behind a proxy for TLS that passes Host on": behindProxy(
    "app.example",
  ),
  "accepts its own forms alone behind a proxy for TLS that changes Host": behindProxy(undefined),
};

/** Asks an app whatever it must do. Yields each claim, and the error if it does not hold, or why it is not asked. */
export async function* check(app) {
  const hasForms = !WITHOUT_FORMS.includes(app.name);
  const routes = hasForms ? undefined : ROUTES;
  const ask = (all) =>
    async function* ({ base, database, running }) {
      const { sql, cut } = database;
      for (const [claim, holds] of Object.entries(all)) {
        await sql`delete from coatcheck.sessions`;
        const browser = openBrowser(base, routes);
        try {
          await holds({ name: app.name, browser, sql, cut, output: running.output });
          yield { claim };
        } catch (error) {
          yield { claim, error };
        }
      }
    };
  yield* serve(app, {}, ask(hasForms ? { ...formClaims, ...claims } : claims));
  yield* serve(app, { ORIGIN: PUBLIC }, ask(proxyClaims));
  if (DRIVEN.includes(app.name)) yield* serve(app, {}, drive);
  if (hasForms) return;
  for (const claim of Object.keys(formClaims)) yield { claim, notAsked: "the app has no forms" };
}

/** Starts an app with a database, and ends both after what was asked. */
async function* serve(app, settings, ask) {
  const database = await prepare(app.server);
  const port = await freePort();
  const base = `http://localhost:${port}`;
  const running = app.start({ DATABASE_URL: database.url, PORT: String(port), ...settings });
  try {
    await ready(base, running);
    yield* ask({ name: app.name, base, database, running });
    const claim = "ends on SIGTERM within 10 seconds";
    const isInTime = await running.end();
    yield isInTime ? { claim } : { claim, error: new Error("It still ran") };
  } catch (error) {
    yield { claim: "starts", error };
  } finally {
    await running.end();
    await database.close();
  }
}

async function ready(base, running) {
  let hasEnded = false;
  running.ended.then(() => hasEnded = true);
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
