import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  batched,
  configure,
  type CookiePolicy,
  createSession,
  createToken,
  type Policy,
  reauthenticateSession,
  revokeSession,
  rotateSession,
  type SessionEvent,
  type Sql,
  updateSession,
  validateSession,
  withSession,
} from "../mod.ts";
import { counted, type Database, openDatabase } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const NAME = "__Host-session";

const tokenOf = (headers: Headers) => headers.getSetCookie().at(-1)!.match(/=([^;]+)/)![1]!;
const request = (...tokens: string[]) =>
  new Headers({ cookie: tokens.map((token) => `${NAME}=${token}`).join("; ") });

/** A live session, and its token. */
async function open(user = "ada", policy: Policy = {}) {
  const { session, headers } = await createSession(user, db.sql, policy);
  return { id: session.id, token: tokenOf(headers) };
}

/** A session that was revoked, and its token. */
async function dead(reason = "over") {
  const { id, token } = await open();
  await revokeSession(request(token), db.sql, { reason });
  return { id, token };
}

/** A session whose secret was replaced, the new one seen, and the grace period over. */
async function rotated() {
  const { id, token: old } = await open();
  const token = tokenOf((await rotateSession(request(old), db.sql)).headers);
  await validateSession(request(token), db.sql);
  await db.sql`update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 hour'
    where id = ${id}`;
  return { id, old, token };
}

async function reasonOf(token: string): Promise<string> {
  const it = await validateSession(request(token), db.sql, { touchInterval: false });
  return it.revokedReason ?? it.reason ?? "live";
}

async function rowsOf(...ids: string[]): Promise<unknown> {
  const rows = await db.sql`select s::text from coatcheck.sessions s
    where id = any(${ids}::uuid[]) order by id`;
  return rows.map((row) => row.s);
}

type Reader = (
  headers: Headers,
  sql: Sql,
  policy?: Policy,
) => ReturnType<typeof validateSession>;
const readers: Record<string, Reader> = {
  validateSession,
  rotateSession,
  reauthenticateSession,
  updateSession: async (headers, sql, policy) => {
    const result = await updateSession(headers, { a: 1 }, sql, policy);
    assert.notEqual(result.reason, "conflict");
    return result as Awaited<ReturnType<typeof validateSession>>;
  },
};

for (const [name, read] of Object.entries(readers)) {
  describe(`${name} with several cookies of our name`, () => {
    test("takes the one that opens a live session, in every order", async () => {
      for (const at of [0, 1, 2]) {
        const { id, token } = await open();
        const tokens = [(await dead()).token, createToken().token];
        tokens.splice(at, 0, token);
        const { session, reason } = await read(request(...tokens), db.sql);
        assert.deepEqual([session?.id, reason], [id, undefined]);
      }
    });

    test("takes none of two live sessions, and writes nothing", async () => {
      const [mine, planted] = [await open("ada"), await open("grace")];
      const before = await rowsOf(mine.id, planted.id);
      for (const tokens of [[mine.token, planted.token], [planted.token, mine.token]]) {
        const events: SessionEvent[] = [];
        const onEvent = (event: SessionEvent) => events.push(event);
        const result = await read(request(...tokens), db.sql, { onEvent });
        assert.deepEqual([result.session, result.reason], [null, "malformed"]);
        assert.deepEqual([...result.headers], []);
        assert.deepEqual(events, [{ type: "refused", reason: "malformed" }]);
      }
      assert.deepEqual(await rowsOf(mine.id, planted.id), before);
    });

    test("ignores a value that is no token, and a copy of the same token, at no cost", async () => {
      const { id, token } = await open();
      const alone = counted(db.sql);
      const { token: other } = await open();
      await read(request(other), alone.sql);
      const { sql, statements } = counted(db.sql);
      const { session } = await read(request("x", token, "", token, `${id}.x`), sql);
      assert.equal(session?.id, id);
      assert.equal(statements.length, alone.statements.length);
    });

    test("gives the reason of the first session that is dead", async () => {
      const [one, two] = [await dead("first"), await dead("second")];
      const unknown = createToken().token;
      const first = await read(request(unknown, one.token, two.token), db.sql);
      assert.deepEqual([first.reason, first.revokedReason], ["revoked", "first"]);
      const none = await read(request(unknown, createToken().token), db.sql);
      assert.equal(none.reason, "unknown");
    });

    test("revokes the session of a reused secret, whatever is beside it", async () => {
      for (const beside of [await open(), await dead(), { id: "", token: createToken().token }]) {
        const { id, old, token } = await rotated();
        const events: SessionEvent[] = [];
        const onEvent = (event: SessionEvent) => events.push(event);
        const result = await read(request(beside.token, old), db.sql, { onEvent });
        const isLive = result.session !== null;
        assert.equal(result.session?.id ?? result.reason, isLive ? beside.id : "reused");
        assert.deepEqual(events.filter(({ type }) => type === "reused"), [
          { type: "reused", id, userId: 1 },
        ]);
        assert.equal(await reasonOf(token), "reused");
      }
    });

    test("takes the current one of two secrets of a session, and none of them for reused", async () => {
      for (const order of ["old first", "old last"]) {
        const { id, old, token } = await rotated();
        const tokens = order === "old first" ? [old, token] : [token, old];
        const { session, reason } = await read(request(...tokens), db.sql);
        assert.deepEqual([session?.id, reason], [id, undefined], order);
      }
    });

    test("reads none of more than eight", async () => {
      const { token } = await open();
      const { sql, statements } = counted(db.sql);
      const others = Array.from({ length: 8 }, () => createToken().token);
      assert.equal((await read(request(token, ...others), sql)).reason, "malformed");
      assert.equal(statements.length, 0);
      assert.ok((await read(request(token, ...others.slice(1)), sql)).session);
      assert.ok(statements.length >= 9);
    });

    test("is a rejection if the store fails while it chooses", async () => {
      const { token } = await open();
      const sql: Sql = (strings, ...values) =>
        values.some((value) => JSON.stringify(value)?.includes(token.slice(0, 36)))
          ? Promise.reject(Object.assign(new Error(), { code: "ECONNREFUSED" }))
          : db.sql(strings, ...values as never[]);
      await assert.rejects(read(request(createToken().token, token), sql), {
        name: "SessionError",
        code: "STORE_UNAVAILABLE",
      });
    });
  });
}

describe("several cookies of our name", () => {
  test("write nothing of a reused secret with touchInterval: false", async () => {
    const { id, old, token } = await rotated();
    const beside = await open();
    const before = await rowsOf(id, beside.id);
    const policy = { touchInterval: false } as const;
    const { session } = await validateSession(request(beside.token, old), db.sql, policy);
    assert.equal(session?.id, beside.id);
    assert.deepEqual(await rowsOf(id, beside.id), before);
    assert.equal(await reasonOf(token), "live");
  });

  test("are stale if the live one is", async () => {
    const { token } = await open();
    const { token: other } = await dead();
    const options = { authenticatedWithin: 0 };
    assert.equal((await validateSession(request(other, token), db.sql, options)).reason, "stale");
  });

  test("are all revoked by a sign-out, whose result is one of them", async () => {
    const [one, two, gone] = [await open("ada"), await open("grace"), await dead()];
    const { id, old, token } = await rotated();
    const events: SessionEvent[] = [];
    const { session } = await revokeSession(
      request("x", gone.token, one.token, createToken().token, old, two.token, token),
      db.sql,
      { onEvent: (event) => events.push(event) },
    );
    const ids = [one.id, two.id, id].sort();
    assert.equal(session?.id, ids[0]);
    assert.deepEqual(events.map(({ type, id }) => [type, id]), ids.map((id) => ["revoked", id]));
    for (const it of [one.token, two.token, token]) assert.equal(await reasonOf(it), "signed-out");
    assert.equal(await reasonOf(gone.token), "over");
  });

  test("are all revoked by a sign-in that replaces them, and the user gets in", async () => {
    const [one, two] = [await open("ada"), await open("grace")];
    const events: SessionEvent[] = [];
    const { sql, statements } = counted(db.sql);
    const { session, headers } = await createSession("ada", sql, {
      replaces: request(one.token, two.token),
      onEvent: (event) => events.push(event),
    });
    assert.equal(statements.length, 3);
    assert.deepEqual(events.map(({ type, id }) => [type, id]), [
      ["created", session.id],
      ...[one.id, two.id].sort().map((id) => ["revoked", id]),
    ]);
    const all = request(one.token, two.token, tokenOf(headers));
    assert.equal((await validateSession(all, db.sql)).session?.id, session.id);
  });

  test("revoke nothing by a forged secret", async () => {
    const { id, token } = await open();
    const forged = `${id}.${createToken().secret}`;
    await revokeSession(request(forged, createToken().token), db.sql);
    await createSession("ada", db.sql, { replaces: request(forged, createToken().token) });
    assert.equal(await reasonOf(token), "live");
  });

  test("are told of as revoked even if a later step of the sign-in fails", async () => {
    const [one, two] = [await open(), await open()].sort((a, b) => a.id < b.id ? -1 : 1) as [
      { id: string; token: string },
      { id: string; token: string },
    ];
    let revocations = 0;
    const sql: Sql = (strings, ...values) =>
      strings.join("").includes("set revoked_at") && ++revocations > 1
        ? Promise.reject(Object.assign(new Error(), { code: "ECONNREFUSED" }))
        : db.sql(strings, ...values as never[]);
    const events: SessionEvent[] = [];
    const onEvent = (event: SessionEvent) => events.push(event);
    const replaces = request(one.token, two.token);
    await assert.rejects(createSession("ada", sql, { replaces, onEvent }), {
      code: "STORE_UNAVAILABLE",
    });
    assert.deepEqual(events, [{ type: "revoked", id: one.id, userId: 1, reason: "replaced" }]);
    assert.equal(await reasonOf(two.token), "live");
  });
});

// ── What a host of the same site can do by setting our cookie ────────────────────────────────────

describe("a planted cookie", () => {
  test("that is no token, or opens nothing, neither ends nor hides the user's session", async () => {
    const { id, token } = await open();
    for (const planted of ["x", "", createToken().token, `${id}.${createToken().secret}`]) {
      for (const tokens of [[planted, token], [token, planted]]) {
        assert.equal((await validateSession(request(...tokens), db.sql)).session?.id, id);
      }
    }
  });

  test("of the attacker's live session is never taken instead of the user's", async () => {
    const [victim, attacker] = [await open("ada"), await open("grace")];
    for (const tokens of [[attacker.token, victim.token], [victim.token, attacker.token]]) {
      assert.equal((await validateSession(request(...tokens), db.sql)).reason, "malformed");
    }
  });

  test("ends with the sign-in or the sign-out of the user who presents it", async () => {
    const [victim, attacker] = [await open("ada"), await open("grace")];
    await revokeSession(request(attacker.token, victim.token), db.sql);
    assert.equal(await reasonOf(attacker.token), "signed-out");
    assert.equal(await reasonOf(victim.token), "signed-out");
  });
});

// ── A browser whose cookie has changed its attributes ────────────────────────────────────────────

/** Cookies as a browser keeps them (RFC 6265bis, section 5.6; CHIPS), on one top-level site. */
class Jar {
  readonly cookies = new Map<
    string,
    { name: string; value: string; domain: string | null; path: string }
  >();

  receive(headers: Headers, host: string): void {
    for (const line of headers.getSetCookie()) {
      const [pair = "", ...rest] = line.split("; ");
      const [name = "", value = ""] = pair.split("=");
      const attributes = new Map(rest.map((it) => it.split("=") as [string, string]));
      const domain = attributes.get("Domain") ?? null;
      if (domain !== null && host !== domain && !host.endsWith(`.${domain}`)) continue;
      const path = attributes.get("Path")!;
      if (name.startsWith("__Host-") && (domain !== null || path !== "/")) continue;
      const key = JSON.stringify([
        name,
        domain ?? `only ${host}`,
        path,
        attributes.has("Partitioned"),
      ]);
      if (attributes.has("Expires")) this.cookies.delete(key);
      else this.cookies.set(key, { name, value, domain, path });
    }
  }

  send(path = "/"): Headers {
    const cookie = [...this.cookies.values()]
      .filter((it) => path === it.path || path.startsWith(it.path.replace(/\/?$/, "/")))
      .sort((a, b) => b.path.length - a.path.length)
      .map(({ name, value }) => `${name}=${value}`).join("; ");
    return new Headers({ cookie });
  }
}

const HOST = "app.example.com";
const switches: { name: string; before: CookiePolicy; after: CookiePolicy; left: number }[] = [
  { name: "partitioned on", before: {}, after: { partitioned: true }, left: 0 },
  { name: "partitioned off", before: { partitioned: true }, after: {}, left: 0 },
  {
    name: "domain on",
    before: { name: "sid" },
    after: { name: "sid", domain: "example.com" },
    left: 1,
  },
  {
    name: "domain off",
    before: { name: "sid", domain: "example.com" },
    after: { name: "sid" },
    left: 1,
  },
  {
    name: "path down",
    before: { name: "sid" },
    after: { name: "sid", path: "/app" },
    left: 1,
  },
  {
    name: "path up",
    before: { name: "sid", path: "/app" },
    after: { name: "sid" },
    left: 1,
  },
];

/** The jar of a user who was signed in before and after the change, with two live sessions. */
async function signInTwice(before: CookiePolicy, after: CookiePolicy) {
  const jar = new Jar();
  const policies = [before, after].map((cookie) => configure({ cookie }));
  const ids: string[] = [];
  for (const { createSession } of policies) {
    const { session, headers } = await createSession("ada", db.sql);
    jar.receive(headers, HOST);
    ids.push(session.id);
  }
  assert.equal(jar.cookies.size, 2);
  const { validateSession } = policies[1]!;
  assert.equal((await validateSession(jar.send("/app"), db.sql)).reason, "malformed");
  return { jar, ids, ...policies[1]! };
}

async function isLive(id: string): Promise<boolean> {
  const [row] = await db.sql`
    select revoked_at is null as live from coatcheck.sessions where id = ${id}`;
  return row!.live;
}

describe("a browser after a change of the cookie's attributes", () => {
  for (const { name, before, after, left } of switches) {
    test(`gets in by signing out and in with ${name}, and only the new session is live`, async () => {
      const { jar, ids, revokeSession, createSession, validateSession } = await signInTwice(
        before,
        after,
      );
      jar.receive((await revokeSession(jar.send("/app"), db.sql)).headers, HOST);
      for (const id of ids) assert.equal(await isLive(id), false);
      assert.equal(jar.cookies.size, left);
      const replaces = jar.send("/app");
      const { session, headers } = await createSession("ada", db.sql, { replaces });
      jar.receive(headers, HOST);
      assert.equal((await validateSession(jar.send("/app"), db.sql)).session?.id, session.id);
    });

    test(`gets in by signing in alone with ${name}`, async () => {
      const { jar, ids, createSession, validateSession } = await signInTwice(before, after);
      const replaces = jar.send("/app");
      const { session, headers } = await createSession("ada", db.sql, { replaces });
      jar.receive(headers, HOST);
      for (const id of ids) assert.equal(await isLive(id), false);
      assert.equal(jar.cookies.size, 1 + left);
      assert.equal((await validateSession(jar.send("/app"), db.sql)).session?.id, session.id);
    });

    test(`keeps the session with ${name}, also when its secret is rotated`, async () => {
      const jar = new Jar();
      const { session, headers } = await configure({ cookie: before }).createSession("ada", db.sql);
      jar.receive(headers, HOST);
      const { rotateSession, validateSession } = configure({ cookie: after });
      jar.receive((await rotateSession(jar.send("/app"), db.sql)).headers, HOST);
      assert.equal(jar.cookies.size, 2);
      assert.equal((await validateSession(jar.send("/app"), db.sql)).session?.id, session.id);
      await db
        .sql`update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 hour'
        where id = ${session.id}`;
      assert.equal((await validateSession(jar.send("/app"), db.sql)).session?.id, session.id);
    });

    test(`has one cookie after any Set-Cookie of ours with ${name}, if the policy names the previous one`, async () => {
      const { name: _, ...attributes } = before;
      const policy = { rotateAfter: 60, cookie: { ...after, previous: [attributes] } };
      const { createSession, revokeSession, rotateSession, reauthenticateSession, withSession } =
        configure(policy);
      const answers: ((headers: Headers) => Promise<Headers>)[] = [
        async () => (await createSession("ada", db.sql)).headers,
        async (headers) => (await createSession("ada", db.sql, { replaces: headers })).headers,
        async (headers) => (await rotateSession(headers, db.sql)).headers,
        async (headers) => (await reauthenticateSession(headers, db.sql)).headers,
        async (headers) => {
          await db.sql`update coatcheck.sessions
            set authenticated_at = authenticated_at - interval '1 hour'`;
          const handle = withSession(() => new Response(), db.sql);
          return (await handle(new Request("https://app.example.com/app", { headers }))).headers;
        },
        async (headers) => (await revokeSession(headers, db.sql)).headers,
      ];
      for (const [index, answer] of answers.entries()) {
        const jar = new Jar();
        jar.receive(
          (await configure({ cookie: before }).createSession("ada", db.sql)).headers,
          HOST,
        );
        jar.receive(await answer(jar.send("/app")), HOST);
        assert.equal(jar.cookies.size, index === answers.length - 1 ? 0 : 1, `${index}`);
      }
    });
  }

  test("has no session of an old name, whose cookie the next sign-in clears", async () => {
    const jar = new Jar();
    jar.receive((await createSession("ada", db.sql)).headers, HOST);
    const { validateSession, createSession: create } = configure({
      cookie: { domain: "example.com", previous: [{ name: NAME }] },
    });
    assert.equal((await validateSession(jar.send(), db.sql)).reason, "absent");
    jar.receive((await create("ada", db.sql)).headers, HOST);
    assert.deepEqual([...jar.cookies.values()].map(({ name }) => name), ["__Secure-session"]);
  });

  test("gets the handler's cookies by withSession, all of them", async () => {
    const [one, two] = [await open(), await open()];
    const handle = withSession(async ({ headers }) => {
      const revoked = await revokeSession(headers, db.sql);
      return new Response(null, { headers: [["set-cookie", "a=b"], ...revoked.headers] });
    }, db.sql);
    const headers = request(one.token, two.token);
    const answer = await handle(
      new Request("https://app.example.com/", { method: "POST", headers }),
    );
    assert.deepEqual(answer.headers.getSetCookie().map((line) => line.split("=")[0]), [
      "a",
      NAME,
      NAME,
    ]);
  });
});

describe("the cookie of a previous name", () => {
  const before = configure();
  const after = configure({ cookie: { domain: "example.com", previous: [{ name: NAME }] } });
  for (const name of ["plain", "batched"]) {
    test(`opens nothing, and is revoked by a sign-out and by a sign-in that replaces, ${name}`, async () => {
      const sql = name === "plain" ? db.sql : batched(db.sql);
      for (
        const end of [
          (headers: Headers) => after.revokeSession(headers, sql),
          (headers: Headers) => after.createSession("ada", sql, { replaces: headers }),
        ]
      ) {
        const [old, current] = [
          await before.createSession("ada", sql),
          await after.createSession("ada", sql),
        ];
        const cookieOf = ({ headers }: { headers: Headers }) =>
          headers.getSetCookie().at(-1)!.split(";")[0]!;
        const alone = new Headers({ cookie: cookieOf(old) });
        assert.equal((await after.validateSession(alone, sql)).reason, "absent");
        const both = new Headers({ cookie: `${cookieOf(old)}; ${cookieOf(current)}` });
        assert.equal((await after.validateSession(both, sql)).session?.id, current.session.id);
        await end(both);
        assert.equal((await before.validateSession(alone, sql)).reason, "revoked");
        assert.equal((await after.validateSession(both, sql)).reason, "revoked");
      }
    });
  }
});
