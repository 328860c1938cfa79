import { type Context, contextOf, requireOne } from "./context.ts";
import type { PresentedTokens, RequestHeaders } from "./cookie.ts";
import { unexpectedRow } from "./errors.ts";
import { emit, idsOf } from "./events.ts";
import { copyOptions, kindOf, refuse, requireText } from "./input.ts";
import { type Policy, readOptions } from "./policy.ts";
import {
  readNumber,
  readSession,
  type Session,
  SESSION_CELLS,
  toDate,
  withDates,
} from "./session.ts";
import { type Cell, query, requireSql, type Sql, unsupported } from "./sql.ts";
import {
  MAX_REVOKED,
  REVOKE,
  REVOKE_MANY,
  REVOKE_MANY_UNLOCKED,
  REVOKE_SKIPPED,
} from "./statements.ts";
import { requireSessionId, UUID } from "./token.ts";
import { clearToken, readTokens } from "./transport.ts";
import { queryUsers, requireUserId } from "./user.ts";
import { requireRevoked } from "./write.ts";

/** Options of one {@linkcode revokeSession} or {@linkcode revokeSessions} call, in addition to the policy. */
export interface RevokeSessionOptions {
  /**
   * Why the session is revoked, 1 to 200 bytes. The row keeps it until it is swept.
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
  /**
   * The session that this call revoked; null if there was none to revoke, or if it was a guest's. If it revoked several, the one whose
   * id is lowest: `onEvent` gets all.
   */
  readonly session: RevokedSession<Data> | null;
  /**
   * One `Set-Cookie` that clears the cookie, and `Cache-Control: no-store`. More of them clear previous cookies.
   */
  readonly headers: Headers;
}

/**
 * Signs a user out: revokes the session that a request's cookie opens, and clears the cookie.
 *
 * If the request has several cookies of our name, it revokes the session of each, with one UPDATE each, and
 * also clears what it can: the cookie with `partitioned` switched. {@linkcode CookiePolicy.previous} names more.
 *
 * It sends one UPDATE, or none if the cookie is absent or malformed. No call and no crash revives a revoked
 * session: the revocation is on disk when the call returns (in a transaction: when it commits), even with
 * `synchronous_commit = off`. An idle or expired session is revoked too, as another policy may call it live,
 * and so is a session whose previous secret is presented. If there is nothing to revoke, that is not an
 * error, and the cookie is cleared.
 *
 * Sign out by POST: a link or an image must not sign a user out. The row keeps the reason until it is swept.
 *
 * @example
 * ```ts
 * import { createSession, revokeSession, validateSession } from "coatcheck";
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
 * @returns The session that this call revoked, or null; and headers that clear the cookie.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 * @throws {SessionError} If the store fails, or a trigger prevented the revocation (`UNEXPECTED_RESULT`). The
 * session may be live: keep the cookie, and tell the user to try again.
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
  const { tokens, areSeveral } = readTokens(`${caller}: headers`, headers, policy, true);
  let first: RevokedSession<Data> | null = null;
  for await (const revoked of revokePresented<Data>(context, tokens, reason)) {
    const { userId } = revoked;
    if (userId !== null) first ??= { ...revoked, userId };
    emitRevoked(context, revoked);
  }
  return { session: first, headers: clearToken(policy, areSeveral) };
}

const MAX_REASON_BYTES = 200;

/**
 * Revokes the session of each presented token, with one statement each, in the order of ids, as locks are taken;
 * only `keep` takes that of the guest before. Yields what it has revoked. If one fails, it goes on with the
 * others, and throws at the end.
 */
export async function* revokePresented<Data extends object>(
  context: Context,
  tokens: PresentedTokens["tokens"],
  reason: string,
): AsyncGenerator<Revoked<Data>> {
  if (typeof tokens === "string") return;
  const failed: unknown[] = [];
  for (const { id, digest } of [...tokens].sort((a, b) => a.id < b.id ? -1 : 1)) {
    let revoked: Revoked<Data> | undefined;
    try {
      const cells = requireOne(context, await query(context, REVOKE, [id, digest, reason]));
      if (!cells) continue;
      if (cells[0] !== null || cells[1] !== null) revoked = readRevoked<Data>(context, cells, id);
      else await requireRevoked(context, [id, digest, null]);
    } catch (error) {
      failed.push(error);
    }
    if (revoked) yield revoked;
  }
  if (failed.length > 0) throw failed[0];
}

/**
 * Which sessions {@linkcode revokeSessions} revokes.
 *
 * - `{ userId }`: every session of the user, such as after the account was disabled.
 * - `{ userId, id }`: one session, if it is that user's; `id` may come from a form.
 * - `{ userId, except }`: every session but one, such as after a change of the password.
 * - `{ userIds }`: every session of up to 10,000 users.
 *
 * A key that is `undefined` is a `TypeError`: more would be revoked than was meant. An `id` that is not a
 * UUID revokes nothing. An `except` that is not a UUID is a `RangeError`: it would sign out the caller.
 */
export type RevokeTarget =
  | {
    readonly userId: string | number;
    readonly id?: never;
    readonly except?: never;
    readonly userIds?: never;
  }
  | {
    readonly userId: string | number;
    /** The id of the session to revoke. */
    readonly id: string;
    readonly except?: never;
    readonly userIds?: never;
  }
  | {
    readonly userId: string | number;
    /** The id of the session to keep: the current browser's. */
    readonly except: string;
    readonly id?: never;
    readonly userIds?: never;
  }
  | {
    /** The users' keys, at most 10,000. */
    readonly userIds: readonly (string | number)[];
    readonly userId?: never;
    readonly id?: never;
    readonly except?: never;
  };

/**
 * Revokes the sessions of a user, or of several users.
 *
 * It sends one UPDATE for each 10,000 sessions. A session whose row another statement holds is skipped, and
 * revoked by an UPDATE of its own, which waits for it with no other lock: outside of your transaction, the call
 * is in no deadlock with your own statements, but for a race that docs/architecture.md names. Each form of the
 * target names the user, so an id from a form cannot revoke another user's session. Sessions past their stored
 * deadline are neither revoked nor returned. The revocations are on disk when the call returns (in a
 * transaction: when it commits).
 *
 * It sees committed sessions only. To lock a user out, first make new sign-ins fail (disable the user, or
 * change the password), then commit, then revoke.
 *
 * @example
 * ```ts
 * import { createSession, revokeSessions } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * await createSession("ada", sql);
 * const { session } = await createSession("ada", sql);
 *
 * // After a change of the password, keep this browser signed in:
 * const { userId, id } = session;
 * const revoked = await revokeSessions({ userId, except: id }, sql, { reason: "password-changed" });
 * assert.ok(revoked.length >= 1);
 * assert.deepEqual(await revokeSessions({ userId, except: id }, sql), []);
 * await sql.end();
 * ```
 *
 * @param target Which sessions to revoke: `{ userId }`, `{ userId, id }`, `{ userId, except }` or
 * `{ userIds }`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `reason`.
 * @returns The sessions that this call revoked; an empty array if there were none.
 * @throws {TypeError} If an argument has the wrong type, a key of the target is `undefined`, or an option is
 * unknown.
 * @throws {RangeError} If an option or a key is out of range, or `except` is not a UUID.
 * @throws {SessionError} If no user can have one of the keys, such as text for an integer column
 * (`USER_NOT_FOUND`), a trigger prevented a revocation (`UNEXPECTED_RESULT`), or the store fails. Some of the
 * sessions may have been revoked: call it again. In a transaction, it is all of them or none.
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
  const { userIds, id, except } = readTarget(caller, target);
  requireSql(caller, sql);
  // An id that is not a UUID is not a session's.
  if (userIds.length === 0 || id !== null && !UUID.test(id.toLowerCase())) return [];
  const values = [JSON.stringify(userIds), id, except, reason];
  const sessions: RevokedSession<Data>[] = [];
  const take = (cells: Cell[]) => {
    // The event at once, as a later statement may fail.
    const revoked = readRevoked<Data>(context, cells);
    const { userId } = revoked;
    if (userId === null) throw unexpectedRow(caller);
    emitRevoked(context, revoked);
    sessions.push({ ...revoked, userId });
  };
  let hasMore: boolean;
  do {
    const rows = await queryUsers(context, [REVOKE_MANY, REVOKE_MANY_UNLOCKED], values);
    const isSkipped = (cells: Cell[]) => cells.slice(1).every((cell) => cell === null);
    rows.filter((cells) => !isSkipped(cells)).forEach(take);
    // One by one: each waits for its row with no other lock.
    for (const [id] of rows.filter(isSkipped)) {
      const done = await query(context, REVOKE_SKIPPED, [id!, reason]);
      if (done.length === 0) await requireRevoked(context, [id!, null, null]);
      done.forEach(take);
    }
    // Citus commits in two phases, and says nothing if the second one fails. The row is locked then: another look
    // waits for it, or fails.
    hasMore = rows.length === MAX_REVOKED || rows.length > 0 && unsupported.has(REVOKE_MANY);
  } while (hasMore);
  return sessions.sort((a, b) => a.id < b.id ? -1 : 1);
}

interface Selection {
  readonly userIds: readonly (string | number)[];
  readonly id: string | null;
  readonly except: string | null;
}

function readTarget(caller: string, target: RevokeTarget): Selection {
  const subject = `${caller}: target`;
  const desired = "be { userId }, { userId, id }, { userId, except } or { userIds }";
  const known = ["userId", "id", "except", "userIds"];
  const given = copyOptions<Record<string, unknown>>(subject, target, known, desired);
  const keys = Object.keys(given).sort().join();
  if (keys === "userIds") {
    return { userIds: readUserIds(`${caller}: userIds`, given.userIds), id: null, except: null };
  }
  if (keys !== "userId" && keys !== "id,userId" && keys !== "except,userId") {
    refuse(TypeError, subject, desired, keys === "" ? "no keys" : `{ ${keys} }`);
  }
  const { userId, id, except } = given;
  requireUserId(`${caller}: userId`, userId);
  if ("id" in given) {
    if (typeof id !== "string") refuse(TypeError, `${caller}: id`, "be a string", kindOf(id));
    return { userIds: [userId], id, except: null };
  }
  if ("except" in given) {
    // It comes from a validation. If it were wrong, the call would sign out its own user.
    requireSessionId(`${caller}: except`, except);
    return { userIds: [userId], id: null, except };
  }
  return { userIds: [userId], id: null, except: null };
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

/** A session that was revoked, of a user or a guest. */
interface Revoked<Data extends object> extends Omit<RevokedSession<Data>, "userId"> {
  readonly userId: string | number | null;
}

/** Reads a session from the row of a statement that revoked it. */
function readRevoked<Data extends object>(
  { caller }: Context,
  cells: readonly Cell[],
  asked?: string,
): Revoked<Data> {
  const session = withDates<Data>(readSession(caller, cells, asked));
  const [revoked, revokedReason] = cells.slice(SESSION_CELLS);
  if (typeof revokedReason !== "string") throw unexpectedRow(caller);
  return { ...session, revokedAt: toDate(readNumber(caller, revoked)), revokedReason };
}

function emitRevoked<Data extends object>(
  { policy }: Context,
  revoked: Revoked<Data>,
): void {
  emit(policy.onEvent, { type: "revoked", ...idsOf(revoked), reason: revoked.revokedReason });
}
