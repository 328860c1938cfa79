import { fromHex, toHex } from "./bytes.ts";
import type { RequestHeaders } from "./cookie.ts";
import { tell } from "./events.ts";
import { type Policy, type Rules, rulesOf } from "./policy.ts";
import { type Sql, type SqlValue, unexpected } from "./sql.ts";
import {
  type PresentedRow,
  REAUTHENTICATE,
  ROTATE,
  ROTATE_DUE,
  type RotatedRow,
} from "./statements.ts";
import { deriveToken, keyOf, type PresentedToken, renewToken, type Token } from "./token.ts";
import { admit, askOf, grant, isRefused, judge, readVisitor, touch, type Visit } from "./visit.ts";

/**
 * Gives a session a new secret: what OWASP calls renewing the session ID.
 *
 * The session stays the same: id, data, deadline and `persistent` are kept. Nobody is lost on the way.
 * Everybody who rotates the same secret is given the same new one, so that a lost answer is healed by
 * asking again. The old secret works until the new one was seen, and `rotationGrace` longer; until then
 * a further rotation changes nothing. After that the old secret is proof that two parties hold the
 * session: it is refused as `reused`, and the session is ended.
 *
 * Whoever holds the old secret while it is accepted can obtain the new one. After a password check or a
 * second factor, use {@linkcode reauthenticateSession}, whose secret nobody inherits.
 *
 * @example
 * ```ts
 * import { createSession, rotateSession, validateSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const cookieOf = (headers: Headers) =>
 *   new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 *
 * const created = await createSession("ada", sql);
 * const rotated = await rotateSession(cookieOf(created.headers), sql);
 * assert.equal(rotated.session?.id, created.session.id);
 * assert.notEqual(rotated.headers.get("set-cookie"), created.headers.get("set-cookie"));
 *
 * // Both work: a request with the old one may be under way.
 * assert.ok((await validateSession(cookieOf(created.headers), sql)).session);
 * assert.ok((await validateSession(cookieOf(rotated.headers), sql)).session);
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy.
 * @returns The session, and headers that hand out its new cookie: none where the presented secret is
 * new itself, as its rotation is not settled. Or null, the reason and headers.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range.
 * @throws {SessionError} If the store fails. The cookie that the browser has works all the same.
 */
export async function rotateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy,
): Promise<Visit<Data>> {
  const rules = rulesOf(options, []);
  const token = readVisitor(headers, sql, rules);
  if (isRefused(token)) return token;
  const candidate = newCandidate(token);
  const row = await judge<RotatedRow>(token, sql, rules, ROTATE, candidate.values);
  if (isRefused(row)) return row;
  return await handOut(token, row, candidate, sql, rules);
}

/** Rotates within a validation; null where somebody holds the row, so that it is for the next one. */
export async function rotateDue<Data extends object>(
  token: PresentedToken,
  sql: Sql,
  rules: Rules,
): Promise<Visit<Data> | null> {
  const candidate = newCandidate(token);
  const rows = await askOf<RotatedRow>(token, sql, rules, ROTATE_DUE, candidate.values);
  if (rows.length === 0) return null;
  const row = await admit(token, rows, sql, rules, ROTATE_DUE);
  return isRefused(row) ? row : await handOut(token, row, candidate, sql, rules);
}

/** The new token, if nobody was there before us. */
interface Candidate {
  readonly token: Token;
  readonly values: readonly SqlValue[];
}

function newCandidate(presented: PresentedToken): Candidate {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const token = deriveToken(presented, salt);
  return { token, values: [keyOf(token).digest, toHex(salt)] };
}

async function handOut<Data extends object>(
  presented: PresentedToken,
  row: RotatedRow,
  candidate: Candidate,
  sql: Sql,
  rules: Rules,
): Promise<Visit<Data>> {
  if (row.written) {
    tell(rules.onEvent, { type: "rotated", id: row.id, userId: row.userId });
    return grant(rules, row, candidate.token, row.written.now);
  }
  // A use all the same, and perhaps the first that is seen of the new secret: were rotations no uses,
  // the old one would never end.
  const touched = await touch(presented, row, sql, rules);
  return grant(rules, touched, heirOf(presented, row), row.heir?.now);
}

/**
 * The current token, for whoever presented the one before; null where there is none to hand out.
 *
 * @throws {SessionError} `UNEXPECTED_RESULT` if salt and digest of the answer do not belong together.
 */
function heirOf(presented: PresentedToken, { heir }: RotatedRow): Token | null {
  if (!heir) return null;
  const isSalt = typeof heir.salt === "string" && /^[0-9a-f]{32}$/.test(heir.salt);
  const salt = isSalt ? fromHex(heir.salt) : new Uint8Array();
  const token = deriveToken(presented, salt);
  if (keyOf(token).digest === heir.digest) return token;
  throw unexpected(ROTATE.purpose, "a salt that makes the current secret", "another one");
}

/**
 * Records that the user has just proved who they are, once more: it proves nothing itself.
 *
 * Call it after your own check of the password or the second factor. `authenticatedAt` moves, both
 * timeouts start anew (NIST SP 800-63B-4, section 5.2), and the secret is replaced by a random one, at
 * once: a thief who holds the old one is out and inherits nothing (OWASP Session Management, Renew the
 * Session ID After Any Privilege Level Change). So is a request of the user's own that is under way with
 * the old cookie; it is `unknown`, and its answer leaves the new cookie alone.
 *
 * @example
 * ```ts
 * import { createSession, reauthenticateSession, validateSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const cookieOf = (headers: Headers) =>
 *   new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 * const before = cookieOf((await createSession("ada", sql)).headers);
 *
 * const stale = await validateSession(before, sql, { authenticatedWithin: 0 });
 * assert.equal(stale.reason, "stale");
 * // Your check of the password comes here.
 * const { headers } = await reauthenticateSession(before, sql);
 * const visit = await validateSession(cookieOf(headers), sql, { authenticatedWithin: 60 });
 * assert.equal(visit.session?.username, "ada");
 * assert.equal((await validateSession(before, sql)).reason, "unknown");
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy.
 * @returns The session, and headers that hand out its new cookie; or null, the reason and headers.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range.
 * @throws {SessionError} If the store fails. After `STORE_TIMEOUT` the old cookie may be dead.
 */
export async function reauthenticateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy,
): Promise<Visit<Data>> {
  const rules = rulesOf(options, []);
  const token = readVisitor(headers, sql, rules);
  if (isRefused(token)) return token;
  const renewed = renewToken(token.id);
  const own = [keyOf(renewed).digest];
  const row = await judge<PresentedRow>(token, sql, rules, REAUTHENTICATE, own);
  if (isRefused(row)) return row;
  if (!row.written) {
    throw unexpected(REAUTHENTICATE.purpose, "a session that was changed", "one that was not");
  }
  tell(rules.onEvent, { type: "reauthenticated", id: row.id, userId: row.userId });
  return grant(rules, row, renewed, row.written.now);
}
