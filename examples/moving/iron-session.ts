// Trades in sessions of iron-session 9.0.1, which are in the cookie alone.
// The key of the user is `session.userId`.
import { insertSession, rotateSession, type SessionResult, validateSession } from "coatcheck";
import type { RequestHeaders } from "coatcheck";
import { unsealData } from "iron-session";
import process from "node:process";
import type { Sql } from "postgres";

// As in your `getIronSession()`: a domain or a path that `cookieOptions` sets belongs into CLEAR too.
const OLD = "iron-session";
// A single password has the id 1.
const PASSWORDS = { 1: process.env.SESSION_PASSWORD_1!, 2: process.env.SESSION_PASSWORD_2! };
const ATTRIBUTES = "Path=/; HttpOnly; Secure; SameSite=Lax";
const CLEAR = `${ATTRIBUTES}; Expires=Thu, 01 Jan 1970 00:00:00 GMT`;
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
  // Whole, or in up to four parts.
  const names = [OLD, ...[0, 1, 2, 3].map((it) => `${OLD}.${it}`)];
  const isOld = (it: string) => names.includes(it.split("=", 1)[0]!);
  const [whole, ...parts] = names.map((name) =>
    valueOf(cookies.find((it) => it.startsWith(`${name}=`)))
  );
  const old = whole || parts.join("");
  if (!old) return null;
  const { userId, ...data } = await unsealData<Record<string, unknown>>(old, {
    password: PASSWORDS,
  });
  if (typeof userId !== "string" && typeof userId !== "number") return null;
  // What the HMAC of the seal covers. It ends with the seal's end, which is empty if `maxAge` is undefined.
  const sealed = old.split("*").slice(0, 6);
  const isPersistent = sealed[5] !== "";

  let kept = cookies.filter((it) => !isOld(it));
  let result: SessionResult = await validateSession(headers, sql);
  // If there is a session, a late response of the old app has set the old cookie again.
  if (!result.session) {
    const { id, digest, token } = await tokenOf(sealed.join("*"));
    await sql.begin(async (tx) => {
      await insertSession({
        id,
        digest,
        userId,
        // The user signed in before this: after an hour, `authenticatedWithin` asks for a new proof.
        createdAt: new Date(Date.now() - HOUR),
        expiresAt: new Date(Date.now() + 30 * 24 * HOUR),
        persistent: isPersistent,
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
  for (const it of cookies.filter(isOld)) {
    result.headers.append("set-cookie", `${it.split("=", 1)[0]}=; ${CLEAR}`);
  }
  return { ...result, cookie: kept.join("; ") };
}

function valueOf(cookie = ""): string | undefined {
  try {
    return decodeURIComponent(cookie.slice(cookie.indexOf("=") + 1));
  } catch {
    return undefined;
  }
}

// SHA-512 of the seal: 16 bytes are the id, a UUIDv8, and 32 are the secret.
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
