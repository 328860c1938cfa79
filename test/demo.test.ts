import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { age } from "../testing.ts";
import { type Database, openDatabase } from "./runner/database.ts";
import { openProxy, type Proxy } from "./runner/proxy.mjs";
import { type Browser, openBrowser, type Server, startServer } from "./runner/server.ts";

// The demo runs on Bun, whatever runtime the tests are on.
const command = ["bun", "examples/demo/server.ts"];
const ada = { username: "ada", password: "ada-demo" };

describe("the demo", () => {
  let database: Database;
  let proxy: Proxy;
  let server: Server;

  beforeAll(async () => {
    database = await openDatabase({ bare: true });
    proxy = await openProxy(database.url);
    server = await startServer(command, { DATABASE_URL: proxy.url });
  });

  afterAll(async () => {
    await server?.close();
    proxy?.cut();
    await database?.close();
  });

  async function signIn(at: Server = server): Promise<Browser> {
    const browser = openBrowser(at);
    assert.equal((await browser.post("/sign-in", ada)).status, 303);
    return browser;
  }

  async function home(browser: Browser): Promise<string> {
    const response = await browser.get("/");
    assert.equal(response.status, 200);
    return await response.text();
  }

  test("creates its users in a schema of its own, with argon2id", async () => {
    const users = await database.sql`
      select id, username, password_hash from coatcheck_demo.users order by id`;
    assert.deepEqual(users.map(({ id, username }) => [id, username]), [[1, "ada"], [2, "grace"]]);
    for (const { password_hash } of users) assert.match(password_hash, /^\$argon2id\$/);
  });

  test("shows a visitor the sign-in form, with a label for each field", async () => {
    const page = await home(openBrowser(server));
    const labels = [...page.matchAll(/<label for="(\w+)">/g)].map(([, name]) => name);
    const fields = [...page.matchAll(/<input id="(\w+)"/g)].map(([, name]) => name);
    assert.deepEqual(fields, ["username", "password"]);
    assert.deepEqual(labels, fields);
    for (const landmark of ["<header>", "<main>", "<footer>", '<html lang="en">']) {
      assert.ok(page.includes(landmark));
    }
  });

  test("signs in, shows the user and the timeouts, and signs out", async () => {
    const browser = openBrowser(server);
    const signedIn = await browser.post("/sign-in", ada);
    assert.equal(signedIn.status, 303);
    assert.equal(signedIn.headers.get("location"), "/");
    assert.match(
      signedIn.headers.getSetCookie().join(),
      /^__Host-session=.{80}; Secure; HttpOnly;/,
    );

    const { session = {} } = await browser.ask();
    const page = await home(browser);
    assert.ok(page.includes("<h1>ada</h1>"));
    for (const instant of [session.authenticatedAt, session.lastSeenAt, session.expiresAt]) {
      assert.ok(page.includes(`<time datetime="${instant}">`));
    }

    const signedOut = await browser.post("/sign-out");
    assert.equal(signedOut.status, 303);
    assert.equal(signedOut.headers.get("location"), "/");
    assert.equal(browser.cookies.size, 0);
    assert.ok((await home(browser)).includes("<h1>Sign in</h1>"));
    const [row] = await database.sql`
      select revoked_at from coatcheck.sessions where id = ${session.id!}`;
    assert.ok(row!.revoked_at instanceof Date);
  });

  test("shows the session as JSON", async () => {
    const browser = await signIn();
    const { status, session } = await browser.ask();
    assert.equal(status, 200);
    assert.equal(session?.username, "ada");
    assert.equal((await browser.get("/session")).headers.get("cache-control"), "no-store");
    assert.deepEqual(await openBrowser(server).ask(), { status: 401, reason: "absent" });
  });

  test("shows the form again after a wrong password, and sets no cookie", async () => {
    const form = { username: "ada", password: "grace-demo" };
    const response = await openBrowser(server).post("/sign-in", form);
    assert.equal(response.status, 401);
    assert.deepEqual(response.headers.getSetCookie(), []);
    const page = await response.text();
    assert.match(page, /<p id="message" role="alert">Wrong username or password\.<\/p>/);
    assert.match(page, /<input id="username"[^>]* value="ada"[^>]* aria-describedby="message"/);
    assert.ok(!page.includes('grace-demo"'));
  });

  test("escapes the input that it shows", async () => {
    const form = { username: `"><script>alert('&')</script>`, password: "x" };
    const page = await (await openBrowser(server).post("/sign-in", form)).text();
    assert.ok(!page.includes("<script>"));
    assert.ok(page.includes("&quot;&gt;&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;"));
  });

  test("allows its own style, script and forms, and nothing from another origin", async () => {
    const browser = openBrowser(server);
    const response = await browser.get("/");
    assert.deepEqual(response.headers.get("content-security-policy")!.split("; "), [
      "default-src 'none'",
      "style-src 'self'",
      "script-src 'self'",
      "connect-src 'self'",
      "img-src data:",
      "form-action 'self'",
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ]);
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.equal(response.headers.get("x-content-type-options"), "nosniff");

    const page = await response.text() + await home(await signIn());
    const files = [
      ["/style.css", "text/css"],
      ["/page.js", "text/javascript"],
      ["/warning.js", "text/javascript"],
    ];
    for (const [path, type] of files) {
      assert.ok(page.includes(`"${path}"`));
      const file = await browser.get(path!);
      assert.equal(file.headers.get("content-type"), `${type};charset=utf-8`);
      assert.equal(file.headers.get("x-content-type-options"), "nosniff");
    }
  });

  /** The end of the browser's session: to the nearest ten seconds, as time passes here. */
  async function endOf(response: Response): Promise<[number, boolean]> {
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.deepEqual(response.headers.getSetCookie(), []);
    const { seconds, canStay } = await response.json() as { seconds: number; canStay: boolean };
    return [Math.ceil(seconds / 10) * 10, canStay];
  }

  test("says when the session ends without recording a use, and extends it on request", async () => {
    const browser = await signIn();
    assert.deepEqual(await endOf(await browser.get("/session/end")), [120, true]);
    await age(idOf(browser), 95, database.sql);
    for (let times = 0; times < 2; times++) {
      assert.deepEqual(await endOf(await browser.get("/session/end")), [30, true]);
    }
    const foreign = { "sec-fetch-site": "cross-site" };
    assert.equal((await browser.post("/session/end", {}, foreign)).status, 403);
    assert.deepEqual(await endOf(await browser.get("/session/end")), [30, true]);
    assert.deepEqual(await endOf(await browser.post("/session/end")), [120, true]);
    assert.deepEqual(await endOf(await browser.get("/session/end")), [120, true]);
  });

  test("says that no use extends a session at the absolute timeout", async () => {
    const browser = await signIn();
    await database.sql`
      update coatcheck.sessions set authenticated_at = authenticated_at - interval '565 seconds'
      where id = ${idOf(browser)}`;
    assert.deepEqual(await endOf(await browser.get("/session/end")), [40, false]);
    assert.deepEqual(await endOf(await browser.post("/session/end")), [40, false]);
    assert.match(await home(browser), /<div class="warning"[^>]* data-can-stay="false"/);
  });

  test("says that a session has ended, and brings none back", async () => {
    const browser = await signIn();
    await age(idOf(browser), 121, database.sql);
    for (const visitor of [browser, openBrowser(server)]) {
      assert.deepEqual(await endOf(await visitor.get("/session/end")), [0, false]);
      assert.deepEqual(await endOf(await visitor.post("/session/end")), [0, false]);
      assert.deepEqual(await endOf(await visitor.get("/session/end")), [0, false]);
    }
  });

  test("has an empty warning, for its script, on each page of a signed-in user alone", async () => {
    const browser = await signIn();
    const pages = ["/", "/devices", "/password", "/recovery-code", "/theft"];
    for (const path of pages) {
      const page = await (await browser.get(path)).text();
      const [, seconds] = page.match(/<div class="warning" data-seconds="([\d.]+)"/)!;
      assert.ok(Number(seconds) > 110 && Number(seconds) <= 120);
      assert.ok(page.includes('<p role="status"></p>'));
      assert.ok(page.includes('<button type="button" hidden>Stay signed in</button>'));
    }
    for (const path of ["/", "/nowhere"]) {
      const page = await (await openBrowser(server).get(path)).text();
      assert.ok(!page.includes("warning"));
    }
  });

  const origins: { name: string; headers: Record<string, string>; status: number }[] = [
    { name: "its own page", headers: { "sec-fetch-site": "same-origin" }, status: 303 },
    { name: "the address bar", headers: { "sec-fetch-site": "none" }, status: 303 },
    { name: "a page of the same site", headers: { "sec-fetch-site": "same-site" }, status: 403 },
    { name: "a page of another site", headers: { "sec-fetch-site": "cross-site" }, status: 403 },
    {
      name: "a page of another site in an old browser",
      headers: { origin: "https://evil.example" },
      status: 403,
    },
    { name: "a sandboxed page", headers: { origin: "null" }, status: 403 },
    { name: "a program", headers: {}, status: 303 },
  ];
  for (const { name, headers, status } of origins) {
    test(`answers a form from ${name} with ${status}`, async () => {
      const response = await openBrowser(server).post("/sign-in", ada, headers);
      assert.equal(response.status, status);
      assert.equal(response.headers.getSetCookie().length, status === 303 ? 1 : 0);
    });
  }

  test("accepts its own form from an old browser, by Origin", async () => {
    const response = await openBrowser(server).post("/sign-in", ada, { origin: server.url });
    assert.equal(response.status, 303);
  });

  /** The id of the browser's session. */
  function idOf(browser: Browser): string {
    return [...browser.cookies.values()][0]!.slice(0, 36);
  }

  const ends: { name: string; end: (browser: Browser) => unknown; why: RegExp }[] = [
    {
      name: "the idle timeout",
      end: (browser) =>
        database.sql`
          update coatcheck.sessions set last_seen_at = last_seen_at - interval '121 seconds'
          where id = ${idOf(browser)}`,
      why: /You were inactive for 2 minutes\./,
    },
    {
      name: "the absolute timeout",
      end: (browser) =>
        database.sql`
          update coatcheck.sessions set authenticated_at = authenticated_at - interval '601 seconds'
          where id = ${idOf(browser)}`,
      why: /You signed in more than 10 minutes ago\./,
    },
    {
      name: "a sign-out with a copy of the cookie",
      end: (browser) => copyOf(browser).post("/sign-out"),
      why: /You signed out\./,
    },
    {
      name: "a sign-in with a copy of the cookie",
      end: (browser) => copyOf(browser).post("/sign-in", ada),
      why: /You signed in again, and the new session replaced this one\./,
    },
    {
      name: "an operator",
      end: (browser) =>
        database.sql`
          update coatcheck.sessions set revoked_at = now(), revoked_reason = '<restored>'
          where id = ${idOf(browser)}`,
      why: /The session was revoked: &lt;restored&gt;\./,
    },
    {
      name: "the deletion of its row",
      end: (browser) => database.sql`delete from coatcheck.sessions where id = ${idOf(browser)}`,
      why: /an unknown session cookie\./,
    },
    {
      name: "a truncated cookie",
      end: ({ cookies }) => {
        for (const [name, value] of cookies) cookies.set(name, value.slice(1));
      },
      why: /a malformed session cookie\./,
    },
  ];
  for (const { name, end, why } of ends) {
    test(`tells the user that ${name} ended the session`, async () => {
      const browser = await signIn();
      await end(browser);
      const refused = await browser.get("/devices");
      assert.equal(refused.status, 303);
      assert.equal(refused.headers.get("location"), "/");
      const page = await home(browser);
      assert.ok(page.includes("<h1>Sign in</h1>"));
      assert.match(page, why);
    });
  }

  test("tells the user that the account is disabled", async () => {
    const browser = await signIn();
    await database.sql`alter view coatcheck.users rename to users_before`;
    await database.sql`
      create view coatcheck.users as select * from coatcheck.users_before where username <> 'ada'`;
    const page = await home(browser);
    await database.sql`drop view coatcheck.users`;
    await database.sql`alter view coatcheck.users_before rename to users`;
    assert.match(page, /Your account is disabled\./);
    assert.ok((await home(browser)).includes("<h1>ada</h1>"));
  });

  function copyOf({ cookies }: Browser): Browser {
    const copy = openBrowser(server);
    for (const [name, value] of cookies) copy.cookies.set(name, value);
    return copy;
  }

  test("revokes no session of another user by its id", async () => {
    const browser = await signIn();
    const other = openBrowser(server);
    await other.post("/sign-in", { username: "grace", password: "grace-demo" });
    const revoked = await browser.post("/devices/revoke", { id: idOf(other) });
    assert.equal(revoked.status, 303);
    assert.equal((await other.ask()).session?.username, "grace");
  });

  test("rejects a wrong current password, and a new one that is too short", async () => {
    const browser = await signIn();
    const wrong = await browser.post("/password", { current: "x", new: "lovelace-1815" });
    assert.equal(wrong.status, 401);
    assert.match(await wrong.text(), /<input id="current"[^>]* aria-describedby="message"/);
    const short = await browser.post("/password", { current: "ada-demo", new: "1815" });
    assert.equal(short.status, 422);
    assert.match(await short.text(), /<input id="new"[^>]* aria-describedby="message"/);
    await signIn();
  });

  test("lets no cache store a private page", async () => {
    const browser = await signIn();
    for (
      const path of [
        "/",
        "/session",
        "/session/end",
        "/devices",
        "/password",
        "/recovery-code",
        "/theft",
      ]
    ) {
      const response = await browser.get(path);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get("cache-control"), "no-store");
      assert.deepEqual(response.headers.getSetCookie(), []);
    }
  });

  test("answers 404 for an unknown path, and 405 for a wrong method", async () => {
    const browser = openBrowser(server);
    assert.equal((await browser.get("/nowhere")).status, 404);
    const signOut = await browser.get("/sign-out");
    assert.equal(signOut.status, 405);
    assert.equal(signOut.headers.get("allow"), "POST");
    const session = await browser.post("/session");
    assert.equal(session.status, 405);
    assert.equal(session.headers.get("allow"), "GET, HEAD");
  });

  test("answers 503 while the database is unreachable, and keeps the user signed in", async () => {
    const browser = await signIn();
    proxy.cut();
    const answers = [
      await browser.get("/"),
      await browser.get("/session"),
      await browser.get("/session/end"),
      await browser.post("/session/end"),
      await browser.post("/sign-out"),
      await browser.post("/sign-in", ada),
    ];
    await proxy.resume();
    assert.deepEqual(answers.map(({ status }) => status), Array(6).fill(503));
    assert.deepEqual(answers.flatMap(({ headers }) => headers.getSetCookie()), []);
    assert.ok((await home(browser)).includes("<h1>ada</h1>"));
  });

  test("starts again on existing data, and sets a cookie without Secure for Safari", async () => {
    const again = await startServer(command, { DATABASE_URL: database.url, COOKIE: "plain" });
    try {
      const browser = await signIn(again);
      assert.deepEqual([...browser.cookies.keys()], ["session"]);
      assert.ok((await home(browser)).includes("<h1>ada</h1>"));
      const [row] = await database.sql`select count(*)::integer as n from coatcheck_demo.users`;
      assert.equal(row!.n, 2);
    } finally {
      await again.close();
    }
  });

  test("rejects a database that has another app's sessions", async () => {
    const other = await openDatabase();
    const refused = startServer(command, { DATABASE_URL: other.url });
    try {
      await assert.rejects(refused, {
        message: /must be a table that the view coatcheck\.users reads \(users\)/,
      });
    } finally {
      await refused.then(({ close }) => close(), () => {});
      await other.close();
    }
  });

  const malformed = [
    { name: "no port", url: "postgres://ada:hunter2@localhost:port/app" },
    { name: "a host in half a bracket", url: "postgres://ada:hunter2@[::1/app" },
    { name: "a stray percent sign", url: "postgres://ada:hunter2%@localhost/app" },
    { name: "no scheme", url: "hunter2" },
  ];
  for (const { name, url } of malformed) {
    test(`rejects a DATABASE_URL with ${name}, and does not print it`, async () => {
      const refused = startServer(command, { DATABASE_URL: url });
      await assert.rejects(refused, ({ message }) => {
        assert.match(message, /\nDATABASE_URL must be a URL: \S+\n$/);
        assert.ok(!message.includes("hunter2"));
        return true;
      });
    });
  }

  test("ends when its parent process ends", async () => {
    const child = spawn("node_modules/.bin/bun", command.slice(1), {
      env: { ...process.env, DATABASE_URL: database.url, PORT: "0" },
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    const exited = once(child, "exit", { signal: AbortSignal.timeout(30_000) });
    try {
      await once(child.stdout!, "data");
      child.disconnect();
      assert.deepEqual(await exited, [1, null]);
    } finally {
      child.kill("SIGKILL");
    }
  });
});
