import { fromHex, toHex } from "./bytes.ts";
import { type Context, contextOf } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import { unexpected } from "./errors.ts";
import { evaluate } from "./evaluate.ts";
import { type Policy, readOptions } from "./policy.ts";
import { findToken } from "./presented.ts";
import { granted, type NewToken, refused, renewed, type SessionResult } from "./result.ts";
import { readState, STATE_CELLS, type StoredState } from "./session.ts";
import type { Cell, Sql } from "./sql.ts";
import { EXPLAIN, EXPLAIN_DUE, ROTATE, ROTATE_DUE } from "./statements.ts";
import { deriveToken, keyOf, type PresentedToken, type Token } from "./token.ts";
import { queryPresented, refuseState, touch, write } from "./write.ts";

/**
 * Gives a session a new secret, and keeps its id, data, deadline and `persistent`.
 *
 * OWASP calls this renewing the session ID. It is race-safe: the new secret is derived from the old one, so
 * parallel requests that rotate the same secret get the same new one, and so does a request after a lost
 * response. The previous secret is accepted until the new one is first presented, and for `rotationGrace`
 * seconds after that. If it comes back later, two parties hold the session, and the session is revoked.
 *
 * | presented secret | last rotation | result |
 * | --- | --- | --- |
 * | current | settled, or none | a new secret, derived from the old one and a random salt |
 * | current | not settled | no new secret, no cookie |
 * | previous | not settled | no new secret; the cookie of that rotation, the same for every caller |
 * | previous | settled | `reused`: the session is revoked |
 * | any other | | `unknown`: nothing changes |
 *
 * A rotation is settled `rotationGrace` seconds after the new secret was first presented. The cookie's
 * `Max-Age` is the time until the deadline.
 *
 * It sends one UPDATE. If that changes no row, a second statement reads why; a third one records the use, or
 * revokes the session of a reused secret.
 *
 * An attacker who holds the previous secret while it is accepted gets the new one too. After a check of the
 * password or of a second factor, call {@linkcode reauthenticateSession}: its secret is random.
 *
 * @example
 * ```ts
 * import { createSession, rotateSession, validateSession } from "coatcheck";
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
 * // Both cookies work: a request with the old one may be in flight.
 * assert.ok((await validateSession(cookieOf(created.headers), sql)).session);
 * assert.ok((await validateSession(cookieOf(rotated.headers), sql)).session);
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy.
 * @returns The session, and headers that set its new cookie if there is one; or null, the reason and headers.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 * @throws {SessionError} If the store fails. The browser's cookie still works.
 */
export async function rotateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy,
): Promise<SessionResult<Data>> {
  const { policy } = readOptions("rotateSession", options, []);
  return await rotate<Data>(contextOf("rotateSession", sql, policy), headers);
}

/** {@linkcode rotateSession} with a resolved policy. */
export async function rotate<Data extends object>(
  context: Context,
  headers: RequestHeaders,
): Promise<SessionResult<Data>> {
  const { policy } = context;
  const presented = await findToken(context, headers);
  if (typeof presented === "string") return refused(policy, { reason: presented });
  const { token, values } = newSecret(presented);
  return await write<SessionResult<Data>>(context, presented, {
    statement: ROTATE,
    values,
    explanation: EXPLAIN,
    changed: (cells) => renewed<Data>(context, "rotated", token, cells),
    unchanged: (state, { isSettled }, cells) =>
      state.isCurrent && isSettled ? undefined : handOut<Data>(context, presented, state, cells),
  });
}

/**
 * Rotates within a validation, or issues the current secret of a lost answer again. Returns undefined if
 * another statement holds the row: the next validation does it.
 */
export async function rotateDue<Data extends object>(
  context: Context,
  presented: PresentedToken,
  due: "rotation" | "reissue",
): Promise<SessionResult<Data> | undefined> {
  const { caller, policy } = context;
  if (due === "rotation") {
    const { token, values } = newSecret(presented);
    const cells = await queryPresented(context, presented, ROTATE_DUE, values);
    if (cells) return renewed<Data>(context, "rotated", token, cells);
  }
  const cells = await queryPresented(context, presented, EXPLAIN_DUE);
  if (!cells) return undefined;
  const state = readState(caller, cells, presented.id);
  return await refuseState(context, state, evaluate(state, policy).refusal) ??
    await handOut<Data>(context, presented, state, cells);
}

/** Derives the next secret from a presented one and a new salt; returns the values that store it. */
function newSecret(presented: PresentedToken): { token: Token; values: string[] } {
  const salt = crypto.getRandomValues(new Uint8Array(16));
  const token = deriveToken(presented, salt);
  return { token, values: [keyOf(token).digest, toHex(salt)] };
}

/**
 * Makes the result for a session that another call has rotated, or whose rotation is not settled. This is a
 * use too, and perhaps the first one of the new secret: unrecorded, the previous secret would be accepted
 * forever.
 */
async function handOut<Data extends object>(
  context: Context,
  presented: PresentedToken,
  state: StoredState,
  cells: readonly Cell[],
): Promise<SessionResult<Data>> {
  const current = reissue(context, presented, state, cells);
  return granted<Data>(context, await touch(context, presented, state), current);
}

/**
 * Derives the current token from the presented previous secret; undefined if the current secret was
 * presented.
 *
 * @throws {SessionError} `UNEXPECTED_RESULT` if salt and digest of the row do not belong together.
 */
function reissue(
  { caller }: Context,
  presented: PresentedToken,
  state: StoredState,
  cells: readonly Cell[],
): NewToken | undefined {
  const [digest, salt] = cells.slice(STATE_CELLS);
  if (state.isCurrent || salt === null) return undefined;
  if (salt !== undefined && /^[0-9a-f]{32}$/.test(salt)) {
    const token = deriveToken(presented, fromHex(salt));
    if (keyOf(token).digest === digest) return { token, clock: state.clock };
  }
  throw unexpected(caller, "a salt that derives the current secret", "another one");
}
