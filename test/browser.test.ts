import { afterAll, beforeAll, describe, test } from "bun:test";
import axe from "axe-core";
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Cookie,
  type Page,
} from "playwright-core";
import { configure, type CookiePolicy, type Policy } from "../mod.ts";
import { age, storageStateOf } from "../testing.ts";
import { type Database, openDatabase } from "./runner/database.ts";
import { type Server, startServer } from "./runner/server.ts";
import { openTls } from "./runner/tls.ts";

// On Bun only, if scripts/test.mjs has found a Chromium: the runtime that drives a browser makes no difference.
const command = ["bun", "examples/demo/server.ts"];

const ada = { username: "ada", password: "ada-demo" };
const grace = { username: "grace", password: "grace-demo" };
/** A user whose sessions belong to one test, whatever runs in parallel. */
const lin = { username: "lin", password: "ada-demo" };

/** The focused element. */
interface Focused {
  readonly outline: string;
  readonly names: readonly string[];
}

const FOCUSED = `((it) => ({
  outline: getComputedStyle(it).outlineWidth,
  names: [it.id, it.name, it.textContent],
}))(document.querySelector(":focus-visible"))`;

/** The elements that do not fit the width of the screen. */
const TOO_WIDE = `[...document.body.querySelectorAll("*")]
  .filter((it) => it.getBoundingClientRect().right > 360)
  .map((it) => it.outerHTML)`;

/** The violations that axe finds in a page: the rule and the elements. */
const violations = (options: object) => `
  axe.run(${JSON.stringify({ ...options, resultTypes: ["violations"] })}).then(({ violations }) =>
    violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)]))`;

describe("the demo in Chromium", () => {
  let database: Database;
  let server: Server;
  let plain: Server;
  let tls: { port: number; close: () => void };
  let chrome: Browser;
  /** On http://localhost, which Chromium trusts with a Secure cookie. */
  let demo: string;

  beforeAll(async () => {
    database = await openDatabase({ bare: true });
    server = await startServer(command, { DATABASE_URL: database.url });
    plain = await startServer(command, { DATABASE_URL: database.url, COOKIE: "plain" });
    tls = await openTls(server.url);
    demo = atLocalhost(server.url);
    await database.sql`
      insert into coatcheck_demo.users (username, password_hash)
      select ${lin.username}, password_hash from coatcheck_demo.users where username = 'ada'`;
    chrome = await chromium.launch({
      executablePath: process.env.CHROMIUM!,
      // The back button as users have it: the browser can restore a page from its memory.
      ignoreDefaultArgs: ["--disable-back-forward-cache"],
    });
  });

  afterAll(async () => {
    await chrome?.close();
    tls?.close();
    await plain?.close();
    await server?.close();
    await database?.close();
  });

  const atLocalhost = (url: string) => url.replace("127.0.0.1", "localhost");

  /** Runs a callback with a browser that shares no cookies with others. */
  async function withBrowser(
    act: (page: Page, context: BrowserContext) => Promise<void>,
    options: BrowserContextOptions = {},
  ): Promise<void> {
    const context = await chrome.newContext({
      baseURL: demo,
      ignoreHTTPSErrors: true,
      ...options,
    });
    context.setDefaultTimeout(20_000);
    try {
      await act(await context.newPage(), context);
    } finally {
      await context.close();
    }
  }

  async function fillIn(page: Page, fields: Record<string, string>): Promise<void> {
    for (const [label, text] of Object.entries(fields)) await page.getByLabel(label).fill(text);
  }

  async function press(page: Page, name: string): Promise<void> {
    await page.getByRole("button", { name, exact: true }).click();
  }

  /** Signs in, and opens a page. */
  async function enter(page: Page, path: string, form = ada): Promise<void> {
    // A request that shares the page's cookies is faster than the form.
    await page.request.post("/sign-in", { form, maxRedirects: 0 });
    await page.goto(path);
  }

  async function heading(page: Page): Promise<string> {
    return await page.getByRole("heading", { level: 1 }).innerText();
  }

  /** What the sign-in form tells the user who was signed out. */
  async function why(page: Page): Promise<string> {
    assert.equal(await heading(page), "Sign in");
    return await page.getByRole("status").innerText();
  }

  async function onlyCookie(context: BrowserContext): Promise<Cookie> {
    const cookies = await context.cookies();
    assert.equal(cookies.length, 1);
    return cookies[0]!;
  }

  async function sessionId(context: BrowserContext): Promise<string> {
    return (await onlyCookie(context)).value.slice(0, 36);
  }

  /** Lets the rotation grace period pass, by ageing the row. */
  async function passGrace(context: BrowserContext): Promise<void> {
    const aged = await database.sql`
      update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '11 seconds'
      where id = ${await sessionId(context)} and rotation_seen_at is not null`;
    assert.equal(aged.count, 1);
  }

  /** Lets the time pass for which a password is recent, by ageing the row. */
  async function passProof(context: BrowserContext): Promise<void> {
    await database.sql`
      update coatcheck.sessions set authenticated_at = authenticated_at - interval '31 seconds'
      where id = ${await sessionId(context)}`;
  }

  test.concurrent("is accessible on every page, in light and dark, and fits 360 pixels", async () => {
    await withBrowser(async (page, context) => {
      const problems: string[] = [];
      // For example a script or a style that the Content-Security-Policy rejected.
      page.on("console", (message) => problems.push(message.text()));
      page.on("pageerror", (error) => problems.push(String(error)));
      let visited = 0;

      async function look(title: string): Promise<void> {
        visited++;
        assert.equal(await page.title(), `${title} – coatcheck demo`);
        assert.deepEqual(await page.evaluate(TOO_WIDE), [], title);
        await page.evaluate(axe.source);
        for (const colorScheme of ["light", "dark"] as const) {
          await page.emulateMedia({ colorScheme });
          // Dark mode changes only the colours.
          const runOnly = colorScheme === "dark" ? { runOnly: "color-contrast" } : {};
          assert.deepEqual(
            await page.evaluate(violations(runOnly)),
            [],
            `${title}, ${colorScheme}`,
          );
        }
      }

      await page.goto("/");
      await look("Sign in");
      await fillIn(page, { Username: "ada", Password: "wrong" });
      await press(page, "Sign in");
      await look("Not signed in");
      await enter(page, "/");
      await look("Signed in as ada");
      await page.goto("/devices");
      await page.getByText("User agent").first().click();
      await look("Your devices");
      await page.goto("/password");
      await look("Change the password");
      await page.goto("/recovery-code");
      await look("Recovery code");
      await passProof(context);
      await page.reload();
      await look("Confirm your password");
      await page.goto("/theft");
      await press(page, "Copy my cookie as an attacker");
      await press(page, "Rotate the secret");
      await look("Token-theft detection");
      await passGrace(context);
      await press(page, "Use the copy");
      await look("Theft detected");
      await page.goto("/");
      await look("Signed out");
      await page.goto("/nowhere");
      await look("Page not found");
      assert.equal(visited, 11);
      const refusals = /^Failed to load resource: the server responded with a status of 40[14] /;
      assert.deepEqual(problems.filter((it) => !refusals.test(it)), []);
    }, { viewport: { width: 360, height: 740 } });
  });

  const places = [
    { name: "http://localhost", url: () => demo, cookie: "__Host-session", secure: true },
    {
      name: "https with a self-signed certificate",
      url: () => `https://localhost:${tls.port}`,
      cookie: "__Host-session",
      secure: true,
    },
    {
      name: "http://localhost with COOKIE=plain",
      url: () => atLocalhost(plain.url),
      cookie: "session",
      secure: false,
    },
  ];
  for (const { name, url, cookie, secure } of places) {
    test.concurrent(`stores the cookie with all its attributes and hides it from scripts on ${name}`, async () => {
      await withBrowser(async (page, context) => {
        await page.goto("/");
        await fillIn(page, { Username: "ada", Password: "ada-demo" });
        await page.getByLabel("Remember me").check();
        await press(page, "Sign in");
        assert.equal(await heading(page), "ada");
        const { value, expires, ...attributes } = await onlyCookie(context);
        assert.match(value, /^.{36}\..{43}$/);
        assert.ok(Math.abs(expires - Date.now() / 1000 - 600) < 10);
        assert.deepEqual(attributes, {
          name: cookie,
          domain: "localhost",
          path: "/",
          httpOnly: true,
          secure,
          sameSite: "Lax",
        });
        assert.equal(await page.evaluate("document.cookie"), "");

        await press(page, "Sign out");
        assert.equal(await heading(page), "Sign in");
        assert.deepEqual(await context.cookies(), []);
      }, { baseURL: url() });
    });
  }

  test.concurrent("shares a session among tabs until one of them signs out", async () => {
    await withBrowser(async (page, context) => {
      await enter(page, "/");
      assert.equal((await onlyCookie(context)).expires, -1);
      const tab = await context.newPage();
      await tab.goto("/");
      assert.equal(await heading(tab), "ada");
      await press(tab, "Sign out");
      await page.reload();
      assert.equal(await heading(page), "Sign in");
    });
  });

  for (const javaScriptEnabled of [true, false]) {
    const script = javaScriptEnabled ? "a script" : "no script";
    test.concurrent(`shows nothing private by the back button after a sign-out, with ${script}`, async () => {
      await withBrowser(async (page) => {
        await enter(page, "/devices");
        await press(page, "Sign out");
        assert.equal(await heading(page), "Sign in");
        await page.goBack({ waitUntil: "commit" });
        assert.equal(await heading(page), "Sign in");
      }, { javaScriptEnabled });
    });
  }

  test.concurrent("shows nothing private by the back button after a revocation from another device", async () => {
    await withBrowser(async (page, context) => {
      await enter(page, "/devices");
      await page.goto("/password");
      await database.sql`delete from coatcheck.sessions where id = ${await sessionId(context)}`;
      // The browser still has the page in memory, as no cookie has changed: page.js reloads it.
      await page.goBack({ waitUntil: "commit" });
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
    });
  });

  test.concurrent("lists both browsers of a user, revokes one or all others, and tells each why", async () => {
    await withBrowser(async (page) => {
      await withBrowser(async (phone) => {
        await enter(phone, "/", lin);
        await enter(page, "/devices", lin);
        const devices = page.getByRole("listitem");
        assert.equal(await devices.count(), 2);
        assert.match(await devices.nth(0).innerText(), /^Chrome on \w+\s+This device\n/);
        assert.match(await devices.nth(1).innerText(), /^Firefox on Android\n/);

        await page.getByRole("button", { name: /^Sign out Firefox on Android, last used/ }).click();
        assert.equal(await devices.count(), 1);
        await phone.reload();
        assert.match(await why(phone), /You revoked this session from another device\.$/);
        await enter(phone, "/", lin);
        await page.reload();
        await press(page, "Sign out all other devices");
        assert.equal(await devices.count(), 1);
        await phone.reload();
        assert.match(await why(phone), /You revoked this session from another device\.$/);
        await page.reload();
        assert.equal(await heading(page), "Your devices");
      }, { userAgent: "Mozilla/5.0 (Android 16; Mobile; rv:144.0) Gecko/144.0 Firefox/144.0" });
    });
  });

  test.concurrent("changes the password, revokes the other session and replaces this one's secret", async () => {
    await withBrowser(async (page, context) => {
      await withBrowser(async (other) => {
        await enter(other, "/", grace);
        await enter(page, "/password", grace);
        const before = await onlyCookie(context);
        const label = "New password (8 characters or more)";
        await fillIn(page, { "Current password": "ada-demo", [label]: "hopper-1906" });
        await press(page, "Change the password");
        assert.equal(await page.getByRole("alert").innerText(), "Wrong password.");
        await fillIn(page, { "Current password": "grace-demo", [label]: "hopper-1906" });
        await press(page, "Change the password");
        assert.equal(await heading(page), "Password changed");

        const after = await onlyCookie(context);
        assert.equal(after.value.slice(0, 36), before.value.slice(0, 36));
        assert.notEqual(after.value, before.value);
        await other.reload();
        assert.match(await why(other), /Your password was changed on another device\.$/);
        await fillIn(other, { Username: "grace", Password: "hopper-1906" });
        await press(other, "Sign in");
        assert.equal(await heading(other), "grace");
      });
    });
  });

  test.concurrent("asks for the password again before a sensitive page", async () => {
    await withBrowser(async (page, context) => {
      await enter(page, "/recovery-code");
      assert.equal(await heading(page), "Recovery code");
      await passProof(context);
      const before = await onlyCookie(context);
      await page.reload();
      assert.equal(await heading(page), "Confirm your password");
      assert.ok(!(await page.content()).includes("COAT-"));
      await fillIn(page, { Password: "grace-demo" });
      await press(page, "Show the recovery code");
      assert.equal(await page.getByRole("alert").innerText(), "Wrong password.");
      await fillIn(page, { Password: "ada-demo" });
      await press(page, "Show the recovery code");
      assert.equal(await heading(page), "Recovery code");
      assert.match(await page.getByRole("main").innerText(), /COAT-/);
      assert.notEqual((await onlyCookie(context)).value, before.value);
    });
  });

  test.concurrent("detects the copied cookie step by step", async () => {
    await withBrowser(async (page, context) => {
      await enter(page, "/theft");
      await press(page, "Copy my cookie as an attacker");
      await press(page, "Use the copy before that");
      assert.equal(await heading(page), "The copy works");
      await page.getByRole("link", { name: "Back to the steps" }).click();
      await press(page, "Rotate the secret");
      await press(page, "Use the copy");
      assert.equal(await heading(page), "The copy works");
      await page.getByRole("link", { name: "Back to the steps" }).click();
      await passGrace(context);
      await press(page, "Use the copy");
      assert.equal(await heading(page), "Theft detected");
      assert.match(await page.getByRole("main").innerText(), /Attacker\s+Signed out: reused\n/);
      await page.goto("/devices");
      assert.match(await why(page), /An old copy of your cookie was used/);
    });
  });

  test.concurrent("detects a copied cookie in a second browser, and tells both", async () => {
    await withBrowser(async (page, context) => {
      await enter(page, "/theft");
      await withBrowser(async (attacker, attackerContext) => {
        await attackerContext.addCookies([await onlyCookie(context)]);
        await attacker.goto("/");
        assert.equal(await heading(attacker), "ada");
        await press(page, "Copy my cookie as an attacker");
        await press(page, "Rotate the secret");
        await attacker.reload();
        assert.equal(await heading(attacker), "ada");
        await passGrace(context);
        await page.reload();
        assert.equal(await heading(page), "Token-theft detection");
        for (const it of [attacker, page]) {
          await it.reload();
          assert.match(
            await why(it),
            /^You were signed out\. An old copy of your cookie was used/,
          );
        }
      });
    });
  });

  test.concurrent("rejects forms of other sites, and of other ports on its own host", async () => {
    const attacker = createServer((request, response) => {
      const target = new URL(request.url!, "http://localhost").searchParams.get("to")!;
      response.setHeader("content-type", "text/html");
      response.end(`<form method="post" action="${target}">
        <input name="username" value="grace"><input name="password" value="grace-demo">
        <button>Win a coat</button></form>`);
    }).listen(0, "127.0.0.1");
    await once(attacker, "listening");
    const { port } = attacker.address() as AddressInfo;
    try {
      await withBrowser(async (page, context) => {
        await enter(page, "/");
        const cookie = await onlyCookie(context);
        for (const origin of [`http://127.0.0.1:${port}`, `http://localhost:${port}`]) {
          for (const path of ["/sign-in", "/sign-out"]) {
            await page.goto(`${origin}/?to=${demo}${path}`);
            await press(page, "Win a coat");
            assert.equal(page.url(), demo + path);
            assert.equal(await heading(page), "Request rejected");
          }
        }
        assert.deepEqual(await onlyCookie(context), cookie);
        await page.goto("/");
        assert.equal(await heading(page), "ada");
      });
    } finally {
      attacker.close();
    }
  });

  test.concurrent("counts both timeouts down, and says when they have expired", async () => {
    await withBrowser(async (page) => {
      await page.clock.install();
      await enter(page, "/");
      const clocks = page.getByRole("timer");
      await page.clock.pauseAt(Date.now() + 1000);
      const [idle = 0, absolute = 0] = (await clocks.allInnerTexts()).map(inSeconds);
      assert.ok(idle > 110 && idle <= 120 && absolute > 590 && absolute <= 600);
      await page.clock.runFor(60_000);
      const later = (await clocks.allInnerTexts()).map(inSeconds);
      assert.deepEqual(later, [idle - 60, absolute - 60]);
      await page.clock.runFor(60_000);
      assert.equal(await clocks.nth(0).innerText(), "Expired");
    });
  });

  /** The text of the warning; "" if it is not shown. */
  async function warned(page: Page): Promise<string> {
    return await page.getByRole("status").innerText();
  }

  const SOON = "Your session ends in less than 30 seconds";
  const answered = (page: Page) => page.waitForResponse("**/session/end");

  /** Lets time pass for the page and for the session. */
  async function pass(page: Page, context: BrowserContext, seconds: number): Promise<void> {
    await age(await sessionId(context), seconds, database.sql);
    await page.clock.runFor(seconds * 1000);
  }

  /** Opens a page whose time stands still. */
  async function enterPaused(page: Page, path: string): Promise<void> {
    await page.clock.install();
    await enter(page, path);
    await page.clock.pauseAt(Date.now() + 1000);
  }

  async function lastSeen(context: BrowserContext): Promise<number> {
    const [row] = await database.sql`select extract(epoch from now() - last_seen_at) as age
      from coatcheck.sessions where id = ${await sessionId(context)}`;
    return Number(row!.age);
  }

  test.concurrent("warns 30 seconds before the idle timeout, and the button keeps the session", async () => {
    await withBrowser(async (page, context) => {
      await enterPaused(page, "/password");
      await page.getByLabel("Current password").fill("half of a pass");
      await pass(page, context, 60);
      assert.equal(await warned(page), "");
      let answer = answered(page);
      await pass(page, context, 32);
      await answer;
      const button = page.getByRole("button", { name: "Stay signed in" });
      await button.waitFor();
      assert.equal(await warned(page), `${SOON}.`);
      assert.ok(await lastSeen(context) >= 92, "The page's question counts as no use");
      answer = answered(page);
      await page.getByLabel("Current password").focus();
      await button.focus();
      await page.keyboard.press("Enter");
      assert.ok((await (await answer).json()).seconds > 60);
      await page.getByText("You are still signed in.").waitFor();
      assert.ok(await lastSeen(context) < 10);
      assert.equal(await button.count(), 0);
      // What was typed is there, and the focus where it was.
      assert.equal(await page.getByLabel("Current password").inputValue(), "half of a pass");
      assert.deepEqual((await page.evaluate(FOCUSED) as Focused).names.slice(0, 1), ["current"]);
      await page.clock.runFor(6000);
      assert.equal(await warned(page), "");
      await page.reload();
      assert.equal(await heading(page), "Change the password");
    });
  });

  test.concurrent("sets the idle countdown anew if the button or another tab has used the session", async () => {
    await withBrowser(async (page, context) => {
      await enterPaused(page, "/");
      const idle = async () => inSeconds(await page.getByRole("timer").first().innerText());
      let answer = answered(page);
      await pass(page, context, 92);
      await answer;
      await page.getByRole("button", { name: "Stay signed in" }).click();
      await page.getByText("You are still signed in.").waitFor();
      await page.clock.runFor(250);
      assert.ok(await idle() > 60);

      // Another tab uses the session: only this page's time passes. It asks before it warns.
      answer = answered(page);
      await page.clock.runFor(92_000);
      await (await answer).finished();
      await page.clock.runFor(250);
      await page.waitForFunction("document.querySelector('.clock b').textContent > '1:00'");
      assert.equal(await warned(page), "");
    });
  });

  test.concurrent("warns of the absolute timeout without a button", async () => {
    await withBrowser(async (page, context) => {
      await enterPaused(page, "/");
      await database.sql`
        update coatcheck.sessions set authenticated_at = authenticated_at - interval '575 seconds'
        where id = ${await sessionId(context)}`;
      const answer = answered(page);
      await page.reload();
      await answer;
      await page.getByText(`${SOON}, 10 minutes after sign-in.`).waitFor();
      assert.equal(await page.getByRole("button", { name: "Stay signed in" }).count(), 0);
    });
  });

  test.concurrent("warns by what it knows if the server does not answer, accessible and in 360 pixels", async () => {
    await withBrowser(async (page, context) => {
      await enterPaused(page, "/devices");
      await page.route("**/session/end", (route) => route.abort());
      await page.clock.runFor(92_000);
      await page.getByText(`${SOON}.`).waitFor();
      assert.deepEqual(await page.evaluate(TOO_WIDE), []);
      await page.evaluate(axe.source);
      // axe waits by the page's clock.
      await page.clock.resume();
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        assert.deepEqual(await page.evaluate(violations({})), [], colorScheme);
      }
      await press(page, "Stay signed in");
      await page.getByText("The server does not answer. Try again.").waitFor();
      await page.unroute("**/session/end");
      await age(await sessionId(context), 20, database.sql);
      await press(page, "Stay signed in");
      await page.getByText("You are still signed in.").waitFor();
      assert.ok(await lastSeen(context) < 20);
    }, { viewport: { width: 360, height: 740 } });
  });

  test.concurrent("leaves the page if the button comes too late", async () => {
    await withBrowser(async (page, context) => {
      await enterPaused(page, "/devices");
      await pass(page, context, 92);
      await page.getByText(`${SOON}.`).waitFor();
      await age(await sessionId(context), 30, database.sql);
      await press(page, "Stay signed in");
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      assert.match(await why(page), /You were inactive for 2 minutes\.$/);
    });
  });

  test.concurrent("leaves the page when the session has ended, and says why", async () => {
    await withBrowser(async (page, context) => {
      await enterPaused(page, "/recovery-code");
      assert.match(await page.getByRole("main").innerText(), /COAT-/);
      await pass(page, context, 121);
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      assert.match(await why(page), /You were inactive for 2 minutes\.$/);
    });
  });

  function inSeconds(text: string): number {
    const [, minutes, seconds] = text.match(/^(\d+):(\d\d)$/)!;
    return Number(minutes) * 60 + Number(seconds);
  }

  test.concurrent("works without JavaScript, except for the countdown and the warning", async () => {
    await withBrowser(async (page) => {
      await enter(page, "/");
      assert.equal(await page.getByRole("timer").count(), 0);
      assert.equal(await page.getByRole("status").innerText(), "");
      assert.deepEqual(await page.getByRole("button").allInnerTexts(), ["Sign out"]);
      assert.match(
        await page.getByRole("main").innerText(),
        /Idle timeout\s+\d+ \w+ \d{4}, \d\d:/,
      );
      await page.goto("/theft");
      await press(page, "Copy my cookie as an attacker");
      await press(page, "Use the copy before that");
      assert.equal(await heading(page), "The copy works");
      await press(page, "Sign out");
      assert.equal(await heading(page), "Sign in");
    }, { javaScriptEnabled: false });
  });

  test.concurrent("works by keyboard alone, with visible focus", async () => {
    await withBrowser(async (page) => {
      const { keyboard } = page;
      async function tabTo(text: string): Promise<void> {
        for (let tabs = 0; tabs < 20; tabs++) {
          await keyboard.press("Tab");
          const { outline, names } = await page.evaluate(FOCUSED) as Focused;
          assert.ok(Number.parseFloat(outline) >= 2);
          if (names.includes(text)) return;
        }
        assert.fail(`No way to ${text}`);
      }
      await page.goto("/");
      await tabTo("username");
      await keyboard.type("ada");
      await tabTo("password");
      await keyboard.type("ada-demo");
      await tabTo("remember");
      await keyboard.press("Space");
      await keyboard.press("Enter");
      await page.getByRole("heading", { name: "ada" }).waitFor();

      await tabTo("Skip to content");
      await keyboard.press("Enter");
      await page.waitForURL("**/#content");
      await page.goto("/");
      await tabTo("Devices");
      await keyboard.press("Enter");
      await page.getByRole("heading", { name: "Your devices" }).waitFor();
      await tabTo("User agent");
      await keyboard.press("Enter");
      await page.getByText("Mozilla/5.0").first().waitFor();
      await page.goto("/theft");
      await tabTo("Copy my cookie as an attacker");
      await keyboard.press("Enter");
      await page.getByText("Done").waitFor();
      await page.goto("/");
      await tabTo("Sign out");
      await keyboard.press("Enter");
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
    });
  });
});

describe("a change of the cookie's attributes in Chromium", () => {
  let db: Database;
  let chrome: Browser;
  let server: ReturnType<typeof createServer>;
  let tls: { port: number; close: () => void };

  beforeAll(async () => {
    db = await openDatabase();
    server = createServer(async (request, response) => {
      const { pathname, searchParams } = new URL(request.url!, "https://www.example.test");
      const app = configure({ cookie: JSON.parse(searchParams.get("cookie") ?? "{}") });
      const headers = new Headers({ cookie: request.headers.cookie ?? "" });
      const answers: Record<string, () => Promise<{ headers: Headers; said: string | undefined }>> =
        {
          "sign-in": async () => {
            const { headers: issued, session } = await app.createSession("ada", db.sql, {
              replaces: headers,
            });
            return { headers: issued, said: session.id };
          },
          "sign-in-beside": async () => {
            const { headers: issued, session } = await app.createSession("ada", db.sql);
            return { headers: issued, said: session.id };
          },
          "sign-out": async () => {
            const { headers: issued, session } = await app.revokeSession(headers, db.sql);
            return { headers: issued, said: session?.id };
          },
          "look": async () => {
            const { session, reason, headers: issued } = await app.validateSession(headers, db.sql);
            return { headers: issued, said: session?.id ?? reason };
          },
        };
      const answer = await answers[pathname.split("/").at(-1)!]?.();
      if (answer) response.setHeader("set-cookie", answer.headers.getSetCookie());
      response.setHeader("content-type", "text/plain");
      response.end(answer?.said ?? "nothing");
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    tls = await openTls(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    chrome = await chromium.launch({
      executablePath: process.env.CHROMIUM!,
      args: ["--host-resolver-rules=MAP *.example.test 127.0.0.1"],
    });
  });

  afterAll(async () => {
    await chrome?.close();
    tls?.close();
    server?.close();
    await db?.close();
  });

  const switches: { name: string; before: CookiePolicy; after: CookiePolicy; left: number }[] = [
    { name: "partitioned on", before: {}, after: { partitioned: true }, left: 0 },
    { name: "partitioned off", before: { partitioned: true }, after: {}, left: 0 },
    {
      name: "domain on",
      before: { name: "sid" },
      after: { name: "sid", domain: "example.test" },
      left: 1,
    },
    {
      name: "domain off",
      before: { name: "sid", domain: "example.test" },
      after: { name: "sid" },
      left: 1,
    },
    { name: "path down", before: { name: "sid" }, after: { name: "sid", path: "/app" }, left: 1 },
    { name: "path up", before: { name: "sid", path: "/app" }, after: { name: "sid" }, left: 1 },
  ];
  for (const { name, before, after, left } of switches) {
    test.concurrent(`lets the user in after signing out and in with ${name}`, async () => {
      const context = await chrome.newContext({ ignoreHTTPSErrors: true });
      try {
        const page = await context.newPage();
        let cookie = before;
        const go = async (path: string) => {
          const url = new URL(`https://www.example.test:${tls.port}/app/${path}`);
          url.searchParams.set("cookie", JSON.stringify(cookie));
          return await (await page.goto(url.href))!.text();
        };
        const first = await go("sign-in");
        assert.equal(await go("look"), first);
        cookie = after;
        assert.equal(await go("look"), first, "The change signs nobody out");
        const second = await go("sign-in-beside");
        assert.equal((await context.cookies()).length, 2);
        assert.equal(await go("look"), "malformed");

        await go("sign-out");
        const dead = await db.sql`select revoked_reason as reason from coatcheck.sessions
            where id in (${first}, ${second})`;
        assert.deepEqual(dead.map(({ reason }) => reason), ["signed-out", "signed-out"]);
        assert.equal((await context.cookies()).length, left);
        const third = await go("sign-in");
        assert.equal(await go("look"), third);
        assert.equal((await context.cookies()).length, left + 1);

        // The policy names what was before.
        const { name: _, ...attributes } = before;
        cookie = { ...after, previous: [attributes] };
        const fourth = await go("sign-in");
        assert.equal(await go("look"), fourth);
        assert.equal((await context.cookies()).length, 1);
        await go("sign-out");
        assert.deepEqual(await context.cookies(), []);
      } finally {
        await context.close();
      }
    });
  }
});

describe("a page on another origin, with a bearer token, in Chromium", () => {
  test("gets and sends the token by the API's CORS headers, and no other page does", async () => {
    const db = await openDatabase();
    const api = configure({ transport: "bearer" });
    const handle = api.withSession(async (request, { session, reason }) => {
      if (new URL(request.url).pathname !== "/sign-in") return Response.json({ session, reason });
      const { token, headers } = await api.createSession("ada", db.sql);
      return Response.json({ token }, { headers });
    }, db.sql);
    const page = createServer((_, response) => {
      response.setHeader("content-type", "text/html").end("<title>A page</title>");
    }).listen(0, "127.0.0.1");
    await once(page, "listening");
    const { port } = page.address() as AddressInfo;
    const [friend, stranger] = [`http://localhost:${port}`, `http://127.0.0.1:${port}`];
    const sent: string[] = [];
    const server = createServer(async ({ method, url, headers }, response) => {
      if (headers.origin === friend) {
        response.setHeader("access-control-allow-origin", friend);
        response.setHeader("access-control-allow-headers", "authorization");
      }
      if (method === "OPTIONS") return response.end();
      const { authorization } = headers;
      if (authorization) sent.push(headers.origin ?? "none");
      const request = new Request(new URL(url!, "http://127.0.0.1").href, {
        method: method!,
        headers: { ...(authorization && { authorization }), origin: headers.origin ?? "none" },
      });
      response.end(await (await handle(request)).text());
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const chrome = await chromium.launch({ executablePath: process.env.CHROMIUM! });
    try {
      const tab = await chrome.newPage();
      const ask = async (path: string, token?: string) =>
        await tab.evaluate(`fetch(${JSON.stringify(base + path)}, {
          method: "POST",
          headers: ${JSON.stringify(token ? { authorization: `Bearer ${token}` } : {})},
        }).then((it) => it.json(), (error) => ({ failed: error.name }))`) as {
          token: string;
          session: { username: string };
          reason: string;
        };
      await tab.goto(friend);
      const { token } = await ask("/sign-in");
      assert.equal((await ask("/me", token)).session.username, "ada");
      assert.equal((await ask("/me")).reason, "absent");
      await tab.goto(stranger);
      assert.deepEqual(await ask("/sign-in"), { failed: "TypeError" });
      assert.deepEqual(await ask("/me", token), { failed: "TypeError" });
      assert.deepEqual(sent, [friend]);
      assert.deepEqual(await tab.context().cookies(), []);
    } finally {
      await chrome.close();
      server.close();
      page.close();
      await db.close();
    }
  });
});

describe("storageStateOf in Chromium", () => {
  const policies: { name: string; policy: Policy }[] = [
    { name: "the default cookie", policy: {} },
    { name: "a cookie that ends with the browser", policy: { cookie: { persistent: false } } },
    { name: "a cookie of plain http", policy: { cookie: { secure: false, sameSite: "Strict" } } },
    { name: "a cookie of a path", policy: { cookie: { path: "/app" } } },
  ];
  test("signs a browser in, with every kind of cookie", async () => {
    const db = await openDatabase();
    const chrome = await chromium.launch({ executablePath: process.env.CHROMIUM! });
    try {
      for (const [index, { name, policy }] of policies.entries()) {
        const user = index % 2 ? "grace" : "ada";
        const app = configure({ ...policy, rotateAfter: 3600 });
        const handle = app.withSession((_, { session, reason }) => {
          return new Response(session?.username ?? reason);
        }, db.sql);
        const server = createServer(async ({ headers: { cookie = "" } }, response) => {
          const request = new Request("http://localhost/", { headers: { cookie } });
          const answer = await handle(request);
          response.setHeader("set-cookie", answer.headers.getSetCookie());
          response.setHeader("content-type", "text/html").end(await answer.text());
        }).listen(0, "127.0.0.1");
        await once(server, "listening");
        const url = `http://localhost:${(server.address() as AddressInfo).port}/app/`;
        const created = await app.createSession(user, db.sql);
        const storageState = storageStateOf(created, url);
        const context = await chrome.newContext({ storageState });
        const page = await context.newPage();
        const ask = async () => (await page.goto(url))!.text();
        assert.equal(await ask(), user, name);
        assert.equal(await page.evaluate("document.cookie"), "", name);

        // The browser takes the next secret in the same cookie's place.
        await age(created.session, 3600, db.sql);
        assert.equal(await ask(), user, name);
        const cookies = await context.cookies();
        assert.equal(cookies.length, 1, name);
        assert.notEqual(cookies[0]!.value, storageState.cookies[0]!.value);
        assert.equal(await ask(), user, name);
        await context.close();
        server.close();
      }
    } finally {
      await chrome.close();
      await db.close();
    }
  });
});
