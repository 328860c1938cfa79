import { type Context, contextOf } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import { type Policy, readOptions } from "./policy.ts";
import { findToken } from "./presented.ts";
import { granted, refused, renewed, type SessionResult } from "./result.ts";
import type { Sql } from "./sql.ts";
import { EXPLAIN, REAUTHENTICATE } from "./statements.ts";
import { keyOf, renewToken } from "./token.ts";
import { write } from "./write.ts";

/**
 * Records that the user has proved their identity again, and replaces the secret immediately.
 *
 * It does not check who the user is: call it after your own check of the password or of a second factor.
 * `authenticatedAt` is now, and both timeouts start again (NIST SP 800-63B-4, section 5.2). The new secret is
 * random, not derived: an attacker who holds the old one is locked out (OWASP Session Management, Renew the
 * Session ID After Any Privilege Level Change).
 *
 * There is no grace period. A request of the user that is in flight with the old cookie is `unknown`; its
 * response leaves the new cookie alone. It sends one UPDATE. If that changes no row, a second statement reads
 * why; a third one revokes the session of a reused secret.
 *
 * @example
 * ```ts
 * import { createSession, reauthenticateSession, validateSession } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const cookieOf = (headers: Headers) =>
 *   new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 * const before = cookieOf((await createSession("ada", sql)).headers);
 *
 * const stale = await validateSession(before, sql, { authenticatedWithin: 0 });
 * assert.equal(stale.reason, "stale");
 * // After your own check of the password:
 * const { headers } = await reauthenticateSession(before, sql);
 * const recent = await validateSession(cookieOf(headers), sql, { authenticatedWithin: 60 });
 * assert.equal(recent.session?.username, "ada");
 * assert.equal((await validateSession(before, sql)).reason, "unknown");
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy. `absoluteTimeout` sets the new deadline.
 * @returns The session, and headers that set its new cookie; or null, the reason and headers.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 * @throws {SessionError} If the store fails. If the answer was lost (`STORE_TIMEOUT`, `STORE_UNAVAILABLE`),
 * the old cookie may be invalid, and the user signs in again.
 */
export async function reauthenticateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy,
): Promise<SessionResult<Data>> {
  const { policy } = readOptions("reauthenticateSession", options, []);
  return await reauthenticate<Data>(contextOf("reauthenticateSession", sql, policy), headers);
}

/** {@linkcode reauthenticateSession} with a resolved policy. */
export async function reauthenticate<Data extends object>(
  context: Context,
  headers: RequestHeaders,
): Promise<SessionResult<Data>> {
  const { policy } = context;
  const presented = await findToken(context, headers);
  if (typeof presented === "string") return refused(policy, { reason: presented });
  const token = renewToken(presented.id);
  return await write<SessionResult<Data>>(context, presented, {
    statement: REAUTHENTICATE,
    values: [keyOf(token).digest],
    explanation: EXPLAIN,
    changed: (cells) => renewed<Data>(context, "reauthenticated", token, cells),
    // A guest has no identity to prove.
    unchanged: (state) => state.userId === null ? granted<Data>(context, state) : undefined,
  });
}
