// What the pages of an app must do in Chromium, with scripts: they send forms and load pages without a page load.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";
import { findChromium } from "../../scripts/chromium.mjs";
import { ADA, age, GRACE, live, NAME } from "./database.mjs";

const claims = {
  "shows a wrong password without a page load": async ({ page, base, cookie }) => {
    await open(page, base);
    await signIn(page, { ...ADA, password: "x" });
    await shows(page, "Wrong username or password");
    assert.ok(await isSamePage(page));
    assert.equal(await cookie(), undefined);
  },

  "signs in without a page load": async ({ page, base, cookie, sql }) => {
    await open(page, base);
    await signIn(page, ADA);
    await shows(page, "Signed in as ada");
    assert.ok(await isSamePage(page));
    const [row, ...others] = await live(sql);
    assert.deepEqual(others, []);
    const { value, ...attributes } = await cookie();
    assert.equal(value.slice(0, 36), row.id);
    const { httpOnly, secure, sameSite, path } = attributes;
    assert.deepEqual([httpOnly, secure, sameSite, path], [true, true, "Lax", "/"]);
  },

  "keeps the cookie of a rotation that a script's request brings": async (
    { name, page, base, cookie, sql },
  ) => {
    await open(page, base);
    await signIn(page, ADA);
    await shows(page, "Signed in as ada");
    const requests = ["fetch('/api/session').then((it) => it.text())"];
    // SvelteKit's pages have no function for it.
    if (name === "next") requests.push("void next.router.refresh()");
    for (const request of requests) {
      await open(page, base);
      const before = (await cookie()).value;
      await age(sql);
      const answer = page.waitForResponse((it) => it.url().startsWith(base));
      await page.evaluate(request);
      await answer;
      await until(async () => (await cookie()).value !== before, request);
      assert.ok(await isSamePage(page));
      await shows(page, "Signed in as ada");
    }
    await page.reload();
    await shows(page, "Signed in as ada");
    assert.equal((await live(sql)).length, 1);
  },

  "signs in another user in a second tab, though the session is due for rotation": async (
    { page, base, context, sql },
  ) => {
    const second = await context.newPage();
    await open(second, base);
    await open(page, base);
    await signIn(page, ADA);
    await shows(page, "Signed in as ada");
    await age(sql);
    await signIn(second, GRACE);
    await shows(second, "Signed in as grace");
    assert.ok(await isSamePage(second));
    for (const it of [second, page]) {
      await it.reload();
      await shows(it, "Signed in as grace");
    }
    assert.deepEqual((await live(sql)).map(({ username }) => username), ["grace"]);
  },

  "revokes another device without a page load, though the session is due for rotation": async (
    { page, base, another, cookie, sql },
  ) => {
    const other = await another();
    await open(other, base);
    await signIn(other, ADA);
    await shows(other, "Signed in as ada");
    await open(page, base);
    await signIn(page, ADA);
    await shows(page, "Signed in as ada");
    const before = (await cookie()).value;
    await age(sql);
    assert.equal(await page.getByRole("listitem").count(), 2);
    await press(page, "Revoke");
    await page.getByRole("button", { name: "Revoke" }).waitFor({ state: "detached" });
    assert.equal(await page.getByRole("listitem").count(), 1);
    assert.ok(await isSamePage(page));
    await until(async () => (await cookie()).value !== before, "the cookie of the rotation");
    await other.reload();
    await shows(other, "Signed out");
    await page.reload();
    await shows(page, "Signed in as ada");
  },

  "signs out without a page load, and Back shows nothing of the session": async (
    { page, base, cookie, sql },
  ) => {
    await open(page, base);
    await signIn(page, ADA);
    await shows(page, "Signed in as ada");
    // A page of the session to come back to, in the browser's memory or in its cache.
    await page.reload();
    await open(page, `${base}/?second`);
    await shows(page, "Signed in as ada");
    await age(sql);
    await press(page, "Sign out");
    await shows(page, "Signed out");
    assert.ok(await isSamePage(page));
    assert.equal(await cookie(), undefined);
    assert.equal((await live(sql)).length, 0);
    for (let steps = await page.evaluate("history.length"); steps > 1; steps--) {
      await page.goBack().catch(() => {});
      if (!page.url().startsWith(base)) break;
      await shows(page, "Signed out");
      assert.doesNotMatch(await page.locator("body").innerText(), /\bada\b/);
    }
  },
};

/** Drives an app that runs. Yields each claim, and the error if it does not hold, or why it is not asked. */
export async function* drive({ name, base, database: { sql } }) {
  const executablePath = findChromium();
  if (!executablePath) {
    const notAsked = "there is no Chromium here";
    for (const claim of Object.keys(claims)) yield { claim: `Chromium ${claim}`, notAsked };
    return;
  }
  const chrome = await chromium.launch({
    executablePath,
    // The back button as users have it: the browser can restore a page from its memory.
    ignoreDefaultArgs: ["--disable-back-forward-cache"],
  });
  try {
    for (const [claim, holds] of Object.entries(claims)) {
      await sql`delete from coatcheck.sessions`;
      const contexts = [];
      const another = async () => {
        const context = await chrome.newContext();
        context.setDefaultTimeout(10_000);
        contexts.push(context);
        return await context.newPage();
      };
      try {
        const page = await another();
        const context = page.context();
        const cookie = async () => (await context.cookies()).find(({ name }) => name === NAME);
        await holds({ name, base, sql, page, context, another, cookie });
        yield { claim: `Chromium ${claim}` };
      } catch (error) {
        yield { claim: `Chromium ${claim}`, error };
      } finally {
        for (const it of contexts) await it.close();
      }
    }
  } finally {
    await chrome.close();
  }
}

/** Opens a page, waits for its scripts, and marks it: the mark is gone after another page load. */
async function open(page, url) {
  await page.goto(url, { waitUntil: "networkidle" });
  await page.evaluate("window.mark = 1");
}

async function isSamePage(page) {
  return await page.evaluate("window.mark === 1");
}

async function signIn(page, { username, password }) {
  await page.getByLabel("Username").fill(username);
  await page.getByLabel("Password").fill(password);
  await press(page, "Sign in");
}

async function press(page, name) {
  await page.getByRole("button", { name, exact: true }).click();
}

async function until(holds, what) {
  for (let tries = 0; !await holds(); tries++) {
    assert.ok(tries < 100, what);
    await sleep(50);
  }
}

async function shows(page, text) {
  await page.getByText(text).first().waitFor();
}
