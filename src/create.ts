import { issueCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { tell } from "./events.ts";
import {
  kindOf,
  LONGEST_DATA,
  refuse,
  requireBoolean,
  requireDate,
  requireJson,
  requireKeys,
  requireObject,
  requireText,
} from "./input.ts";
import { type Policy, type Rules, rulesOf } from "./policy.ts";
import { requireRow, type Session, toSession } from "./session.ts";
import { query, type Sql } from "./sql.ts";
import { type EndedRow, INSERT, type InsertedRow, LIMIT, REPLACE } from "./statements.ts";
import { createToken, keyOf, type PresentedToken, type TokenKey, UUID } from "./token.ts";
import { askOfOne, userAsJson, type UserKey } from "./user.ts";

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
  const token = createToken();
  const session = await insert<Data>(sql, rules, user, {
    replaced: typeof presented === "string" ? null : presented,
    token: keyOf(token),
    createdAt: null,
    expiresAt: null,
    persistent,
    data,
  });
  await limitSessions(session.id, sql, rules);
  const maxAge = persistent ? rules.absoluteTimeout : undefined;
  return { session, headers: issueCookie(rules.cookie, token.token, maxAge) };
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
  const rules = rulesOf(options, []);
  requireObject("record", record);
  requireKeys("record", record, ["id", "digest", "userId", "createdAt", "expiresAt", "data"]);
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
    token: keyOf({ id, digest }),
    createdAt,
    expiresAt,
    persistent: true,
    data,
  });
}

interface NewRow {
  readonly replaced: PresentedToken | null;
  readonly token: TokenKey;
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
  const values = [
    userAsJson(user),
    token.id,
    token.digest,
    createdAt?.toISOString() ?? null,
    expiresAt?.toISOString() ?? null,
    rules.absoluteTimeout,
    String(persistent),
    requireJson("data", data, LONGEST_DATA),
  ];
  const row = replaced
    ? await askOfOne<InsertedRow>(sql, REPLACE, [...values, replaced.id, replaced.digest], rules)
    : await askOfOne<InsertedRow>(sql, INSERT, values, rules);
  const session = toSession<Data>(requireRow(INSERT.purpose, [row], token));
  tell(rules.onEvent, { type: "created", id: session.id, userId: session.userId });
  if (row.replaced) tellEnded(rules, row.replaced, "replaced");
  return session;
}

/** Ends what is more than `maxSessions` of the user who has just signed in. */
async function limitSessions(id: string, sql: Sql, rules: Rules): Promise<void> {
  if (rules.maxSessions === false) return;
  const values = [id, rules.absoluteTimeout, rules.idleTimeout, rules.maxSessions];
  const ended = await query<EndedRow>(sql, LIMIT, values, rules.queryTimeout);
  for (const one of ended) tellEnded(rules, one, "limit");
}

function tellEnded(rules: Rules, { id, userId }: EndedRow, reason: string): void {
  tell(rules.onEvent, { type: "revoked", id, userId, reason });
}
