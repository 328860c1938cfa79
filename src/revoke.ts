import { clearCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { tell } from "./events.ts";
import { kindOf, refuse, requireKeys, requireObject, requireText } from "./input.ts";
import { type Policy, type Rules, rulesOf } from "./policy.ts";
import { requireRow, type Session, toDate, toSession } from "./session.ts";
import { query, requireSql, type Sql } from "./sql.ts";
import { REVOKE, REVOKE_MANY, type RevokedRow } from "./statements.ts";
import { askOfUsers, requireUserId } from "./user.ts";

/** What belongs to one call of {@linkcode revokeSession} or {@linkcode revokeSessions}. */
export interface RevokeCall {
  /**
   * Why, in up to 200 bytes: the row keeps it until it is swept.
   *
   * @default {"signed-out"} for `revokeSession`, `"revoked"` for `revokeSessions`.
   */
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
 * The row stays, with the reason, until it is swept, and nothing brings it back, not even a crash of a
 * database that does not wait for its log. A secret that was rotated signs out too. Signing out twice,
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
  const values = [token.id, token.digest, reason];
  const rows = await query<RevokedRow>(sql, REVOKE, values, rules.queryTimeout);
  if (rows.length === 0) return { session: null, headers: cleared };
  const session = toRevoked<Data>(rules, requireRow(REVOKE.purpose, rows, token));
  return { session, headers: cleared };
}

/** Whose sessions to end: of users, and of a user one session or all but one. */
export type Whose =
  | {
    readonly userId: string | number;
    readonly id?: never;
    readonly except?: never;
    readonly userIds?: never;
  }
  | {
    readonly userId: string | number;
    /** The id of the session to end, as it came from a form: only if it is that user's. */
    readonly id: string;
    readonly except?: never;
    readonly userIds?: never;
  }
  | {
    readonly userId: string | number;
    /** The id of the session to leave: this browser's own. */
    readonly except: string;
    readonly id?: never;
    readonly userIds?: never;
  }
  | {
    /** At most 10,000. */
    readonly userIds: readonly (string | number)[];
    readonly userId?: never;
    readonly id?: never;
    readonly except?: never;
  };

/**
 * Ends sessions by their users: one of a devices page, all others, everywhere, of several people.
 *
 * It is always scoped by user, so that an id from a form cannot end somebody else's. All policies
 * agree that a session past its stored deadline is over: those are not counted. It sees what has been
 * committed: to end a sign-in that is under way as well, first make it fail (disable the user, change
 * the password), then call this.
 *
 * @example
 * ```ts
 * import { createSession, revokeSessions } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * await createSession("ada", sql);
 * const { session } = await createSession("ada", sql);
 *
 * // After a change of the password: this browser stays.
 * const { userId, id } = session;
 * const ended = await revokeSessions({ userId, except: id }, sql, { reason: "password-changed" });
 * assert.ok(ended.length >= 1);
 * assert.deepEqual(await revokeSessions({ userId, except: id }, sql), []);
 * await sql.end();
 * ```
 *
 * @param whose `{ userId }`, `{ userId, id }`, `{ userId, except }` or `{ userIds }`. A key that is
 * there but `undefined` is refused: it would end more than was meant. An `id` that is no UUID is
 * nobody's, and ends nothing.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `reason`.
 * @returns The sessions that this call ended: none where there were none to end.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting, a key or the reason is out of range, or `except` is no UUID.
 * @throws {SessionError} If no user could have that key (`USER_NOT_FOUND`), or the store fails: then
 * none was ended, or all.
 */
export async function revokeSessions<Data extends object = Record<string, unknown>>(
  whose: Whose,
  sql: Sql,
  options?: Policy & RevokeCall,
): Promise<RevokedSession<Data>[]> {
  const rules = rulesOf(options, ["reason"]);
  const { reason = "revoked" } = options ?? {};
  requireText("reason", reason, 200);
  const { userIds, id = null, except = null } = requireWhose(whose);
  requireSql(sql);
  if (userIds.length === 0 || id !== null && !UUID.test(id)) return [];
  const values = [JSON.stringify(userIds), id, except, reason];
  const rows = await askOfUsers<RevokedRow>(sql, REVOKE_MANY, values, rules);
  return rows.map((row) => toRevoked<Data>(rules, row));
}

// In any letter case: what comes from a form is compared by PostgreSQL, as a uuid.
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

interface Asked {
  readonly userIds: readonly (string | number)[];
  readonly id?: string;
  readonly except?: string;
}

function requireWhose(whose: Whose): Asked {
  const desired = "be { userId }, { userId, id }, { userId, except } or { userIds }";
  requireObject("whose", whose, desired);
  const given: Record<string, unknown> = { ...whose };
  requireKeys("whose", given, ["userId", "id", "except", "userIds"]);
  const keys = Object.keys(given).sort().join();
  if (keys === "userIds") return { userIds: requireUserIds(given.userIds) };
  if (keys !== "userId" && keys !== "id,userId" && keys !== "except,userId") {
    refuse(TypeError, "whose", desired, keys === "" ? "no keys" : `{ ${keys} }`);
  }
  const { userId, id, except } = given;
  requireUserId("userId", userId);
  if ("id" in given) {
    if (typeof id !== "string") refuse(TypeError, "id", "be a string", kindOf(id));
    return { userIds: [userId], id };
  }
  if ("except" in given) {
    if (typeof except !== "string") refuse(TypeError, "except", "be a string", kindOf(except));
    // It comes from a visit. With a mistake in it, this would sign out who is asking.
    if (!UUID.test(except)) refuse(RangeError, "except", "be a UUID", "something else");
    return { userIds: [userId], except };
  }
  return { userIds: [userId] };
}

function requireUserIds(userIds: unknown): (string | number)[] {
  if (!Array.isArray(userIds)) refuse(TypeError, "userIds", "be an array", kindOf(userIds));
  if (userIds.length > MOST_USERS) {
    refuse(RangeError, "userIds", `be at most ${MOST_USERS} keys`, `${userIds.length}`);
  }
  return Array.from(userIds, (userId, index) => {
    requireUserId(`userIds[${index}]`, userId);
    return userId;
  });
}

const MOST_USERS = 10_000;

/** Reads a session off the row of a statement that ended it, and tells the observer. */
function toRevoked<Data extends object>(rules: Rules, row: RevokedRow): RevokedSession<Data> {
  const { id, userId, username, revokedReason } = row;
  tell(rules.onEvent, { type: "revoked", id, userId, reason: revokedReason });
  return { ...toSession<Data>(row), username, revokedAt: toDate(row.revokedAt), revokedReason };
}
