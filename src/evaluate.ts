import type { ResolvedPolicy } from "./policy.ts";
import type { RefusalReason } from "./events.ts";
import type { StoredState } from "./session.ts";

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
