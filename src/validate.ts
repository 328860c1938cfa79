import { type Context, contextOf } from "./context.ts";
import { readToken, type RequestHeaders } from "./cookie.ts";
import { evaluate, hasPassed, readState, type StoredState } from "./evaluate.ts";
import { requireSeconds } from "./input.ts";
import { MAX_COOKIE_AGE, type Policy, readOptions } from "./policy.ts";
import { granted, refused, type SessionResult } from "./result.ts";
import { rotateDue } from "./rotate.ts";
import { requireSql, type Sql } from "./sql.ts";
import { VALIDATE } from "./statements.ts";
import type { PresentedToken } from "./token.ts";
import { queryPresented, refuseState, touch } from "./write.ts";

/** The options of one {@linkcode validateSession}, beside the policy. */
export interface ValidateSessionOptions {
  /**
   * Seconds within which the user must have proved who they are, for an action that asks for more than
   * a session: else the reason is `stale`. 0 to 34,560,000. Unset: any live session is accepted.
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
  options?: Policy & ValidateSessionOptions,
): Promise<SessionResult<Data>> {
  const { policy, own } = readOptions("validateSession", options, VALIDATE_OPTIONS);
  return await validate<Data>(contextOf("validateSession", sql, policy), headers, own);
}

/** The names in {@linkcode ValidateSessionOptions}. */
export const VALIDATE_OPTIONS = ["authenticatedWithin"] as const;

/** {@linkcode validateSession} by a policy that was checked. */
export async function validate<Data extends object>(
  context: Context,
  headers: RequestHeaders,
  { authenticatedWithin }: ValidateSessionOptions,
): Promise<SessionResult<Data>> {
  const { caller, sql, policy } = context;
  requireAuthenticatedWithin(caller, authenticatedWithin);
  requireSql(caller, sql);
  const presented = readToken(`${caller}: headers`, headers, policy.cookie.name);
  if (typeof presented === "string") return refused(policy, { reason: presented });
  const cells = await queryPresented(context, presented, VALIDATE);
  if (!cells) return refused(policy, { reason: "unknown", id: presented.id });
  const state = readState(caller, cells, presented.id);
  const { refusal, due } = evaluate(state, policy);
  const mayWrite = policy.touchInterval !== false;
  const refusedState = await refuseState(context, state, refusal, mayWrite);
  if (refusedState) return refusedState;
  const result = due !== null && mayWrite
    ? await writeDue<Data>(context, presented, state, due)
    : granted<Data>(context, state);
  const isStale = authenticatedWithin !== undefined &&
    hasPassed(state, state.authenticatedAt, authenticatedWithin);
  if (result.session === null || !isStale) return result;
  // The session stays, and so does a cookie that was issued for it just now.
  const { id, userId } = state;
  return { ...refused(policy, { reason: "stale", id, userId }), headers: result.headers };
}

/** Refuses an `authenticatedWithin` that is no such number of seconds. */
export function requireAuthenticatedWithin(caller: string, value: unknown): void {
  if (value === undefined) return;
  requireSeconds(`${caller}: authenticatedWithin`, value, 0, MAX_COOKIE_AGE);
}

/** Writes what a validation found due. */
async function writeDue<Data extends object>(
  context: Context,
  presented: PresentedToken,
  state: StoredState,
  due: "touch" | "rotation" | "heir",
): Promise<SessionResult<Data>> {
  if (due === "touch") {
    return granted<Data>(context, await touch(context, presented, state));
  }
  return await rotateDue<Data>(context, presented, due) ?? granted<Data>(context, state);
}
