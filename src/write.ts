import { type Context, requireOne } from "./context.ts";
import { SessionError, unexpectedRow } from "./errors.ts";
import { evaluate, type Evaluation } from "./evaluate.ts";
import { emit, idsOf } from "./events.ts";
import type { ResolvedPolicy } from "./policy.ts";
import { refused, type RefusedResult } from "./result.ts";
import { readNumber, readState, requireIntact, type StoredState } from "./session.ts";
import { type Cell, query, type SqlValue, type Statement } from "./sql.ts";
import { FIND_UNREVOKED, REVOKE_REUSED, TOUCH } from "./statements.ts";
import type { PresentedToken } from "./token.ts";

/** The values `$2` to `$6` of a statement about a presented token. */
export function valuesOf(
  { absoluteTimeout, idleTimeout, rotationGrace }: ResolvedPolicy,
  { id, digest }: PresentedToken,
): string[] {
  return [id, digest, ...[absoluteTimeout, idleTimeout, rotationGrace].map(String)];
}

/** Sends a statement about a presented token: `$2` to `$6`, and then its own values. */
export async function queryPresented(
  context: Context,
  presented: PresentedToken,
  statement: Statement,
  own: readonly SqlValue[] = [],
): Promise<Cell[] | undefined> {
  const values = [...valuesOf(context.policy, presented), ...own];
  return requireOne(context, await query(context, statement, values));
}

/** A write to the session of a presented token. */
export interface Write<Result> {
  readonly statement: Statement;
  /** The statement's own values, from `$7` on. */
  readonly values: readonly SqlValue[];
  /** The statement that reads why nothing was written. */
  readonly explanation: Statement;
  /** Makes the result of what was written. */
  readonly changed: (cells: readonly Cell[]) => Result;
  /** Makes the result of a live session that was not written; undefined if it should have been. */
  readonly unchanged: (
    state: StoredState,
    evaluation: Evaluation,
    cells: readonly Cell[],
  ) => Result | undefined | Promise<Result | undefined>;
}

/**
 * Writes to the session of a presented token with one UPDATE. If that changes no row, reads the row and
 * evaluates why.
 *
 * Between the two statements, another one may change the row, so that it seems it should have been written.
 * The write is then tried once more. What was not written is never reported as written.
 */
export async function write<Result extends object>(
  context: Context,
  presented: PresentedToken,
  { statement, values, explanation, changed, unchanged }: Write<Result>,
): Promise<Result | RefusedResult> {
  const { caller, policy } = context;
  for (let attempt = 0; attempt < 2; attempt++) {
    const written = await queryPresented(context, presented, statement, values);
    if (written) return changed(written);
    const cells = await queryPresented(context, presented, explanation, values);
    if (!cells) return refused(policy, { reason: "unknown", id: presented.id });
    const state = readState(caller, cells, presented.id);
    const evaluation = evaluate(state, policy);
    const result = await refuseState(context, state, evaluation.refusal) ??
      await unchanged(state, evaluation, cells);
    if (result) return result;
  }
  const message = `${caller}: other requests changed the session at the same time; try again`;
  throw new SessionError("STORE_UNAVAILABLE", message);
}

/**
 * Refuses an evaluated session, if there is a reason. If its secret was reused, the session is revoked, as
 * two parties hold it.
 */
export async function refuseState(
  context: Context,
  state: StoredState,
  reason: Evaluation["refusal"],
  mayWrite = true,
): Promise<RefusedResult | undefined> {
  if (reason === null) return undefined;
  if (reason === "reused" && mayWrite) await revokeReused(context, state);
  const { revokedReason } = state;
  return refused(context.policy, { reason, ...idsOf(state), revokedReason });
}

/** Revokes the session of a reused secret, unless another statement has made that wrong meanwhile. */
export async function revokeReused(
  context: Context,
  state: StoredState,
): Promise<void> {
  const rows = await query(context, REVOKE_REUSED, [state.id, state.authenticated]);
  if (rows.length > 0) emit(context.policy.onEvent, { type: "reused", ...idsOf(state) });
  else await requireRevoked(context, [state.id, null, state.authenticated]);
}

/**
 * Throws if a session that was not changed is still live. Another call may have revoked it at the same time; if
 * not, a trigger of the app has kept its row as it was, or a policy has hidden it.
 *
 * @param values What FIND_UNREVOKED takes.
 */
export async function requireRevoked(context: Context, values: readonly Cell[]): Promise<void> {
  // Twice, as the first may have begun before the other call was done.
  for (let attempt = 0; attempt < 2; attempt++) {
    if ((await query(context, FIND_UNREVOKED, values)).length === 0) return;
  }
  const message = `${context.caller}: the session is still live; ` +
    "a trigger or a policy of row-level security prevented the revocation";
  throw new SessionError("UNEXPECTED_RESULT", message);
}

/** Records a use and the first presentation of a new secret, if one is due; returns the state after that. */
export async function touch(
  context: Context,
  presented: PresentedToken,
  state: StoredState,
): Promise<StoredState> {
  const { touchInterval } = context.policy;
  const own = [touchInterval === false ? null : String(touchInterval)];
  const touched = await queryPresented(context, presented, TOUCH, own);
  // No row if another statement holds it, or has touched or revoked it meanwhile.
  if (!touched) return state;
  if (touched[0] !== state.id) throw unexpectedRow(context.caller);
  requireIntact(context.caller, touched[2]);
  return { ...state, lastSeenAt: readNumber(context.caller, touched[1]) };
}
