import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  batched,
  completeResponse,
  configure,
  createSession,
  listSessions,
  revokeSessions,
  type SessionFunctions,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const api: SessionFunctions = configure({ transport: "bearer", rotateAfter: 60 });
const web: SessionFunctions = configure({ rotateAfter: 60 });

const bearing = (token: string | undefined) => new Headers({ authorization: `Bearer ${token}` });

/** Makes the secret of a session old enough to be rotated. */
const age = async (id: string) =>
  await db.sql`update coatcheck.sessions set created_at = created_at - interval '1 hour',
    authenticated_at = authenticated_at - interval '1 hour' where id = ${id}`;

const CHALLENGE = `Bearer error="invalid_token"`;

describe("a bearer token", () => {
  test("is in the result of a sign-in, and no cookie is", async () => {
    const { session, headers, token } = await api.createSession("ada", db.sql);
    assert.deepEqual([...headers], [["cache-control", "no-store"]]);
    assert.match(token!, new RegExp(`^${session.id}\\.[\\w-]{43}$`));
    const result = await api.validateSession(bearing(token), db.sql);
    assert.deepEqual(result.session, session);
    assert.deepEqual([...result.headers], []);
    assert.equal(result.token, undefined);
  });

  test("is no part of a result if the transport is the cookie", async () => {
    const created = await web.createSession("ada", db.sql);
    const request = withCookie(created.headers);
    await age(created.session.id);
    for (const result of [created, await web.validateSession(request, db.sql)]) {
      assert.equal("token" in result, false);
      assert.equal(result.headers.getSetCookie().length, 1);
    }
  });

  const forms: { header: (token: string) => string; reason?: string }[] = [
    { header: (token) => `Bearer ${token}` },
    { header: (token) => `bearer ${token}` },
    { header: (token) => `BEARER   ${token}` },
    { header: () => "Bearer", reason: "malformed" },
    { header: () => "Bearer ", reason: "malformed" },
    { header: (token) => `Bearer ${token}, Bearer ${token}`, reason: "malformed" },
    { header: (token) => `Bearer ${token}=`, reason: "malformed" },
    { header: (token) => `Bearer "${token}"`, reason: "malformed" },
    { header: (token) => `Bearer\t${token}`, reason: "absent" },
    { header: (token) => `Bearer${token}`, reason: "absent" },
    { header: (token) => token, reason: "absent" },
    { header: (token) => `Basic ${btoa(`ada:${token}`)}`, reason: "absent" },
    { header: () => `DPoP x`, reason: "absent" },
  ];
  for (const { header, reason } of forms) {
    test(`${reason ? `is ${reason}` : "is read"} as ${header("token")}`, async () => {
      const { token } = await api.createSession("ada", db.sql);
      const headers = new Headers({ authorization: header(token!) });
      const result = await api.validateSession(headers, db.sql);
      assert.equal(result.reason, reason);
    });
  }

  test("is never read from a cookie, and a cookie's token never from Authorization", async () => {
    const cookie = withCookie((await web.createSession("ada", db.sql)).headers);
    const { token } = await api.createSession("grace", db.sql);
    const both = new Headers([...cookie, ...bearing(token)]);
    assert.equal((await api.validateSession(cookie, db.sql)).reason, "absent");
    assert.equal((await web.validateSession(bearing(token), db.sql)).reason, "absent");
    assert.equal((await api.validateSession(both, db.sql)).session?.username, "grace");
    assert.equal((await web.validateSession(both, db.sql)).session?.username, "ada");
    await api.revokeSession(both, db.sql);
    assert.equal((await api.validateSession(both, db.sql)).reason, "revoked");
    assert.equal((await web.validateSession(both, db.sql)).session?.username, "ada");
  });

  test("is in the result of each function that makes a new one", async () => {
    const { token: first } = await api.createSession("ada", db.sql);
    const rotated = await api.rotateSession(bearing(first), db.sql);
    assert.notEqual(rotated.token, first);
    const proved = await api.reauthenticateSession(bearing(rotated.token), db.sql);
    assert.equal(
      (await api.validateSession(bearing(proved.token), db.sql)).session?.username,
      "ada",
    );
    for (const { headers } of [rotated, proved]) {
      assert.deepEqual([...headers], [["cache-control", "no-store"]]);
    }
    assert.equal((await api.validateSession(bearing(first), db.sql)).reason, "unknown");
  });

  for (
    const [name, client] of [["plain", (sql: Database["sql"]) => sql], [
      "batched",
      batched,
    ]] as const
  ) {
    test(`is the same for parallel requests that rotate, and for a client that lost the answer, ${name}`, async () => {
      const sql = client(db.sql);
      const { session, token } = await api.createSession("ada", sql);
      await age(session.id);
      const results = await Promise.all(
        Array.from({ length: 8 }, () => api.validateSession(bearing(token), sql)),
      );
      const late = await api.validateSession(bearing(token), sql);
      // A request that meets a locked row goes on with the token that it has.
      const issued = [...results, late].flatMap((it) => it.token ?? []);
      const tokens = new Set(issued);
      assert.equal(tokens.size, 1);
      assert.ok(late.token);
      const [next] = [...tokens];
      assert.notEqual(next, token);
      const seen = await api.validateSession(bearing(next), sql);
      assert.deepEqual([seen.session?.id, seen.token], [session.id, undefined]);
    });
  }

  test("is in a stale result too, beside the challenge of RFC 9470", async () => {
    const { session, token } = await api.createSession("ada", db.sql);
    await age(session.id);
    const result = await api.validateSession(bearing(token), db.sql, { authenticatedWithin: 300 });
    assert.equal(result.reason, "stale");
    assert.deepEqual([...result.headers], [
      ["cache-control", "no-store"],
      ["www-authenticate", `Bearer error="insufficient_user_authentication", max_age="300"`],
    ]);
    assert.equal(
      (await api.validateSession(bearing(result.token), db.sql)).session?.id,
      session.id,
    );
  });

  test("that opens nothing is challenged without a reason (RFC 6750, section 3)", async () => {
    const { session, token } = await api.createSession("ada", db.sql);
    const challenged = async (headers: Headers) =>
      (await api.validateSession(headers, db.sql)).headers.get("www-authenticate");
    assert.equal(await challenged(new Headers()), "Bearer");
    assert.equal(await challenged(bearing("x")), CHALLENGE);
    assert.equal(await challenged(bearing(token!.replace(/.{4}$/, "AAAA"))), CHALLENGE);
    await db.sql`update coatcheck.sessions set last_seen_at = now() - interval '8 days'
      where id = ${session.id}`;
    assert.equal(await challenged(bearing(token)), CHALLENGE);
    await revokeSessions({ userId: 1 }, db.sql);
    assert.equal(await challenged(bearing(token)), CHALLENGE);
    for (const change of [api.rotateSession, api.reauthenticateSession]) {
      const { headers } = await change(bearing(token), db.sql);
      assert.equal(headers.get("www-authenticate"), CHALLENGE);
    }
    const updated = await api.updateSession(bearing(token), { a: 1 }, db.sql);
    assert.equal(updated.headers.get("www-authenticate"), CHALLENGE);
  });

  test("is not challenged if the transport is the cookie", async () => {
    assert.deepEqual([...(await web.validateSession(new Headers(), db.sql)).headers], []);
  });

  test("ends by a sign-out, which sets no cookie", async () => {
    const { session, token } = await api.createSession("ada", db.sql);
    const result = await api.revokeSession(bearing(token), db.sql);
    assert.equal(result.session?.id, session.id);
    assert.deepEqual([...result.headers], []);
    assert.equal((await api.validateSession(bearing(token), db.sql)).reason, "revoked");
  });

  test("is replaced by a sign-in, and counts towards maxSessions", async () => {
    await revokeSessions({ userId: 1 }, db.sql);
    const { token } = await api.createSession("ada", db.sql);
    const cookie = withCookie((await web.createSession("ada", db.sql)).headers);
    const both = new Headers([...cookie, ...bearing(token)]);
    await api.createSession("ada", db.sql, { replaces: both });
    assert.equal((await api.validateSession(both, db.sql)).revokedReason, "replaced");
    assert.equal((await web.validateSession(both, db.sql)).session?.username, "ada");
    const limited = configure({ transport: "bearer", maxSessions: 1 });
    await limited.createSession("ada", db.sql);
    assert.equal((await listSessions(1, db.sql)).length, 1);
    assert.equal((await web.validateSession(both, db.sql)).revokedReason, "limit");
  });

  test("that was rotated and is used again ends the session, as with a cookie", async () => {
    const { session, token } = await api.createSession("ada", db.sql);
    const { token: next } = await api.rotateSession(bearing(token), db.sql);
    await api.validateSession(bearing(next), db.sql);
    await db
      .sql`update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 hour'
      where id = ${session.id}`;
    assert.equal((await api.validateSession(bearing(token), db.sql)).reason, "reused");
    assert.equal((await api.validateSession(bearing(next), db.sql)).reason, "revoked");
  });
});

describe("withSession with a bearer token", () => {
  const handle = (request: Request) =>
    api.withSession((_request, { session }) => {
      return session ? new Response(session.username) : new Response("Sign in", { status: 401 });
    }, db.sql)(request);
  const ask = (headers: Headers, method = "POST") =>
    handle(new Request("https://api.example/", { method, headers }));

  test("does not check the origin, as no page can send another site's token", async () => {
    const { token } = await api.createSession("ada", db.sql);
    const headers = bearing(token);
    headers.set("origin", "https://app.example");
    headers.set("sec-fetch-site", "cross-site");
    const response = await ask(headers);
    assert.equal(await response.text(), "ada");
    assert.deepEqual(
      [response.headers.get("vary"), response.headers.get("cache-control")],
      ["Authorization", "private"],
    );
  });

  test("adds the challenge to a 401, and leaves the handler's own one", async () => {
    const absent = await ask(new Headers());
    assert.equal(absent.headers.get("www-authenticate"), "Bearer");
    assert.equal((await ask(bearing("x"))).headers.get("www-authenticate"), CHALLENGE);
    const result = await api.validateSession(bearing("x"), db.sql);
    const own = new Response(null, {
      status: 401,
      headers: { "www-authenticate": `Bearer realm="app"` },
    });
    const response = api.completeResponse(own, result);
    assert.equal(response.headers.get("www-authenticate"), `Bearer realm="app"`);
    const page = api.completeResponse(new Response("Welcome"), result);
    assert.equal(page.headers.has("www-authenticate"), false);
  });

  test("adds a challenge to a 401 for a guest, and for a session without the right", async () => {
    const guest = await api.createGuestSession(db.sql);
    assert.equal((await ask(bearing(guest.token))).headers.get("www-authenticate"), "Bearer");
    const { token } = await api.createSession("ada", db.sql);
    const result = await api.validateSession(bearing(token), db.sql);
    const forbidden = api.completeResponse(new Response(null, { status: 401 }), result);
    assert.equal(forbidden.headers.get("www-authenticate"), "Bearer");
  });

  test("leaves one constant response as it was, if another request gets a new token", async () => {
    const constant = new Response(null, { headers: { "cache-control": "public, max-age=60" } });
    const { session, token } = await api.createSession("ada", db.sql);
    await age(session.id);
    const result = await api.validateSession(bearing(token), db.sql);
    assert.equal(api.completeResponse(constant, result).headers.get("cache-control"), "no-store");
    assert.equal(constant.headers.get("cache-control"), "public, max-age=60");
  });

  test("leaves one constant 401 without the challenge of another request", async () => {
    const constant = new Response(null, { status: 401 });
    const refused = await api.validateSession(bearing("x"), db.sql);
    assert.equal(
      api.completeResponse(constant, refused).headers.get("www-authenticate"),
      CHALLENGE,
    );
    const absent = await api.validateSession(new Headers(), db.sql);
    assert.equal(api.completeResponse(constant, absent).headers.get("www-authenticate"), "Bearer");
  });

  test("keeps a response with a new token out of every cache", async () => {
    const { session, token } = await api.createSession("ada", db.sql);
    await age(session.id);
    const result = await api.validateSession(bearing(token), db.sql);
    const cached = {
      headers: { "cache-control": "public, max-age=60", "cdn-cache-control": "public" },
    };
    const response = completeResponse(Response.json({ token: result.token }, cached), result, {
      transport: "bearer",
    });
    assert.equal(response.headers.get("cache-control"), "no-store");
    assert.equal(response.headers.has("cdn-cache-control"), false);
  });
});

describe("the transport", () => {
  const misuse: { name: string; call: () => unknown; error: string; message: RegExp }[] = [
    {
      name: "is cookie or bearer",
      call: () => configure({ transport: "header" as never }),
      error: "TypeError",
      message: /^configure: transport must be cookie or bearer, got string$/,
    },
    {
      name: "has no cookie if it is bearer",
      call: () => configure({ transport: "bearer", cookie: {} }),
      error: "RangeError",
      message: /^configure: cookie must be unset if transport is bearer, got a value$/,
    },
    {
      name: "has no trusted origins if it is bearer",
      call: () =>
        api.withSession(() => new Response(), db.sql, { trustedOrigins: ["https://a.example"] }),
      error: "RangeError",
      message: /^withSession: trustedOrigins must be unset if transport is bearer, got a value$/,
    },
    {
      name: "has no origin if it is bearer",
      call: () => api.withSession(() => new Response(), db.sql, { origin: "https://a.example" }),
      error: "RangeError",
      message: /^withSession: origin must be unset if transport is bearer, got a value$/,
    },
  ];
  for (const { name, call, error, message } of misuse) {
    test(name, () => assert.throws(call, { name: error, message }));
  }

  test("can be an option of one call", async () => {
    const { token } = await createSession("ada", db.sql, { transport: "bearer" });
    const options = { transport: "bearer" } as const;
    assert.equal((await validateSession(bearing(token), db.sql, options)).session?.username, "ada");
  });
});
