import { SessionError } from "./errors.ts";
import { kindOf, refuse, requireObject, requireText } from "./input.ts";
import { type Policy, type Rules, rulesOf } from "./policy.ts";
import {
  coded,
  query,
  type Sql,
  sqlstateOf,
  type SqlValue,
  type Statement,
  unexpected,
} from "./sql.ts";
import { FIND_USER, type FoundUser } from "./statements.ts";

/** Somebody whose key is known already: after the password check, or from an OAuth callback. */
export interface UserKey {
  /** The user's key, as `coatcheck.users` has it in its column `id`. */
  readonly userId: string | number;
}

/**
 * Finds the key of the one user who has a username, by the view `coatcheck.users`.
 *
 * {@linkcode createSession} does this in its own statement; call it for what else needs the key.
 *
 * @example
 * ```ts
 * import { getUserId } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * assert.equal(typeof await getUserId("ada", sql), "number");
 * await assert.rejects(() => getUserId("nobody", sql), { code: "USER_NOT_FOUND" });
 * await sql.end();
 * ```
 *
 * @param username 1 to 1024 bytes, taken as it is: nothing is trimmed, folded or normalised.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, of which `queryTimeout` matters.
 * @returns A number for smallint and integer keys, a string for all others.
 * @throws {TypeError} If an argument has the wrong type.
 * @throws {RangeError} If the username is empty, too long, or not text that PostgreSQL can hold.
 * @throws {SessionError} If nobody has that username (`USER_NOT_FOUND`), two have it
 * (`UNEXPECTED_RESULT`), or the store fails.
 */
export async function getUserId(
  username: string,
  sql: Sql,
  options?: Policy,
): Promise<string | number> {
  const rules = rulesOf(options, []);
  requireUsername(username);
  const values = [JSON.stringify({ username })];
  const { userId } = await askOfOne<FoundUser>(sql, FIND_USER, values, rules);
  if (typeof userId !== "string" && typeof userId !== "number") {
    throw unexpected(FIND_USER.purpose, "a user's key", kindOf(userId));
  }
  return userId;
}

/** Spells a username or a key as the statements take it. */
export function userAsJson(user: string | UserKey): string {
  if (typeof user === "string") {
    requireUsername(user);
    return JSON.stringify({ username: user });
  }
  requireObject("user", user, "be a username or { userId }");
  if (!("userId" in user)) refuse(TypeError, "user", "be a username or { userId }", kindOf(user));
  const id: unknown = user.userId;
  requireUserId("userId", id);
  return JSON.stringify({ id });
}

/** Refuses what no column could hold as a key. */
export function requireUserId(name: string, id: unknown): asserts id is string | number {
  if (typeof id === "string") return requireText(name, id, LONGEST_USER);
  const desired = "be a safe integer, or text";
  if (typeof id !== "number") refuse(TypeError, name, desired, kindOf(id));
  if (!Number.isSafeInteger(id)) refuse(RangeError, name, desired, String(id));
}

function requireUsername(username: unknown): asserts username is string {
  requireText("username", username, LONGEST_USER);
}

const LONGEST_USER = 1024;

/** Sends a statement that names users, and tells a key that cannot be one as a user who is not there. */
export async function askOfUsers<Row>(
  sql: Sql,
  statement: Statement,
  values: readonly SqlValue[],
  rules: Rules,
): Promise<Row[]> {
  const translate = (error: unknown) => asNotOneUser(statement.purpose, error);
  return await query<Row>(sql, statement, values, rules.queryTimeout, translate);
}

/** Sends a statement that answers nothing where there is no such user. */
export async function askOfOne<Answer>(
  sql: Sql,
  statement: Statement,
  values: readonly SqlValue[],
  rules: Rules,
): Promise<Answer> {
  const rows = await askOfUsers<Answer>(sql, statement, values, rules);
  if (rows.length > 1) throw unexpected(statement.purpose, "one row", `${rows.length} rows`);
  if (rows.length === 0) throw userNotFound();
  return rows[0]!;
}

// A look-up of one row that finds two fails (21000). A foreign key that fails (23503) is a user who was
// deleted since the statement found them. The others are about the user as well, because all else was
// checked before: text that is no uuid (22P02), a number beyond integer (22003), a name too long for
// its column (22001) or against the rule of its domain (23514). A check of the app's own on the
// sessions fails in the same way, but of a table.
function asNotOneUser(purpose: string, error: unknown): SessionError | undefined {
  const { table, table_name } = coded(error);
  const sqlstate = sqlstateOf(error) ?? "";
  if (sqlstate === "21000") {
    return new SessionError(
      "UNEXPECTED_RESULT",
      `Cannot ${purpose} as coatcheck.users must have one row for the user: received more`,
    );
  }
  const isAboutUser = /^(23503|22P02|22003|22001)$/.test(sqlstate) ||
    sqlstate === "23514" && !table && !table_name;
  return isAboutUser ? userNotFound() : undefined;
}

function userNotFound(): SessionError {
  return new SessionError(
    "USER_NOT_FOUND",
    "Cannot find the user as coatcheck.users must have one row for them: received none",
  );
}
