import { contextOf } from "./context.ts";
import { requireFunction } from "./input.ts";
import {
  CROSS_ORIGIN_OPTIONS,
  crossesOrigin,
  type CrossOriginOptions,
  resolveOrigins,
} from "./origin.ts";
import { type Policy, readOptions, type ResolvedPolicy } from "./policy.ts";
import type { SessionResult } from "./result.ts";
import { requireSql, type Sql } from "./sql.ts";
import {
  requireAuthenticatedWithin,
  validate,
  VALIDATE_OPTIONS,
  type ValidateSessionOptions,
} from "./validate.ts";

/** The options of one {@linkcode withSession}, beside the policy. */
export type WithSessionOptions = ValidateSessionOptions & CrossOriginOptions;

/**
 * Makes a handler of requests out of one that wants to know who is there.
 *
 * A request from another origin is answered with 403, before any SQL and before your handler; see
 * {@linkcode isCrossOrigin}. Any other is validated, and your handler gets the visit, a session or
 * none with the reason, as its second argument. The answer is your handler's, with `Vary: Cookie`, and
 * with our cookie where the session has a new secret. A cookie of that name which your handler sets,
 * as a sign-in does, goes before ours. An answer with either says `Cache-Control: no-store`.
 *
 * What your handler throws is thrown on. A WebSocket upgrade goes back as it is.
 *
 * @example
 * ```ts
 * import { createSession, withSession } from "@coatcheck/coatcheck";
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
 * @param handler Your handler: the request, the visit, and whatever else the server gives. It answers
 * with a `Response`, or with `undefined` where Bun's server has taken the request for a WebSocket.
 * @param sql The SQL client. Where each request has its own, as on Workers, call `withSession` in the
 * request: with {@linkcode configure} that checks little.
 * @param options The policy, `authenticatedWithin`, and what {@linkcode isCrossOrigin} takes.
 * @returns A handler for `Bun.serve`, `Deno.serve` or Workers; it rejects with `SessionError` if the
 * store fails, whose code says whether to try again: answer with 503 then.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range, or an origin is not written as a browser writes it.
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
  const origins = resolveOrigins(caller, options);
  const context = contextOf(caller, sql, policy);
  return async (request, ...rest) => {
    if (crossesOrigin(caller, request, origins)) return refusal();
    const result = await validate<Data>(context, request.headers, options);
    const answer = await handler(request, result, ...rest);
    return complete(answer, result.headers, policy.cookie.name);
  };
}

function refusal(): Response {
  return new Response("Refused, as a page of another origin sent this\n", {
    status: 403,
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" },
  });
}

/** Adds our headers to an answer. */
function complete<Answer extends Response | undefined>(
  answer: Answer,
  issued: Headers,
  name: string,
): Answer | Response {
  // An answer that hands the connection over to a WebSocket, nothing on Bun, a 101 on Deno, a property
  // on Workers, is known to the server by its identity. Response.error() has the status 0, and neither
  // can be rebuilt. A new secret that gets lost here is handed out again by the next validation.
  if (!answer || answer.status < 200 || (answer as { webSocket?: unknown }).webSocket) {
    return answer;
  }

  const isOurs = (line: string) => line.split("=", 1)[0]?.trim() === name;
  const chosen = answer.headers.getSetCookie().some(isOurs);
  const cookies = chosen ? [] : issued.getSetCookie();
  const addTo = (headers: Headers) => {
    for (const line of cookies) headers.append("set-cookie", line);
    if (chosen || cookies.length > 0) headers.set("cache-control", "no-store");
    if (!/(?:^|,)\s*(?:cookie|\*)\s*(?:,|$)/i.test(headers.get("vary") ?? "")) {
      headers.append("vary", "Cookie");
    }
  };
  // A response without a body may be a constant that everybody gets: one visitor's cookie must not stay
  // in it. Else it goes back itself, as a server knows more of it than its parts: a length, a file.
  const response = cookies.length === 0 ? answer : copy(answer);
  try {
    addTo(response.headers);
    return response;
  } catch {
    // Its headers are immutable, as those of Response.redirect() and of fetch() are.
    const mutable = new Response(response.body, response);
    addTo(mutable.headers);
    return mutable;
  }
}

/**
 * Copies a response, unread. Made anew from its `body`, a text would lose its type on Bun, which gives
 * it one when it sends it. A stream has two ends now; who cancels one has nothing pile up there.
 */
function copy(answer: Response): Response {
  // Bun's types have a Response of another kind come out of it.
  const clone = answer.clone() as Response;
  answer.body?.cancel().catch(() => {});
  return clone;
}
