import type { ResolvedPolicy } from "./policy.ts";
import type { RefusalReason } from "./events.ts";
import {
  readBoolean,
  readNumber,
  readSession,
  SESSION_CELLS,
  type StoredSession,
} from "./session.ts";
import type { Cell } from "./sql.ts";

/** A session, and what its row says about its end and its rotation. Instants as in the session. */
export interface StoredState extends StoredSession {
  /** The database's clock. */
  readonly clock: number;
  readonly isRevoked: boolean;
  readonly revokedReason: string | null;
  /** Whether there is a previous secret. */
  readonly isRotated: boolean;
  readonly rotatedAt: number | null;
  /** When the new secret was first presented. */
  readonly rotationSeenAt: number | null;
  /** Whether a standby has answered, which may lag behind. */
  readonly isStandby: boolean;
  /** Whether the presented secret is the current one; if not, it is the previous one. */
  readonly isCurrent: boolean;
  /** When the user last proved their identity, as the text of the row. */
  readonly authenticated: Cell;
}

/** How many cells {@linkcode readState} reads. */
export const STATE_CELLS: number = SESSION_CELLS + 8;

/** Reads the columns of VALIDATE, which the statements that explain have in the same places. */
export function readState(caller: string, cells: readonly Cell[], id: string): StoredState {
  const session = readSession(caller, cells, id);
  const state = cells.slice(SESSION_CELLS);
  const [clock, isRevoked, reason, isRotated, rotated, seen, isStandby, isCurrent] = state;
  return {
    ...session,
    clock: readNumber(caller, clock),
    isRevoked: readBoolean(caller, isRevoked),
    revokedReason: reason ?? null,
    isRotated: readBoolean(caller, isRotated),
    rotatedAt: rotated === null ? null : readNumber(caller, rotated),
    rotationSeenAt: seen === null ? null : readNumber(caller, seen),
    isStandby: readBoolean(caller, isStandby),
    isCurrent: readBoolean(caller, isCurrent),
    authenticated: cells[5] ?? null,
  };
}

/** What a policy says about a session. */
export interface Evaluation {
  /** Why the session is not live for the presented secret; null if it is. */
  readonly refusal:
    | Exclude<RefusalReason, "absent" | "malformed" | "unknown" | "stale" | "guest">
    | null;
  /** Whether the last rotation is settled: the previous secret is no longer accepted. */
  readonly isSettled: boolean;
  /**
   * What to write: the use, a rotation by age, or nothing. `reissue`: the previous secret was presented, and the
   * current one never was. The answer with it was lost, so it is issued again.
   */
  readonly due: "touch" | "rotation" | "reissue" | null;
}

/**
 * Evaluates a session by the policy of this call and the database's clock.
 *
 * LIVE and OPENED in statements.ts say the same in SQL, for the statements that write; a test compares the
 * two. A policy can only lower the stored deadline (CVE-2024-35220). No session lasts forever: an infinite
 * instant ends it, and so does one that lies after the deadline.
 */
export function evaluate(state: StoredState, policy: ResolvedPolicy): Evaluation {
  const { isCurrent, isRotated, rotationSeenAt } = state;
  const { rotateAfter, touchInterval } = policy;
  const isSettled = !isRotated ||
    rotationSeenAt !== null && hasPassed(state, rotationSeenAt, policy.rotationGrace);
  const isUnseen = isRotated && rotationSeenAt === null;

  const { clock, createdAt, authenticatedAt, lastSeenAt, expiresAt } = state;
  const isOver = expiresAt <= Math.max(clock, createdAt, authenticatedAt, lastSeenAt) ||
    hasPassed(state, authenticatedAt, policy.absoluteTimeout);
  let refusal: Evaluation["refusal"] = null;
  if (state.isRevoked) refusal = "revoked";
  else if (isOver) refusal = "expired";
  else if (hasPassed(state, lastSeenAt, policy.idleTimeout)) refusal = "idle";
  else if (!Number.isFinite(createdAt) || expiresAt === Infinity) refusal = "expired";
  else if (isSettled && !isCurrent) refusal = "reused";
  else if (state.userId !== null && state.username === null) refusal = "user";

  let due: Evaluation["due"] = null;
  const isOld = rotateAfter !== false &&
    hasPassed(state, state.rotatedAt ?? authenticatedAt, rotateAfter);
  if (isUnseen && !isCurrent) due = "reissue";
  else if (isOld && isCurrent && isSettled) due = "rotation";
  else if (isUnseen) due = "touch";
  else if (touchInterval !== false && hasPassed(state, lastSeenAt, touchInterval)) {
    due = "touch";
  }
  return { refusal, isSettled, due };
}

/**
 * Whether so many seconds have passed since an instant, by the database's clock. An instant that lies as far
 * ahead counts as passed: the clock was set back, and would have to catch up first.
 */
export function hasPassed({ clock }: StoredState, instant: number, seconds: number): boolean {
  // PostgreSQL counts microseconds, of which a double holds a quarter until the year 2106.
  return Math.round((Math.abs(clock - instant) - seconds) * 1e6) >= 0;
}
