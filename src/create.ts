import { bytesToHex } from "@noble/hashes/utils.js";
import { issueCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { SessionError } from "./errors.ts";
import {
  kindOf,
  refuse,
  requireBoolean,
  requireDate,
  requireJson,
  requireObject,
  requireText,
} from "./input.ts";
import { type Policy, type Rules, rulesOf } from "./policy.ts";
import { requireRow, type Session, toSession } from "./session.ts";
import { query, type Sql, type SqlValue, type Statement, unexpected } from "./sql.ts";
import { FIND_USER, type FoundUser, INSERT, type Inserted } from "./statements.ts";
import { createToken, type PresentedToken, UUID } from "./token.ts";

/** Somebody whose key is known already: after the password check, or from an OAuth callback. */
export interface UserKey {
  /** The user's key, as `coatcheck.users` has it in its column `id`. */
  readonly userId: string | number;
}

/** What belongs to one call of {@linkcode createSession}. */
export interface CreateCall<Data extends object = Record<string, unknown>> {
  /** What to keep with the session: a JSON object of at most 65,536 bytes. @default {{}} */
  readonly data?: Data;
  /** "Remember me": whether the cookie outlives the browser. @default {policy.cookie.persistent} */
  readonly persistent?: boolean;
  /** The headers of the sign-in request. The session that they present ends with it. */
  readonly replaces?: RequestHeaders;
}

/** A new session, and the headers that hand out its cookie. */
export interface Created<Data extends object = Record<string, unknown>> {
  /** The session, as it was stored. */
  readonly session: Session<Data>;
  /** One `Set-Cookie`, and `Cache-Control: no-store`. Append each entry to your response. */
  readonly headers: Headers;
}

/** A session to be stored as it is: one that comes from another system. */
export interface SessionRecord<Data extends object = Record<string, unknown>> extends UserKey {
  /** The session's public name: a UUID in lower case. */
  readonly id: string;
  /** SHA-256 of the secret's 32 bytes: 32 bytes. */
  readonly digest: Uint8Array;
  /** When the user signed in. */
  readonly createdAt: Date;
  /** When the session ends regardless of use; later than `createdAt`. */
  readonly expiresAt: Date;
  /** What to keep with the session: a JSON object of at most 65,536 bytes. @default {{}} */
  readonly data?: Data;
}

/**
 * Creates a session for a user who has just proved who they are, and hands out its cookie.
 *
 * One SQL statement finds the user by username or key, ends the session that `replaces` presents, and
 * inserts the new one. Nothing is proved here: check the password first. A sign-in that keeps the
 * token of before is session fixation (OWASP Session Management, Renew the Session ID; ASVS 5.0,
 * 7.2.4), so the token is always new; give `replaces` to end the old session with it.
 *
 * @example
 * ```ts
 * import { createSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { session, headers } = await createSession("ada", sql, { data: { device: "laptop" } });
 * assert.equal(session.username, "ada");
 * assert.match(headers.get("set-cookie")!, /^__Host-session=.{80}; Secure; HttpOnly; Max-Age=2592000/);
 * await sql.end();
 * ```
 *
 * @param user A username of 1 to 1024 bytes, taken as it is, or `{ userId }`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `data`, `persistent`, `replaces`.
 * @returns The session as it was stored, and headers with exactly one `Set-Cookie`.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a username, a setting or `data` is out of range.
 * @throws {SessionError} If the user is unknown (`USER_NOT_FOUND`) or the store fails. No cookie was
 * handed out then. After `STORE_TIMEOUT` a row may exist, which no cookie opens.
 */
export async function createSession<Data extends object = Record<string, unknown>>(
  user: string | UserKey,
  sql: Sql,
  options?: Policy & CreateCall<Data>,
): Promise<Created<Data>> {
  const rules = rulesOf(options, ["data", "persistent", "replaces"]);
  const { data = {}, persistent = rules.cookie.persistent, replaces } = options ?? {};
  requireBoolean("persistent", persistent);
  const presented = replaces === undefined
    ? "absent"
    : readToken(replaces, rules.cookie.name, "replaces");
  const { id, digest, token } = createToken();
  const session = await insert<Data>(sql, rules, user, {
    replaced: typeof presented === "string" ? null : presented,
    token: { id, digest: bytesToHex(digest) },
    createdAt: null,
    expiresAt: null,
    persistent,
    data,
  });
  const maxAge = persistent ? rules.absoluteTimeout : undefined;
  return { session, headers: issueCookie(rules.cookie, token, maxAge) };
}

/**
 * Stores a session under an id and a digest of your own: one that comes from another system.
 *
 * INSERT only: an id that exists is an error, and the row that was there stays as it was. It sets no
 * cookie; to bring users over without signing them out, set one that carries `<id>.<secret>`.
 * The session counts as used now, and as authenticated at `createdAt`.
 *
 * @example
 * ```ts
 * import { createToken, insertSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const [ada] = await sql`select id from coatcheck.users where username = 'ada'`;
 * const { id, digest } = createToken();
 * const createdAt = new Date();
 * const expiresAt = new Date(createdAt.getTime() + 3_600_000);
 * const session = await insertSession({ id, digest, userId: ada!.id, createdAt, expiresAt }, sql);
 * assert.equal(session.id, id);
 * await sql.end();
 * ```
 *
 * @param record The session: `id`, `digest` (32 bytes), `userId`, `createdAt`, `expiresAt`, `data`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, of which `queryTimeout` matters.
 * @returns The session as it was stored.
 * @throws {TypeError} If an argument or a field has the wrong type.
 * @throws {RangeError} If a field is out of range.
 * @throws {SessionError} If the key is unknown (`USER_NOT_FOUND`), the id exists (`STORE_REJECTED`,
 * SQLSTATE 23505), or the store fails.
 */
export async function insertSession<Data extends object = Record<string, unknown>>(
  record: SessionRecord<Data>,
  sql: Sql,
  options?: Policy,
): Promise<Session<Data>> {
  const rules = rulesOf(options, []);
  requireObject("record", record);
  const { id, digest, userId, createdAt, expiresAt, data = {} } = record;
  requireText("record.id", id, 36);
  if (!UUID.test(id)) refuse(RangeError, "record.id", "be a UUID in lower case", "something else");
  if (!(digest instanceof Uint8Array)) {
    refuse(TypeError, "record.digest", "be a Uint8Array", kindOf(digest));
  }
  if (digest.length !== 32) {
    refuse(RangeError, "record.digest", "be 32 bytes", `${digest.length} bytes`);
  }
  requireDate("record.createdAt", createdAt);
  requireDate("record.expiresAt", expiresAt);
  if (expiresAt <= createdAt) {
    refuse(RangeError, "record.expiresAt", "be later than createdAt", expiresAt.toISOString());
  }
  return await insert<Data>(sql, rules, { userId }, {
    replaced: null,
    token: { id, digest: bytesToHex(digest) },
    createdAt,
    expiresAt,
    persistent: true,
    data,
  });
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
  const answer = await ask<FoundUser>(sql, FIND_USER, [JSON.stringify({ username })], rules);
  const { userId } = answer;
  if (typeof userId !== "string" && typeof userId !== "number") {
    throw unexpected(FIND_USER.purpose, "a user's key", kindOf(userId));
  }
  return userId;
}

interface NewRow {
  readonly replaced: PresentedToken | null;
  readonly token: PresentedToken;
  readonly createdAt: Date | null;
  readonly expiresAt: Date | null;
  readonly persistent: boolean;
  readonly data: object;
}

async function insert<Data extends object>(
  sql: Sql,
  rules: Rules,
  user: string | UserKey,
  { replaced, token, createdAt, expiresAt, persistent, data }: NewRow,
): Promise<Session<Data>> {
  const { session } = await ask<Inserted>(sql, INSERT, [
    userAsJson(user),
    replaced?.id ?? null,
    replaced?.digest ?? null,
    token.id,
    token.digest,
    createdAt?.toISOString() ?? null,
    expiresAt?.toISOString() ?? null,
    rules.absoluteTimeout,
    persistent,
    requireJson("data", data, LONGEST_DATA),
  ], rules);
  return toSession<Data>(requireRow(INSERT.purpose, [session], token));
}

/** Sends a statement that begins with finding one user. */
async function ask<Answer extends { readonly matches: number }>(
  sql: Sql,
  statement: Statement,
  values: readonly SqlValue[],
  rules: Rules,
): Promise<Answer> {
  const rows = await query<Answer>(sql, statement, values, rules.queryTimeout).catch(asNoSuchUser);
  const [answer] = rows;
  if (rows.length !== 1 || typeof answer?.matches !== "number") {
    throw unexpected(statement.purpose, "one row", `${rows.length} rows`);
  }
  if (answer.matches === 0) throw userNotFound();
  if (answer.matches > 1) {
    throw new SessionError(
      "UNEXPECTED_RESULT",
      `Cannot ${statement.purpose} as coatcheck.users must have one row for the user: received more`,
    );
  }
  return answer;
}

// A foreign key that fails (23503) is a user who was deleted since the statement found them. The
// others are about the user as well, because all else was checked before: text that is no uuid
// (22P02), a number beyond integer (22003), a name too long for its column (22001) or against the
// rule of its domain (23514) can be nobody's.
function asNoSuchUser(error: unknown): never {
  throw /^(23503|22P02|22003|22001|23514)$/.test((error as SessionError).sqlstate ?? "")
    ? userNotFound()
    : error;
}

function userNotFound(): SessionError {
  return new SessionError(
    "USER_NOT_FOUND",
    "Cannot find the user as coatcheck.users must have one row for them: received none",
  );
}

function userAsJson(user: string | UserKey): string {
  if (typeof user === "string") {
    requireUsername(user);
    return JSON.stringify({ username: user });
  }
  requireObject("user", user, "be a username or { userId }");
  if (!("userId" in user)) refuse(TypeError, "user", "be a username or { userId }", kindOf(user));
  const { userId: id } = user;
  if (typeof id === "string") {
    requireText("userId", id, LONGEST_USER);
  } else {
    const desired = "be a safe integer, or text";
    if (typeof id !== "number") refuse(TypeError, "userId", desired, kindOf(id));
    if (!Number.isSafeInteger(id)) refuse(RangeError, "userId", desired, String(id));
  }
  return JSON.stringify({ id });
}

function requireUsername(username: unknown): asserts username is string {
  requireText("username", username, LONGEST_USER);
}

const LONGEST_USER = 1024;
const LONGEST_DATA = 65_536;
