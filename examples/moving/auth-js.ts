// Trades in database sessions of Auth.js, as @auth/core 0.41.3 and @auth/pg-adapter 1.11.3 keep them.
import { insertSession, rotateSession, type SessionResult, validateSession } from "coatcheck";
import type { RequestHeaders } from "coatcheck";
import type { Sql } from "postgres";

// As `cookies.sessionToken` of your configuration: a domain or a path that it sets belongs into CLEAR too.
// In next-auth 4 it is __Secure-next-auth.session-token. On plain http it has no __Secure-.
const OLD = "__Secure-authjs.session-token";
const ATTRIBUTES = "Path=/; HttpOnly; Secure; SameSite=Lax";
const CLEAR = `${OLD}=; ${ATTRIBUTES}; Expires=Thu, 01 Jan 1970 00:00:00 GMT`;
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
  // Of several, Auth.js takes the first.
  const old = valueOf(cookies.find(isOld));
  if (!old) return null;

  let kept = cookies.filter((it) => !isOld(it));
  let result: SessionResult = await validateSession(headers, sql);
  // If there is a session, a late response of the old app has set the old cookie again.
  if (!result.session) {
    const { id, digest, token } = await tokenOf(old);
    await sql.begin(async (tx) => {
      const [row] = await tx`
        delete from sessions where "sessionToken" = ${old} and expires >= now()
        returning "userId", to_jsonb(sessions) - '{id,userId,sessionToken,expires}'::text[] as data`;
      if (!row) return;
      await insertSession({
        id,
        digest,
        userId: row.userId,
        // The user signed in before this: after an hour, `authenticatedWithin` asks for a new proof.
        createdAt: new Date(Date.now() - HOUR),
        expiresAt: new Date(Date.now() + 30 * 24 * HOUR),
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
