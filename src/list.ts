import { type Policy, rulesOf } from "./policy.ts";
import { type Session, toSession } from "./session.ts";
import type { Sql } from "./sql.ts";
import { LIST, type SessionRow } from "./statements.ts";
import { askOfUsers, requireUserId } from "./user.ts";

/**
 * Lists the live sessions of a user, last used first: the devices page.
 *
 * No entry holds anything that opens a session; the id is what {@linkcode revokeSessions} takes. Which
 * of them is this browser's own is told by the id of a visit. A user who is out of the view
 * `coatcheck.users` has none.
 *
 * @example
 * ```ts
 * import { createSession, listSessions } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { session } = await createSession("ada", sql, { data: { device: "laptop" } });
 * const [latest] = await listSessions(session.userId, sql);
 * assert.equal(latest?.id, session.id);
 * assert.deepEqual(latest?.data, { device: "laptop" });
 * await sql.end();
 * ```
 *
 * @param userId The user's key, as sessions have it.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, whose timeouts say which sessions are live.
 * @returns The sessions; none where the user has none, or does not exist.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting or the key is out of range.
 * @throws {SessionError} If no user could have that key (`USER_NOT_FOUND`), or the store fails.
 */
export async function listSessions<Data extends object = Record<string, unknown>>(
  userId: string | number,
  sql: Sql,
  options?: Policy,
): Promise<Session<Data>[]> {
  const rules = rulesOf(options, []);
  requireUserId("userId", userId);
  const values = [JSON.stringify({ user_id: userId }), rules.absoluteTimeout, rules.idleTimeout];
  const rows = await askOfUsers<SessionRow>(sql, LIST, values, rules);
  return rows.map((row) => toSession<Data>(row));
}
