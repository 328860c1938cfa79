// Trades in sessions of better-auth, as 1.7.25 keeps them in the tables of its own migrations.
import { insertSession, rotateSession, type SessionResult, validateSession } from "coatcheck";
import type { RequestHeaders } from "coatcheck";
import process from "node:process";
import type { Sql } from "postgres";

// As in your `betterAuth()`: a domain or a path that it sets belongs into CLEAR too. On plain http there is no
// __Secure-.
const PREFIX = "__Secure-better-auth";
const OLD = `${PREFIX}.session_token`;
// It verifies with the newest of its secrets alone.
const SECRET = process.env.BETTER_AUTH_SECRET;
if (!SECRET) throw new Error("BETTER_AUTH_SECRET is not set");
const ATTRIBUTES = "Path=/; HttpOnly; Secure; SameSite=Lax";
const CLEAR = [OLD, `${PREFIX}.session_data`, `${PREFIX}.dont_remember`]
  .map((it) => `${it}=; ${ATTRIBUTES}; Expires=Thu, 01 Jan 1970 00:00:00 GMT`);
// The cookie of coatcheck under your policy.
const NAME = "__Host-session";
const HOUR = 3_600_000;

/**
 * Trades the old cookie of a request for a session. Returns null if there is none. Otherwise the result of a
 * validation: its headers set the new cookie and clear the old one. `cookie` is the request's from here on.
 */
export async function tradeIn(
  headers: RequestHeaders,
  sql: Sql,
): Promise<SessionResult & { readonly cookie: string } | null> {
  const cookies = (headers.get("cookie") ?? "").split("; ");
  const isOld = (it: string) => it.startsWith(`${OLD}=`);
  // Of several, better-auth takes the first.
  const old = valueOf(cookies.find(isOld));
  const sessionToken = await unsign(old);
  if (!old || !sessionToken) return null;
  const forget = valueOf(cookies.find((it) => it.startsWith(`${PREFIX}.dont_remember=`)));
  const isPersistent = await unsign(forget) !== "true";

  let kept = cookies.filter((it) => !isOld(it));
  let result: SessionResult = await validateSession(headers, sql);
  // If there is a session, a late response of the old app has set the old cookie again.
  if (!result.session) {
    const { id, digest, token } = await tokenOf(old);
    await sql.begin(async (tx) => {
      const [row] = await tx`
        delete from session where token = ${sessionToken} and "expiresAt" >= now()
        returning "userId", to_jsonb(session) - '{id,token,userId,expiresAt}'::text[] as data`;
      if (!row) return;
      await insertSession({
        id,
        digest,
        userId: row.userId,
        // The user signed in before this: after an hour, `authenticatedWithin` asks for a new proof.
        createdAt: new Date(Date.now() - HOUR),
        expiresAt: new Date(Date.now() + 30 * 24 * HOUR),
        persistent: isPersistent,
        data: row.data,
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
  for (const line of CLEAR) result.headers.append("set-cookie", line);
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

// The value of a signed cookie, if its signature is right. `verify` compares in constant time.
async function unsign(cookie = ""): Promise<string | undefined> {
  const [, value, signature] = /^(.+)\.([\w+/]{43}=)$/s.exec(cookie) ?? [];
  if (!value || !signature) return undefined;
  const encode = (text: string) => new TextEncoder().encode(text);
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encode(SECRET!), hmac, false, ["verify"]);
  const bytes = Uint8Array.from(atob(signature), (it) => it.charCodeAt(0));
  return await crypto.subtle.verify(hmac, key, bytes, encode(value)) ? value : undefined;
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
