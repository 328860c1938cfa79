import { type Context, contextOf } from "./context.ts";
import { issueCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { emit, type SessionEvent } from "./events.ts";
import {
  copyOptions,
  kindOf,
  MAX_SESSION_DATA_BYTES,
  refuse,
  requireBoolean,
  requireDate,
  requireJson,
  requireText,
} from "./input.ts";
import { type Policy, readOptions } from "./policy.ts";
import { revokePresented } from "./revoke.ts";
import { readSession, readUserId, type Session, toSession } from "./session.ts";
import { query, queryEither, type Sql } from "./sql.ts";
import { CREATE, DISCARD, INSERT, LIMIT, LIMIT_UNLOCKED } from "./statements.ts";
import { createToken, keyOf, type PresentedToken, UUID } from "./token.ts";
import { queryUser, readUser, type User } from "./user.ts";

/** The options of one {@linkcode createSession}, beside the policy. */
export interface CreateSessionOptions<Data extends object = Record<string, unknown>> {
  /** What to keep with the session: a JSON object of at most 65,536 bytes. @default {{}} */
  readonly data?: Data;
  /** "Remember me": whether the cookie outlives the browser. @default {policy.cookie.persistent} */
  readonly persistent?: boolean;
  /** The headers of the sign-in request: the session that they present is revoked. */
  readonly replaces?: RequestHeaders;
}

/** A new session, and the headers that set its cookie. */
export interface CreatedSession<Data extends object = Record<string, unknown>> {
  /** The session, as it was stored. */
  readonly session: Session<Data>;
  /** One `Set-Cookie`, and `Cache-Control: no-store`. Append each entry to your response. */
  readonly headers: Headers;
}

/** A session to store as it is, from another system. */
export interface SessionRecord<Data extends object = Record<string, unknown>> {
  /** The user's key, as `coatcheck.users` has it in its column `id`. */
  readonly userId: string | number;
  /** The session's public id: a UUID in lower case. */
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
 * inserts the new one. With `maxSessions` a second one ends what is too many. Nothing is proved here:
 * check the password first. A sign-in that keeps the token of before is session fixation (OWASP Session
 * Management, Renew the Session ID; ASVS 5.0, 7.2.4), so the token is always new; give `replaces` to
 * end the old session with it.
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
  user: string | { readonly userId: string | number },
  sql: Sql,
  options?: Policy & CreateSessionOptions<Data>,
): Promise<CreatedSession<Data>> {
  const { policy, own } = readOptions("createSession", options, CREATE_OPTIONS);
  return await create<Data>(contextOf("createSession", sql, policy), user, own);
}

/** The names in {@linkcode CreateSessionOptions}. */
export const CREATE_OPTIONS = ["data", "persistent", "replaces"] as const;

/** {@linkcode createSession} by a policy that was checked. */
export async function create<Data extends object>(
  context: Context,
  user: User,
  options: CreateSessionOptions<Data>,
): Promise<CreatedSession<Data>> {
  const { caller, policy } = context;
  const { data = {}, persistent = policy.cookie.persistent, replaces } = options;
  requireBoolean(`${caller}: persistent`, persistent);
  const replaced = replaces === undefined
    ? "absent"
    : readToken(`${caller}: replaces`, replaces, policy.cookie.name);
  const { name, id } = readUser(caller, user);
  const json = requireJson(`${caller}: data`, data, MAX_SESSION_DATA_BYTES);
  const token = createToken();
  const key = keyOf(token);
  const values = [key.id, key.digest, String(policy.absoluteTimeout), String(persistent), json];
  const row = name === undefined
    ? await queryUser(context, INSERT, [id!, ...values, null, null])
    : await queryUser(context, CREATE, [name, ...values]);
  const session = toSession<Data>(caller, readSession(caller, row, key.id), policy.idleTimeout);
  const revoked: SessionEvent[] = [];
  try {
    if (typeof replaced !== "string") revoked.push(...await replace(context, replaced));
    if (policy.maxSessions !== false) revoked.push(...await limitSessions(context, key.id));
  } catch (error) {
    // No token of it was handed out: on the devices page it would be a ghost.
    await query(context, DISCARD, [key.id, key.digest]).catch(() => {});
    throw error;
  }
  emit(policy.onEvent, { type: "created", id: session.id, userId: session.userId });
  for (const event of revoked) emit(policy.onEvent, event);
  const maxAge = persistent ? policy.absoluteTimeout : undefined;
  return { session, headers: issueCookie(policy.cookie, token.token, maxAge) };
}

/**
 * Stores a session under an id and a digest of your own: one that comes from another system.
 *
 * INSERT only: an id that exists is an error, and the row that was there stays as it was. It sets no
 * cookie; to bring users over without signing them out, set one that carries `<id>.<secret>`.
 * The session counts as used now, and as authenticated at `createdAt`, but never in the future.
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
  const { policy } = readOptions("insertSession", options, []);
  return await insert<Data>(contextOf("insertSession", sql, policy), record);
}

const RECORD_KEYS = ["id", "digest", "userId", "createdAt", "expiresAt", "data"];

/** {@linkcode insertSession} by a policy that was checked. */
export async function insert<Data extends object>(
  context: Context,
  record: SessionRecord<Data>,
): Promise<Session<Data>> {
  const { caller, policy } = context;
  const subject = `${caller}: record`;
  const { id, digest, userId, createdAt, expiresAt, data = {} } = copyOptions(
    subject,
    record,
    RECORD_KEYS,
  );
  requireText(`${subject}.id`, id, 36);
  if (!UUID.test(id)) {
    refuse(RangeError, `${subject}.id`, "be a UUID in lower case", "something else");
  }
  if (!(digest instanceof Uint8Array)) {
    refuse(TypeError, `${subject}.digest`, "be a Uint8Array", kindOf(digest));
  }
  if (digest.length !== 32) {
    refuse(RangeError, `${subject}.digest`, "be 32 bytes", `${digest.length} bytes`);
  }
  requireDate(`${subject}.createdAt`, createdAt);
  requireDate(`${subject}.expiresAt`, expiresAt);
  if (expiresAt <= createdAt) {
    const actual = expiresAt.toISOString();
    refuse(RangeError, `${subject}.expiresAt`, "be later than createdAt", actual);
  }
  const user = readUser(caller, { userId });
  const row = await queryUser(context, INSERT, [
    user.id!,
    id,
    keyOf({ id, digest }).digest,
    String(policy.absoluteTimeout),
    "true",
    requireJson(`${caller}: data`, data, MAX_SESSION_DATA_BYTES),
    createdAt.toISOString(),
    expiresAt.toISOString(),
  ]);
  const session = toSession<Data>(caller, readSession(caller, row, id), policy.idleTimeout);
  emit(policy.onEvent, { type: "created", id: session.id, userId: session.userId });
  return session;
}

/** Revokes the session that the sign-in request presented. */
async function replace(context: Context, presented: PresentedToken): Promise<SessionEvent[]> {
  const session = await revokePresented(context, presented, "replaced");
  if (!session) return [];
  const { id, userId, revokedReason: reason } = session;
  return [{ type: "revoked", id, userId, reason }];
}

/** Revokes what is more than `maxSessions` of the user who has just signed in. */
async function limitSessions(context: Context, created: string): Promise<SessionEvent[]> {
  const { maxSessions, absoluteTimeout, idleTimeout } = context.policy;
  const values = [created, ...[maxSessions, absoluteTimeout, idleTimeout].map(String)];
  const rows = await queryEither(context, [LIMIT, LIMIT_UNLOCKED], values);
  return rows.map(([id, key, isNumber]) => ({
    type: "revoked",
    id: id!,
    userId: readUserId(context.caller, key, isNumber),
    reason: "limit",
  }));
}
