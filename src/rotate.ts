import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import type { RequestHeaders } from "./cookie.ts";
import { tell } from "./events.ts";
import { type Policy, type Rules, rulesOf } from "./policy.ts";
import { type Sql, type SqlValue, type Statement, unexpected } from "./sql.ts";
import { type PresentedRow, REAUTHENTICATE, ROTATE, ROTATE_DUE } from "./statements.ts";
import { deriveToken, keyOf, type PresentedToken, renewToken, type Token } from "./token.ts";
import { askOf, grant, judge, type Opened, present, type Visit } from "./visit.ts";

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
  let candidate: Candidate | undefined;
  const opened = await present<PresentedRow>(headers, sql, rules, ROTATE, (token) => {
    candidate = newCandidate(token);
    return candidate.values;
  });
  return "session" in opened ? opened : turned(opened, candidate!, rules, ROTATE);
}

/** Rotates within a validation; null where somebody holds the row, so that it is for the next one. */
export async function rotateDue<Data extends object>(
  token: PresentedToken,
  sql: Sql,
  rules: Rules,
): Promise<Visit<Data> | null> {
  const candidate = newCandidate(token);
  const rows = await askOf<PresentedRow>(token, sql, rules, ROTATE_DUE, candidate.values);
  if (rows.length === 0) return null;
  const opened = await judge(token, rows, sql, rules, ROTATE_DUE);
  return "session" in opened ? opened : turned(opened, candidate, rules, ROTATE_DUE);
}

/** The new token, if nobody was there before us. */
interface Candidate {
  readonly token: Token;
  readonly values: readonly SqlValue[];
}

function newCandidate(presented: PresentedToken): Candidate {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const token = deriveToken(presented, salt);
  return { token, values: [keyOf(token).digest, bytesToHex(salt)] };
}

function turned<Data extends object>(
  { token, row }: Opened<PresentedRow>,
  candidate: Candidate,
  rules: Rules,
  statement: Statement,
): Visit<Data> {
  if (!row.written) return grant(rules, row, inheritedToken(statement, token, row));
  tell(rules.onEvent, { type: "rotated", id: row.id, userId: row.userId });
  return grant(rules, row, candidate.token);
}

/**
 * The current token, for whoever presented the one before; null where there is none to hand out.
 *
 * @throws {SessionError} `UNEXPECTED_RESULT` if salt and digest of the answer do not belong together.
 */
export function inheritedToken(
  { purpose }: Statement,
  presented: PresentedToken,
  { salt, current }: PresentedRow,
): Token | null {
  if (salt === null) return null;
  const token = /^[0-9a-f]{32}$/.test(salt) ? deriveToken(presented, hexToBytes(salt)) : null;
  if (token === null || keyOf(token).digest !== current) {
    throw unexpected(purpose, "a salt that makes the current secret", "another one");
  }
  return token;
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
  let renewed: Token | undefined;
  const opened = await present<PresentedRow>(headers, sql, rules, REAUTHENTICATE, ({ id }) => {
    renewed = renewToken(id);
    return [keyOf(renewed).digest];
  });
  if ("session" in opened) return opened;
  const { row } = opened;
  if (!row.written) {
    throw unexpected(REAUTHENTICATE.purpose, "a session that was written", "one that was not");
  }
  tell(rules.onEvent, { type: "reauthenticated", id: row.id, userId: row.userId });
  return grant(rules, { ...row, maxAge: rules.absoluteTimeout }, renewed);
}
