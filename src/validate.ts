import type { RequestHeaders } from "./cookie.ts";
import { requireSeconds } from "./input.ts";
import { type Judgement, judgementOf } from "./judgement.ts";
import { LONGEST_COOKIE, type Policy, type Rules, rulesOf } from "./policy.ts";
import { rotateDue } from "./rotate.ts";
import { query, type Sql } from "./sql.ts";
import { type FoundRow, VALIDATE } from "./statements.ts";
import type { PresentedToken } from "./token.ts";
import { admit, grant, isRefused, readVisitor, refusal, touch, type Visit } from "./visit.ts";

/** What belongs to one call of {@linkcode validateSession}. */
export interface ValidateCall {
  /**
   * Seconds within which the user must have proved who they are, for an action that asks for more than
   * a session: else the reason is `stale`. 0 to 34,560,000. Unset: any session will do.
   */
  readonly authenticatedWithin?: number;
}

/**
 * Finds the live session that a request's cookie opens, and touches it when due.
 *
 * One SELECT; an UPDATE follows at most once in `touchInterval`, at the first sight of a rotated secret,
 * when `rotateAfter` has passed, and when a secret comes back that was rotated away. A cookie that is
 * absent or malformed costs no SQL. A session that is not there is an answer, with its reason; only a
 * failing store throws. The headers never clear the cookie: a late answer to an old cookie would delete
 * the new one that a sign-in has set meanwhile. It ends by itself at the absolute deadline.
 *
 * @example
 * ```ts
 * import { createSession, validateSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { headers } = await createSession("ada", sql);
 * const cookie = headers.get("set-cookie")!.split(";")[0]!;
 *
 * const { session, reason } = await validateSession(new Headers({ cookie }), sql);
 * assert.equal(session?.username, "ada");
 * assert.equal(reason, undefined);
 * assert.equal((await validateSession(new Headers(), sql)).reason, "absent");
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `authenticatedWithin`.
 * @returns The session and headers; or null, the reason and headers. Send the headers either way.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range.
 * @throws {SessionError} If the store fails. Leave the cookie alone, and answer with 503 where its code
 * says to try again.
 */
export async function validateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy & ValidateCall,
): Promise<Visit<Data>> {
  const rules = rulesOf(options, ["authenticatedWithin"]);
  const { authenticatedWithin } = options ?? {};
  requireWithin(authenticatedWithin);
  const token = readVisitor(headers, sql, rules);
  if (isRefused(token)) return token;
  const values = [token.id, token.digest];
  const found = await query<FoundRow>(sql, VALIDATE, values, rules.queryTimeout);
  const judged = found.map((row) => judgementOf(row, token, rules, authenticatedWithin));
  const row = await admit(token, judged, sql, rules, VALIDATE);
  if (isRefused(row)) return row;
  const visit = await note<Data>(token, row, sql, rules);
  if (visit.session === null || !row.stale) return visit;
  // The session goes on, and so does a cookie that it was given just now.
  const { id, userId } = row;
  return { ...refusal(rules, { reason: "stale", id, userId }), headers: visit.headers };
}

/** Refuses an `authenticatedWithin` that is no such number of seconds. */
export function requireWithin(value: unknown): void {
  if (value !== undefined) requireSeconds("authenticatedWithin", value, 0, LONGEST_COOKIE);
}

/** Writes down what a validation found due, if it may. */
async function note<Data extends object>(
  token: PresentedToken,
  row: Judgement,
  sql: Sql,
  rules: Rules,
): Promise<Visit<Data>> {
  if (row.due === null || rules.touchInterval === false) return grant(rules, row);
  if (row.due === "touch") return grant(rules, await touch(token, row, sql, rules));
  return await rotateDue<Data>(token, sql, rules) ?? grant(rules, row);
}
