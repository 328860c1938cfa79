// The page docs/recipes.md: its code as it stands, and what the text says about races and misuse.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import {
  configure,
  createGuestSession,
  createSession,
  listSessions,
  migrate,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Session,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { age, keepCookies, signIn } from "../testing.ts";
import { type Database, openDatabase } from "./runner/database.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
const page = await readFile(join(root, "docs/recipes.md"), "utf8");
const URL_ = "https://app.example/";
const DAY = 86_400;

/** The blocks of each recipe, by its heading. */
const recipes = new Map(
  page.split(/^## /m).slice(1).map((section) => [
    section.split("\n", 1)[0]!,
    Array.from(
      section.matchAll(/^```(.+)\n([^]*?)^```$/gm),
      ([, kind, code]) => ({ kind: kind!, code: code! }),
    ),
  ]),
);

let db: Database;
let office: Database;
let folder: string;
// What a block of the page exports, and the constants that its tests need.
let warning: Module;
let support: Module;
let accounts: Module;
let devices: Module;
let flash: Module;
let kinds: Module;
let databases: Module;

// deno-lint-ignore no-explicit-any
type Module = any;

/** A block as a module: what it defines stays usable, and its client stays open. */
function moduleOf(heading: string, index: number, more: string): string {
  const block = recipes.get(heading)?.filter(({ kind }) => kind.startsWith("ts"))[index];
  assert.ok(block, `docs/recipes.md has no block ${index} under ${heading}`);
  const open = block.code.replace(/^await sql\.end\(\);\n/m, "");
  assert.equal(open === block.code, block.kind === "ts ignore");
  return more ? `${open}export { ${more} };\n` : open;
}

async function load(name: string, code: string, env: Record<string, string>): Promise<Module> {
  const file = join(folder, `${name}.ts`);
  await writeFile(file, code);
  const before = Object.keys(env).map((key) => [key, process.env[key]] as const);
  Object.assign(process.env, env);
  try {
    return await import(pathToFileURL(file).href);
  } finally {
    for (const [key, value] of before) {
      if (value === undefined) delete process.env[key];
      else process.env[key] = value;
    }
  }
}

const quiet = console.info;

beforeAll(async () => {
  console.info = () => {};
  db = await openDatabase();
  office = await openDatabase();
  await db.sql`insert into users values (3, 'lin'), (4, 'eve'), (5, 'bob')`;
  folder = await mkdtemp(join(root, ".guide-recipes-"));
  const env = { DATABASE_URL: db.url };
  const HEADING = "Separate two kinds of users";
  warning = await load("warning", moduleOf("Warn before the session ends", 0, "sql"), env);
  support = await load(
    "support",
    moduleOf("Act as a user", 0, "acting, own, sql, support"),
    env,
  );
  accounts = await load(
    "accounts",
    moduleOf("Keep several accounts in one browser", 0, "slots, sql"),
    env,
  );
  devices = await load("devices", moduleOf("Name the devices", 0, "sql"), env);
  flash = await load("flash", moduleOf("Show a message once", 0, "sql"), env);
  const both = { DATABASE_URL: db.url, ADMIN_DATABASE_URL: office.url };
  databases = await load("databases", moduleOf(HEADING, 1, ""), both);
});

afterAll(async () => {
  console.info = quiet;
  for (const it of [warning, support, accounts, devices, flash, databases]) await it?.sql.end();
  await databases?.adminSql.end();
  if (folder) await rm(folder, { recursive: true });
  await office?.close();
  await db?.close();
});

const row = async ({ id }: { readonly id: string }) =>
  (await db.sql`select * from coatcheck.sessions where id = ${id}`)[0]!;

/** The headers of a request with the cookies of several. */
function together(...all: Headers[]): Headers {
  return new Headers({ cookie: all.map((it) => it.get("cookie")).filter(Boolean).join("; ") });
}

/** The headers of a request whose cookie was copied to another name. */
function renamed(headers: Headers, name: string): Headers {
  return new Headers({ cookie: headers.get("cookie")!.replace(/^[^=]+/, name) });
}

describe("docs/recipes.md", () => {
  test("has at most 40 lines of TypeScript in each recipe, and names what Deno ignores", () => {
    assert.equal(recipes.size, 6);
    for (const [heading, blocks] of recipes) {
      const code = blocks.filter(({ kind }) => kind.startsWith("ts"));
      const lines = code.flatMap(({ code }) => code.trimEnd().split("\n"));
      assert.ok(lines.length > 0 && lines.length <= 40, `${heading}: ${lines.length}`);
      for (const { kind, code: text } of code) {
        assert.equal(kind, /^\/\/ \w+\.ts\n/.test(text) ? "ts ignore" : "ts");
      }
    }
  });

  if ("Bun" in globalThis) {
    test("has code that type-checks", async () => {
      const code = moduleOf("Separate two kinds of users", 0, "");
      await writeFile(join(folder, "kinds.ts"), code);
      await writeFile(
        join(folder, "tsconfig.json"),
        JSON.stringify({
          extends: "../tsconfig.json",
          compilerOptions: {
            types: ["bun", "node"],
            isolatedDeclarations: false,
            declaration: false,
            skipLibCheck: true,
          },
          include: ["*.ts", "../scripts/deno-std.d.ts"],
        }),
      );
      await run(join(root, "node_modules/.bin/tsc"), ["--project", folder]);
    });
  }
});

describe("a warning before the session ends", () => {
  const policy = { idleTimeout: 900 };

  async function ask(
    method: string,
    headers: Headers,
  ): Promise<{ seconds: number; canStay: boolean }> {
    const response = await warning.sessionEnd(new Request(URL_, { method, headers }));
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("cache-control"), "no-store");
    return await response.json();
  }

  const isAbout = (actual: number, expected: number) =>
    assert.ok(actual > expected - 5 && actual <= expected + 1, `${actual} is not ${expected}`);

  test("records no use by asking, and one by the button", async () => {
    const { session, headers } = await createSession("ada", db.sql, policy);
    const browser = keepCookies({ headers });
    await age(session, 840, db.sql);
    const before = await row(session);
    isAbout((await ask("GET", browser)).seconds, 60);
    assert.deepEqual(await row(session), before);
    const stayed = await ask("POST", browser);
    isAbout(stayed.seconds, 900);
    assert.equal(stayed.canStay, true);
    assert.ok((await row(session)).last_seen_at > before.last_seen_at);
    isAbout((await ask("GET", browser)).seconds, 900);
  });

  test("extends nothing by a button within touchInterval of the last use", async () => {
    const browser = await signIn("ada", db.sql, policy);
    await age(browser, 80, db.sql);
    isAbout((await ask("POST", browser)).seconds, 820);
    await age(browser, 11, db.sql);
    isAbout((await ask("POST", browser)).seconds, 900);
  });

  test("says that the button does not help at the absolute timeout", async () => {
    const { session, headers } = await createSession("ada", db.sql, policy);
    await db.sql`update coatcheck.sessions set expires_at = now() + interval '40 seconds'
      where id = ${session.id}`;
    const browser = keepCookies({ headers });
    for (const method of ["GET", "POST"]) {
      const { seconds, canStay } = await ask(method, browser);
      isAbout(seconds, 40);
      assert.equal(canStay, false);
    }
  });

  test("tells a session that has ended, and brings none back by the button", async () => {
    const idle = await signIn("ada", db.sql, policy);
    await age(idle, 901, db.sql);
    const revoked = await signIn("ada", db.sql, policy);
    await revokeSession(revoked, db.sql);
    for (const browser of [idle, revoked, new Headers()]) {
      for (const method of ["GET", "POST", "GET"]) {
        assert.deepEqual(await ask(method, browser), { seconds: 0, canStay: false });
      }
    }
  });

  test("lets no other site press the button", async () => {
    const headers = await signIn("ada", db.sql, policy);
    await age(headers, 840, db.sql);
    headers.set("sec-fetch-site", "cross-site");
    const response = await warning.sessionEnd(new Request(URL_, { method: "POST", headers }));
    assert.equal(response.status, 403);
    headers.delete("sec-fetch-site");
    isAbout((await ask("GET", headers)).seconds, 60);
  });
});

describe("acting as a user", () => {
  const ACTING = "__Host-acting";
  const OWN = "__Host-session";

  /** A browser of grace, who acts as ada. */
  async function act(): Promise<{ own: Headers; acting: Headers; browser: Headers }> {
    const own = await signIn("grace", db.sql);
    const issued = await support.startActing(own, "ada");
    assert.ok(issued instanceof Headers);
    assert.match(issued.get("set-cookie")!, /^__Host-acting=.*Secure; HttpOnly; Max-Age=1800;/);
    const acting = keepCookies({ headers: issued });
    return { own, acting, browser: together(own, acting) };
  }

  async function who(headers: Headers): Promise<string | null> {
    const { session } = await support.own.validateSession(headers, db.sql);
    const result = await support.identify(headers, session);
    if (!result) return null;
    const { session: { username }, actor } = result;
    return actor ? `${username} by ${actor.username}` : username;
  }

  const actingSession = async (headers: Headers): Promise<Session> =>
    (await support.acting.validateSession(headers, db.sql)).session;

  test("names the user and the actor, and only the user without the acting cookie", async () => {
    const { own, browser } = await act();
    assert.equal(await who(browser), "ada by grace");
    assert.equal(await who(own), "grace");
    assert.equal(await who(await signIn("ada", db.sql)), "ada");
    assert.equal(await who(new Headers()), null);
  });

  type Acting = Awaited<ReturnType<typeof act>>;
  const ends: { name: string; end: (it: Acting) => Promise<Headers | void> }[] = [
    {
      name: "the actor signs out",
      end: async ({ own }) => void await revokeSession(own, db.sql),
    },
    {
      name: "an operator revokes the actor's sessions",
      end: async () => void await revokeSessions({ userId: 2 }, db.sql),
    },
    {
      name: "the actor's session is idle",
      end: async ({ own }) => void await age(own, 7 * DAY, db.sql),
    },
    {
      name: "the row of the actor's session is gone",
      end: async ({ own }) => {
        const { session } = await validateSession(own, db.sql);
        await db.sql`delete from coatcheck.sessions where id = ${session!.id}`;
      },
    },
    { name: "the actor's cookie is missing", end: ({ acting }) => Promise.resolve(acting) },
    {
      name: "the actor's cookie is that of another person of the support",
      end: async ({ acting }) => {
        support.support.add(3);
        return together(await signIn("lin", db.sql), acting);
      },
    },
    {
      name: "the actor's cookie is the user's own",
      end: async ({ acting }) => together(await signIn("ada", db.sql), acting),
    },
    {
      name: "the actor has signed in anew",
      end: async ({ own, acting }) =>
        together(await signIn("grace", db.sql, { replaces: own }), acting),
    },
    {
      name: "the actor has another session beside it",
      end: async ({ acting }) => together(await signIn("grace", db.sql), acting),
    },
    {
      name: "the user revokes it on the page of devices",
      end: async ({ acting }) => {
        const { id } = await actingSession(acting);
        const listed = await listSessions(1, db.sql);
        assert.equal(listed.find((it) => it.id === id)?.data.actor, "grace");
        assert.equal((await revokeSessions({ userId: 1, id }, db.sql)).length, 1);
      },
    },
    {
      name: "its 30 minutes are over",
      end: async ({ acting }) => void await age(acting, 1801, db.sql),
    },
    {
      name: "the actor is no longer of the support",
      end: () => Promise.resolve(void support.support.delete(2)),
    },
    {
      name: "the user is deleted",
      end: async () => {
        await db.sql`alter view coatcheck.users rename to users_before`;
        await db.sql`create view coatcheck.users as
          select * from coatcheck.users_before where id <> 1`;
      },
    },
    {
      name: "the acting cookie is malformed",
      end: ({ own }) => Promise.resolve(together(own, new Headers({ cookie: `${ACTING}=x` }))),
    },
    {
      name: "the acting cookie holds the actor's own token",
      end: ({ own }) => Promise.resolve(together(own, renamed(own, ACTING))),
    },
    {
      name: "the acting cookie holds a guest",
      end: async ({ own }) => {
        const guest = keepCookies(await createGuestSession(db.sql));
        return together(own, renamed(guest, ACTING));
      },
    },
  ];
  for (const { name, end } of ends) {
    test(`opens nothing if ${name}, and not the actor's own account either`, async () => {
      const acting = await act();
      assert.equal(await who(acting.browser), "ada by grace");
      try {
        const headers = await end(acting) ?? acting.browser;
        assert.equal(await who(headers), null);
      } finally {
        support.support.add(2);
        await restoreView();
      }
    });
  }

  async function restoreView(): Promise<void> {
    const [before] = await db.sql`select to_regclass('coatcheck.users_before') as view`;
    if (before!.view === null) return;
    await db.sql`drop view coatcheck.users`;
    await db.sql`alter view coatcheck.users_before rename to users`;
  }

  test("ends at the next request if the actor signs out while one runs", async () => {
    const { own, browser } = await act();
    const { session } = await support.own.validateSession(browser, db.sql);
    await revokeSession(own, db.sql);
    // The request that has read the actor's session before goes on, as every request does.
    assert.equal((await support.identify(browser, session)).actor.username, "grace");
    assert.equal(await who(browser), null);
  });

  test("opens nothing by a token under the other cookie's name", async () => {
    const { own, acting } = await act();
    // In the own cookie alone, beside the acting cookie, and the two exchanged.
    assert.equal(await who(renamed(acting, OWN)), null);
    assert.equal(await who(together(renamed(acting, OWN), acting)), null);
    assert.equal(await who(together(renamed(acting, OWN), renamed(own, ACTING))), null);
    // A user's own token under the acting name is no user, and no actor.
    assert.equal(await who(renamed(await signIn("ada", db.sql), ACTING)), null);
    // Nor does it start another one, if the user has joined the support since.
    support.support.add(1);
    assert.equal(await support.startActing(renamed(acting, OWN), "bob"), null);
    assert.equal(await support.startActing(together(renamed(acting, OWN), acting), "bob"), null);
    support.support.delete(1);
  });

  test("goes on if the actor's secret is replaced", async () => {
    const { own, acting } = await act();
    const rotated = keepCookies(await rotateSession(own, db.sql), own);
    assert.equal(await who(together(rotated, acting)), "ada by grace");
    const renewed = keepCookies(await reauthenticateSession(rotated, db.sql), rotated);
    assert.equal(await who(together(renewed, acting)), "ada by grace");
  });

  test("is refused what only the user may do by the actor, and not by authenticatedWithin", async () => {
    const { browser, acting } = await act();
    const changePassword = support.own.withSession(
      async (request: Request, { session }: { session: Session | null }) => {
        const it = await support.identify(request.headers, session);
        if (!it) return new Response(null, { status: 401 });
        return new Response(null, { status: it.actor ? 403 : 204 });
      },
      db.sql,
    );
    const send = async (headers: Headers) =>
      (await changePassword(new Request(URL_, { method: "POST", headers }))).status;
    assert.equal(await send(browser), 403);
    assert.equal(await send(acting), 401);
    assert.equal(await send(renamed(acting, OWN)), 401);
    assert.equal(await send(await signIn("ada", db.sql)), 204);
    const recent = { authenticatedWithin: 60 };
    const result = await support.acting.validateSession(acting, db.sql, recent);
    assert.equal(result.session?.username, "ada");
  });

  test("starts for the support alone, after a recent proof, and not as one of the support", async () => {
    assert.equal(await support.startActing(new Headers(), "ada"), null);
    const bob = await signIn("bob", db.sql);
    assert.equal(await support.startActing(bob, "ada"), null);
    // It tells nobody else which users there are.
    assert.equal(await support.startActing(bob, "nobody"), null);
    const grace = await signIn("grace", db.sql);
    support.support.add(4);
    assert.equal(await support.startActing(grace, "eve"), null);
    assert.equal(await support.startActing(grace, "grace"), null);
    await assert.rejects(support.startActing(grace, "nobody"), { code: "USER_NOT_FOUND" });
    await age(grace, 601, db.sql);
    assert.equal(await support.startActing(grace, "ada"), null);
  });

  test("ends the former one if the actor goes on as another user", async () => {
    const { acting, browser } = await act();
    const next = keepCookies({ headers: await support.startActing(browser, "bob") }, browser);
    assert.equal(await who(next), "bob by grace");
    assert.equal((await support.acting.validateSession(acting, db.sql)).reason, "revoked");
  });

  test("is stopped with both cookies cleared, and stays in the list without that", async () => {
    const isListed = async ({ id }: Session) =>
      (await listSessions(1, db.sql)).some((it) => it.id === id);
    const { own, acting, browser } = await act();
    const session = await actingSession(acting);
    const stopped = keepCookies(await support.acting.revokeSession(browser, db.sql), browser);
    assert.equal(await who(stopped), "grace");
    assert.equal(await isListed(session), false);
    const signedOut = keepCookies(await support.own.revokeSession(stopped, db.sql), stopped);
    assert.equal(signedOut.get("cookie"), null);
    assert.equal(await who(own), null);

    const other = await act();
    const left = await actingSession(other.acting);
    await revokeSession(other.own, db.sql);
    assert.equal(await isListed(left), true);
    await age(left, 1801, db.sql);
    assert.equal(await isListed(left), false);
  });

  test("is in the audit log, with the actor beside the id of all later events, and no credential", async () => {
    const lines: string[] = [];
    console.info = (line: string) => lines.push(line);
    try {
      const { acting, browser } = await act();
      const { id } = await actingSession(acting);
      await support.acting.revokeSession(browser, db.sql);
      assert.deepEqual(lines.map((line) => JSON.parse(line)), [
        { type: "created", id, userId: 1 },
        { type: "acting", id, userId: 1, actor: 2 },
        { type: "revoked", id, userId: 1, reason: "signed-out" },
      ]);
      const secret = acting.get("cookie")!.slice(-43);
      assert.ok(!lines.join().includes(secret));
    } finally {
      console.info = () => {};
    }
  });
});

describe("several accounts in one browser", () => {
  const names = async (headers: Headers) =>
    (await accounts.accounts(headers)).map((it: Session | null) => it?.username);

  async function enter(headers: Headers, ...usernames: string[]): Promise<Headers> {
    for (const username of usernames) {
      const response = await accounts.signIn(headers, username);
      assert.equal(response.status, 303);
      headers = keepCookies(response, headers);
    }
    return headers;
  }

  test("take one slot each, and a further one is refused without a cookie", async () => {
    const browser = await enter(new Headers(), "ada", "grace", "lin");
    assert.deepEqual(await names(browser), ["ada", "grace", "lin"]);
    const refused = await accounts.signIn(browser, "eve");
    assert.equal(refused.status, 409);
    assert.deepEqual(refused.headers.getSetCookie(), []);
    assert.deepEqual(await names(browser), ["ada", "grace", "lin"]);
  });

  test("keep their slot at a new sign-in, with a new session", async () => {
    const browser = await enter(new Headers(), "ada", "grace");
    const [before] = await accounts.accounts(browser);
    const response = await accounts.signIn(browser, "ada");
    assert.equal(response.headers.get("location"), "/u/0/");
    const [after, grace] = await accounts.accounts(keepCookies(response, browser));
    assert.notEqual(after.id, before.id);
    assert.equal(grace.username, "grace");
    assert.equal((await row(before)).revoked_reason, "replaced");
  });

  test("leave their slot free if they are revoked elsewhere", async () => {
    const browser = await enter(new Headers(), "ada", "grace");
    const [{ id, userId }] = await accounts.accounts(browser);
    await revokeSessions({ userId, id }, db.sql);
    assert.deepEqual(await names(browser), [undefined, "grace", undefined]);
    assert.deepEqual(await names(await enter(browser, "lin")), ["lin", "grace", undefined]);
  });

  test("are signed out one at a time, or all", async () => {
    const browser = await enter(new Headers(), "ada", "grace", "lin");
    const sessions = await accounts.accounts(browser);
    const one = keepCookies(await accounts.signOut(browser, 1), browser);
    assert.deepEqual(await names(browser), ["ada", undefined, "lin"]);
    assert.deepEqual(await names(one), ["ada", undefined, "lin"]);
    for (const wrong of [7, -1, NaN, 0.5]) {
      assert.deepEqual((await accounts.signOut(one, wrong)).headers.getSetCookie(), []);
    }
    const none = keepCookies(await accounts.signOut(one), one);
    assert.equal(none.get("cookie"), null);
    assert.deepEqual(await names(browser), [undefined, undefined, undefined]);
    for (const session of sessions) {
      assert.equal((await row(session)).revoked_reason, "signed-out");
    }
  });

  test("are each seen by the pages of their slot alone", async () => {
    const browser = await enter(new Headers(), "ada", "grace");
    const ask = async (slot: number) => {
      const page = accounts.slots[slot].withSession(
        (_: Request, { session, reason }: { session: Session | null; reason?: string }) =>
          new Response(session?.username ?? reason),
        db.sql,
      );
      return await (await page(new Request(URL_, { headers: browser }))).text();
    };
    assert.deepEqual([await ask(0), await ask(1), await ask(2)], ["ada", "grace", "absent"]);
  });

  test("can take the same slot at the same time: the browser keeps one, the list shows both", async () => {
    await revokeSessions({ userId: 4 }, db.sql);
    const [first, second] = await Promise.all([
      accounts.signIn(new Headers(), "lin"),
      accounts.signIn(new Headers(), "eve"),
    ]);
    assert.equal(first.headers.get("location"), "/u/0/");
    assert.equal(second.headers.get("location"), "/u/0/");
    const browser = keepCookies(first, keepCookies(second));
    assert.deepEqual(await names(browser), ["lin", undefined, undefined]);
    assert.equal((await listSessions(4, db.sql)).length, 1);
  });

  test("get no cookie if the user does not exist", async () => {
    await assert.rejects(accounts.signIn(new Headers(), "nobody"), { code: "USER_NOT_FOUND" });
  });
});

describe("two kinds of users", () => {
  let own: Database;
  const [sqlBlock] = recipes.get("Separate two kinds of users")!
    .filter(({ kind }) => kind === "sql");

  beforeAll(async () => {
    own = await openDatabase({ bare: true });
    await own.sql`drop table users`;
    for (const table of ["admins", "customers"]) {
      await own.sql.unsafe(`create table ${table} (
        id integer primary key, username varchar(40) not null unique)`);
    }
    await own.sql.unsafe(sqlBlock!.code);
    await own.sql`insert into admins values (1, 'ada'), (2, 'root')`;
    await own.sql`insert into customers values (1, 'ada'), (2, 'admin:root'), (3, 'root')`;
    assert.equal((await migrate(own.sql)).foreignKey, false);
    const code = moduleOf("Separate two kinds of users", 0, "");
    kinds = await load("kinds", code, { DATABASE_URL: own.url });
  });
  afterAll(async () => {
    await kinds?.sql.end();
    await own?.close();
  });

  const ADMIN = { cookie: { name: "__Host-admin" } };

  /** The answers of the admins' and of the customers' handler. */
  async function ask(headers: Headers): Promise<(string | number)[]> {
    const answers = [];
    for (const kind of ["admin", "customer"] as const) {
      const functions = kind === "admin" ? kinds.admins : kinds.customers;
      const handle = kinds.only(
        kind,
        functions,
        (_: Request, { username }: Session) => new Response(username),
      );
      const response = await handle(new Request(URL_, { headers }));
      answers.push(response.status === 200 ? await response.text() : response.status);
    }
    return answers;
  }

  test("are let in by their own handler alone, with equal numbers and names", async () => {
    const admin = await signIn("admin:ada", own.sql, ADMIN);
    const customer = await signIn("customer:ada", own.sql);
    assert.deepEqual(await ask(admin), ["admin:ada", 401]);
    assert.deepEqual(await ask(customer), [401, "customer:ada"]);
    assert.deepEqual(await ask(together(admin, customer)), ["admin:ada", "customer:ada"]);
    const keys = [];
    for (const [name, it] of [["admins", admin], ["customers", customer]] as const) {
      keys.push((await kinds[name].validateSession(it, own.sql)).session.userId);
    }
    assert.deepEqual(keys, ["admin:1", "customer:1"]);
  });

  test("are refused by the other handler if the token is copied to its cookie name", async () => {
    const admin = await signIn("admin:ada", own.sql, ADMIN);
    const customer = await signIn("customer:ada", own.sql);
    const forged = renamed(customer, "__Host-admin");
    assert.deepEqual(await ask(forged), [401, 401]);
    // Without the check of the kind it would be let in, as the customer that it is.
    const { session } = await kinds.admins.validateSession(forged, own.sql);
    assert.equal(session.userId, "customer:1");
    assert.deepEqual(await ask(renamed(admin, "__Host-session")), [401, 401]);
    const guest = keepCookies(await createGuestSession(own.sql));
    assert.deepEqual(await ask(together(guest, renamed(guest, "__Host-admin"))), [401, 401]);
    assert.deepEqual(await ask(new Headers()), [401, 401]);
  });

  test("stay what they are, whatever the username is", async () => {
    const mallory = await signIn("customer:admin:root", own.sql);
    assert.deepEqual(await ask(mallory), [401, "customer:admin:root"]);
    assert.deepEqual(await ask(renamed(mallory, "__Host-admin")), [401, 401]);
    for (const name of ["root", "admin:admin:root", "customer:customer:ada"]) {
      await assert.rejects(createSession(name, own.sql), { code: "USER_NOT_FOUND" });
    }
  });

  test("are listed and revoked by their own key", async () => {
    const admin = await signIn("admin:ada", own.sql, ADMIN);
    const customer = await signIn("customer:ada", own.sql);
    const listed = await listSessions("customer:1", own.sql);
    assert.deepEqual(new Set(listed.map(({ userId }) => userId)), new Set(["customer:1"]));
    await revokeSessions({ userId: "customer:1" }, own.sql);
    assert.deepEqual(await ask(together(admin, customer)), ["admin:ada", 401]);
  });

  test("are found by an index, by key and by name", async () => {
    for (const [column, value] of [["id", "customer:1"], ["username", "admin:ada"]]) {
      const plan = await own.sql.begin(async (sql) => {
        await sql`set local enable_seqscan = off`;
        return (await sql.unsafe(`explain (costs off)
          select * from coatcheck.users where ${column} = '${value}'`))
          .map((it) => it["QUERY PLAN"]).join("\n");
      });
      assert.equal(plan.match(/Index Cond/g)?.length, 2, plan);
    }
  });

  test("open no session of a former user if the sign-up revokes the key", async () => {
    for (const revoking of [false, true]) {
      await own.sql`insert into customers values (7, 'bob')`;
      const old = await signIn("customer:bob", own.sql);
      await own.sql`delete from customers where id = 7`;
      assert.deepEqual(await ask(old), [401, 401]);
      await own.sql.begin(async (sql) => {
        await sql`insert into customers values (7, 'bob')`;
        if (revoking) {
          await revokeSessions({ userId: "customer:7" }, sql, { reason: "key-reused" });
        }
      });
      assert.deepEqual(await ask(old), [401, revoking ? 401 : "customer:bob"]);
      await own.sql`delete from customers where id = 7`;
    }
  });

  test("need one idleTimeout: a longer one of the other kind brings an idle session back", async () => {
    const strict = configure({ ...ADMIN, idleTimeout: 900 });
    const lax = configure({});
    const idle = async (seconds: number) => {
      const admin = keepCookies(await strict.createSession("admin:ada", own.sql));
      await age(admin, seconds, own.sql);
      return admin;
    };
    const admin = await idle(1000);
    assert.equal((await strict.validateSession(admin, own.sql)).reason, "idle");
    await lax.validateSession(renamed(admin, "__Host-session"), own.sql);
    assert.ok((await strict.validateSession(admin, own.sql)).session);

    // The recipe's two policies have the same one.
    const late = await idle(3700);
    assert.deepEqual(await ask(together(late, renamed(late, "__Host-session"))), [401, 401]);
    assert.deepEqual(await ask(late), [401, 401]);
    // The absolute timeout is the row's.
    const old = keepCookies(await kinds.admins.createSession("admin:ada", own.sql));
    await own.sql`update coatcheck.sessions set expires_at = now() - interval '1 second'
      where id = ${old.get("cookie")!.match(/=([^.]+)/)![1]!}`;
    const { reason } = await kinds.customers.validateSession(
      renamed(old, "__Host-session"),
      own.sql,
    );
    assert.equal(reason, "expired");
  });

  test("do not know each other in two databases, with equal numbers and names", async () => {
    const customer = await signIn("ada", db.sql);
    const admin = await signIn("ada", office.sql, ADMIN);
    const enter = async (handle: Module, headers: Headers) => {
      const response = await handle(new Request(URL_, { headers }));
      return response.status === 200 ? await response.text() : response.status;
    };
    assert.equal(await enter(databases.shop, customer), "ada");
    assert.equal(await enter(databases.office, admin), "ada");
    const forged = renamed(customer, "__Host-admin");
    assert.equal(await enter(databases.office, forged), 401);
    assert.equal((await validateSession(forged, office.sql, ADMIN)).reason, "unknown");
    assert.equal(await enter(databases.shop, renamed(admin, "__Host-session")), 401);
    for (const { sql } of [db, office]) {
      const { session } = await createSession("ada", sql);
      assert.equal(session.userId, 1);
    }
    // The admins' own timeout holds, whatever the customers have.
    await age(admin, 1000, office.sql);
    await enter(databases.shop, renamed(admin, "__Host-session"));
    assert.equal(await enter(databases.office, admin), 401);
  });
});

describe("a device's name", () => {
  const request = (userAgent?: string) =>
    new Request(URL_, { headers: userAgent === undefined ? {} : { "user-agent": userAgent } });

  function formOf(fields: Record<string, string>): FormData {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    return form;
  }

  const IP = "192.0.2.77";
  const enter = async (fields: Record<string, string>, userAgent?: string, username = "ada") =>
    await devices.signIn(username, request(userAgent), formOf(fields), IP);

  const names: { name: string; device: string; stored: string }[] = [
    { name: "a plain name", device: "Ada's phone", stored: "Ada's phone" },
    { name: "a line break", device: "phone\r\nThis device", stored: "phone This device" },
    {
      name: "a terminal's escape",
      device: "\x1b[2J\x1b[31mphone\x9b0m",
      stored: "[2J [31mphone 0m",
    },
    { name: "marks of direction", device: "\u202eenohp\u2066 a\u200f", stored: "enohp a" },
    { name: "a NUL, which PostgreSQL cannot hold", device: "ph\0one", stored: "ph one" },
    { name: "half a character", device: "phone \ud83d", stored: "phone \ufffd" },
    { name: "100,000 characters", device: "x".repeat(100_000), stored: "x".repeat(60) },
    { name: "whole characters only", device: "🧥".repeat(61), stored: "🧥".repeat(60) },
    { name: "blanks alone", device: "\u2003 \t\u200b", stored: "Unknown device" },
    { name: "markup, which the page escapes", device: "<b>phone</b>", stored: "<b>phone</b>" },
  ];
  for (const { name, device, stored } of names) {
    test(`is one line of text for ${name}`, async () => {
      const { session } = await enter({ device });
      assert.equal(session.data.device, stored);
      const [listed] = await devices.devices(session);
      assert.deepEqual([listed.device, listed.isHere], [stored, true]);
    });
  }

  test("is the user agent's if the user gives none, and unknown if there is none", async () => {
    assert.equal((await enter({}, "Mozilla/5.0 (X11)")).session.data.device, "Mozilla/5.0 (X11)");
    assert.equal((await enter({ device: "" }, "curl/8")).session.data.device, "curl/8");
    assert.equal((await enter({})).session.data.device, "Unknown device");
  });

  test("has an address beside it only if the user has ticked the box", async () => {
    for (const box of [{}, { "keep-ip": "" }, { "keep-ip": "off" }] as Record<string, string>[]) {
      const { session } = await enter(box);
      assert.ok(!("ip" in session.data));
      assert.ok(!JSON.stringify(await row(session)).includes(IP));
      assert.equal((await devices.devices(session))[0].ip, null);
    }
    const { session } = await enter({ "keep-ip": "on" });
    assert.equal((await devices.devices(session))[0].ip, IP);
  });

  test("loses the address on all devices of the user, and of nobody else", async () => {
    const box = { "keep-ip": "on" };
    const mine = [await enter(box), await enter(box)];
    const other = await enter(box, "curl/8", "grace");
    const stale = keepCookies(mine[0]);
    await devices.forgetAddresses(mine[1].session);
    for (const { session } of mine) {
      assert.ok(!JSON.stringify(await row(session)).includes(IP));
      assert.equal((await row(session)).data.device, "Unknown device");
    }
    assert.equal((await row(other.session)).data.ip, IP);
    // An update that has read the address does not write it back.
    const { version, data } = mine[0].session;
    assert.equal((await updateSession(stale, data, db.sql, { version })).reason, "conflict");
  });

  test("goes with the row when a sweep deletes it", async () => {
    const box = { "keep-ip": "on" };
    const expired = await enter(box);
    const revoked = await enter(box);
    const live = await enter(box);
    await age(expired.session, 31 * DAY, db.sql);
    await revokeSession(keepCookies(revoked), db.sql);
    await sweepSessions(db.sql);
    assert.equal(await row(expired.session), undefined);
    assert.equal((await row(revoked.session)).data.ip, IP);
    await sweepSessions(db.sql, { retention: 0 });
    assert.equal(await row(revoked.session), undefined);
    assert.equal((await row(live.session)).data.ip, IP);
  });
});

describe("a message that is shown once", () => {
  const request = (headers: Headers, method = "GET") => new Request(URL_, { method, headers });
  const show = async (headers: Headers) => await (await flash.fetch(request(headers))).text();

  /** A browser after a form was sent. */
  async function saved(): Promise<Headers> {
    const headers = await signIn("ada", db.sql);
    const response = await flash.fetch(request(headers, "POST"));
    assert.equal(response.status, 303);
    return headers;
  }

  const current = async (headers: Headers) => {
    const { session, guest } = await validateSession(headers, db.sql);
    return session ?? guest;
  };

  test("is shown by one of 20 parallel pages", async () => {
    const headers = await saved();
    const shown = await Promise.all(Array.from({ length: 20 }, () => show(headers)));
    assert.equal(shown.filter((it) => it === "Saved").length, 1);
    assert.equal(shown.filter((it) => it === "Nothing new").length, 19);
    assert.equal(await show(headers), "Nothing new");
  });

  test("is shown by one of two pages that have read it", async () => {
    const headers = await saved();
    const [first, second] = [await current(headers), await current(headers)];
    assert.equal(await flash.takeFlash(request(headers), first), "Saved");
    assert.equal(await flash.takeFlash(request(headers), second), undefined);
  });

  test("stays for the next page if another key was changed in between", async () => {
    const headers = await saved();
    const before = await current(headers);
    await updateSession(headers, { theme: "dark" }, db.sql);
    assert.equal(await flash.takeFlash(request(headers), before), undefined);
    assert.equal(await show(headers), "Saved");
    assert.deepEqual((await current(headers))!.data, { theme: "dark" });
  });

  test("does not take the next message with it", async () => {
    const headers = await saved();
    const before = await current(headers);
    await updateSession(headers, { flash: "Deleted" }, db.sql);
    assert.equal(await flash.takeFlash(request(headers), before), undefined);
    assert.equal(await show(headers), "Deleted");
  });

  test("is not taken by a page that is fetched in advance", async () => {
    const headers = await saved();
    for (const purpose of ["prefetch", "prefetch;prerender"]) {
      const early = new Headers(headers);
      early.set("sec-purpose", purpose);
      assert.equal(await show(early), "Nothing new");
    }
    assert.equal(await show(headers), "Saved");
  });

  test("is shown to a guest, and to no one after the session has ended", async () => {
    const guest = keepCookies(await createGuestSession(db.sql));
    await flash.fetch(request(guest, "POST"));
    const shown = await Promise.all([show(guest), show(guest)]);
    assert.deepEqual(shown.sort(), ["Nothing new", "Saved"]);

    const headers = await saved();
    const before = await current(headers);
    await revokeSession(headers, db.sql);
    assert.equal(await flash.takeFlash(request(headers), before), undefined);
    assert.equal(await show(headers), "Nothing new");
  });

  test("writes nothing if there is none", async () => {
    const headers = await signIn("ada", db.sql);
    assert.equal(await show(headers), "Nothing new");
    assert.equal((await current(headers))!.version, 0);
  });
});
