import { setCookie } from "@std/http/cookie";
import { kindOf, refuse } from "./input.ts";
import type { ResolvedCookie } from "./policy.ts";
import { parseToken, type PresentedToken } from "./token.ts";

/** What a function reads a cookie from: `request.headers`, Hono's `c.req.raw.headers`. */
export type RequestHeaders = Pick<Headers, "get">;

/**
 * Reads the token that a request presents.
 *
 * `getCookies` of @std/http throws on headers that a client controls (`=x`) and lets the last of two
 * win, so this reader is our own. It takes the exact name; it trims space and tab only, as a no-break
 * space must not turn a name that any page may set into a prefixed one (CVE-2026-39410); it decodes
 * nothing; and two cookies of our name are none, as their order does not tell who set which (RFC
 * 6265bis, section 4.2.2).
 *
 * @param subject The argument, for errors: `validateSession: headers`.
 * @throws {TypeError} If `headers` has no `get`, as a `Request` or a plain object has not.
 */
export function readToken(
  subject: string,
  headers: RequestHeaders,
  name: string,
): PresentedToken | "absent" | "malformed" {
  if (typeof headers?.get !== "function") {
    refuse(TypeError, subject, "have get(name), as request.headers has", kindOf(headers));
  }
  const header: unknown = headers.get("cookie") ?? "";
  if (typeof header !== "string") {
    refuse(TypeError, `${subject}.get("cookie")`, "return text or null", kindOf(header));
  }
  let found: string | undefined;
  for (const pair of header.split(";")) {
    const equals = pair.indexOf("=");
    if (equals === -1 || trim(pair.slice(0, equals)) !== name) continue;
    if (found !== undefined) return "malformed";
    found = trim(pair.slice(equals + 1));
  }
  return found === undefined ? "absent" : parseToken(found) ?? "malformed";
}

function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text[start])) start++;
  while (end > start && isBlank(text[end - 1])) end--;
  return text.slice(start, end);
}

function isBlank(character: string | undefined): boolean {
  return character === " " || character === "\t";
}

/**
 * Makes the headers that hand out a token.
 *
 * @param maxAge Seconds until the session's absolute deadline: the server enforces the idle timeout, so
 * that staying signed in never depends on a cookie that was delivered. Unset: until the browser closes.
 */
export function issueCookie(cookie: ResolvedCookie, token: string, maxAge?: number): Headers {
  const lifetime = Number.isInteger(maxAge) ? `; Max-Age=${maxAge}` : "";
  return cookieHeaders(`${cookie.name}=${token}${attributesOf(cookie, lifetime)}`);
}

/**
 * Makes the headers that clear the cookie: with the attributes it was set with, as browsers ask, and a
 * date in the past, as the grammar has no Max-Age of 0 (RFC 6265bis, section 4.1.1).
 */
export function clearCookie(cookie: ResolvedCookie): Headers {
  const past = new Date(0).toUTCString();
  return cookieHeaders(`${cookie.name}=${attributesOf(cookie, "")}; Expires=${past}`);
}

function cookieHeaders(line: string): Headers {
  const headers = new Headers();
  headers.append("set-cookie", line);
  // A shared cache that keeps a Set-Cookie signs strangers in (CVE-2025-48947, CVE-2025-64762).
  headers.append("cache-control", "no-store");
  return headers;
}

// Written once for each policy: setCookie looks at every character of a value, which takes longer than
// all else of a sign-in here, and a token of ours needs no look.
const written = new WeakMap<ResolvedCookie, string>();
const LIFETIME = "; Max-Age=0";

/** What follows a cookie's value. */
function attributesOf(resolved: ResolvedCookie, lifetime: string): string {
  let attributes = written.get(resolved);
  if (attributes === undefined) {
    const { name, domain, path, secure, sameSite, partitioned } = resolved;
    const cookie = { name, value: "", path, secure, httpOnly: true, sameSite, partitioned };
    const headers = new Headers();
    setCookie(headers, { ...cookie, maxAge: 0, ...(domain !== undefined && { domain }) });
    attributes = headers.get("set-cookie")!.slice(`${name}=`.length);
    written.set(resolved, attributes);
  }
  return attributes.replace(LIFETIME, lifetime);
}
