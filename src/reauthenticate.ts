import { type Context, contextOf } from "./context.ts";
import { readToken, type RequestHeaders } from "./cookie.ts";
import { emit } from "./events.ts";
import { type Policy, readOptions } from "./policy.ts";
import { granted, refused, type SessionResult } from "./result.ts";
import { readInstant, readSession, SESSION_CELLS } from "./session.ts";
import { requireSql, type Sql } from "./sql.ts";
import { EXPLAIN, REAUTHENTICATE } from "./statements.ts";
import { keyOf, renewToken } from "./token.ts";
import { write } from "./write.ts";

/**
 * Records that the user has just proved who they are, once more: it proves nothing itself.
 *
 * Call it after your own check of the password or the second factor. `authenticatedAt` moves, both
 * timeouts start anew (NIST SP 800-63B-4, section 5.2), and the secret is replaced by a random one, at
 * once: a thief who holds the old one is out and inherits nothing (OWASP Session Management, Renew the
 * Session ID After Any Privilege Level Change). So is a request of the user's own that is under way with
 * the old cookie; it is `unknown`, and its answer leaves the new cookie alone.
 *
 * @example
 * ```ts
 * import { createSession, reauthenticateSession, validateSession } from "@coatcheck/coatcheck";
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
 * // Your check of the password comes here.
 * const { headers } = await reauthenticateSession(before, sql);
 * const visit = await validateSession(cookieOf(headers), sql, { authenticatedWithin: 60 });
 * assert.equal(visit.session?.username, "ada");
 * assert.equal((await validateSession(before, sql)).reason, "unknown");
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy.
 * @returns The session, and headers that hand out its new cookie; or null, the reason and headers.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range.
 * @throws {SessionError} If the store fails. After `STORE_TIMEOUT` the old cookie may be dead.
 */
export async function reauthenticateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy,
): Promise<SessionResult<Data>> {
  const { policy } = readOptions("reauthenticateSession", options, []);
  return await reauthenticate<Data>(contextOf("reauthenticateSession", sql, policy), headers);
}

/** {@linkcode reauthenticateSession} by a policy that was checked. */
export async function reauthenticate<Data extends object>(
  context: Context,
  headers: RequestHeaders,
): Promise<SessionResult<Data>> {
  const { caller, sql, policy } = context;
  requireSql(caller, sql);
  const presented = readToken(`${caller}: headers`, headers, policy.cookie.name);
  if (typeof presented === "string") return refused(policy, { reason: presented });
  const token = renewToken(presented.id);
  return await write<Data>(context, presented, {
    statement: REAUTHENTICATE,
    values: [keyOf(token).digest],
    explanation: EXPLAIN,
    changed: (cells) => {
      const session = readSession(caller, cells, token.id);
      const clock = readInstant(caller, cells[SESSION_CELLS]);
      emit(policy.onEvent, { type: "reauthenticated", id: session.id, userId: session.userId });
      return granted<Data>(context, session, { token, clock });
    },
    unchanged: () => Promise.resolve(undefined),
  });
}
