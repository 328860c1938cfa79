import { kindOf, refuse } from "./input.ts";
import { type Policy, readOptions, type ResolvedPolicy } from "./policy.ts";
import type { SessionResult } from "./result.ts";

/** What is read of a result to complete a response: its headers, and why there is no session. */
export interface ResponseResult extends Pick<SessionResult, "headers" | "token"> {
  /** Why there is no session, or why nothing was written; unset if there is one. */
  readonly reason?: SessionResult["reason"] | "conflict" | undefined;
}

/** A cookie in the arguments that a framework's function takes, such as `cookies.set(name, value, attributes)`. */
export interface ParsedCookie {
  /** The cookie's name. */
  readonly name: string;
  /** The token, which needs no encoding; empty if the cookie is to be cleared. */
  readonly value: string;
  /** The attributes, by the names that frameworks give them. */
  readonly attributes: {
    path: string;
    domain?: string;
    /**
     * When the browser deletes the cookie; unset: with the session of the browser. An instant, as frameworks
     * count `maxAge` in seconds or in milliseconds.
     */
    expires?: Date;
    httpOnly: boolean;
    secure: boolean;
    sameSite: "strict" | "lax" | "none";
    partitioned?: boolean;
  };
}

/**
 * Adds the headers of a validation to the response of your handler, as {@linkcode withSession} does.
 *
 * For the middleware of a framework, which validates the session, calls the handler, and gets its response.
 * Appending the headers by hand would put the cookie of the validation after the cookie of a sign-in: browsers
 * keep the last one, so that who has just signed in would be signed out. The response gets what
 * {@linkcode withSession} lists. Do not use it where a framework takes `Cache-Control` of the response for its
 * page's final one, as Next.js does of `NextResponse.next()`: `private` would replace its `no-store`.
 *
 * @example
 * ```ts
 * import { completeResponse, createSession, validateSession } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * async function middleware(request: Request, next: () => Promise<Response>) {
 *   const result = await validateSession(request.headers, sql);
 *   return completeResponse(await next(), result);
 * }
 *
 * const signIn = async () => new Response("Welcome", await createSession("ada", sql));
 * const response = await middleware(new Request("https://app.example/"), signIn);
 * assert.equal(response.headers.getSetCookie().length, 1);
 * assert.equal(response.headers.get("cache-control"), "no-store");
 * await sql.end();
 * ```
 *
 * @param response Your handler's response; `undefined` if Bun's server upgraded the request to a WebSocket.
 * @param result The result of {@linkcode validateSession}, or of another function that returns headers.
 * @param options The policy, if it names the cookie.
 * @returns The same response; or a copy, if it gets the session cookie or its headers are immutable. The body
 * is not read.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 */
export function completeResponse<Answer extends Response | undefined>(
  response: Answer,
  result: ResponseResult,
  options?: Policy,
): Answer | Response {
  const { policy } = readOptions("completeResponse", options, []);
  return complete("completeResponse", response, result, policy);
}

/** {@linkcode completeResponse} with a resolved policy. */
export function complete<Answer extends Response | undefined>(
  caller: string,
  answer: Answer,
  result: ResponseResult,
  { transport, cookie }: ResolvedPolicy,
): Answer | Response {
  // A server recognizes the response of a WebSocket upgrade by its identity: undefined on Bun, a 101 on Deno,
  // a property on Workers. Response.error() has the status 0. Neither can be copied. A new secret that is
  // lost here is issued again by the next validation.
  if (!answer || answer.status < 200 || (answer as { webSocket?: unknown }).webSocket) {
    return answer;
  }

  if (typeof answer.headers?.getSetCookie !== "function") {
    refuse(TypeError, `${caller}: response`, "be a Response", kindOf(answer));
  }
  if (typeof result?.headers?.getSetCookie !== "function") {
    refuse(TypeError, `${caller}: result`, "have headers, as a result has", kindOf(result));
  }
  const { headers: issued, reason, token } = result;
  // Space and tab alone are trimmed, and a cookie without a `=` has no name, as browsers read it (RFC 6265bis,
  // section 5.6).
  const isOurs = (line: string) => line.match(/^[ \t]*([^;=]*?)[ \t]*=/)?.[1] === cookie.name;
  const chosen = transport === "cookie" && answer.headers.getSetCookie().some(isOurs);
  const cookies = chosen ? [] : issued.getSetCookie();
  // RFC 9110, section 15.5.2: a 401 has a challenge, also one to a guest or to a session without the right.
  const challenge = answer.status === 401 && !answer.headers.has("www-authenticate") &&
      transport === "bearer"
    ? issued.get("www-authenticate") ?? "Bearer"
    : null;
  const field = transport === "cookie" ? "Cookie" : "Authorization";
  const addTo = (headers: Headers) => {
    for (const line of cookies) headers.append("set-cookie", line);
    if (challenge !== null) headers.set("www-authenticate", challenge);
    if (chosen || cookies.length > 0 || token !== undefined) {
      headers.set("cache-control", "no-store");
      const targeted = [...headers.keys()].filter((name) => TARGETED.test(name));
      for (const name of targeted) headers.delete(name);
    } else if (reason !== "absent" && !speaksOfSharedCaches(headers)) {
      headers.append("cache-control", "private");
    }
    const varies = (headers.get("vary") ?? "").split(",").map((it) => it.trim().toLowerCase());
    if (!varies.includes("*") && !varies.includes(field.toLowerCase())) {
      headers.append("vary", field);
    }
  };
  // The handler may return one constant response to every user: the cookie of one user must not stay in it.
  // Without one, the response itself is returned, as a server may know its length or its file.
  const isShared = cookies.length === 0 && challenge === null && token === undefined;
  const response = isShared ? answer : copy(answer);
  try {
    addTo(response.headers);
    return response;
  } catch {
    // Its headers are immutable, such as those of Response.redirect() and of fetch().
    const mutable = new Response(response.body, response);
    addTo(mutable.headers);
    return mutable;
  }
}

// The fields that some caches obey instead of Cache-Control. RFC 9213, section 2, names its fields by their end.
const TARGETED = /-cache-control$|^(?:surrogate-control|edge-control|x-accel-expires)$/;

/** Whether a response says what a shared cache may do with it: `max-age` alone says it of every cache. */
function speaksOfSharedCaches(headers: Headers): boolean {
  const said = headers.get("cache-control")?.replace(/"[^"]*"/g, `""`) ?? "";
  return /(?:^|,)\s*(?:s-maxage\s*=|(?:public|private|no-store)\s*(?:,|$))/i.test(said);
}

/**
 * Copies a response without reading it. Made from its `body`, a response with text would lose the type that
 * Bun gives it when it sends it. `clone` splits the stream; cancelling the original keeps it from being
 * buffered.
 */
function copy(answer: Response): Response {
  // Bun's types declare another kind of Response as its result.
  const clone = answer.clone() as Response;
  answer.body?.cancel().catch(() => {});
  return clone;
}

/**
 * Reads the `Set-Cookie` lines of a result's headers, for frameworks that set cookies by a function of their
 * own, such as Next.js' server actions and SvelteKit's form actions.
 *
 * Where a framework takes a `Response` or `Headers`, send the headers as they are.
 *
 * @example
 * ```ts
 * import { createSession, parseSetCookies } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { session, headers } = await createSession("ada", sql);
 * const [cookie] = parseSetCookies(headers); // cookies.set(cookie.name, cookie.value, cookie.attributes)
 * assert.equal(cookie?.name, "__Host-session");
 * assert.equal(cookie.value.length, 80);
 * const { expires, ...attributes } = cookie.attributes;
 * assert.deepEqual(attributes, { path: "/", httpOnly: true, secure: true, sameSite: "lax" });
 * assert.ok(Math.abs(expires!.getTime() - session.expiresAt.getTime()) < 5000);
 * await sql.end();
 * ```
 *
 * @param headers The headers that a function of coatcheck returned.
 * @returns The cookies, in their order: set all of them. Usually one or none; more if previous cookies are
 * cleared, see {@linkcode CookiePolicy.previous}. `expires` counts from the clock of this machine.
 * @throws {TypeError} If `headers` has no `getSetCookie`.
 */
export function parseSetCookies(headers: Pick<Headers, "getSetCookie">): ParsedCookie[] {
  if (typeof headers?.getSetCookie !== "function") {
    refuse(TypeError, "parseSetCookies: headers", "be Headers", kindOf(headers));
  }
  return headers.getSetCookie().map(parseLine);
}

/** Reads a line of `Set-Cookie` as cookie.ts writes it. */
function parseLine(line: string): ParsedCookie {
  const [pair = "", ...rest] = line.split(";");
  const given = new Map(rest.map((attribute) => {
    const [name, value] = split(attribute);
    return [name.toLowerCase(), value];
  }));
  const [name, value] = split(pair);
  const [domain, maxAge, expires] = ["domain", "max-age", "expires"].map((it) => given.get(it));
  const ends = maxAge !== undefined ? Date.now() + Number(maxAge) * 1000 : expires;
  const sameSite = given.get("samesite")?.toLowerCase();
  return {
    name,
    value,
    attributes: {
      path: given.get("path") ?? "/",
      ...(domain !== undefined && { domain }),
      ...(ends !== undefined && { expires: new Date(ends) }),
      httpOnly: given.has("httponly"),
      secure: given.has("secure"),
      sameSite: sameSite === "strict" || sameSite === "none" ? sameSite : "lax",
      ...(given.has("partitioned") && { partitioned: true }),
    },
  };
}

function split(pair: string): [string, string] {
  const [name = "", ...value] = pair.split("=");
  return [name.trim(), value.join("=").trim()];
}
