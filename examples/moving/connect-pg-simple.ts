// Trades in sessions of express-session 1.19.0, as connect-pg-simple 10.0.0 keeps them.
// The key of the user is `req.session.userId`. With Passport, it is `sess->'passport'->'user'`.
import { insertSession, rotateSession, type SessionResult, validateSession } from "coatcheck";
import type { RequestHeaders } from "coatcheck";
import process from "node:process";
import type { Sql } from "postgres";

// As in your `session()`: a domain or a path that `cookie` sets belongs into CLEAR too.
const OLD = "connect.sid";
const { SESSION_SECRET, OLD_SESSION_SECRET } = process.env;
const SECRETS = [SESSION_SECRET, OLD_SESSION_SECRET].flatMap((it) => it || []);
const ATTRIBUTES = "Path=/; HttpOnly";
const CLEAR = `${OLD}=; ${ATTRIBUTES}; Expires=Thu, 01 Jan 1970 00:00:00 GMT`;
// The cookie of coatcheck under your policy.
const NAME = "__Host-session";
const HOUR = 3_600_000;

/**
 * Trades the old cookie of a request for a session. Returns null if there is none, or no user in its session.
 * Otherwise the result of a validation: its headers set the new cookie and clear the old one. `cookie` is the
 * request's from here on.
 */
export async function tradeIn(
  headers: RequestHeaders,
  sql: Sql,
): Promise<SessionResult & { readonly cookie: string } | null> {
  const cookies = (headers.get("cookie") ?? "").split("; ");
  const isOld = (it: string) => it.startsWith(`${OLD}=`);
  // Of several, express-session takes the first.
  const old = valueOf(cookies.find(isOld));
  const sid = await unsign(old);
  if (!old || !sid) return null;

  let kept = cookies.filter((it) => !isOld(it));
  let result: SessionResult = await validateSession(headers, sql);
  // If there is a session, a late response of the old app has set the old cookie again.
  if (!result.session) {
    const { id, digest, token } = await tokenOf(old);
    await sql.begin(async (tx) => {
      const [row] = await tx`
        delete from session where sid = ${sid} and expire >= now() and sess->'userId' is not null
        returning sess`;
      if (!row) return;
      const { cookie, userId, ...data } = row.sess;
      await insertSession({
        id,
        digest,
        userId,
        // The user signed in before this: after an hour, `authenticatedWithin` asks for a new proof.
        createdAt: new Date(Date.now() - HOUR),
        expiresAt: new Date(Date.now() + 30 * 24 * HOUR),
        persistent: Boolean(cookie.expires),
        data,
      }, tx);
    }).catch((error: { code?: string; sqlstate?: string }) => {
      // The user is gone, or this cookie was traded in before.
      if (error.code !== "USER_NOT_FOUND" && error.sqlstate !== "23505") throw error;
    });
    // The old cookie is now the session's previous secret: parallel requests get the same new cookie, and so does
    // the next one if a response was lost.
    // It replaces a guest's: with two live sessions of one request, coatcheck takes neither.
    kept = kept.filter((it) => !it.startsWith(`${NAME}=`));
    kept.push(`${NAME}=${token}`);
    result = await rotateSession(new Headers({ cookie: `${NAME}=${token}` }), sql);
  }
  // It has no user, or has ended: the old app decides.
  if (result.reason === "unknown") return null;
  result.headers.append("set-cookie", CLEAR);
  return { ...result, cookie: kept.join("; ") };
}

function valueOf(cookie = ""): string | undefined {
  try {
    // PostgreSQL holds no NUL.
    return decodeURIComponent(cookie.slice(cookie.indexOf("=") + 1)).replaceAll("\0", "");
  } catch {
    return undefined;
  }
}

// The signed value, if one of the secrets has signed it. `verify` compares in constant time.
async function unsign(cookie = ""): Promise<string | undefined> {
  const [, value, signature] = /^s:(.+)\.([\w+/]{42}[AEIMQUYcgkosw048])$/s.exec(cookie) ?? [];
  if (!value || !signature) return undefined;
  const encode = (text: string) => new TextEncoder().encode(text);
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const bytes = Uint8Array.from(atob(signature), (it) => it.charCodeAt(0));
  for (const secret of SECRETS) {
    const key = await crypto.subtle.importKey("raw", encode(secret), hmac, false, ["verify"]);
    if (await crypto.subtle.verify(hmac, key, bytes, encode(value))) return value;
  }
  return undefined;
}

// SHA-512 of the old cookie: 16 bytes are the id, a UUIDv8, and 32 are the secret.
async function tokenOf(old: string) {
  const hash = await crypto.subtle.digest("SHA-512", new TextEncoder().encode(old));
  const hex = Array.from(new Uint8Array(hash, 0, 16), (it) => it.toString(16).padStart(2, "0"));
  const id = hex.join("").replace(/^(.{8})(.{4}).(.{3}).(.{3})/, "$1-$2-8$3-8$4-");
  const secret = new Uint8Array(hash, 16, 32);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", secret));
  const base64 = btoa(String.fromCharCode(...secret));
  const text = base64.replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
  return { id, digest, token: `${id}.${text}` };
}
