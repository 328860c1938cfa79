import { type Policy, rulesOf } from "./policy.ts";
import { type Session, toSession } from "./session.ts";
import { type Sql, unexpected } from "./sql.ts";
import { LIST, type ListedRow } from "./statements.ts";
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
  const asked = JSON.stringify({ user_id: userId });
  const values = [asked, rules.absoluteTimeout, rules.idleTimeout];
  const rows = await askOfUsers<ListedRow>(sql, LIST, values, rules);
  return rows.map((row) => {
    if (row.asked !== asked) throw unexpected(LIST.purpose, "this user's sessions", "others");
    return toSession<Data>(row);
  });
}
