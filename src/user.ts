import { type Context, contextOf, requireOne } from "./context.ts";
import { driverError, userNotFound } from "./errors.ts";
import { kindOf, refuse, requireObject, requireText } from "./input.ts";
import { type Policy, readOptions } from "./policy.ts";
import { readUserId } from "./session.ts";
import {
  type Call,
  type Cell,
  query,
  queryEither,
  type Sql,
  type SqlValue,
  type Statement,
} from "./sql.ts";
import { FIND_USER } from "./statements.ts";

/**
 * Finds the key of the user who has a username, in the view `coatcheck.users`.
 *
 * {@linkcode createSession} finds the user in its own statement. Call this if you need the key for something
 * else, such as {@linkcode insertSession} or {@linkcode listSessions}. It sends one SELECT.
 *
 * @example
 * ```ts
 * import { getUserId } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * assert.equal(typeof await getUserId("ada", sql), "number");
 * await assert.rejects(() => getUserId("unknown", sql), { code: "USER_NOT_FOUND" });
 * await sql.end();
 * ```
 *
 * @param username 1 to 1,024 bytes, compared by PostgreSQL as it is: nothing is trimmed, folded or
 * normalized.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy. Only `queryTimeout` applies.
 * @returns A number for smallint and integer keys, a string for all others.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If the username is empty, too long, or text that PostgreSQL cannot hold.
 * @throws {SessionError} If no user has that username (`USER_NOT_FOUND`), two users have it
 * (`UNEXPECTED_RESULT`), or the store fails.
 */
export async function getUserId(
  username: string,
  sql: Sql,
  options?: Policy,
): Promise<string | number> {
  const { policy } = readOptions("getUserId", options, []);
  return await findUser(contextOf("getUserId", sql, policy), username);
}

/** {@linkcode getUserId} with a resolved policy. */
export async function findUser(context: Context, username: string): Promise<string | number> {
  const { caller } = context;
  requireText(`${caller}: username`, username, MAX_USER_BYTES);
  const [key, type] = await queryUser(context, FIND_USER, [username]);
  return readUserId(caller, key, type);
}

/** A user, as {@linkcode createSession} takes one. */
export type User = string | { readonly userId: string | number };

/** The username or the key of a user, as text. */
type ReadUser = { readonly name: string; readonly id: null } | {
  readonly name: null;
  readonly id: string;
};

/** Reads the username or the key of a user, as the statements take it. */
export function readUser(caller: string, user: User): ReadUser {
  if (typeof user === "string") {
    requireText(`${caller}: username`, user, MAX_USER_BYTES);
    return { name: user, id: null };
  }
  requireObject(`${caller}: user`, user, "be a username or { userId }");
  if (!Object.hasOwn(user, "userId")) {
    refuse(TypeError, `${caller}: user`, "be a username or { userId }", kindOf(user));
  }
  const { userId } = user;
  requireUserId(`${caller}: userId`, userId);
  return { name: null, id: String(userId) };
}

/** Refuses a key that no column can hold. */
export function requireUserId(subject: string, id: unknown): asserts id is string | number {
  if (typeof id === "string") return requireText(subject, id, MAX_USER_BYTES);
  const desired = "be a safe integer, or text";
  if (typeof id !== "number") refuse(TypeError, subject, desired, kindOf(id));
  if (!Number.isSafeInteger(id)) refuse(RangeError, subject, desired, String(id));
}

const MAX_USER_BYTES = 1024;

/** Sends a statement about users, or its other form. A key that no user can have is `USER_NOT_FOUND`. */
export async function queryUsers(
  call: Call,
  statement: Statement | readonly [Statement, Statement],
  values: readonly SqlValue[],
): Promise<Cell[][]> {
  const translate = (error: unknown) => isAboutUser(error) ? userNotFound(call.caller) : undefined;
  return "strings" in statement
    ? await query(call, statement, values, translate)
    : await queryEither(call, statement, values, translate);
}

/** Sends a statement that returns one row if the user exists, else none. */
export async function queryUser(
  call: Call,
  statement: Statement,
  values: readonly SqlValue[],
): Promise<Cell[]> {
  const row = requireOne(call, await queryUsers(call, statement, values));
  if (!row) throw userNotFound(call.caller);
  return row;
}

// If the foreign key fails (23503), the user was deleted after the statement found them. The other codes are
// about the user too, because all other values were checked before: text that is not a uuid (22P02), a number
// out of range (22003), a name that is too long for its column (22001) or that its domain rejects (23514). A
// check constraint of the app on the sessions also fails with 23514, but that error names its table or row.
function isAboutUser(error: unknown): boolean {
  const { table, row, isNested, sqlstate = "" } = driverError(error);
  if (isNested) return false;
  if (sqlstate === "23503") return !table || table === "sessions";
  return /^(22P02|22003|22001)$/.test(sqlstate) || sqlstate === "23514" && !row;
}
