import { setCookie } from "@std/http/cookie";
import { kindOf, refuse } from "./input.ts";
import type { CookieRules } from "./policy.ts";
import { parseToken, type PresentedToken } from "./token.ts";

/** Where a verb reads from: `request.headers`, Hono's `c.req.raw.headers`. */
export type RequestHeaders = Pick<Headers, "get">;

/**
 * Reads the token that a request presents.
 *
 * `getCookies` of @std/http throws on headers that a client controls (`=x`) and lets the last of two
 * win, so this reader is our own. It takes the exact name; it trims space and tab alone, as a
 * no-break space must not turn a name that anybody may set into a prefixed one (CVE-2026-39410); it
 * decodes nothing; and two cookies of our name are none, as their order says nothing about who set
 * which (RFC 6265bis, section 4.2.2).
 *
 * @throws {TypeError} If `headers` has no `get`, as a `Request` or a plain object has not.
 */
export function readToken(
  headers: RequestHeaders,
  name: string,
  argument = "headers",
): PresentedToken | "absent" | "malformed" {
  if (typeof headers?.get !== "function") {
    refuse(TypeError, argument, "have get(name), as request.headers has", kindOf(headers));
  }
  const header: unknown = headers.get("cookie") ?? "";
  if (typeof header !== "string") {
    refuse(TypeError, `${argument}.get("cookie")`, "be text or null", kindOf(header));
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
 * Hands a token out.
 *
 * @param maxAge Seconds until the session's absolute deadline: the server alone enforces idleness, so
 * that staying signed in never depends on a cookie that was delivered. Unset: until the browser ends.
 */
export function issueCookie(rules: CookieRules, token: string, maxAge?: number): Headers {
  const lifetime = Number.isInteger(maxAge) ? `; Max-Age=${maxAge}` : "";
  return cookieHeaders(`${rules.name}=${token}${attributesOf(rules, lifetime)}`);
}

/**
 * Takes the cookie back: with the attributes it was set with, as browsers ask, and by a date in the
 * past, as the grammar has no Max-Age of 0 (RFC 6265bis, section 4.1.1).
 */
export function clearCookie(rules: CookieRules): Headers {
  const past = new Date(0).toUTCString();
  return cookieHeaders(`${rules.name}=${attributesOf(rules, "")}; Expires=${past}`);
}

function cookieHeaders(cookie: string): Headers {
  const headers = new Headers();
  headers.append("set-cookie", cookie);
  // A shared cache that keeps a Set-Cookie signs strangers in (CVE-2025-48947, CVE-2025-64762).
  headers.append("cache-control", "no-store");
  return headers;
}

// Written once for each set of rules: setCookie looks at every character of a value, which takes longer
// than all else of a sign-in here, and a token of ours needs no look.
const written = new WeakMap<CookieRules, string>();
const LIFETIME = "; Max-Age=0";

/** What stands after a cookie's value. */
function attributesOf(rules: CookieRules, lifetime: string): string {
  let attributes = written.get(rules);
  if (attributes === undefined) {
    const { name, domain, path, secure, sameSite, partitioned } = rules;
    const cookie = { name, value: "", path, secure, httpOnly: true, sameSite, partitioned };
    const headers = new Headers();
    setCookie(headers, { ...cookie, maxAge: 0, ...(domain !== undefined && { domain }) });
    attributes = headers.get("set-cookie")!.slice(`${name}=`.length);
    written.set(rules, attributes);
  }
  return attributes.replace(LIFETIME, lifetime);
}
