import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import {
  configure,
  createSession,
  createToken,
  reauthenticateSession,
  revokeSession,
  rotateSession,
  type SessionResult,
  type Sql,
  validateSession,
  withSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";
import { sendLines } from "./runner/server.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const APP = "https://app.example/";

function ask(headers?: Headers, method = "GET"): Request {
  return new Request(APP, { method, ...(headers && { headers }) });
}

/** A request with a session whose secret is old enough for `ROTATES` to give it a new one. */
const ROTATES = { rotateAfter: 60 };
async function due(method?: string): Promise<{ request: Request; id: string; headers: Headers }> {
  const created = await createSession("ada", db.sql);
  const { id } = created.session;
  await db.sql`update coatcheck.sessions set created_at = created_at - interval '1 hour',
    authenticated_at = authenticated_at - interval '1 hour' where id = ${id}`;
  const headers = withCookie(created.headers);
  return { request: ask(headers, method), id, headers };
}

/** The headers of the 403: those of ASVS 5.0, 3.4, but for HSTS, and what it is. */
const REFUSAL = [
  ["cache-control", "no-store"],
  [
    "content-security-policy",
    "default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
  ],
  ["content-type", "text/plain; charset=utf-8"],
  ["cross-origin-opener-policy", "same-origin"],
  ["referrer-policy", "no-referrer"],
  ["x-content-type-options", "nosniff"],
];

/** A client that must not be called. */
const untouched: Sql = () => assert.fail("SQL was sent");

describe("withSession", () => {
  test("calls the handler with the request, the result, and all else that the server gives", async () => {
    const { session, headers } = await createSession("ada", db.sql);
    const request = ask(withCookie(headers));
    const seen: unknown[] = [];
    const handle = withSession(
      (it: Request, result, server: { name: string }, more: number) => {
        seen.push(it, result, server, more);
        return new Response(result.session?.username);
      },
      db.sql,
    );
    const server = { name: "bun" };
    assert.equal(await (await handle(request, server, 7)).text(), "ada");
    const [it, result, ...rest] = seen as [Request, SessionResult, ...unknown[]];
    assert.equal(it, request);
    assert.deepEqual(result.session, session);
    assert.deepEqual(rest, [server, 7]);
    assert.equal(rest[0], server);
  });

  test("calls it with the reason if there is no session", async () => {
    const { headers } = await createSession("ada", db.sql);
    await revokeSession(withCookie(headers), db.sql);
    const handle = withSession(
      (_, { session, reason }) => Response.json({ session, reason }),
      db.sql,
    );
    assert.deepEqual(await (await handle(ask())).json(), { session: null, reason: "absent" });
    const revoked = await handle(ask(withCookie(headers)));
    assert.deepEqual(await revoked.json(), { session: null, reason: "revoked" });
    assert.deepEqual(revoked.headers.getSetCookie(), []);
  });

  test("sends one SELECT, and no SQL if the request has no cookie", async () => {
    const { headers } = await createSession("ada", db.sql);
    const { sql, statements } = counted(db.sql);
    const handle = withSession(() => new Response(), sql);
    await handle(ask());
    assert.equal(statements.length, 0);
    await handle(ask(withCookie(headers)));
    assert.equal(statements.length, 1);
  });

  test("refuses a page of another origin before any SQL, and before the handler", async () => {
    const { headers } = await createSession("ada", db.sql);
    const handle = withSession(() => assert.fail("The handler was called"), untouched);
    const attacks = [
      { name: "a form", method: "POST", headers: { "sec-fetch-site": "cross-site" } },
      {
        name: "an old browser's form",
        method: "POST",
        headers: { origin: "https://evil.example" },
      },
      { name: "a sandboxed form", method: "POST", headers: { origin: "null" } },
      { name: "a sister host's form", method: "POST", headers: { "sec-fetch-site": "same-site" } },
      {
        name: "a WebSocket",
        method: "GET",
        headers: { upgrade: "websocket", origin: "https://evil.example" },
      },
    ];
    for (const { name, method, headers: from } of attacks) {
      for (const own of [new Headers(), withCookie(headers)]) {
        for (const [key, value] of Object.entries(from)) own.set(key, value);
        const response = await handle(ask(own, method));
        assert.equal(response.status, 403, name);
        assert.equal(await response.text(), "Cross-origin request refused\n");
        assert.deepEqual([...response.headers], REFUSAL);
      }
    }
  });

  test("takes the options of isCrossOrigin", async () => {
    const options = { origin: "https://app.example", trustedOrigins: ["https://pay.example"] };
    for (
      const handle of [
        withSession(() => new Response(), db.sql, options),
        configure().withSession(() => new Response(), db.sql, options),
      ]
    ) {
      const from = async (origin: string) =>
        (await handle(
          new Request("http://10.0.0.7:3000/", { method: "POST", headers: { origin } }),
        )).status;
      assert.equal(await from("https://app.example"), 200);
      assert.equal(await from("https://pay.example"), 200);
      assert.equal(await from("http://10.0.0.7:3000"), 403);
    }
  });

  test("takes the options of validateSession", async () => {
    const { request } = await due();
    const tell = (_: Request, { reason }: SessionResult) => new Response(reason ?? "session");
    const asked = async (handle: (request: Request) => Promise<Response>) =>
      await (await handle(request)).text();
    assert.equal(await asked(withSession(tell, db.sql)), "session");
    assert.equal(await asked(withSession(tell, db.sql, { authenticatedWithin: 60 })), "stale");
    const { withSession: bound } = configure({ absoluteTimeout: 600 });
    assert.equal(await asked(bound(tell, db.sql)), "expired");
    const { withSession: named } = configure({ cookie: { name: "__Host-id" } });
    assert.equal(await asked(named(tell, db.sql, { authenticatedWithin: 60 })), "absent");
  });

  test("checks its options once, when the handler is made", () => {
    const handler = () => new Response();
    const wrong: { options: object; message: RegExp; name?: string }[] = [
      { options: { idleTimout: 60 }, message: /no keys but .*"idleTimout"/, name: "TypeError" },
      { options: { idleTimeout: 0 }, message: /idleTimeout/ },
      { options: { authenticatedWithin: -1 }, message: /authenticatedWithin/ },
      { options: { authenticatedWithin: 34_560_001 }, message: /authenticatedWithin/ },
      { options: { origin: "https://app.example/" }, message: /^withSession: origin must/ },
      { options: { trustedOrigins: ["*"] }, message: /trustedOrigins\[0\]/ },
      { options: { data: {} }, message: /no keys but .*"data"/, name: "TypeError" },
    ];
    for (const { options, message, name = "RangeError" } of wrong) {
      assert.throws(() => withSession(handler, untouched, options), { name, message });
    }
    assert.throws(
      () => configure().withSession(handler, untouched, { idleTimeout: 60 } as object),
      { name: "TypeError", message: /no keys but authenticatedWithin, origin, trustedOrigins/ },
    );
    assert.throws(() => withSession(handler, "postgres://" as never), {
      name: "TypeError",
      message: /sql must/,
    });
    assert.throws(() => withSession(untouched as never, undefined as never), /sql must/);
    assert.throws(() => withSession({} as never, untouched), {
      name: "TypeError",
      message: "withSession: handler must be a function, got an object",
    });
  });

  test("keeps the options that were checked, if the caller changes them later", async () => {
    const options = { trustedOrigins: ["https://pay.example"], origin: "https://app.example" };
    const handle = withSession(() => new Response(), db.sql, options);
    options.trustedOrigins.push("https://evil.example");
    options.origin = "https://evil.example";
    const headers = new Headers({ origin: "https://evil.example" });
    assert.equal((await handle(ask(headers, "POST"))).status, 403);
  });
});

describe("the answer of withSession", () => {
  test("is the handler's own response, that varies by cookie", async () => {
    const own = new Response("hi", {
      status: 201,
      statusText: "Made",
      headers: [["set-cookie", "a=1"], ["set-cookie", "b=2"], ["x-own", "yes"]],
    });
    const response = await withSession(() => own, db.sql)(ask());
    assert.equal(response, own);
    assert.deepEqual([response.status, response.statusText], [201, "Made"]);
    assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
    assert.equal(response.headers.get("x-own"), "yes");
    assert.equal(response.headers.get("vary"), "Cookie");
    assert.equal(response.headers.get("cache-control"), null);
  });

  const varying = [
    { vary: "Accept", becomes: "Accept, Cookie" },
    { vary: "Cookie", becomes: "Cookie" },
    { vary: "accept, COOKIE", becomes: "accept, COOKIE" },
    { vary: "Accept,cookie , Origin", becomes: "Accept,cookie , Origin" },
    { vary: "*", becomes: "*" },
    { vary: "Cookie2", becomes: "Cookie2, Cookie" },
    { vary: "X-Cookie", becomes: "X-Cookie, Cookie" },
  ];
  for (const { vary, becomes } of varying) {
    test(`varies by ${becomes} if the handler's varies by ${vary}`, async () => {
      const handle = withSession(() => new Response(null, { headers: { vary } }), db.sql);
      assert.equal((await handle(ask())).headers.get("vary"), becomes);
    });
  }

  test("carries our cookie after the handler's own, and is stored by no cache", async () => {
    const { request, headers } = await due();
    const handle = withSession(
      () =>
        new Response("hi", {
          status: 201,
          statusText: "Made",
          headers: [
            ["set-cookie", "z=1; Path=/"],
            ["set-cookie", "a=2; Expires=Thu, 01 Jan 2037 00:00:00 GMT"],
            ["cache-control", "public, max-age=3600"],
            ["content-type", "text/x-own"],
          ],
        }),
      db.sql,
      ROTATES,
    );
    const response = await handle(request);
    const cookies = response.headers.getSetCookie();
    assert.equal(cookies.length, 3);
    assert.deepEqual(cookies.slice(0, 2), [
      "z=1; Path=/",
      "a=2; Expires=Thu, 01 Jan 2037 00:00:00 GMT",
    ]);
    assert.match(cookies[2]!, /^__Host-session=.{80}; Secure; HttpOnly; Max-Age=\d+; /);
    assert.ok(!cookies[2]!.includes(headers.get("cookie")!));
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.equal(response.headers.get("content-type"), "text/x-own");
    assert.equal(response.headers.get("vary"), "Cookie");
    assert.deepEqual([response.status, response.statusText], [201, "Made"]);
    assert.equal(await response.text(), "hi");

    const own = new Headers({ cookie: cookies[2]!.split(";")[0]! });
    assert.equal((await validateSession(own, db.sql)).session?.username, "ada");
  });

  test("carries the cookie of a rotation also if the session is stale", async () => {
    const { request } = await due();
    const options = { ...ROTATES, authenticatedWithin: 60 };
    const handle = withSession((_, { reason }) => new Response(reason), db.sql, options);
    const response = await handle(request);
    assert.equal(await response.text(), "stale");
    assert.equal(response.headers.getSetCookie().length, 1);
  });

  test("leaves one user's cookie out of a response that is a constant", async () => {
    const nothing = new Response(null, { status: 204 });
    const handle = withSession(() => nothing, db.sql, ROTATES);
    const first = await handle((await due()).request);
    assert.equal(first.headers.getSetCookie().length, 1);
    assert.equal(first.status, 204);
    assert.equal(first.body, null);
    assert.deepEqual(nothing.headers.getSetCookie(), []);
    assert.equal(nothing.headers.get("cache-control"), null);
    const second = await handle((await due()).request);
    assert.notEqual(secretOf(second.headers), secretOf(first.headers));
    assert.deepEqual((await handle(ask())).headers.getSetCookie(), []);
  });

  const choices: { name: string; choose: (request: Request) => Promise<{ headers: Headers }> }[] = [
    { name: "a sign-in", choose: () => createSession("grace", db.sql) },
    { name: "a sign-out", choose: (it) => revokeSession(it.headers, db.sql) },
    { name: "a rotation", choose: (it) => rotateSession(it.headers, db.sql) },
    { name: "a reauthentication", choose: (it) => reauthenticateSession(it.headers, db.sql) },
  ];
  for (const { name, choose } of choices) {
    test(`carries the cookie of ${name} in the handler, and not ours`, async () => {
      // A handler that knows the secret from the request, as all do.
      const { request } = await due("POST");
      let chosen = "";
      const handle = withSession(
        async (it) => {
          const { headers } = await choose(it);
          [chosen = ""] = headers.getSetCookie();
          return new Response(null, { headers: [["set-cookie", "theme=dark"], ...headers] });
        },
        db.sql,
        ROTATES,
      );
      const { headers } = await handle(request);
      assert.match(chosen, /^__Host-session=/);
      assert.deepEqual(headers.getSetCookie(), ["theme=dark", chosen]);
      assert.match(headers.get("cache-control")!, /^no-store(, no-store)*$/);
      assert.equal(headers.get("vary"), "Cookie");
    });
  }

  // RFC 9213, section 2: caches obey these fields and ignore Cache-Control. The last three are older.
  const targeted = [
    "CDN-Cache-Control",
    "Cloudflare-CDN-Cache-Control",
    "Vercel-CDN-Cache-Control",
    "Netlify-CDN-Cache-Control",
    "Akamai-Cache-Control",
    "X-LiteSpeed-Cache-Control",
    "Surrogate-Control",
    "Edge-Control",
    "X-Accel-Expires",
  ];
  const stored = () => {
    const headers = new Headers({ "cache-control": "public, s-maxage=60", "surrogate-key": "a" });
    for (const name of targeted) headers.set(name, "public, max-age=60");
    return headers;
  };

  test("has no field that lets a cache store our cookie, whoever sets it", async () => {
    const { headers: line } = await createSession("ada", db.sql);
    const handlers = [
      { name: "a new secret", answer: () => new Response("hi", { headers: stored() }) },
      {
        name: "a sign-in",
        answer: () => new Response("hi", { headers: [...stored(), ...line] }),
      },
    ];
    for (const { name, answer } of handlers) {
      const { request } = await due();
      const { headers } = await withSession(answer, db.sql, ROTATES)(request);
      assert.equal(headers.getSetCookie().length, 1, name);
      assert.deepEqual([...headers.keys()].filter((it) => !/^(?:content|set)-/.test(it)), [
        "cache-control",
        "surrogate-key",
        "vary",
      ]);
      assert.equal(headers.get("cache-control"), "no-store");
    }
  });

  test("keeps the fields of RFC 9213 if it has no cookie of ours: they are the way out", async () => {
    const { headers: signedIn } = await createSession("ada", db.sql);
    for (const request of [ask(), ask(withCookie(signedIn))]) {
      const answer = () => new Response("hi", { headers: stored() });
      const { headers } = await withSession(answer, db.sql)(request);
      for (const [name, value] of stored()) assert.equal(headers.get(name), value);
    }
  });

  const shared: { said: string | undefined; becomes: string }[] = [
    { said: undefined, becomes: "private" },
    { said: "", becomes: "private" },
    { said: "max-age=60", becomes: "max-age=60, private" },
    { said: "no-cache", becomes: "no-cache, private" },
    { said: "must-revalidate, max-age=0", becomes: "must-revalidate, max-age=0, private" },
    { said: `private="set-cookie"`, becomes: `private="set-cookie", private` },
    { said: `no-cache="a, public, b"`, becomes: `no-cache="a, public, b", private` },
    { said: "publicity, x-private", becomes: "publicity, x-private, private" },
    // What says it of shared caches stays.
    { said: "private", becomes: "private" },
    { said: "max-age=60,PRIVATE", becomes: "max-age=60,PRIVATE" },
    { said: "no-store", becomes: "no-store" },
    { said: "public, max-age=60", becomes: "public, max-age=60" },
    { said: "max-age=0, s-maxage=60", becomes: "max-age=0, s-maxage=60" },
  ];
  for (const { said, becomes } of shared) {
    test(`says ${becomes} to caches if the handler says ${said ?? "nothing"}, and a session was read`, async () => {
      const { headers } = await createSession("ada", db.sql);
      const answer = () =>
        new Response("hi", { headers: said === undefined ? {} : { "cache-control": said } });
      const handle = withSession(answer, db.sql);
      const signedIn = (await handle(ask(withCookie(headers)))).headers;
      assert.equal(signedIn.get("cache-control")?.replace(/^, /, ""), becomes);
      assert.equal(signedIn.get("vary"), "Cookie");
      assert.equal((await handle(ask())).headers.get("cache-control"), said ?? null);
    });
  }

  test("is private also if the cookie opens nothing, and if its headers are immutable", async () => {
    const { headers } = await createSession("ada", db.sql);
    const stale = { authenticatedWithin: 0 };
    const redirect = () => Response.redirect("https://app.example/next", 303);
    const ways = [
      withSession(() => new Response(), db.sql, stale),
      withSession(redirect, db.sql),
      configure({ absoluteTimeout: 1, idleTimeout: 1 }).withSession(() => new Response(), db.sql),
    ];
    for (const [index, handle] of ways.entries()) {
      const response = await handle(ask(withCookie(headers)));
      assert.equal(response.headers.get("cache-control"), "private", `${index}`);
    }
    const malformed = new Headers({ cookie: "__Host-session=x" });
    const response = await withSession(() => new Response(), db.sql)(ask(malformed));
    assert.equal(response.headers.get("cache-control"), "private");
  });

  test("is stored by no cache if the handler sets our cookie without Cache-Control", async () => {
    const line = "__Host-session=; Secure; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    const headers = { "set-cookie": line, "cache-control": "max-age=60" };
    const response = await withSession(() => new Response("bye", { headers }), db.sql)(ask());
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.deepEqual(response.headers.getSetCookie(), [line]);
  });

  test("recognises our cookie by its whole name, as configured", async () => {
    const names = ["__Host-session2", "__host-session", "session", "x__Host-session", "__Host-"];
    // Only SP and HTAB are white space here, and a line without a `=` has no name.
    const spaced = ["\u00A0__Host-session=1", "__Host-session\u00A0=1", "__Host-session"];
    for (const pair of [...names.map((name) => `${name}=1`), ...spaced]) {
      const { request } = await due();
      const handle = withSession(
        () => new Response(null, { headers: { "set-cookie": `${pair}; __Host-session=2` } }),
        db.sql,
        ROTATES,
      );
      assert.equal((await handle(request)).headers.getSetCookie().length, 2, pair);
    }
    const { headers } = await due();
    headers.set("cookie", headers.get("cookie")!.replace("__Host-session", "__Host-id"));
    const handle = configure({ ...ROTATES, cookie: { name: "__Host-id" } }).withSession(
      () => new Response(null, { headers: { "set-cookie": "__Host-id=chosen" } }),
      db.sql,
    );
    const response = await handle(ask(headers));
    assert.deepEqual(response.headers.getSetCookie(), ["__Host-id=chosen"]);
  });

  test("may be immutable: a redirect, and what fetch() answered", async () => {
    const redirect = () => Response.redirect("https://app.example/next", 303);
    const fetched = () => fetch("data:text/plain;charset=utf-8,hi");
    for (const rotates of [false, true]) {
      const request = rotates ? (await due()).request : ask();
      const cookies = rotates ? 1 : 0;
      const away = await withSession(redirect, db.sql, ROTATES)(request);
      assert.equal(away.status, 303);
      assert.equal(away.headers.get("location"), "https://app.example/next");
      assert.equal(away.headers.get("vary"), "Cookie");
      assert.equal(away.headers.getSetCookie().length, cookies);

      // The first sight of the new secret is yet to come, so it is handed out again.
      const passed = await withSession(fetched, db.sql, ROTATES)(request);
      assert.equal(passed.headers.get("vary"), "Cookie");
      assert.match(passed.headers.get("content-type")!, /^text\/plain/);
      assert.equal(passed.headers.getSetCookie().length, cookies);
      assert.equal(await passed.text(), "hi");
    }
  });

  test("passes a stream on unread", async () => {
    for (const rotates of [false, true]) {
      let pulled = 0;
      let cancelled: unknown;
      const stream = () =>
        new ReadableStream({
          pull(controller) {
            controller.enqueue(new TextEncoder().encode(`${pulled++}`));
          },
          cancel(reason) {
            cancelled = reason;
          },
        }, { highWaterMark: 0 });
      const { request } = await due();
      const handle = withSession(() => new Response(stream()), db.sql, rotates ? ROTATES : {});
      const response = await handle(request);
      assert.equal(response.headers.getSetCookie().length, rotates ? 1 : 0);
      assert.ok(pulled <= 1, "read ahead");
      const reader = response.body!.getReader();
      assert.equal(new TextDecoder().decode((await reader.read()).value), "0");
      assert.equal(new TextDecoder().decode((await reader.read()).value), "1");
      assert.ok(pulled <= 3, `read ahead by ${pulled - 2}`);
      await reader.cancel("enough");
      assert.ok(cancelled !== undefined, "The source of the stream is cancelled");
    }
  });

  test("is unchanged if it upgrades to a WebSocket, in the form of each runtime", async () => {
    // Only Bun and Deno can make a Response of 101; Node makes none below 200.
    const deno = Object.defineProperty(new Response(null), "status", { value: 101 });
    const workers = Object.assign(new Response(null), { webSocket: {} });
    const upgrade = new Headers({ upgrade: "websocket", "sec-fetch-site": "same-origin" });
    for (const answer of [undefined, deno, workers]) {
      const { headers } = await due();
      for (const [name, value] of headers) upgrade.set(name, value);
      const given = await withSession(() => answer, db.sql, ROTATES)(ask(upgrade));
      assert.equal(given, answer);
      assert.deepEqual([...given?.headers ?? []], []);
    }
  });

  test("is unchanged if it is an error response", async () => {
    const error = Response.error();
    assert.equal(await withSession(() => error, db.sql, ROTATES)((await due()).request), error);
  });

  test("is what the handler throws, unchanged", async () => {
    const { request } = await due();
    const thrown: unknown[] = [new Error("mine"), new Response("teapot", { status: 418 }), null, 7];
    for (const it of thrown) {
      const late = withSession(async () => await Promise.reject(it), db.sql, ROTATES);
      const soon = withSession(
        () => {
          throw it;
        },
        db.sql,
        ROTATES,
      );
      for (const handle of [soon, late]) {
        const caught = await handle(request).then(() => assert.fail(), (error: unknown) => error);
        assert.equal(caught, it);
      }
    }
  });

  test("is a rejection if it is called with something else than a Request", async () => {
    const handle = withSession(() => new Response(), untouched);
    const node = { method: "GET", url: "/", headers: { cookie: "a=b" } };
    for (const it of [undefined, node, new Headers()]) {
      await assert.rejects(handle(it as never), {
        name: "TypeError",
        message: /^withSession: request must have headers\.get\(name\), as a Request has, got /,
      });
    }
  });

  test("is a rejection if the store fails, before the handler is called", async () => {
    const failing: Sql = () => Promise.reject(Object.assign(new Error(), { code: "ECONNREFUSED" }));
    const handle = withSession(() => assert.fail("The handler was called"), failing);
    const { token } = createToken();
    const headers = new Headers({ cookie: `__Host-session=${token}` });
    await assert.rejects(handle(ask(headers)), { name: "SessionError", code: "STORE_UNAVAILABLE" });
  });
});

/** A server of this runtime. */
interface Serving {
  readonly port: number;
  readonly stop: () => Promise<void>;
}

// Node serves no Request: what it needs for that is in examples/node.ts, and tested there.
type Server = { upgrade(request: Request): boolean };
interface Runtimes {
  Bun?: {
    serve(options: object): { port: number; stop(all: true): Promise<void> };
    file(path: string): Blob;
  };
  Deno?: {
    serve(options: object): { addr: { port: number }; shutdown(): Promise<void> };
    upgradeWebSocket(request: Request): { response: Response };
  };
}
const { Bun, Deno } = globalThis as unknown as Runtimes;

function serve(
  fetch: (request: Request, server: Server) => Promise<Response | undefined>,
): Serving {
  const error = () => new Response("failed", { status: 500 });
  if (Bun) {
    const websocket = { message() {} };
    const options = { hostname: "127.0.0.1", port: 0, fetch, error, websocket };
    const server = Bun.serve(options);
    return { port: server.port, stop: () => server.stop(true) };
  }
  const [hostname, onListen] = ["127.0.0.1", () => {}];
  const server = Deno!.serve({ hostname, port: 0, onListen, onError: error, handler: fetch });
  return { port: server.addr.port, stop: () => server.shutdown() };
}

if (Bun || Deno) {
  describe(`withSession on the server of ${Bun ? "Bun" : "Deno"}`, () => {
    const file = fileURLToPath(new URL("../LICENSE", import.meta.url));
    const nothing = new Response(null, { status: 204 });
    const answers: Record<string, () => Response> = {
      "/text": () => new Response("hi"),
      "/json": () => Response.json({ hi: true }),
      "/form": () => new Response(new URLSearchParams("a=b")),
      "/nothing": () => nothing,
      "/file": () => new Response(Bun?.file(file) ?? new Blob(["hi"], { type: "text/x-own" })),
      "/redirect": () => Response.redirect(`${APP}next`, 303),
      "/stream": () => new Response(new Blob(["hi"]).stream()),
      "/fail": () => {
        throw new Error("mine");
      },
    };
    let serving: Serving;
    let plain: Serving;

    beforeAll(() => {
      const answer = (request: Request) => answers[new URL(request.url).pathname]!();
      plain = serve(async (request) => await answer(request));
      serving = serve(withSession(
        (request, _result, server: Server) => {
          if (!request.headers.has("upgrade")) return answer(request);
          if (Deno) return Deno.upgradeWebSocket(request).response;
          return server.upgrade(request) ? undefined : new Response(null, { status: 400 });
        },
        db.sql,
        ROTATES,
      ));
    });
    afterAll(async () => {
      await serving.stop();
      await plain.stop();
    });

    for (const path of Object.keys(answers).filter((path) => path !== "/fail")) {
      test(`sends ${path} as without it, but for our headers`, async () => {
        const expected = await fetch(`http://127.0.0.1:${plain.port}${path}`, {
          redirect: "manual",
        });
        const body = await expected.text();
        for (const cookies of [0, 1]) {
          const { headers } = await due();
          const response = await fetch(`http://127.0.0.1:${serving.port}${path}`, {
            redirect: "manual",
            ...(cookies && { headers }),
          });
          assert.equal(response.status, expected.status);
          assert.equal(await response.text(), body);
          for (const name of ["content-type", "content-length", "location"]) {
            // A redirect is made anew: it has no body, and so no length of its own.
            if (path === "/redirect" && name === "content-length") continue;
            assert.equal(response.headers.get(name), expected.headers.get(name), name);
          }
          assert.equal(response.headers.get("vary"), "Cookie");
          assert.equal(response.headers.getSetCookie().length, cookies);
          assert.equal(response.headers.get("cache-control"), cookies ? "no-store" : null);
        }
      });
    }

    test("is private if a session was read, and its 403 has all its headers", async () => {
      const { headers } = await createSession("ada", db.sql);
      const url = `http://127.0.0.1:${serving.port}`;
      for (const path of ["/text", "/file", "/redirect", "/stream"]) {
        const answer = await fetch(url + path, {
          headers: withCookie(headers),
          redirect: "manual",
        });
        await answer.body?.cancel();
        assert.equal(answer.headers.get("cache-control"), "private", path);
        assert.equal(answer.headers.get("vary"), "Cookie", path);
      }
      const lines = ["POST /text HTTP/1.1", "Host: app.example", "Content-Length: 0"];
      const answer = await sendLines(serving.port, ...lines, "Origin: https://evil.example");
      for (const [name, value] of REFUSAL as [string, string][]) {
        assert.ok(answer.toLowerCase().includes(`\r\n${name}: ${value.toLowerCase()}\r\n`), name);
      }
    });

    test("leaves the handler's error to the server", async () => {
      const response = await fetch(`http://127.0.0.1:${serving.port}/fail`);
      assert.equal(response.status, 500);
      assert.equal(await response.text(), "failed");
    });

    const handshake = [
      "GET /socket HTTP/1.1",
      "Host: app.example",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    const sockets = [
      { name: "opens a WebSocket of its own page", origin: "https://app.example", status: 101 },
      {
        name: "refuses a WebSocket of a page of another origin",
        origin: "https://evil.example",
        status: 403,
      },
      { name: "refuses a WebSocket of a page in a sandbox", origin: "null", status: 403 },
    ];
    for (const { name, origin, status } of sockets) {
      test(name, async () => {
        const { headers } = await due();
        const cookie = `Cookie: ${headers.get("cookie")}`;
        const answer = await sendLines(serving.port, ...handshake, `Origin: ${origin}`, cookie);
        assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
        assert.doesNotMatch(answer, /set-cookie/i);
      });
    }

    // The server may answer these as it likes, but never with the handler's response.
    const requests = [
      { name: "a Host that is no host", lines: ["POST /text HTTP/1.1", "Host: a b"] },
      { name: "an empty Host", lines: ["POST /text HTTP/1.1", "Host:"] },
      { name: "no Host", lines: ["POST /text HTTP/1.0"] },
      { name: "a port that is none", lines: ["POST /text HTTP/1.1", "Host: app.example:x"] },
      { name: "another Host", lines: ["POST /text HTTP/1.1", "Host: app.example"] },
      {
        name: "a forwarded host",
        lines: ["POST /text HTTP/1.1", "Host: app.example", "X-Forwarded-Host: evil.example"],
      },
      { name: "a method in lower case", lines: ["post /text HTTP/1.1", "Host: app.example"] },
    ];
    for (const { name, lines } of requests) {
      test(`refuses a page of another origin by ${name}`, async () => {
        const answer = await sendLines(
          serving.port,
          ...lines,
          "Origin: https://evil.example",
          "Content-Length: 0",
        );
        assert.match(answer, /^HTTP\/1\.[01] 4\d\d |^$/);
      });
    }
  });
}
