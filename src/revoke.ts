import { type Context, contextOf, requireOne } from "./context.ts";
import { clearCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { unexpectedRow } from "./errors.ts";
import { emit } from "./events.ts";
import { copyOptions, kindOf, refuse, requireText } from "./input.ts";
import { requireSessionId } from "./list.ts";
import { type Policy, readOptions } from "./policy.ts";
import { readInstant, readSession, type Session, SESSION_CELLS, toDate, withDates } from "./session.ts";
import { type Cell, query, requireSql, type Sql } from "./sql.ts";
import { REVOKE, REVOKE_MANY, REVOKE_MANY_UNLOCKED } from "./statements.ts";
import { type PresentedToken, UUID } from "./token.ts";
import { queryUsers, requireUserId } from "./user.ts";

/** The options of one {@linkcode revokeSession} or {@linkcode revokeSessions}, beside the policy. */
export interface RevokeSessionOptions {
  /**
   * Why, in up to 200 bytes: the row keeps it until it is swept.
   *
   * @default {"signed-out"} for `revokeSession`, `"revoked"` for `revokeSessions`.
   */
  readonly reason?: string;
}

/** A session that was revoked. */
export interface RevokedSession<Data extends object = Record<string, unknown>>
  extends Omit<Session<Data>, "username" | "idleExpiresAt"> {
  /** The username; null if the user is no longer in the view `coatcheck.users`. */
  readonly username: string | null;
  /** When the session was revoked. */
  readonly revokedAt: Date;
  /** Why it was revoked. */
  readonly revokedReason: string;
}

/** The session that a call revoked, and the headers that clear its cookie. */
export interface RevokeSessionResult<Data extends object = Record<string, unknown>> {
  /** The session that this call revoked; null if there was none to revoke. */
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
  options?: Policy & RevokeSessionOptions,
): Promise<RevokeSessionResult<Data>> {
  const { policy, own } = readOptions("revokeSession", options, REVOKE_OPTIONS);
  return await revoke<Data>(contextOf("revokeSession", sql, policy), headers, own);
}

/** The names in {@linkcode RevokeSessionOptions}. */
export const REVOKE_OPTIONS = ["reason"] as const;

/** {@linkcode revokeSession} with a resolved policy. */
export async function revoke<Data extends object>(
  context: Context,
  headers: RequestHeaders,
  { reason = "signed-out" }: RevokeSessionOptions,
): Promise<RevokeSessionResult<Data>> {
  const { caller, sql, policy } = context;
  requireText(`${caller}: reason`, reason, MAX_REASON_BYTES);
  requireSql(caller, sql);
  const presented = readToken(`${caller}: headers`, headers, policy.cookie.name);
  const session = typeof presented === "string"
    ? null
    : await revokePresented<Data>(context, presented, reason);
  if (session) emitRevoked(context, session);
  return { session, headers: clearCookie(policy.cookie) };
}

const MAX_REASON_BYTES = 200;

/** Revokes the session of a presented token; null if there was none to revoke. */
export async function revokePresented<Data extends object>(
  context: Context,
  { id, digest }: PresentedToken,
  reason: string,
): Promise<RevokedSession<Data> | null> {
  const cells = requireOne(context, await query(context, REVOKE, [id, digest, reason]));
  return cells ? readRevoked<Data>(context, cells, id) : null;
}

/** The sessions to revoke: all of a user or of several, and of a user one session or all but one. */
export type RevokeTarget =
  | {
    readonly userId: string | number;
    readonly id?: never;
    readonly except?: never;
    readonly userIds?: never;
  }
  | {
    readonly userId: string | number;
    /** The id of the session to revoke, as it came from a form: only if it is that user's. */
    readonly id: string;
    readonly except?: never;
    readonly userIds?: never;
  }
  | {
    readonly userId: string | number;
    /** The id of the session to keep: this browser's own. */
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
  target: RevokeTarget,
  sql: Sql,
  options?: Policy & RevokeSessionOptions,
): Promise<RevokedSession<Data>[]> {
  const { policy, own } = readOptions("revokeSessions", options, REVOKE_OPTIONS);
  return await revokeMany<Data>(contextOf("revokeSessions", sql, policy), target, own);
}

/** {@linkcode revokeSessions} with a resolved policy. */
export async function revokeMany<Data extends object>(
  context: Context,
  target: RevokeTarget,
  { reason = "revoked" }: RevokeSessionOptions,
): Promise<RevokedSession<Data>[]> {
  const { caller, sql } = context;
  requireText(`${caller}: reason`, reason, MAX_REASON_BYTES);
  const { userIds, id = null, except = null } = readTarget(caller, target);
  requireSql(caller, sql);
  // An id that is no UUID is no session's.
  if (userIds.length === 0 || id !== null && !UUID.test(id.toLowerCase())) return [];
  const values = [JSON.stringify(userIds), id, except, reason];
  const rows = await queryUsers(context, [REVOKE_MANY, REVOKE_MANY_UNLOCKED], values);
  const sessions = rows.map((cells) => readRevoked<Data>(context, cells));
  for (const session of sessions) emitRevoked(context, session);
  return sessions;
}

interface ReadTarget {
  readonly userIds: readonly (string | number)[];
  readonly id?: string;
  readonly except?: string;
}

function readTarget(caller: string, target: RevokeTarget): ReadTarget {
  const subject = `${caller}: target`;
  const desired = "be { userId }, { userId, id }, { userId, except } or { userIds }";
  const known = ["userId", "id", "except", "userIds"];
  const given = copyOptions<Record<string, unknown>>(subject, target, known, desired);
  const keys = Object.keys(given).sort().join();
  if (keys === "userIds") return { userIds: readUserIds(`${caller}: userIds`, given.userIds) };
  if (keys !== "userId" && keys !== "id,userId" && keys !== "except,userId") {
    refuse(TypeError, subject, desired, keys === "" ? "no keys" : `{ ${keys} }`);
  }
  const { userId, id, except } = given;
  requireUserId(`${caller}: userId`, userId);
  if ("id" in given) {
    if (typeof id !== "string") refuse(TypeError, `${caller}: id`, "be a string", kindOf(id));
    return { userIds: [userId], id };
  }
  if ("except" in given) {
    // It comes from a validation. With a mistake in it, this would sign out the user who is asking.
    requireSessionId(`${caller}: except`, except);
    return { userIds: [userId], except };
  }
  return { userIds: [userId] };
}

function readUserIds(subject: string, userIds: unknown): (string | number)[] {
  if (!Array.isArray(userIds)) refuse(TypeError, subject, "be an array", kindOf(userIds));
  if (userIds.length > MAX_USERS) {
    refuse(RangeError, subject, `be at most ${MAX_USERS} keys`, `${userIds.length}`);
  }
  return Array.from(userIds, (userId, index) => {
    requireUserId(`${subject}[${index}]`, userId);
    return userId;
  });
}

const MAX_USERS = 10_000;

/** Reads a session off the row of a statement that revoked it. */
function readRevoked<Data extends object>(
  { caller }: Context,
  cells: readonly Cell[],
  asked?: string,
): RevokedSession<Data> {
  const session = withDates<Data>(readSession(caller, cells, asked));
  const [revoked, revokedReason] = cells.slice(SESSION_CELLS);
  if (typeof revokedReason !== "string") throw unexpectedRow(caller);
  return { ...session, revokedAt: toDate(readInstant(caller, revoked)), revokedReason };
}

function emitRevoked<Data extends object>(
  { policy }: Context,
  { id, userId, revokedReason: reason }: RevokedSession<Data>,
): void {
  emit(policy.onEvent, { type: "revoked", id, userId, reason });
}
