import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  configure,
  createGuestSession,
  createSession,
  revokeSession,
  rotateSession,
  sweepSessions,
  validateSession,
  withSession,
} from "../mod.ts";
import { age, keepCookies, signIn, type StorageState, storageStateOf } from "../testing.ts";
import { type Database, openDatabase } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const DAY = 86_400;

/** The error of a call that a wrong argument makes throw or reject. */
async function errorOf(call: () => unknown): Promise<{ name: string; message: string }> {
  try {
    await call();
  } catch (error) {
    const { name, message } = error as Error;
    return { name, message };
  }
  throw new Error("It did not throw");
}

describe("signIn", () => {
  test("returns the headers of the user's next request", async () => {
    const app = withSession((_, { session }) => Response.json(session), db.sql);
    const headers = await signIn("ada", db.sql, { data: { theme: "dark" } });
    assert.deepEqual([...headers.keys()], ["cookie"]);
    const response = await app(new Request("https://app.example/", { headers }));
    const { username, data } = await response.json() as Record<string, unknown>;
    assert.deepEqual([username, data], ["ada", { theme: "dark" }]);
  });

  test("takes a key, and the policy of the app", async () => {
    const policy = { cookie: { name: "sid", domain: "example.com", previous: [{ name: "old" }] } };
    const headers = await signIn({ userId: 2 }, db.sql, policy);
    assert.match(headers.get("cookie")!, /^sid=[^;]{80}$/);
    const { session } = await validateSession(headers, db.sql, policy);
    assert.equal(session?.username, "grace");
  });

  test("returns Authorization if the transport is bearer", async () => {
    const headers = await signIn("ada", db.sql, { transport: "bearer" });
    assert.deepEqual([...headers.keys()], ["authorization"]);
    const { validateSession } = configure({ transport: "bearer" });
    assert.equal((await validateSession(headers, db.sql)).session?.username, "ada");
  });

  test("rejects as createSession does", async () => {
    await assert.rejects(signIn("nobody", db.sql), { code: "USER_NOT_FOUND" });
    await assert.rejects(signIn("ada", db.sql, { ttl: 1 } as object), TypeError);
  });
});

describe("age", () => {
  test("moves every instant of the row, and nothing else", async () => {
    const columns = (await db.sql`select attname as name from pg_attribute
      where attrelid = 'coatcheck.sessions'::regclass and attnum > 0 and not attisdropped
        and atttypid = 'timestamptz'::regtype`).map(({ name }) => name as string);
    assert.ok(columns.length >= 7);
    const { session } = await createSession("ada", db.sql);
    for (const column of columns) {
      await db.sql`update coatcheck.sessions set ${
        db.sql(column)
      } = now() where id = ${session.id}`;
    }
    const read = async () => {
      const rows = await db.sql`
        select to_jsonb(s) as row from coatcheck.sessions s where id = ${session.id}`;
      return rows[0]!.row as Record<string, unknown>;
    };
    const before = await read();
    await age(session, 3600, db.sql);
    const after = await read();
    for (const column of columns) {
      const [then, now] = [before, after].map((row) => Date.parse(String(row[column])));
      assert.equal(then! - now!, 3_600_000, column);
    }
    const changed = Object.keys(after).filter((column) =>
      JSON.stringify(after[column]) !== JSON.stringify(before[column])
    );
    assert.deepEqual(changed.sort(), columns.sort());
  });

  const given = [
    { name: "a session", pass: ({ session }: Created) => session },
    { name: "an id", pass: ({ session }: Created) => session.id },
    { name: "an id in capital letters", pass: ({ session }: Created) => session.id.toUpperCase() },
    { name: "the headers of a request", pass: (created: Created) => keepCookies(created) },
    {
      name: "headers with other cookies",
      pass: (created: Created) =>
        new Headers({ cookie: `a=1; ${keepCookies(created).get("cookie")}; b=2` }),
    },
  ];
  type Created = Awaited<ReturnType<typeof createSession>>;
  for (const { name, pass } of given) {
    test(`takes ${name}`, async () => {
      const created = await createSession("ada", db.sql);
      const other = await signIn("ada", db.sql);
      await age(pass(created), 8 * DAY, db.sql);
      assert.equal((await validateSession(keepCookies(created), db.sql)).reason, "idle");
      assert.ok((await validateSession(other, db.sql)).session);
    });
  }

  test("takes headers with a bearer token", async () => {
    const policy = { transport: "bearer" } as const;
    const headers = await signIn("ada", db.sql, policy);
    await age(headers, 31 * DAY, db.sql);
    assert.equal((await validateSession(headers, db.sql, policy)).reason, "expired");
  });

  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;
    test(`works through ${client}, in a transaction too`, async () => {
      const sql = db.clients[client]!;
      const headers = await signIn("ada", sql);
      await age(headers, 3600, sql);
      const options = { authenticatedWithin: 1800 };
      assert.equal((await validateSession(headers, sql, options)).reason, "stale");
      const cancelled = db.sql.begin(async (transaction) => {
        await age(headers, 8 * DAY, transaction);
        assert.equal((await validateSession(headers, transaction)).reason, "idle");
        throw new Error("rolled back");
      });
      await assert.rejects(cancelled, { message: "rolled back" });
      assert.ok((await validateSession(headers, sql)).session);
    });
  }

  test("works through a client that returns an object with rows", async () => {
    const headers = await signIn("ada", db.sql);
    const sql: typeof age extends (a: never, b: never, sql: infer It) => unknown ? It : never =
      async (strings, ...values) => ({ rows: await db.sql(strings, ...values) });
    await age(headers, 8 * DAY, sql);
    assert.equal((await validateSession(headers, db.sql)).reason, "idle");
  });

  test("makes a rotation due, and a rotated secret reused", async () => {
    const policy = { rotateAfter: 3600 };
    const headers = await signIn("ada", db.sql, policy);
    await age(headers, 3600, db.sql);
    const rotated = await validateSession(headers, db.sql, policy);
    const next = keepCookies(rotated, headers);
    assert.notEqual(next.get("cookie"), headers.get("cookie"));
    assert.ok((await validateSession(next, db.sql)).session);
    assert.ok((await validateSession(headers, db.sql)).session);
    await age(next, 31, db.sql);
    assert.equal((await validateSession(headers, db.sql)).reason, "reused");
    assert.equal((await validateSession(next, db.sql)).reason, "revoked");
  });

  test("makes a revoked session due for a sweep", async () => {
    await db.sql`truncate coatcheck.sessions`;
    const { session, headers } = await createSession("ada", db.sql);
    await revokeSession(keepCookies({ headers }), db.sql);
    await age(session, 29 * DAY, db.sql);
    assert.deepEqual(await sweepSessions(db.sql), { swept: 0 });
    await age(session, DAY, db.sql);
    assert.deepEqual(await sweepSessions(db.sql), { swept: 1 });
  });

  const id = "00000000-0000-4000-8000-00000000000a";
  const token = `${id}.${"A".repeat(43)}`;
  const refused: { name: string; args: unknown[]; error: string; message: RegExp }[] = [
    {
      name: "a session that is not there",
      args: [id, 1],
      error: "RangeError",
      message: /^age: session must be in coatcheck\.sessions, got an unknown id$/,
    },
    {
      name: "text that is no id",
      args: ["ada", 1],
      error: "RangeError",
      message:
        /^age: session must be a session, its id, or headers with its token, got something else$/,
    },
    {
      name: "no session",
      args: [null, 1],
      error: "TypeError",
      message: /^age: session must be .*, got null$/,
    },
    {
      name: "headers without a token",
      args: [new Headers({ cookie: "a=1" }), 1],
      error: "RangeError",
      message: /^age: session must be .*, got headers with 0 tokens$/,
    },
    {
      name: "headers with two tokens",
      args: [new Headers({ cookie: `a=${token}; b=${token}` }), 1],
      error: "RangeError",
      message: /^age: session must be .*, got headers with 2 tokens$/,
    },
    ...["1", 0.5, -1, NaN, Infinity, 3_155_760_001].map((seconds) => ({
      name: `${typeof seconds} ${seconds} as seconds`,
      args: [id, seconds],
      error: typeof seconds === "string" ? "TypeError" : "RangeError",
      message: /^age: seconds must be whole seconds from 0 to 3155760000, got /,
    })),
  ];
  for (const { name, args, error, message } of refused) {
    test(`refuses ${name}`, async () => {
      const thrown = await errorOf(() => age(args[0] as string, args[1] as number, db.sql));
      assert.equal(thrown.name, error);
      assert.match(thrown.message, message);
      assert.ok(!thrown.message.includes("A".repeat(43)));
    });
  }
});

describe("keepCookies", () => {
  const response = (...lines: string[]) => ({
    headers: new Headers(lines.map((line) => ["set-cookie", line])),
  });
  const past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
  const cases: { name: string; before?: string; lines: string[]; after: string | null }[] = [
    { name: "no cookie", lines: [], after: null },
    { name: "a new cookie", lines: ["a=1; Path=/; HttpOnly"], after: "a=1" },
    { name: "a cookie beside another one", before: "a=1", lines: ["b=2"], after: "a=1; b=2" },
    { name: "a changed cookie", before: "a=1; b=2", lines: ["a=3"], after: "a=3; b=2" },
    { name: "a cleared cookie", before: "a=1; b=2", lines: [`a=; ${past}`], after: "b=2" },
    { name: "the last cookie cleared", before: "a=1", lines: [`a=; ${past}`], after: null },
    { name: "Max-Age of 0", before: "a=1", lines: ["a=2; Max-Age=0"], after: null },
    { name: "a cookie cleared and set", lines: [`a=; ${past}`, "a=1; Max-Age=9"], after: "a=1" },
    { name: "a value with =", before: "a=b=c", lines: ["d=e=="], after: "a=b=c; d=e==" },
  ];
  for (const { name, before, lines, after } of cases) {
    test(`follows a response with ${name}`, () => {
      const headers = new Headers(before === undefined ? {} : { cookie: before });
      assert.equal(keepCookies(response(...lines), headers).get("cookie"), after);
      assert.equal(headers.get("cookie"), before ?? null);
    });
  }

  test("keeps the other headers of the request", () => {
    const headers = new Headers({ "sec-fetch-site": "same-origin" });
    const next = keepCookies(response("a=1"), headers);
    assert.deepEqual([...next], [["cookie", "a=1"], ["sec-fetch-site", "same-origin"]]);
  });

  test("follows a rotated bearer token", async () => {
    const policy = { transport: "bearer" } as const;
    const headers = await signIn("ada", db.sql, policy);
    const next = keepCookies(await rotateSession(headers, db.sql, policy), headers);
    assert.notEqual(next.get("authorization"), headers.get("authorization"));
    assert.ok((await validateSession(next, db.sql, policy)).session);
  });

  test("follows a guest, and their sign-in", async () => {
    const headers = keepCookies(await createGuestSession(db.sql, { data: { cart: [1] } }));
    assert.deepEqual((await validateSession(headers, db.sql)).guest?.data, { cart: [1] });
    const options = { replaces: headers, keep: ["cart"] };
    const signedIn = keepCookies(await createSession("ada", db.sql, options), headers);
    const { session } = await validateSession(signedIn, db.sql);
    assert.deepEqual([session?.username, session?.data], ["ada", { cart: [1] }]);
  });

  test("refuses what has no headers", async () => {
    for (const it of [undefined, null, {}, new Headers()]) {
      const { name, message } = await errorOf(() => keepCookies(it as unknown as Response));
      assert.equal(name, "TypeError");
      assert.match(message, /^keepCookies: response must have headers, as a Response has, got /);
    }
  });
});

describe("storageStateOf", () => {
  const url = "http://localhost:3000/";
  const of = async (cookie: object): Promise<StorageState["cookies"][number]> => {
    const created = await createSession("ada", db.sql, { cookie });
    const { cookies, origins } = storageStateOf(created, url);
    assert.equal(cookies.length, 1);
    assert.deepEqual(origins, []);
    const { value, ...rest } = cookies[0]!;
    assert.equal(`${rest.name}=${value}`, keepCookies(created).get("cookie"));
    const left = rest.expires - Date.now() / 1000;
    assert.ok(rest.expires === -1 || Math.abs(left - 30 * DAY) < 60, String(left));
    return { ...rest, value: "", expires: Math.sign(rest.expires) };
  };

  const expected = {
    name: "__Host-session",
    value: "",
    domain: "localhost",
    path: "/",
    expires: 1,
    httpOnly: true,
    secure: true,
    sameSite: "Lax",
  };
  const policies: { name: string; cookie: object; expected: object }[] = [
    { name: "the default cookie", cookie: {}, expected: {} },
    {
      name: "a cookie of plain http",
      cookie: { secure: false, sameSite: "Strict" },
      expected: { name: "session", secure: false, sameSite: "Strict" },
    },
    {
      name: "a cookie of a domain and a path",
      cookie: { domain: "example.com", path: "/app" },
      expected: { name: "__Secure-session", domain: ".example.com", path: "/app" },
    },
    {
      name: "a cookie that ends with the browser",
      cookie: { persistent: false, sameSite: "None" },
      expected: { expires: -1, sameSite: "None" },
    },
    {
      name: "a cookie that replaces previous ones",
      cookie: { previous: [{ name: "old" }] },
      expected: {},
    },
  ];
  for (const { name, cookie, expected: changed } of policies) {
    test(`has ${name}`, async () => {
      assert.deepEqual(await of(cookie), { ...expected, ...changed });
    });
  }

  test("takes a Response, with all of its cookies", () => {
    const headers = new Headers([["set-cookie", "a=1"], ["set-cookie", "b=2; Path=/b"]]);
    const { cookies } = storageStateOf(new Response(null, { headers }), new URL(url));
    assert.deepEqual(cookies.map(({ name, path }) => [name, path]), [["a", "/"], ["b", "/b"]]);
  });

  test("refuses what has no headers, a partitioned cookie, and what is no URL", async () => {
    const partitioned = await createSession("ada", db.sql, { cookie: { partitioned: true } });
    const refusals = [
      () => storageStateOf(partitioned, url),
      () => storageStateOf(undefined as unknown as Response, url),
      () => storageStateOf(new Response(), "/path"),
      () => storageStateOf(new Response(), undefined as unknown as URL),
    ];
    const messages = (await Promise.all(refusals.map(errorOf))).map(({ name, message }) =>
      `${name}: ${message}`
    );
    assert.deepEqual(messages, [
      "RangeError: storageStateOf: response must set no partitioned cookie, got one",
      "TypeError: storageStateOf: response must have headers, as a Response has, got undefined",
      "TypeError: storageStateOf: url must be a URL, got string",
      "TypeError: storageStateOf: url must be a URL, got undefined",
    ]);
  });
});
