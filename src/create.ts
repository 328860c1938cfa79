import { type Context, contextOf } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import { SessionError } from "./errors.ts";
import { emit, idsOf, type SessionEvent } from "./events.ts";
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
import { findToken } from "./presented.ts";
import { revokePresented } from "./revoke.ts";
import {
  readSession,
  readUserId,
  requireIntact,
  type Session,
  SESSION_CELLS,
  toSession,
} from "./session.ts";
import { arrayOf, type Cell, query, queryEither, type Sql } from "./sql.ts";
import {
  CREATE,
  CREATE_KEEPING,
  DISCARD,
  INSERT,
  INSERT_KEEPING,
  LIMIT,
  LIMIT_UNLOCKED,
  MAX_REVOKED,
  VALIDATE,
} from "./statements.ts";
import { createToken, keyOf, type TokenKey, UUID } from "./token.ts";
import { issueToken, readTokens } from "./transport.ts";
import { queryUser, readUser, type User } from "./user.ts";
import { valuesOf } from "./write.ts";

/** Options of one {@linkcode createSession} call, in addition to the policy. */
export interface CreateSessionOptions<Data extends object = Record<string, unknown>> {
  /** What to keep with the session: a JSON object of at most 65,536 bytes. @default {{}} */
  readonly data?: Data;
  /** "Remember me": whether the cookie outlives the browser. @default {policy.cookie.persistent} */
  readonly persistent?: boolean;
  /**
   * The headers of the sign-in request. The session that they present is revoked, or each of them if there are
   * several cookies of our name. Unset: it stays live.
   */
  readonly replaces?: RequestHeaders;
  /**
   * The keys of a guest's data to keep, if `replaces` presents a guest; at most 100. Keys in `data` win. Another
   * user's data is never kept. If the data is too large then, none is kept, and the event `dropped` says so. An
   * attacker may have planted the guest's cookie: keep a cart or a theme, and no address to return to. If a later
   * step fails, the guest is over all the same, unless the call is in a transaction of yours.
   */
  readonly keep?: readonly string[];
}

/** A new session, and the headers that set its cookie. */
export interface CreatedSession<Data extends object = Record<string, unknown>> {
  /** The session as it was stored. */
  readonly session: Session<Data>;
  /**
   * One `Set-Cookie`, and `Cache-Control: no-store`. Append each entry to your response. More `Set-Cookie` lines
   * before it clear previous cookies: if `replaces` has several, or by {@linkcode CookiePolicy.previous}.
   */
  readonly headers: Headers;
  /** The token, if `transport` is `bearer`: send it in the body. The headers have no cookie then. */
  readonly token?: string;
}

/** A session to store as it is. */
export interface SessionRecord<Data extends object = Record<string, unknown>> {
  /** The user's key, as `coatcheck.users` has it in its column `id`. Pass a bigint as a string. */
  readonly userId: string | number;
  /** The session id: a UUID in lower case that is not in the table yet. */
  readonly id: string;
  /** SHA-256 of the secret's 32 bytes: 32 bytes. {@linkcode createToken} makes one. */
  readonly digest: Uint8Array;
  /** When the user signed in; a year from 1 to 9999. */
  readonly createdAt: Date;
  /** When the session ends regardless of use; later than `createdAt`. */
  readonly expiresAt: Date;
  /** Whether the cookie outlives the browser. @default {true} */
  readonly persistent?: boolean;
  /** What to keep with the session: a JSON object of at most 65,536 bytes. @default {{}} */
  readonly data?: Data;
}

/**
 * Creates a session for an authenticated user, stores it, and returns the headers that set its cookie.
 *
 * It does not authenticate the user: check the password, the passkey or the OAuth response first. The token
 * is always new, so an attacker who planted a cookie before the sign-in does not share the session (session
 * fixation: OWASP Session Management, Renew the Session ID; ASVS 5.0, 7.2.4). Pass the request's headers as
 * `replaces` to revoke the session that this browser had.
 *
 * In a transaction of yours, the session is part of it: after a rollback, the cookie opens nothing.
 *
 * What it does, in this order. If a step fails, the call throws, and no cookie is returned:
 *
 * 1. Checks every argument, before any SQL.
 * 2. Makes a token, as {@linkcode createToken} does: a UUIDv4 as id, a secret of 32 random bytes, and its
 *    SHA-256.
 * 3. Inserts the row, with one statement. PostgreSQL finds the user through the view `coatcheck.users`, and
 *    takes the time from `statement_timestamp()`: `created_at`, `authenticated_at` and `last_seen_at` are
 *    now, `expires_at` is `absoluteTimeout` later. It only inserts, and never changes an existing row.
 * 4. Compares the id of the returned row with its own, so that another query's row is never read as this
 *    session.
 *    With `keep`, and a guest that `replaces` presents, the same statement revokes the guest and takes its data
 *    over.
 * 5. With `replaces`: revokes the session that those headers present, whichever user it belongs to, with a
 *    second statement; one more for each further cookie of our name. The reason is `replaced`.
 * 6. With `maxSessions`: revokes the user's sessions above the limit, with one more statement, the least
 *    recently used first. The reason is `limit`. The new session stays.
 * 7. Writes the cookie: always `HttpOnly`; `Secure`, `SameSite=Lax` and `Path=/` unless the policy says
 *    otherwise; and a `Max-Age` of `absoluteTimeout` seconds if it is persistent. `Cache-Control: no-store`
 *    goes with it.
 *
 * If step 5 or 6 fails, it deletes the new row if it can. Otherwise the row stays until it expires, and no
 * cookie opens it.
 *
 * It descends from a function in Go, `CreateSession(username, db, w)`, which queried the user id, used a
 * UUIDv4 as session id and as credential, inserted it, and set the cookie on a `ResponseWriter`. Here the
 * user is found in the same statement, the credential is a secret of its own that the database never holds,
 * the database's clock decides, and the cookie is a result.
 *
 * @example
 * ```ts
 * import { createSession } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const request = new Request("https://app.example/sign-in", { method: "POST" });
 *
 * // After your own check of the password:
 * const { session, headers } = await createSession("ada", sql, {
 *   data: { device: "laptop" },
 *   replaces: request.headers,
 * });
 * const response = Response.json({ signedInUntil: session.expiresAt }, { headers });
 *
 * assert.equal(session.username, "ada");
 * const cookie = response.headers.get("set-cookie")!;
 * assert.match(cookie, /^__Host-session=.{80}; Secure; HttpOnly; Max-Age=2592000/);
 * await sql.end();
 * ```
 *
 * @param user The username, 1 to 1,024 bytes, compared by PostgreSQL as it is; or `{ userId }`, if you know
 * the user's key.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `data`, `persistent` and `replaces` of this call.
 * @returns The session as it was stored, and new `Headers` with one `Set-Cookie`, the last if others clear
 * previous cookies. Append each entry to your response: an object made of them loses cookies if there are
 * several.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If the username, an option or `data` is out of range, or is text that PostgreSQL
 * cannot hold.
 * @throws {SessionError} If the user does not exist (`USER_NOT_FOUND`), two users match
 * (`UNEXPECTED_RESULT`), or the store fails. If the answer was lost (`STORE_TIMEOUT`, `STORE_UNAVAILABLE`), a
 * row may exist, but no cookie opens it: you can try again.
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
export const CREATE_OPTIONS = ["data", "persistent", "replaces", "keep"] as const;

/** {@linkcode createSession} with a resolved policy. */
export async function create<Data extends object>(
  context: Context,
  user: User,
  options: CreateSessionOptions<Data>,
): Promise<CreatedSession<Data>> {
  const { caller, policy } = context;
  const { data = {}, persistent = policy.cookie.persistent, replaces, keep } = options;
  requireBoolean(`${caller}: persistent`, persistent);
  const kept = keep === undefined ? undefined : readKeys(`${caller}: keep`, keep, replaces);
  const replaced = replaces === undefined
    ? undefined
    : readTokens(`${caller}: replaces`, replaces, policy, true);
  const { name, id } = readUser(caller, user);
  const json = requireJson(`${caller}: data`, data, MAX_SESSION_DATA_BYTES);
  const token = createToken();
  const key = keyOf(token);
  const guest = kept && await findToken(context, replaces!, false);
  let row: Cell[];
  if (guest && typeof guest !== "string") {
    const values = [name ?? id, key.id, key.digest, String(persistent), json, arrayOf(kept)];
    const statement = name === null ? INSERT_KEEPING : CREATE_KEEPING;
    row = await queryUser(context, statement, [...valuesOf(policy, guest), ...values]);
  } else {
    const values = [key.id, key.digest, String(policy.absoluteTimeout), String(persistent), json];
    row = name === null
      ? await queryUser(context, INSERT, [id, ...values, null, null])
      : await queryUser(context, CREATE, [name, ...values]);
  }
  const [isCitus, replacedGuest, isDropped] = row.slice(SESSION_CELLS + 1);
  const revoked: SessionEvent[] = replacedGuest
    ? [{ type: "revoked", id: replacedGuest, reason: "replaced" }]
    : [];
  let session: Session<Data>;
  try {
    requireIntact(caller, row[SESSION_CELLS]);
    session = toSession<Data>(caller, readSession(caller, row, key.id), policy.idleTimeout);
    await requireCommitted(context, key, isCitus);
    if (replaced) {
      for await (const it of revokePresented(context, replaced.tokens, "replaced")) {
        revoked.push({ type: "revoked", ...idsOf(it), reason: it.revokedReason });
      }
    }
    if (policy.maxSessions !== false) await limitSessions(context, key.id, revoked);
    emit(policy.onEvent, { type: "created", ...idsOf(session) });
    if (isDropped === "true") emit(policy.onEvent, { type: "dropped", ...idsOf(session) });
  } catch (error) {
    // No cookie opens it. On a page of devices, it would be a session that no browser has.
    await discard(context, key.id);
    throw error;
  } finally {
    for (const event of revoked) emit(policy.onEvent, event);
  }
  const maxAge = session.persistent ? policy.absoluteTimeout : undefined;
  return { session, ...issueToken(policy, token.token, maxAge, replaced?.areSeveral) };
}

/** Reads the keys to keep. */
function readKeys(subject: string, keys: unknown, replaces: unknown): string[] {
  if (!Array.isArray(keys)) refuse(TypeError, subject, "be an array", kindOf(keys));
  if (replaces === undefined) refuse(TypeError, subject, "have replaces beside it", "none");
  if (keys.length > MAX_KEYS) {
    refuse(RangeError, subject, `be at most ${MAX_KEYS} keys`, `${keys.length}`);
  }
  return Array.from(keys, (key, index) => {
    requireText(`${subject}[${index}]`, key, MAX_KEY_BYTES);
    return key;
  });
}

const MAX_KEYS = 100;
const MAX_KEY_BYTES = 1024;

/**
 * Stores a session under an id, a digest and times that you choose.
 *
 * Use it to import sessions from another system, or to write a cookie of your own. It sets no cookie and
 * revokes nothing: `replaces` and `maxSessions` belong to {@linkcode createSession}. To keep imported users
 * signed in, answer their next request with a cookie that carries `<id>.<secret>`; docs/moving.md in the
 * repository has recipes for five other libraries.
 *
 * What it does, in this order:
 *
 * 1. Checks every field of the record, before any SQL.
 * 2. Inserts the row, with one statement, if the user is in the view `coatcheck.users`. `created_at` and
 *    `expires_at` are the record's. `authenticated_at` is `createdAt`, but never in the future.
 *    `last_seen_at` is now, so that no session is idle on arrival. It only inserts: if the id exists, the
 *    existing row stays as it was.
 * 3. Compares the id of the returned row with the record's.
 *
 * It descends from a function in Go, `insertSessionToDB(db, user_id, user_uuid, createdAt, expireAt)`, which
 * prepared an INSERT and returned its error. Here the row also holds the digest of the secret, the statement
 * is constant and the client prepares it, and an error carries no statement and no parameter.
 *
 * @example
 * ```ts
 * import { createToken, getUserId, insertSession, validateSession } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { id, digest, token } = createToken();
 * const session = await insertSession({
 *   id,
 *   digest,
 *   userId: await getUserId("ada", sql),
 *   createdAt: new Date(),
 *   expiresAt: new Date(Date.now() + 3_600_000),
 * }, sql);
 *
 * const request = new Headers({ cookie: `__Host-session=${token}` });
 * assert.equal((await validateSession(request, sql)).session?.id, session.id);
 * await sql.end();
 * ```
 *
 * @param record The session: `id`, `digest`, `userId`, `createdAt`, `expiresAt`, and `data`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy. `queryTimeout`, `idleTimeout` (for `idleExpiresAt`) and `onEvent` apply.
 * @returns The session as it was stored.
 * @throws {TypeError} If an argument or a field has the wrong type. The message names it.
 * @throws {RangeError} If a field is out of range: an `id` that is not a UUID in lower case, a `digest` that
 * is not 32 bytes, an `expiresAt` that is not after `createdAt`.
 * @throws {SessionError} If no user has that key (`USER_NOT_FOUND`), the id exists (`STORE_REJECTED`,
 * `sqlstate` 23505), or the store fails.
 */
export async function insertSession<Data extends object = Record<string, unknown>>(
  record: SessionRecord<Data>,
  sql: Sql,
  options?: Policy,
): Promise<Session<Data>> {
  const { policy } = readOptions("insertSession", options, []);
  return await insert<Data>(contextOf("insertSession", sql, policy), record);
}

const RECORD_KEYS = ["id", "digest", "userId", "createdAt", "expiresAt", "persistent", "data"];

/** {@linkcode insertSession} with a resolved policy. */
export async function insert<Data extends object>(
  context: Context,
  record: SessionRecord<Data>,
): Promise<Session<Data>> {
  const { caller, policy } = context;
  const subject = `${caller}: record`;
  const { id, digest, userId, createdAt, expiresAt, persistent = true, data = {} } = copyOptions(
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
  requireBoolean(`${subject}.persistent`, persistent);
  const user = readUser(caller, { userId });
  const key = keyOf({ id, digest });
  const row = await queryUser(context, INSERT, [
    user.id,
    id,
    key.digest,
    String(policy.absoluteTimeout),
    String(persistent),
    requireJson(`${caller}: data`, data, MAX_SESSION_DATA_BYTES),
    createdAt.toISOString(),
    expiresAt.toISOString(),
  ]);
  let session: Session<Data>;
  try {
    requireIntact(caller, row[SESSION_CELLS]);
    session = toSession<Data>(caller, readSession(caller, row, id), policy.idleTimeout);
    await requireCommitted(context, key, row[SESSION_CELLS + 1]);
  } catch (error) {
    await discard(context, id);
    throw error;
  }
  emit(policy.onEvent, { type: "created", id: session.id, userId: session.userId });
  return session;
}

/**
 * Throws if Citus has reported a new session that is not there. It commits in two phases, and says nothing if the
 * second one fails: the session would be live later, and until then no revocation would see it.
 */
export async function requireCommitted(
  context: Context,
  { id, digest }: TokenKey,
  isCitus: Cell | undefined,
): Promise<void> {
  if (isCitus !== "true") return;
  if ((await query(context, VALIDATE, [id, digest])).length > 0) return;
  const message = `${context.caller}: the database has not committed the session; try again`;
  throw new SessionError("STORE_UNAVAILABLE", message);
}

/** Deletes a session whose creation failed, if it can: the first error is the one to report. */
export async function discard(context: Context, id: string): Promise<void> {
  await query(context, DISCARD, [id]).catch(() => {});
}

/**
 * Revokes what is more than `maxSessions` of the user who has just signed in. A session whose row another
 * statement holds is tried again for half a second; then it stays, until the user's next sign-in.
 */
async function limitSessions(
  context: Context,
  created: string,
  events: SessionEvent[],
): Promise<void> {
  const { maxSessions, absoluteTimeout, idleTimeout } = context.policy;
  const values = [created, ...[maxSessions, absoluteTimeout, idleTimeout].map(String)];
  for (let wait = 2;;) {
    let skipped = 0;
    const before = events.length;
    for (const [id, key, type] of await queryEither(context, [LIMIT, LIMIT_UNLOCKED], values)) {
      if (key === null && type === null) skipped++;
      else {
        const userId = readUserId(context.caller, key, type);
        events.push({ type: "revoked", id: id!, userId, reason: "limit" });
      }
    }
    if (events.length - before >= MAX_REVOKED) continue;
    if (skipped === 0 || wait > MAX_LIMIT_WAIT) return;
    // Random, as two sign-ins that have skipped each other's rows would meet again.
    await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random())));
    wait *= 2;
  }
}

/** Milliseconds. */
const MAX_LIMIT_WAIT = 256;
