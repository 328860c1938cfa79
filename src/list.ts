import { type Context, contextOf } from "./context.ts";
import { requireWhole } from "./input.ts";
import { type Policy, readOptions } from "./policy.ts";
import { sessionOf } from "./result.ts";
import { readSession, type Session } from "./session.ts";
import type { Sql } from "./sql.ts";
import { LIST } from "./statements.ts";
import { requireSessionId } from "./token.ts";
import { queryUsers, requireUserId } from "./user.ts";

/** Options of one {@linkcode listSessions} call, in addition to the policy. */
export interface ListSessionsOptions {
  /** How many sessions to return, 1 to 10,000. @default {10000} */
  readonly limit?: number;
  /**
   * The id of the last session of the previous page: the list continues after it. Unset: from the start. A
   * session that is used meanwhile moves to the start. If the session with this id was swept, the page is
   * empty.
   */
  readonly after?: string;
}

/**
 * Lists a user's live sessions, the last used first: what a page of devices shows.
 *
 * It sends one SELECT, for at most 10,000 sessions; `after` continues the list. A listed session contains no
 * token, secret or digest. Pass its id to {@linkcode revokeSessions} to revoke it. The session of the current
 * browser is the one with the id that {@linkcode validateSession} returned. A user who is not in the view
 * `coatcheck.users` has no sessions.
 *
 * @example
 * ```ts
 * import { createSession, listSessions } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { session } = await createSession("ada", sql, { data: { device: "laptop" } });
 * const [latest] = await listSessions(session.userId, sql, { limit: 20 });
 * assert.equal(latest?.id, session.id);
 * assert.deepEqual(latest?.data, { device: "laptop" });
 * await sql.end();
 * ```
 *
 * @param userId The user's key, as in `session.userId`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, whose timeouts decide which sessions are live, and `limit` and `after`.
 * @returns The sessions; an empty array if the user has none, or does not exist.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option or the key is out of range, or `after` is not a UUID.
 * @throws {SessionError} If no user can have that key, such as text for an integer column (`USER_NOT_FOUND`),
 * or the store fails.
 */
export async function listSessions<Data extends object = Record<string, unknown>>(
  userId: string | number,
  sql: Sql,
  options?: Policy & ListSessionsOptions,
): Promise<Session<Data>[]> {
  const { policy, own } = readOptions("listSessions", options, LIST_OPTIONS);
  return await list<Data>(contextOf("listSessions", sql, policy), userId, own);
}

const MAX_LISTED = 10_000;

/** The names in {@linkcode ListSessionsOptions}. */
export const LIST_OPTIONS = ["limit", "after"] as const;

/** {@linkcode listSessions} with a resolved policy. */
export async function list<Data extends object>(
  context: Context,
  userId: string | number,
  { limit = MAX_LISTED, after }: ListSessionsOptions,
): Promise<Session<Data>[]> {
  const { caller, policy } = context;
  requireUserId(`${caller}: userId`, userId);
  requireWhole(`${caller}: limit`, limit, 1, MAX_LISTED);
  if (after !== undefined) requireSessionId(`${caller}: after`, after);
  const values = [
    String(userId),
    String(limit),
    String(policy.absoluteTimeout),
    String(policy.idleTimeout),
    after ?? null,
  ];
  const rows = await queryUsers(context, LIST, values);
  return rows.map((cells) => sessionOf<Data>(context, readSession(caller, cells)));
}
