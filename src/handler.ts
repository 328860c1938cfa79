import { contextOf } from "./context.ts";
import { refuse, requireFunction } from "./input.ts";
import {
  CROSS_ORIGIN_OPTIONS,
  crossesOrigin,
  type CrossOriginOptions,
  resolveOrigins,
} from "./origin.ts";
import { type Policy, readOptions, type ResolvedPolicy } from "./policy.ts";
import { complete } from "./response.ts";
import type { SessionResult } from "./result.ts";
import { requireSql, type Sql } from "./sql.ts";
import {
  requireAuthenticatedWithin,
  validate,
  VALIDATE_OPTIONS,
  type ValidateSessionOptions,
} from "./validate.ts";

/** Options of one {@linkcode withSession} call, in addition to the policy. */
export type WithSessionOptions = ValidateSessionOptions & CrossOriginOptions;

/**
 * Wraps a request handler: rejects cross-origin requests, and validates the session before your handler runs.
 *
 * A cross-origin request gets a 403, before any SQL and before your handler; see {@linkcode isCrossOrigin}. The
 * 403 has the headers of ASVS 5.0, 3.4, except `Strict-Transport-Security`: your server or your proxy sets it.
 * For every other request, your handler gets the result of {@linkcode validateSession} as its second
 * argument. The session may be null: a page for signed-in users must check it. What your handler throws, the
 * wrapped handler throws.
 *
 * Your handler's response gets:
 *
 * - `Vary: Cookie`.
 * - The session cookie, if the session has a new secret, unless your handler set a cookie of that name, as a
 *   sign-in does.
 * - `Cache-Control: no-store`, if it has either cookie. The fields that overrule it in some caches are removed:
 *   `CDN-Cache-Control` and others of RFC 9213, `Surrogate-Control`, `Edge-Control` and `X-Accel-Expires`.
 * - `Cache-Control: private`, if the request has a session cookie and your handler does not say what a shared
 *   cache may do: some caches ignore `Vary`. To let a shared cache store a response that is the same for
 *   every user, set `public` or `s-maxage` in `Cache-Control`, or one of the fields above.
 *
 * If `transport` is `bearer`, no page of another origin can send the user's token unless your CORS headers let
 * it, so no request is rejected: `origin` and `trustedOrigins` must be unset. The response varies by
 * `Authorization`, a 401 of your handler gets `WWW-Authenticate`, and your handler sends a new `token` itself.
 *
 * The response is your handler's own object, or a copy if it gets the session cookie or its headers are
 * immutable (`Response.redirect`, `fetch`). The body is not read. A WebSocket upgrade is returned as it is.
 *
 * @example
 * ```ts
 * import { createSession, withSession } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const fetch = withSession(
 *   (_request, { session, reason }) => new Response(session?.username ?? reason),
 *   sql,
 * );
 *
 * const { headers } = await createSession("ada", sql);
 * const cookie = headers.get("set-cookie")!.split(";")[0]!;
 * const request = new Request("https://app.example/", { headers: { cookie } });
 * const response = await fetch(request);
 * assert.equal(await response.text(), "ada");
 * assert.equal(response.headers.get("vary"), "Cookie");
 * await sql.end();
 * ```
 *
 * @param handler Your handler. It gets the request, the result of the validation, and the other arguments of
 * the server. It returns a `Response`, or `undefined` if Bun's server upgraded the request to a WebSocket.
 * @param sql The SQL client. If each request has a client of its own, as on Workers, call `withSession` for
 * each request; bind the policy with {@linkcode configure}, so that it is checked once.
 * @param options The policy, `authenticatedWithin`, `origin` and `trustedOrigins`.
 * @returns A handler for `Bun.serve`, `Deno.serve` or Workers. It rejects with a {@linkcode SessionError} if
 * the store fails: answer with 503 if the code is `STORE_UNAVAILABLE` or `STORE_TIMEOUT`.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range, or an origin is not written as browsers write it.
 */
export function withSession<
  Data extends object = Record<string, unknown>,
  Incoming extends Request = Request,
  Rest extends unknown[] = [],
  Answer extends Response | undefined = Response,
>(
  handler: (
    request: Incoming,
    result: SessionResult<Data>,
    ...rest: Rest
  ) => Answer | PromiseLike<Answer>,
  sql: Sql,
  options?: Policy & WithSessionOptions,
): (request: Incoming, ...rest: Rest) => Promise<Answer | Response> {
  const { policy, own } = readOptions("withSession", options, WITH_SESSION_OPTIONS);
  return wrap<Data, Incoming, Rest, Answer>(policy, handler, sql, own);
}

/** The names in {@linkcode WithSessionOptions}. */
export const WITH_SESSION_OPTIONS: readonly (keyof WithSessionOptions)[] = [
  ...VALIDATE_OPTIONS,
  ...CROSS_ORIGIN_OPTIONS,
];

/** {@linkcode withSession} with a resolved policy. */
export function wrap<
  Data extends object,
  Incoming extends Request,
  Rest extends unknown[],
  Answer extends Response | undefined,
>(
  policy: ResolvedPolicy,
  handler: (
    request: Incoming,
    result: SessionResult<Data>,
    ...rest: Rest
  ) => Answer | PromiseLike<Answer>,
  sql: Sql,
  options: WithSessionOptions,
): (request: Incoming, ...rest: Rest) => Promise<Answer | Response> {
  const caller = "withSession";
  requireFunction(`${caller}: handler`, handler);
  requireSql(caller, sql);
  requireAuthenticatedWithin(caller, options.authenticatedWithin);
  // No page can send another site's bearer token, so there is nothing to check.
  const origins = policy.transport === "cookie" ? resolveOrigins(caller, options) : undefined;
  for (const option of CROSS_ORIGIN_OPTIONS) {
    if (origins || options[option] === undefined) continue;
    refuse(RangeError, `${caller}: ${option}`, "be unset if transport is bearer", "a value");
  }
  const context = contextOf(caller, sql, policy);
  return async (request, ...rest) => {
    if (origins && crossesOrigin(caller, request, origins)) return refusal();
    const result = await validate<Data>(context, request.headers, options);
    const answer = await handler(request, result, ...rest);
    return complete(caller, answer, result, policy);
  };
}

function refusal(): Response {
  return new Response("Cross-origin request refused\n", {
    status: 403,
    headers: {
      "content-type": "text/plain; charset=utf-8",
      "cache-control": "no-store",
      // ASVS 5.0, 3.4.3 to 3.4.8. HSTS (3.4.1) speaks for the whole host, so it is the app's decision.
      "content-security-policy":
        "default-src 'none'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-opener-policy": "same-origin",
    },
  });
}
