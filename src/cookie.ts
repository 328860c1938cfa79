import { setCookie } from "@std/http/cookie";
import type { ResolvedCookie } from "./policy.ts";
import { parseToken, type PresentedToken } from "./token.ts";

/** The headers that a function reads the cookie from: `request.headers`; or a request of Express, which has `get`. */
export interface RequestHeaders {
  /** Returns the value of a header, in any letter case; null or undefined if there is none. */
  get(name: string): string | null | undefined;
}

/** What a request presents. */
export interface PresentedTokens {
  /** The different tokens, in the order of the header, at most {@linkcode MAX_TOKENS}; or why there is none. */
  readonly tokens: readonly PresentedToken[] | "absent" | "malformed";
  /** Whether there are several cookies of our name. */
  readonly areSeveral: boolean;
}

/** More different tokens than one browser has by changes of the cookie's attributes. Each costs a look-up. */
export const MAX_TOKENS = 8;

/**
 * Reads the tokens of a `Cookie` header.
 *
 * `getCookies` of @std/http throws on headers that a client controls (`=x`), and takes the last of two
 * cookies, so this reader is our own. It takes the exact name. It trims space and tab only: a trimmed
 * no-break space would turn a name that any page may set into a prefixed one (CVE-2026-39410). It decodes
 * nothing.
 *
 * A browser sends several cookies of one name if their domain, path or partition differs. Their order does not
 * say which host set which (RFC 6265bis, section 4.2.2), so all of them are read. A value that is no token
 * opens nothing, so it does not spoil the others.
 *
 * @param header The request's `Cookie`.
 */
export function readCookies(header: string, names: readonly string[]): PresentedTokens {
  const values: string[] = [];
  const tokens: PresentedToken[] = [];
  let count = 0;
  // Not by split, which makes a string of each other cookie.
  let equals = -1;
  for (let start = 0, end = 0; start < header.length; start = end + 1) {
    end = header.indexOf(";", start);
    if (end === -1) end = header.length;
    // Searched once, also in a header of many pairs without one.
    if (equals < start) equals = header.indexOf("=", start);
    if (equals === -1) break;
    if (equals > end || !names.includes(trimmed(header, start, equals))) continue;
    count++;
    const value = trimmed(header, equals + 1, end);
    // One more than are accepted says that there are too many.
    const token = values.includes(value) || tokens.length > MAX_TOKENS ? null : parseToken(value);
    if (!token) continue;
    values.push(value);
    tokens.push(token);
  }
  const isRefused = tokens.length === 0 || tokens.length > MAX_TOKENS;
  return {
    tokens: count === 0 ? "absent" : isRefused ? "malformed" : tokens,
    areSeveral: count > 1,
  };
}

/** Returns a part of a text, without space and tab at its ends. */
function trimmed(text: string, start: number, end: number): string {
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

/** Whether a character is a space or a tab. */
function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/**
 * Makes the headers that set the cookie, and clear those of `cookie.previous`.
 *
 * @param maxAge Seconds until the session's absolute deadline: the server enforces the idle timeout, so that
 * staying signed in never depends on a cookie that was delivered. Unset: the cookie ends with the browser.
 * @param areSeveral Whether the request has several cookies of our name.
 */
export function issueCookie(
  cookie: ResolvedCookie,
  token: string,
  maxAge?: number,
  areSeveral?: boolean,
): Headers {
  const lifetime = Number.isInteger(maxAge) ? `; Max-Age=${maxAge}` : "";
  const line = `${cookie.name}=${token}${attributesOf(cookie, lifetime)}`;
  return cookieHeaders(cookie, line, areSeveral);
}

/**
 * Makes the headers that clear the cookie. They have the attributes that it was set with, as browsers
 * require, and a date in the past, as the grammar has no Max-Age of 0 (RFC 6265bis, section 4.1.1).
 */
export function clearCookie(cookie: ResolvedCookie, areSeveral?: boolean): Headers {
  return cookieHeaders(cookie, clearingLine(cookie), areSeveral);
}

function clearingLine(cookie: ResolvedCookie): string {
  return `${cookie.name}=${attributesOf(cookie, "")}; Expires=${new Date(0).toUTCString()}`;
}

function cookieHeaders(cookie: ResolvedCookie, line: string, areSeveral = false): Headers {
  const headers = new Headers();
  // To a browser, the cookie from before `partitioned` was switched is another one.
  const { partitioned, secure } = cookie;
  const others = areSeveral && secure
    ? [{ ...cookie, partitioned: !partitioned }, ...cookie.previous]
    : cookie.previous;
  // The flipped one may be named by `previous`, which may also name the cookie itself, or one of them twice. A
  // response has one line for each (RFC 6265bis, section 4.1.1).
  const lines = new Set(others.map(clearingLine));
  lines.delete(clearingLine(cookie));
  for (const it of lines) headers.append("set-cookie", it);
  // Last, as a client that keeps one cookie of a name keeps the last one.
  headers.append("set-cookie", line);
  // A shared cache that stores a Set-Cookie signs other users in (CVE-2025-48947, CVE-2025-64762).
  headers.append("cache-control", "no-store");
  return headers;
}

// Written once for each policy: setCookie checks every character of a value, which takes longer than all the
// rest of a sign-in here, and a token needs no check.
const written = new WeakMap<ResolvedCookie, string>();
const LIFETIME = "; Max-Age=0";

/** Returns the attributes that follow a cookie's value. */
function attributesOf(resolved: ResolvedCookie, lifetime: string): string {
  let attributes = written.get(resolved);
  if (attributes === undefined) {
    const { name, domain, path, secure, sameSite, partitioned } = resolved;
    const cookie = {
      name,
      value: "",
      path,
      secure,
      httpOnly: true,
      sameSite,
      partitioned,
      maxAge: 0,
    };
    const headers = new Headers();
    // Without a prototype: what Object.prototype was given would be an attribute.
    setCookie(
      headers,
      Object.assign(Object.create(null), cookie, domain !== undefined && { domain }),
    );
    attributes = headers.get("set-cookie")!.slice(`${name}=`.length);
    written.set(resolved, attributes);
  }
  return attributes.replace(LIFETIME, lifetime);
}
