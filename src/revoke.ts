import { clearCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { requireText } from "./input.ts";
import { type Policy, rulesOf } from "./policy.ts";
import { requireRow, type Session, toSession } from "./session.ts";
import { query, requireSql, type Sql, unexpected } from "./sql.ts";
import { REVOKE, type RevokedRow } from "./statements.ts";

/** What belongs to one call of {@linkcode revokeSession}. */
export interface RevokeCall {
  /** Why, in up to 200 bytes: the row keeps it until it is swept. @default {"signed-out"} */
  readonly reason?: string;
}

/** A session that was ended. */
export interface RevokedSession<Data extends object = Record<string, unknown>>
  extends Omit<Session<Data>, "username"> {
  /** The username; null where the user is no longer in the view `coatcheck.users`. */
  readonly username: string | null;
  /** When the session was ended. */
  readonly revokedAt: Date;
  /** Why it was ended. */
  readonly revokedReason: string;
}

/** The session that a call ended, and the headers that take its cookie back. */
export interface Revoked<Data extends object = Record<string, unknown>> {
  /** The session that this call ended; null where there was none to end. */
  readonly session: RevokedSession<Data> | null;
  /** One `Set-Cookie` that clears the cookie, and `Cache-Control: no-store`. */
  readonly headers: Headers;
}

/**
 * Signs out: ends the session that a request's cookie opens, and clears the cookie.
 *
 * The row stays, with the reason, until it is swept, and nothing brings it back. Signing out twice,
 * or without a session, is no error, and clears the cookie all the same. Ask for it with POST: a link
 * or an image must not sign anybody out.
 *
 * @example
 * ```ts
 * import { createSession, revokeSession, validateSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { headers } = await createSession("ada", sql);
 * const request = new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 *
 * const { session } = await revokeSession(request, sql);
 * assert.equal(session?.revokedReason, "signed-out");
 * assert.equal((await validateSession(request, sql)).reason, "revoked");
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `reason`.
 * @returns The session that this call ended, or null; and headers that clear the cookie.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting or the reason is out of range.
 * @throws {SessionError} If the store fails: the session may be alive, and the cookie is left alone.
 */
export async function revokeSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy & RevokeCall,
): Promise<Revoked<Data>> {
  const rules = rulesOf(options, ["reason"]);
  const { reason = "signed-out" } = options ?? {};
  requireText("reason", reason, 200);
  requireSql(sql);
  const token = readToken(headers, rules.cookie.name);
  const cleared = clearCookie(rules.cookie);
  if (typeof token === "string") return { session: null, headers: cleared };
  const values = [reason, token.id, token.digest];
  const rows = await query<RevokedRow>(sql, REVOKE, values, rules.queryTimeout);
  if (rows.length === 0) return { session: null, headers: cleared };
  const row = requireRow(REVOKE.purpose, rows, token);
  // The row of another statement about the same session has no `revokedAt`, and ended nothing.
  if (typeof row.revokedAt !== "string") {
    throw unexpected(REVOKE.purpose, "a revoked session", "another row");
  }
  const session = {
    ...toSession<Data>(row),
    username: row.username,
    revokedAt: new Date(row.revokedAt),
    revokedReason: row.revokedReason,
  };
  return { session, headers: cleared };
}
