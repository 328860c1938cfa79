// What each recipe of examples/moving/ must do with the cookies that its library has made.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createGuestSession } from "coatcheck";
import postgres from "postgres";
import { usernameOf } from "../both.ts";
import { serve } from "./app.mjs";
import { prepare } from "./database.mjs";
import { Jar, parse } from "./jar.mjs";

const NAME = "__Host-session";

const claims = {
  "trades a session in: its user, its data, one cookie": async (context) => {
    const { visit, names, old, data, library, isStateless } = context;
    const jar = new Jar(await library.signIn(names.ada));
    assert.ok(jar.names.includes(old));
    assert.equal(await library.whoIs(jar.header), names.ada);
    const { status, text, lines, headers } = await visit(jar, "/session");
    assert.equal(status, 200);
    const session = JSON.parse(text);
    assert.equal(session.username, names.ada);
    for (const [key, value] of Object.entries(data)) assert.deepEqual(session.data[key], value);
    for (const line of lines) assert.equal(countOf(lines, parse(line).name), 1, line);
    assert.equal(headers.get("cache-control"), "no-store");
    assert.deepEqual(jar.names, [NAME]);
    const [row] = await context.sessions();
    assert.equal(row.id, session.id);
    assert.equal(jar.valueOf(NAME).slice(0, 36), session.id);
    if (!isStateless) assert.equal(await library.rows(), 0);
    const again = await visit(jar, "/session");
    assert.equal(JSON.parse(again.text).id, session.id);
    assert.deepEqual(again.lines, []);
  },

  "clears the old cookie with the attributes that the library set it with": async (context) => {
    const set = await context.library.signIn(context.names.ada);
    const { lines } = await context.visit(set);
    for (const line of set) {
      const before = parse(line);
      const after = lines.map(parse).find(({ key }) => key === before.key);
      assert.ok(after?.isOver, `${before.name} is not cleared`);
      for (const it of ["httponly", "secure", "samesite", "path", "domain"]) {
        const [one, other] = [after, before].map((to) => to.attributes.get(it)?.toLowerCase());
        assert.equal(one, other, it);
      }
    }
  },

  "writes no credential of either side into a column": async ({ visit, library, names, sql }) => {
    const jar = new Jar(await library.signIn(names.ada));
    const old = jar.header;
    await visit(jar);
    const [{ dump }] = await sql`select json_agg(s)::text as dump from coatcheck.sessions s`;
    const secret = jar.valueOf(NAME).slice(37);
    const values = old.split("; ").map((it) => it.slice(it.indexOf("=") + 1));
    const parts = values.flatMap((it) => decodeURIComponent(it).split(/[.:*~]/));
    for (const it of [secret, Buffer.from(secret, "base64url").toString("hex"), ...parts]) {
      if (it.length > 15) assert.ok(!dump.includes(it));
    }
  },

  "refuses a cookie that was changed in any place, as the library does": async (context) => {
    const { library, visit, names, old, isStateless, isProtected } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const value = decodeURIComponent(jar.valueOf(old));
    const other = (it) => it === "a" ? "b" : "a";
    const changed = Array.from(
      { length: 24 },
      (_, n) => Math.floor(n * (value.length - 1) / 23),
    ).map((at) => value.slice(0, at) + other(value[at]) + value.slice(at + 1));
    const hostile = [
      "",
      value.slice(0, -1),
      value.slice(1),
      `${value}a`,
      value.toUpperCase(),
      value.slice(0, 10),
      `${value.split(".")[0]}.`,
      `.${value}`,
      "x".repeat(6000),
      "s:",
      "s:.",
      "Fe26.2*1*a*a*a**a*a~2",
      "' or true --",
      "\u202Eada\u001B[31m",
      "\uD83D\uDE00",
    ].map(encodeURIComponent);
    for (const it of [...changed.map(encodeURIComponent), ...hostile, "%", "%zz", "%00", "%FF"]) {
      const cookie = `theme=dark; ${old}=${it}`;
      // It may fail on what no browser sends.
      const known = await library.whoIs(cookie).catch(() => null);
      // What stands behind a seal is not part of it.
      if (known) assert.ok(isStateless && it.startsWith(jar.valueOf(old).split("~")[0]), it);
      const { status, text, lines } = await visit(cookie);
      assert.equal(status, known ? 200 : 401, `${it}: ${text}`);
      // The secret of this process may be wrong, so that the cookie stays.
      if (isProtected && !known) assert.deepEqual(lines, [], it);
    }
    assert.equal((await context.sessions()).length, isStateless ? 1 : 0);
    assert.equal((await visit(jar)).text, names.ada, "the true one still works");
  },

  "refuses the session of a deleted user": async (context) => {
    const { library, visit, names, sql } = context;
    const lines = await library.signIn(names.ada);
    await library.deleteUser(names.ada);
    assert.equal(await library.whoIs(new Jar(lines).header), null);
    assert.equal((await visit(lines)).status, 401);
    assert.equal((await sql`select from coatcheck.sessions`).length, 0);
  },

  "refuses the session of a user who is not in the view": async (context) => {
    const { library, visit, names, sql, isStateless } = context;
    const lines = await library.signIn(names.ada);
    const [{ definition }] = await sql`
      select rtrim(pg_get_viewdef('coatcheck.users'::regclass), ';') as definition`;
    await sql.unsafe(`
      create or replace view coatcheck.users as
      select * from (${definition}) u where username <> '${names.ada}'`);
    assert.equal((await visit(lines)).status, 401);
    if (!isStateless) assert.equal(await library.rows(), 1);
    assert.equal((await sql`select from coatcheck.sessions`).length, 0);
  },

  "refuses a session that the library has signed out": async (context) => {
    const { library, visit, names, isStateless } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const lines = await library.signOut(jar.header);
    // A sealed cookie can only be taken from the browser.
    if (isStateless) jar.keep(lines);
    assert.equal((await visit(jar)).status, 401);
    assert.equal(await library.whoIs(jar.header), null);
    assert.equal((await context.sessions()).length, 0);
  },

  "takes the one of two cookies that the library takes": async (context) => {
    const { library, visit, names, old } = context;
    for (const order of [[names.ada, names.grace], [names.grace, names.ada]]) {
      const pairs = [];
      for (const it of order) {
        pairs.push(`${old}=${new Jar(await library.signIn(it)).valueOf(old)}`);
      }
      const cookie = pairs.join("; ");
      const username = await library.whoIs(cookie);
      assert.ok(order.includes(username));
      assert.equal((await visit(cookie)).text, username);
    }
  },

  "gives twenty requests at once one session and one cookie": async (context) => {
    const { library, visit, names } = context;
    for (let round = 0; round < 5; round++) {
      const before = (await context.sessions()).length;
      const jar = new Jar(await library.signIn(names.ada));
      const browsers = Array.from({ length: 20 }, () => jar.copy());
      const answers = await Promise.all(browsers.map((it) => visit(it)));
      for (const { status, text } of answers) {
        assert.deepEqual({ status, text }, { status: 200, text: names.ada });
      }
      assert.equal((await context.sessions()).length, before + 1);
      for (const it of browsers) assert.deepEqual(it.names, [NAME]);
      assert.equal(new Set(browsers.map((it) => it.header)).size, 1, "one cookie for all");
      const [browser] = browsers;
      assert.deepEqual(await only(visit(browser), "status", "text", "lines"), {
        status: 200,
        text: names.ada,
        lines: [],
      });
    }
  },

  "answers a request that was under way with the old cookie, and ends the session for a late copy":
    async (context) => {
      const { library, visit, names } = context;
      const jar = new Jar(await library.signIn(names.ada));
      const [late, thief] = [jar.copy(), jar.copy()];
      await visit(jar);
      await visit(jar);
      assert.equal((await visit(late)).text, names.ada);
      assert.equal(late.header, jar.header);
      await context.settle();
      const answer = await visit(thief);
      assert.equal(answer.status, 401);
      assert.deepEqual(thief.names, []);
      assert.equal((await visit(jar)).text, "revoked");
      const [row, ...others] = await context.sessions();
      assert.equal(row.revoked_reason, "reused");
      assert.equal(others.length, 0);
    },

  "gives the cookie again if the answer was lost, also an hour later": async (context) => {
    const { library, visit, names, sql } = context;
    const jar = new Jar(await library.signIn(names.ada));
    await visit(jar.copy());
    await sql`
      update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour',
        rotated_at = rotated_at - interval '1 hour'`;
    assert.equal((await visit(jar)).text, names.ada);
    assert.deepEqual(jar.names, [NAME]);
    assert.equal((await visit(jar)).text, names.ada);
    assert.equal((await context.sessions()).length, 1);
  },

  "goes on after a crash between the transaction and the answer": async (context) => {
    const { library, visit, names, sql, tradeIn } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const headers = new Headers({ cookie: jar.header });
    // The rotation is the first statement outside of the transaction.
    const crash = () => Promise.reject(new Error("the process has ended"));
    const dying = Object.assign(crash, { begin: sql.begin.bind(sql) });
    await assert.rejects(() => tradeIn(headers, dying), { code: "STORE_UNAVAILABLE" });
    assert.equal((await context.sessions()).length, 1);
    assert.equal((await visit(jar)).text, names.ada);
    assert.deepEqual(jar.names, [NAME]);
    assert.equal((await context.sessions()).length, 1);
  },

  "removes the old row and adds the session together, or does neither": async (context) => {
    const { library, visit, names, sql, isStateless } = context;
    const jar = new Jar(await library.signIn(names.ada));
    await sql`alter table coatcheck.sessions add constraint closed check (false) not valid`;
    assert.equal((await visit(jar)).status, 500);
    if (!isStateless) assert.equal(await library.rows(), 1);
    assert.equal(await library.whoIs(jar.header), names.ada);
    await sql`alter table coatcheck.sessions drop constraint closed`;
    assert.equal((await visit(jar)).text, names.ada);
  },

  "keeps every cookie while the database is down": async (context) => {
    const { library, names, database } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const before = jar.header;
    const proxy = await database.proxy();
    const sql = postgres(proxy.url, { max: 2, onnotice: () => {}, connect_timeout: 2 });
    const app = await context.serve(context.tradeIn, sql);
    assert.equal((await app.visit("")).status, 401);
    proxy.cut();
    const { status, lines } = await app.visit(jar);
    assert.deepEqual({ status, lines }, { status: 503, lines: [] });
    assert.equal(jar.header, before);
    await app.close();
    await sql.end({ timeout: 0 });
    assert.equal((await context.visit(jar)).text, names.ada);
  },

  "only clears the old cookie beside a live session": async (context) => {
    const { library, visit, names } = context;
    const set = await library.signIn(names.ada);
    const jar = new Jar(set);
    await visit(jar);
    await visit(jar);
    await context.settle();
    // A late answer of the old app has set the old cookie again.
    jar.keep(set);
    assert.equal((await visit(jar)).text, names.ada);
    assert.deepEqual(jar.names, [NAME]);
    assert.equal((await visit(jar)).text, names.ada);
    const [row, ...others] = await context.sessions();
    assert.equal(row.revoked_at, null);
    assert.equal(others.length, 0);
  },

  "trades in beside a guest's session, for the first page too": async (context) => {
    const { library, visit, names, sql } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const { headers } = await createGuestSession(sql);
    const guest = new Jar(headers.getSetCookie());
    for (const order of [[guest, jar], [jar, guest]]) {
      const cookie = order.map(({ header }) => header).join("; ");
      const { status, text } = await visit(cookie);
      assert.deepEqual({ status, text }, { status: 200, text: names.ada });
    }
    jar.keep(headers.getSetCookie());
    assert.equal((await visit(jar)).text, names.ada);
    assert.deepEqual(jar.names, [NAME]);
    assert.equal((await visit(jar)).text, names.ada);
  },

  "signs out with the first request": async (context) => {
    const { library, visit, names } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const copy = jar.copy();
    assert.equal((await visit(jar, "/sign-out", { body: "" })).status, 204);
    assert.deepEqual(jar.names, []);
    assert.equal((await visit(copy)).text, "revoked");
    const [row] = await context.sessions();
    assert.equal(row.revoked_reason, "signed-out");
  },

  "lets another user sign in with the first request": async (context) => {
    const { library, visit, names } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const { status, lines } = await visit(jar, "/sign-in", { body: names.grace });
    assert.equal(status, 204);
    assert.equal(countOf(lines, NAME), 1);
    assert.deepEqual(jar.names, [NAME]);
    assert.equal((await visit(jar)).text, names.grace);
    const rows = await context.sessions();
    assert.deepEqual(rows.map((it) => it.revoked_reason).sort(), ["replaced", null].sort());
  },

  "passes the other cookies and the body on": async ({ library, visit, names }) => {
    const [line] = await library.signIn(names.ada);
    const cookie = `theme=dark; ${line.split(";", 1)[0]}; lang=nl`;
    const { text } = await visit(cookie, "/cookie");
    assert.match(text, /^theme=dark; lang=nl; __Host-session=\S{80}$/);
    const body = "a body";
    assert.equal((await visit(`x=y; ${line.split(";", 1)[0]}`, "/body", { body })).text, body);
  },

  "sends no SQL for a request without the old cookie": async ({ visit, tradeIn }) => {
    const refuse = Object.assign(() => assert.fail("SQL"), { begin: () => assert.fail("SQL") });
    for (const cookie of ["", "theme=dark", `${NAME}=x`, "xauth_session=a", "=", ";;;"]) {
      assert.equal(await tradeIn(new Headers({ cookie }), refuse), null);
    }
    assert.deepEqual((await visit("theme=dark")).lines, []);
  },

  "asks for a new proof of identity": async ({ library, visit, names }) => {
    const jar = new Jar(await library.signIn(names.ada));
    assert.equal((await visit(jar, "/account")).text, "stale");
  },

  "keeps a persistent cookie persistent": async ({ library, visit, names }) => {
    const set = await library.signIn(names.ada);
    assert.ok(parse(set[0]).isPersistent);
    const jar = new Jar(set);
    const { lines } = await visit(jar);
    const ours = lines.map(parse).find(({ name }) => name === NAME);
    assert.ok(Math.abs(Number(ours.attributes.get("max-age")) - 30 * 86_400) < 4000);
    jar.close();
    assert.equal((await visit(jar)).text, names.ada);
  },

  "runs beside the version that reads both cookies": async (context) => {
    const { library, visit, names, sql } = context;
    const before = (request) => library.whoIs(request.headers.get("cookie") ?? "");
    const ask = ({ header: cookie }) => {
      return usernameOf(new Request("https://app.example/", { headers: { cookie } }), sql, before);
    };
    const jar = new Jar(await library.signIn(names.ada));
    assert.equal(await ask(jar), names.ada);
    assert.equal((await context.sessions()).length, 0);
    await visit(jar);
    assert.deepEqual(jar.names, [NAME]);
    assert.equal(await ask(jar), names.ada);
    await visit(jar, "/sign-out", { body: "" });
    assert.equal(await ask(jar), null);
  },

  "trades in after a rollback, when coatcheck's sessions were revoked": async (context) => {
    const { library, visit, names, sql } = context;
    const jar = new Jar(await library.signIn(names.ada));
    await visit(jar);
    await sql`
      update coatcheck.sessions set revoked_at = now(), revoked_reason = 'rolled-back'
      where revoked_at is null`;
    // The old app has run since, and grace has signed in with it.
    jar.keep(await library.signIn(names.grace));
    assert.equal((await visit(jar)).text, names.grace);
    assert.deepEqual(jar.names, [NAME]);
    assert.equal((await visit(jar)).text, names.grace);
  },
};

/** A seal holds its own clock, so that iron-session has another test of it. */
const stored = {
  "finds the end of the last session as docs/moving.md says": async (context) => {
    const { library, names, sql, last } = context;
    const page = readFileSync(new URL("../../docs/moving.md", import.meta.url), "utf8");
    assert.ok(page.includes(`| \`${last}\` |`));
    await library.signIn(names.ada);
    const [{ max }] = await sql.unsafe(last);
    assert.ok(max > new Date());
  },

  "refuses an expired session, as the library does": async (context) => {
    const { library, visit, names } = context;
    const jar = new Jar(await library.signIn(names.ada));
    const copy = jar.copy();
    await library.expire();
    const { status } = await visit(jar);
    assert.equal(status, 401);
    assert.deepEqual(jar.names, context.keepsUnknown ? [context.old] : []);
    assert.equal(await library.whoIs(copy.header), null);
    assert.equal((await context.sessions()).length, 0);
  },
};

const forgetting = {
  "keeps a cookie that ends with the browser so": async ({ library, visit, names, sql }) => {
    const set = await library.signIn(names.ada, { isPersistent: false });
    assert.equal(parse(set[0]).isPersistent, false);
    const jar = new Jar(set);
    assert.equal((await visit(jar)).text, names.ada);
    assert.deepEqual(jar.names, [NAME]);
    assert.deepEqual([...await sql`select persistent from coatcheck.sessions`], [
      { persistent: false },
    ]);
    jar.close();
    assert.deepEqual(jar.names, []);
  },
};

/** Tests one recipe; yields each claim, with the error if it does not hold. */
export async function* check(name, server) {
  const module = await import(`./libraries/${name}.mjs`);
  const { names = { ada: "ada", grace: "grace" }, tradeIn } = module;
  const databases = await prepare(server, module);
  const all = {
    ...claims,
    ...(!module.isStateless && stored),
    ...(module.canForget && forgetting),
    ...module.claims,
  };
  try {
    for (const [claim, test] of Object.entries(all)) {
      const database = await databases.open();
      const library = await module.open(database.url);
      const app = await serve(tradeIn, database.sql);
      const { sql, url } = database;
      const context = {
        ...module,
        names,
        library,
        database,
        sql,
        url,
        visit: app.visit,
        serve: (tradeIn, client = sql) => serve(tradeIn, client),
        sessions: () => sql`select * from coatcheck.sessions order by created_at`,
        /** Lets the grace period of the last rotation pass. */
        settle: async () => {
          const { count } = await sql`
            update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 minute'
            where rotation_seen_at is not null`;
          assert.ok(count > 0, "the new secret was not seen");
        },
      };
      let error;
      try {
        await test(context);
      } catch (thrown) {
        error = thrown;
      } finally {
        await app.close();
        await library.close();
        await database.close();
      }
      yield { claim, error };
    }
  } finally {
    await databases.close();
  }
}

function countOf(lines, name) {
  return lines.filter((line) => parse(line).name === name).length;
}

async function only(answer, ...keys) {
  const all = await answer;
  return Object.fromEntries(keys.map((key) => [key, all[key]]));
}
