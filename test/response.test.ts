import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  completeResponse,
  configure,
  type CookiePolicy,
  createSession,
  parseSetCookies,
  type Policy,
  revokeSession,
  validateSession,
  withSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const ROTATES = { rotateAfter: 60 };

/** The headers of a request whose session gets a new secret by `ROTATES`. */
async function due(policy: Policy = {}): Promise<Headers> {
  const { session, headers } = await createSession("ada", db.sql, policy);
  await db.sql`update coatcheck.sessions set created_at = created_at - interval '1 hour',
    authenticated_at = authenticated_at - interval '1 hour' where id = ${session.id}`;
  return withCookie(headers);
}

/** Headers without the tokens in them, which are new each time, and without the seconds that are left. */
function masked(headers: Headers): [string, string][] {
  const without = (value: string) =>
    value.replace(/=[\w.-]{80};/, "=token;").replace(/Max-Age=\d+/, "Max-Age=seconds");
  return Array.from(headers, ([name, value]) => [name, without(value)]);
}

const rotated = async () => await validateSession(await due(), db.sql, ROTATES);

describe("completeResponse", () => {
  const responses: { name: string; make: () => Response | Promise<Response> }[] = [
    { name: "a text", make: () => new Response("hello") },
    { name: "an empty one", make: () => new Response(null, { status: 204 }) },
    {
      name: "a redirect, whose headers are immutable",
      make: () => Response.redirect("https://a.example/"),
    },
    {
      name: "one for a shared cache",
      make: () => new Response("hello", { headers: { "cache-control": "public, max-age=60" } }),
    },
    {
      name: "one with a cookie of its own",
      make: () => new Response("hello", { headers: { "set-cookie": "theme=dark; Path=/" } }),
    },
    {
      name: "a sign-in",
      make: async () => new Response("hello", await createSession({ userId: 2 }, db.sql)),
    },
  ];
  for (const { name, make } of responses) {
    test(`adds to ${name} what withSession adds`, async () => {
      const signedIn = async () => withCookie((await createSession("ada", db.sql)).headers);
      for (const visitor of [() => new Headers(), signedIn, due]) {
        const request = new Request("https://app.example/", { headers: await visitor() });
        const expected = await withSession(make, db.sql, ROTATES)(request);
        const result = await validateSession(await visitor(), db.sql, ROTATES);
        const actual = completeResponse(await make(), result);
        assert.equal(actual.status, expected.status);
        assert.equal(await actual.text(), await expected.text());
        assert.deepEqual(masked(actual.headers), masked(expected.headers));
      }
    });
  }

  test("never sets the cookie of the visit beside that of a sign-in", async () => {
    const result = await rotated();
    assert.equal(result.headers.getSetCookie().length, 1);
    const { session, headers } = await createSession("grace", db.sql);
    const response = completeResponse(new Response(null, { status: 303, headers }), result);
    assert.deepEqual(response.headers.getSetCookie(), headers.getSetCookie());
    const { session: found } = await validateSession(withCookie(response.headers), db.sql);
    assert.equal(found?.id, session.id);
  });

  test("never sets the cookie of the visit beside that of a sign-out", async () => {
    const visitor = await due();
    const result = await validateSession(visitor, db.sql, ROTATES);
    const { headers } = await revokeSession(visitor, db.sql);
    const response = completeResponse(new Response(null, { headers }), result);
    assert.deepEqual(response.headers.getSetCookie(), headers.getSetCookie());
  });

  test("sets it beside the app's own cookies, also one whose name begins with ours", async () => {
    const result = await rotated();
    const theirs = ["theme=dark", "__Host-session-x=1; Secure; Path=/"];
    const response = completeResponse(
      new Response(null, { headers: theirs.map((it) => ["set-cookie", it]) }),
      result,
    );
    const expected = [...theirs, ...result.headers.getSetCookie()];
    assert.deepEqual(response.headers.getSetCookie(), expected);
  });

  test("goes by the name in the policy, given or bound", async () => {
    const cookie = { name: "__Host-sid" };
    const bound = configure({ ...ROTATES, cookie });
    const result = await bound.validateSession(await due({ cookie }), db.sql);
    const { headers } = await bound.createSession("grace", db.sql);
    const signedIn = () => new Response(null, { headers });
    for (
      const complete of [
        bound.completeResponse,
        (...[response, it]: Parameters<typeof completeResponse>) =>
          completeResponse(response, it, { cookie }),
      ]
    ) {
      const response = complete(signedIn(), result);
      assert.deepEqual(response?.headers.getSetCookie(), headers.getSetCookie());
    }
  });

  test("leaves the handler's own object alone if it gets the cookie", async () => {
    const shared = new Response("hello");
    const response = completeResponse(shared, await rotated());
    assert.equal(response.headers.getSetCookie().length, 1);
    assert.deepEqual(shared.headers.getSetCookie(), []);
    assert.equal(await response.text(), "hello");
  });

  test("returns undefined as it is, as Bun's server needs for an upgrade", async () => {
    assert.equal(completeResponse(undefined, await rotated()), undefined);
  });

  test("refuses what is no response, no result, and no policy", async () => {
    const result = await validateSession(new Headers(), db.sql);
    const misuse: [() => unknown, string, RegExp][] = [
      [
        () => completeResponse("hello" as never, result),
        "TypeError",
        /^completeResponse: response must be a Response, got string$/,
      ],
      [
        () => completeResponse(new Response(), new Headers() as never),
        "TypeError",
        /^completeResponse: result must have headers, as a result has, got an instance of Headers$/,
      ],
      [
        () => completeResponse(new Response(), undefined as never),
        "TypeError",
        /^completeResponse: result must have headers, as a result has, got undefined$/,
      ],
      [
        () => completeResponse(new Response(), result, { name: "sid" } as never),
        "TypeError",
        /^completeResponse: options must have no keys but .*, got "name"$/,
      ],
      [
        () => configure().completeResponse(new Response(), result, ...[ROTATES] as unknown as []),
        "TypeError",
        /^completeResponse: options must have no keys.*got "rotateAfter"$/,
      ],
    ];
    for (const [call, name, message] of misuse) assert.throws(call, { name, message });
    const handle = withSession(() => "hello" as never, db.sql);
    await assert.rejects(handle(new Request("https://app.example/")), {
      name: "TypeError",
      message: "withSession: response must be a Response, got string",
    });
  });
});

describe("parseSetCookies", () => {
  const policies: { name: string; cookie: CookiePolicy; attributes: object }[] = [
    {
      name: "the default",
      cookie: {},
      attributes: { path: "/", httpOnly: true, secure: true, sameSite: "lax" },
    },
    {
      name: "everything else",
      cookie: { domain: "app.example", path: "/app", sameSite: "None", partitioned: true },
      attributes: {
        path: "/app",
        domain: "app.example",
        httpOnly: true,
        secure: true,
        sameSite: "none",
        partitioned: true,
      },
    },
    {
      name: "plain http",
      cookie: { secure: false, sameSite: "Strict" },
      attributes: { path: "/", httpOnly: true, secure: false, sameSite: "strict" },
    },
  ];
  for (const { name, cookie, attributes } of policies) {
    test(`reads the cookie of a sign-in: ${name}`, async () => {
      const policy = { cookie };
      const { session, headers } = await createSession("ada", db.sql, policy);
      const [it, ...others] = parseSetCookies(headers);
      assert.deepEqual(others, []);
      const { expires, ...rest } = it!.attributes;
      assert.deepEqual(rest, attributes);
      // Max-Age has whole seconds, and the two clocks are one machine's here.
      assert.ok(Math.abs(expires!.getTime() - session.expiresAt.getTime()) < 60_000);
      const presented = new Headers({ cookie: `${it!.name}=${it!.value}` });
      assert.equal((await validateSession(presented, db.sql, policy)).session?.id, session.id);
    });
  }

  test("has no end for a cookie that ends with the browser", async () => {
    const { headers } = await createSession("ada", db.sql, { persistent: false });
    assert.equal(parseSetCookies(headers)[0]!.attributes.expires, undefined);
  });

  test("reads the cookie that a sign-out clears, and the previous ones before it", async () => {
    const policy = { cookie: { previous: [{ domain: "app.example", name: "__Secure-old" }] } };
    const { headers } = await createSession("ada", db.sql, policy);
    const cleared = await revokeSession(withCookie(headers), db.sql, policy);
    const cookies = parseSetCookies(cleared.headers);
    assert.deepEqual(cookies.map(({ name, value }) => ({ name, value })), [
      { name: "__Secure-old", value: "" },
      { name: "__Host-session", value: "" },
    ]);
    for (const { attributes } of cookies) assert.equal(attributes.expires?.getTime(), 0);
    assert.equal(cookies[0]!.attributes.domain, "app.example");
  });

  test("reads nothing if there is nothing to set", async () => {
    assert.deepEqual(parseSetCookies((await validateSession(new Headers(), db.sql)).headers), []);
  });

  test("refuses what has no Set-Cookie lines", () => {
    for (const it of [undefined, null, "a=b", {}, new Response()]) {
      assert.throws(() => parseSetCookies(it as never), {
        name: "TypeError",
        message: /^parseSetCookies: headers must be Headers, got /,
      });
    }
  });
});
