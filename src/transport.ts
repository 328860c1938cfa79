import {
  clearCookie,
  issueCookie,
  type PresentedTokens,
  readCookies,
  type RequestHeaders,
} from "./cookie.ts";
import type { RefusalReason } from "./events.ts";
import { kindOf, refuse } from "./input.ts";
import type { ResolvedPolicy } from "./policy.ts";
import { parseToken } from "./token.ts";

/** What carries a new token to the client. */
export interface Issued {
  readonly headers: Headers;
  /** The token, if the transport is `bearer`. */
  readonly token?: string;
}

/**
 * Reads the tokens that a request presents, in the policy's transport alone.
 *
 * @param alsoPrevious Whether to read the cookies of `cookie.previous` too: they open nothing, but what they
 * would open can be revoked.
 */
export function readTokens(
  subject: string,
  headers: RequestHeaders,
  policy: ResolvedPolicy,
  alsoPrevious = false,
): PresentedTokens {
  const name = policy.transport === "bearer" ? "authorization" : "cookie";
  if (typeof headers?.get !== "function") {
    refuse(TypeError, subject, "have get(name), as request.headers has", kindOf(headers));
  }
  const value: unknown = headers.get(name) ?? "";
  if (typeof value !== "string") {
    refuse(TypeError, `${subject}.get("${name}")`, "return text or null", kindOf(value));
  }
  if (name === "authorization") return readBearer(value);
  const { cookie } = policy;
  const cookies = alsoPrevious ? [cookie, ...cookie.previous] : [cookie];
  return readCookies(value, cookies.map((it) => it.name));
}

/** Reads `Authorization: Bearer <token>` (RFC 6750, section 2.1). Another scheme is not for us. */
function readBearer(header: string): PresentedTokens {
  const found = header.match(/^bearer(?: +(.*))?$/i);
  if (!found) return { tokens: "absent", areSeveral: false };
  const token = parseToken(found[1] ?? "");
  return { tokens: token ? [token] : "malformed", areSeveral: false };
}

/**
 * Makes what carries a new token to the client.
 *
 * @param maxAge Seconds until the session's absolute deadline. Unset: the cookie ends with the browser.
 * @param areSeveral Whether the request has several cookies of our name.
 */
export function issueToken(
  { transport, cookie }: ResolvedPolicy,
  token: string,
  maxAge?: number,
  areSeveral?: boolean,
): Issued {
  if (transport === "cookie") return { headers: issueCookie(cookie, token, maxAge, areSeveral) };
  return { headers: new Headers({ "cache-control": "no-store" }), token };
}

/** Makes the headers of a sign-out. A bearer token is the client's to forget. */
export function clearToken(
  { transport, cookie }: ResolvedPolicy,
  areSeveral?: boolean,
): Headers {
  return transport === "cookie" ? clearCookie(cookie, areSeveral) : new Headers();
}

/**
 * Makes the headers of a refusal: for a bearer token, the challenge of RFC 6750, section 3, without a reason
 * that the client could use; that of RFC 9470 if a new proof of identity is required.
 *
 * @param maxAge Seconds since the last proof of identity that the request accepts.
 */
export function challenge(
  { transport }: ResolvedPolicy,
  reason: RefusalReason,
  maxAge?: number,
): Headers {
  const headers = new Headers();
  if (transport === "cookie") return headers;
  let value = "Bearer";
  if (reason === "stale") value += ` error="insufficient_user_authentication", max_age="${maxAge}"`;
  else if (reason !== "absent") value += ` error="invalid_token"`;
  headers.set("www-authenticate", value);
  return headers;
}
