/**
 * Helpers for the tests of your app: a signed-in user, time that passes, and a signed-in browser.
 *
 * They work with your own SQL client, on a real PostgreSQL: the database decides which session is live. Import
 * them in tests only.
 *
 * @example
 * ```ts
 * import { withSession } from "coatcheck";
 * import { age, signIn } from "coatcheck/testing";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const app = withSession((_request, { session, reason }) => {
 *   return new Response(session?.username ?? reason);
 * }, sql);
 *
 * const headers = await signIn("ada", sql);
 * const ask = () => app(new Request("https://app.example/", { headers }));
 * assert.equal(await (await ask()).text(), "ada");
 *
 * await age(headers, 8 * 86_400, sql); // Eight days without use.
 * assert.equal(await (await ask()).text(), "idle");
 * await sql.end();
 * ```
 *
 * @module
 */

import {
  createSession,
  type CreateSessionOptions,
  parseSetCookies,
  type Policy,
  type Sql,
} from "./mod.ts";
import { kindOf, refuse } from "./src/input.ts";

/** What a browser or another client gets: a `Response`, or the result of a function of coatcheck. */
export interface ClientResponse {
  /** The headers, with the lines of `Set-Cookie`. */
  readonly headers: Headers;
  /** The token, if `transport` is `bearer` and there is a new one. */
  readonly token?: string;
}

/** A browser's state, as Playwright's `browser.newContext({ storageState })` and `test.use` take it. */
export interface StorageState {
  /** The cookies. */
  cookies: {
    name: string;
    value: string;
    domain: string;
    path: string;
    /** Seconds since 1970; -1 for a cookie that ends with the browser. */
    expires: number;
    httpOnly: boolean;
    secure: boolean;
    sameSite: "Strict" | "Lax" | "None";
  }[];
  /** The local storage of each origin: none. */
  origins: never[];
}

/**
 * Signs a user in, and returns the headers of their next request.
 *
 * It calls {@linkcode createSession}, without your sign-in page and its check of the password. Pass the policy
 * of your app if it sets `transport` or `cookie`, so that the app finds the token. Test the sign-in page by its
 * own response, and a guest by {@linkcode createGuestSession}, with {@linkcode keepCookies}.
 *
 * @example
 * ```ts
 * import { validateSession } from "coatcheck";
 * import { signIn } from "coatcheck/testing";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const headers = await signIn("ada", sql, { data: { theme: "dark" } });
 * assert.match(headers.get("cookie")!, /^__Host-session=/);
 * assert.equal((await validateSession(headers, sql)).session?.username, "ada");
 *
 * const api = { transport: "bearer" } as const;
 * assert.match((await signIn("ada", sql, api)).get("authorization")!, /^Bearer /);
 * await sql.end();
 * ```
 *
 * @param user The username, or `{ userId }`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and the options of {@linkcode createSession}: `data`, `persistent`, `replaces`, `keep`.
 * @returns New `Headers` with one `Cookie`; or with `Authorization`, if `transport` is `bearer`.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If the username or an option is out of range.
 * @throws {SessionError} If the user does not exist (`USER_NOT_FOUND`), or the store fails.
 */
export async function signIn<Data extends object = Record<string, unknown>>(
  user: string | { readonly userId: string | number },
  sql: Sql,
  options?: Policy & CreateSessionOptions<Data>,
): Promise<Headers> {
  return keepCookies(await createSession<Data>(user, sql, options));
}

/**
 * Ages a session, as if so many seconds had passed: moves every instant of its row back.
 *
 * The database's clock still decides. A session that gets too old is `idle` or `expired`, its secret is due for
 * rotation, a previous secret is past its grace period, a proof of identity is `stale`, a revoked session is
 * past its `retention`.
 *
 * @example
 * ```ts
 * import { createSession, validateSession } from "coatcheck";
 * import { age, keepCookies } from "coatcheck/testing";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const created = await createSession("ada", sql);
 * const headers = keepCookies(created);
 * await age(created.session, 3600, sql);
 * const { session } = await validateSession(headers, sql);
 * assert.equal(session?.createdAt.getTime(), created.session.createdAt.getTime() - 3_600_000);
 * assert.equal((await validateSession(headers, sql, { authenticatedWithin: 600 })).reason, "stale");
 * await sql.end();
 * ```
 *
 * @param session The session, its id, or the headers of a request with its token.
 * @param seconds How much older it gets: whole seconds from 0 to 3,155,760,000 (100 years).
 * @param sql The SQL client, or a transaction of it. Its role must be allowed to update `coatcheck.sessions`.
 * @throws {TypeError} If an argument has the wrong type.
 * @throws {RangeError} If `seconds` is out of range, the headers have no token or several, or no session has
 * that id.
 * @throws The SQL client's own error, if the statement fails.
 */
export async function age(
  session: string | { readonly id: string } | Headers,
  seconds: number,
  sql: Sql,
): Promise<void> {
  const desired = `be whole seconds from 0 to ${MAX_SECONDS}`;
  if (typeof seconds !== "number") refuse(TypeError, "age: seconds", desired, kindOf(seconds));
  if (!Number.isInteger(seconds) || seconds < 0 || seconds > MAX_SECONDS) {
    refuse(RangeError, "age: seconds", desired, String(seconds));
  }
  const id = idOf(session);
  // Not `created_at - interval`, which Citus refuses, as it may depend on the time zone.
  const s = String(seconds);
  const result = await sql`
    update coatcheck.sessions as s
    set created_at = to_timestamp(extract(epoch from s.created_at - to_timestamp(${s}::text::float8))),
      authenticated_at = to_timestamp(extract(epoch from s.authenticated_at - to_timestamp(${s}::text::float8))),
      last_seen_at = to_timestamp(extract(epoch from s.last_seen_at - to_timestamp(${s}::text::float8))),
      expires_at = to_timestamp(extract(epoch from s.expires_at - to_timestamp(${s}::text::float8))),
      rotated_at = to_timestamp(extract(epoch from s.rotated_at - to_timestamp(${s}::text::float8))),
      rotation_seen_at = to_timestamp(extract(epoch from s.rotation_seen_at - to_timestamp(${s}::text::float8))),
      revoked_at = to_timestamp(extract(epoch from s.revoked_at - to_timestamp(${s}::text::float8)))
    where s.id = ${id}::text::uuid
    returning s.id::text as id`;
  const rows = "rows" in result ? result.rows : result;
  if (rows.length !== 1) {
    refuse(RangeError, "age: session", "be in coatcheck.sessions", "an unknown id");
  }
}

const MAX_SECONDS = 3_155_760_000;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const TOKENS = /([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[\w-]{43}(?![\w-])/g;

/** Reads the id of a session; from headers, that of the one token in them. */
function idOf(session: string | { readonly id: string } | Headers): string {
  const desired = "be a session, its id, or headers with its token";
  if (session instanceof Headers) {
    const text = `${session.get("cookie") ?? ""} ${session.get("authorization") ?? ""}`;
    const ids = Array.from(text.matchAll(TOKENS), ([, id]) => id!);
    if (ids.length !== 1) {
      const actual = `headers with ${ids.length} tokens`;
      refuse(RangeError, "age: session", desired, actual);
    }
    return ids[0]!;
  }
  const id: unknown = typeof session === "object" && session !== null ? session.id : session;
  if (typeof id !== "string") refuse(TypeError, "age: session", desired, kindOf(session));
  if (!UUID.test(id)) refuse(RangeError, "age: session", desired, "something else");
  return id;
}

/**
 * Returns the headers of the request that a client sends after a response: with the cookies that the response
 * sets, and those that it had.
 *
 * It keeps cookies by their name alone, so it serves for one app on one host. It sends a `Secure` cookie to any
 * URL, as no browser does.
 *
 * @example A test of a sign-in page and of a sign-out
 * ```ts
 * import { createSession, revokeSession } from "coatcheck";
 * import { keepCookies } from "coatcheck/testing";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const signIn = async () => new Response("Welcome", await createSession("ada", sql));
 * const signOut = async ({ headers }: Request) => new Response("Bye", await revokeSession(headers, sql));
 *
 * let headers = keepCookies(await signIn());
 * assert.match(headers.get("cookie")!, /^__Host-session=.{80}$/);
 * headers = keepCookies(await signOut(new Request("https://app.example/", { headers })), headers);
 * assert.equal(headers.get("cookie"), null);
 * await sql.end();
 * ```
 *
 * @param response A `Response`, or what a function of coatcheck returned.
 * @param headers The headers of the request before. They stay as they are. Unset: none.
 * @returns New `Headers`: those of the request before, with one `Cookie` line if there is a cookie; with
 * `Authorization`, if there is a new `token`.
 * @throws {TypeError} If `response` has no headers.
 */
export function keepCookies(response: ClientResponse, headers?: Headers): Headers {
  requireHeaders("keepCookies: response", response);
  const next = new Headers(headers);
  const pairs = next.get("cookie")?.split("; ") ?? [];
  const cookies = new Map(pairs.map((pair) => [pair.split("=", 1)[0]!, pair]));
  for (const { name, value, attributes: { expires } } of parseSetCookies(response.headers)) {
    if (hasEnded(expires)) cookies.delete(name);
    else cookies.set(name, `${name}=${value}`);
  }
  // One line: on Deno, `append` would join two with a comma, which does not separate cookies.
  if (cookies.size > 0) next.set("cookie", [...cookies.values()].join("; "));
  else next.delete("cookie");
  if (response.token !== undefined) next.set("authorization", `Bearer ${response.token}`);
  return next;
}

/**
 * Returns the state of a browser that got a response: for Playwright's `storageState`.
 *
 * Give each worker or test a session of its own. From one file for all, with `rotateAfter`, the first test would
 * rotate the secret, and after `rotationGrace` the file's cookie would be `reused`, which ends the session of
 * all.
 *
 * @example
 * ```ts
 * import { createSession } from "coatcheck";
 * import { storageStateOf } from "coatcheck/testing";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const created = await createSession("ada", sql);
 * const storageState = storageStateOf(created, "https://app.example/");
 * // const context = await browser.newContext({ storageState });
 * const [cookie] = storageState.cookies;
 * assert.equal(cookie?.name, "__Host-session");
 * assert.equal(cookie.domain, "app.example");
 * await sql.end();
 * ```
 *
 * @param response A `Response`, or what a function of coatcheck returned.
 * @param url A URL of the app: its host gets the cookies that name none.
 * @returns The cookies that the response sets, without those that it clears.
 * @throws {TypeError} If `response` has no headers, or `url` is not a URL.
 * @throws {RangeError} If a cookie is `partitioned`: sign in by the page then.
 */
export function storageStateOf(response: ClientResponse, url: string | URL): StorageState {
  requireHeaders("storageStateOf: response", response);
  if (!URL.canParse(String(url))) refuse(TypeError, "storageStateOf: url", "be a URL", kindOf(url));
  const { hostname } = new URL(url);
  const set = parseSetCookies(response.headers)
    .filter(({ attributes }) => !hasEnded(attributes.expires));
  // Its key is the registrable domain of the top-level page, which a URL does not tell.
  if (set.some(({ attributes }) => attributes.partitioned)) {
    refuse(RangeError, "storageStateOf: response", "set no partitioned cookie", "one");
  }
  const cookies = set.map(({ name, value, attributes: { path, domain, expires, ...flags } }) => ({
    name,
    value,
    // A dot before it means: the subdomains too.
    domain: domain === undefined ? hostname : `.${domain}`,
    path,
    expires: expires ? Math.floor(expires.getTime() / 1000) : -1,
    httpOnly: flags.httpOnly,
    secure: flags.secure,
    sameSite: SAME_SITE[flags.sameSite],
  }));
  return { cookies, origins: [] };
}

const SAME_SITE = { strict: "Strict", lax: "Lax", none: "None" } as const;

function hasEnded(expires: Date | undefined): boolean {
  return expires !== undefined && expires.getTime() <= Date.now();
}

function requireHeaders(subject: string, response: ClientResponse): void {
  if (typeof response?.headers?.getSetCookie !== "function") {
    refuse(TypeError, subject, "have headers, as a Response has", kindOf(response));
  }
}
