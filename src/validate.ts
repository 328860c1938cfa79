import { type Context, contextOf } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import { evaluate, type Evaluation, hasPassed } from "./evaluate.ts";
import { requireSeconds } from "./input.ts";
import { MAX_COOKIE_AGE, type Policy, readOptions } from "./policy.ts";
import { findToken, type Found } from "./presented.ts";
import { idsOf } from "./events.ts";
import { granted, refused, type SessionResult } from "./result.ts";
import { rotateDue } from "./rotate.ts";
import { readState, type StoredState } from "./session.ts";
import type { Sql } from "./sql.ts";
import { VALIDATE } from "./statements.ts";
import type { PresentedToken } from "./token.ts";
import { queryPresented, refuseState, touch } from "./write.ts";

/** Options of one {@linkcode validateSession} call, in addition to the policy. */
export interface ValidateSessionOptions {
  /**
   * Maximum seconds since the user last proved their identity, for an action that needs a recent sign-in; 0
   * to 34,560,000. If more have passed, the reason is `stale`. Unset: any live session is accepted.
   */
  readonly authenticatedWithin?: number;
}

/**
 * Finds the live session that a request's cookie opens, and touches it when due.
 *
 * - If the cookie is absent or malformed, no SQL is sent; nor if the session is in the `cache` of the policy.
 * - Otherwise it sends one SELECT, by id and digest. The database's clock decides what is idle or expired.
 * - A second statement follows only if something is due: it records a use (once in `touchInterval`, and when
 *   a new secret is first presented), rotates a secret that is `rotateAfter` seconds old, or revokes the
 *   session of a reused secret. If the current secret must be issued again, as a response was lost or a
 *   parallel request has rotated, two more follow. With `touchInterval: false`, there is only the SELECT.
 * - If the request has several cookies of our name, as after a change of the cookie's attributes, one SELECT
 *   for each comes first. The one that opens a live session is taken. If two sessions are live, or there are
 *   more than eight tokens, the reason is `malformed`; see {@linkcode CookiePolicy.previous}.
 *
 * No session is a result, not an error: `session` is null, and `reason` says why. Only a failing store
 * throws. Show users no more than that they are signed out: the reason is for your log.
 *
 * A policy can end a session sooner than its row says, and never later. `headers` sets a cookie only if the
 * session has a new secret. It never clears the cookie: a late response to an old request would delete the
 * cookie of a newer sign-in.
 *
 * @example
 * ```ts
 * import { createSession, validateSession } from "coatcheck";
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
 * @returns The session and headers; or null, the reason and headers. Send the headers in both cases.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 * @throws {SessionError} If the store fails. Keep the cookie, and answer with 503 if the code is
 * `STORE_UNAVAILABLE` or `STORE_TIMEOUT`.
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

/** {@linkcode validateSession} with a resolved policy. What is answered from memory is no promise. */
export function validate<Data extends object>(
  context: Context,
  headers: RequestHeaders,
  { authenticatedWithin }: ValidateSessionOptions,
): SessionResult<Data> | Promise<SessionResult<Data>> {
  const { caller, policy } = context;
  requireAuthenticatedWithin(caller, authenticatedWithin);
  const found = findToken(context, headers, policy.touchInterval !== false);
  return found instanceof Promise
    ? found.then((token) => validateToken<Data>(context, token, authenticatedWithin))
    : validateToken<Data>(context, found, authenticatedWithin);
}

/** Validates a token, by the cache if it can. */
function validateToken<Data extends object>(
  context: Context,
  found: Found,
  authenticatedWithin: number | undefined,
): SessionResult<Data> | Promise<SessionResult<Data>> {
  const { sql, policy } = context;
  if (typeof found === "string") return refused(policy, { reason: found });
  const known = policy.cache?.find(found, sql, (state) => {
    const { refusal, due } = evaluate(state, policy);
    return refusal === null && due === null && !isStale(state, authenticatedWithin);
  });
  return known
    ? granted<Data>(context, known)
    : validateStored<Data>(context, found, authenticatedWithin);
}

/** Validates a token by its row. */
async function validateStored<Data extends object>(
  context: Context,
  presented: PresentedToken,
  authenticatedWithin: number | undefined,
): Promise<SessionResult<Data>> {
  const { policy } = context;
  const mayWrite = policy.touchInterval !== false;
  const found = await readPresented(context, presented);
  if (!found) return refused(policy, { reason: "unknown", id: presented.id });
  const { state, evaluation: { refusal, due } } = found;
  const refusedState = await refuseState(context, state, refusal, mayWrite);
  if (refusedState) return refusedState;
  const result = due !== null && mayWrite
    ? await writeDue<Data>(context, presented, state, due)
    : granted<Data>(context, state);
  if (result.session === null || !isStale(state, authenticatedWithin)) return result;
  // The session stays live, so a token that was just issued for it must be sent.
  const stale = refused(policy, { reason: "stale", ...idsOf(state), authenticatedWithin });
  stale.headers.forEach((value, name) => result.headers.append(name, value));
  const { token } = result;
  return { ...stale, headers: result.headers, ...(token !== undefined && { token }) };
}

/** Reads and evaluates the row of a token; for the cache, too, if it answers the next validation as well. */
async function readPresented(
  context: Context,
  presented: PresentedToken,
): Promise<{ state: StoredState; evaluation: Evaluation } | undefined> {
  const { caller, sql, policy } = context;
  const reading = policy.cache?.read(presented.id, sql);
  try {
    const cells = await queryPresented(context, presented, VALIDATE);
    if (!cells) return undefined;
    const state = readState(caller, cells, presented.id);
    const evaluation = evaluate(state, policy);
    const { refusal, due, isSettled } = evaluation;
    // Until a rotation is settled, the database must see each use of either secret.
    const isKept = refusal === null && due === null && isSettled && state.isCurrent;
    if (isKept) reading?.keep(presented, state);
    return { state, evaluation };
  } finally {
    reading?.end();
  }
}

function isStale(state: StoredState, authenticatedWithin: number | undefined): boolean {
  return authenticatedWithin !== undefined &&
    hasPassed(state, state.authenticatedAt, authenticatedWithin);
}

/** Refuses an `authenticatedWithin` that is out of range. */
export function requireAuthenticatedWithin(caller: string, value: unknown): void {
  if (value === undefined) return;
  requireSeconds(`${caller}: authenticatedWithin`, value, 0, MAX_COOKIE_AGE);
}

/** Writes what a validation found to be due. */
async function writeDue<Data extends object>(
  context: Context,
  presented: PresentedToken,
  state: StoredState,
  due: "touch" | "rotation" | "reissue",
): Promise<SessionResult<Data>> {
  if (due === "touch") {
    return granted<Data>(context, await touch(context, presented, state));
  }
  return await rotateDue<Data>(context, presented, due) ?? granted<Data>(context, state);
}
