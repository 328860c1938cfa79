import type { Rules } from "./policy.ts";
import type { FoundRow, Instant, PresentedRow } from "./statements.ts";
import type { TokenKey } from "./token.ts";

/** What a validation says of a session. */
export interface Judgement extends PresentedRow {
  /** Whether the user's last proof is longer ago than the caller asked for. */
  readonly stale: boolean;
  /**
   * What of it is to be written down: a rotation also where the secret is the old one, and nobody has
   * come with the new one. Then the answer that carried it was lost, and it is handed out once more.
   */
  readonly due: "rotation" | "touch" | null;
}

/**
 * Judges what {@linkcode VALIDATE} found by the policy of the moment and the database's clock.
 *
 * The statements that write judge once more, in SQL and under the row's lock, and say the same: a test
 * puts the two side by side. The stored deadline is a ceiling that policy can only lower
 * (CVE-2024-35220), and nobody's session lasts for ever: an instant that is not finite ends it.
 *
 * @param within `authenticatedWithin`, where it was asked for.
 */
export function judgementOf(
  row: FoundRow,
  presented: TokenKey,
  rules: Rules,
  within?: number,
): Judgement {
  const { past } = row;
  const now = Number(row.now);
  // PostgreSQL counts microseconds, of which a double holds a quarter until the year 2106.
  const hasPassed = (instant: Instant, seconds: number) =>
    Math.round((now - Number(instant) - seconds) * 1e6) >= 0;

  const isCurrent = row.digest === presented.digest;
  const previous = past?.previousDigest ?? null;
  const seenAt = past?.rotationSeenAt ?? null;
  const isSettled = previous === null || seenAt !== null && hasPassed(seenAt, rules.rotationGrace);
  const isNeverSeen = previous !== null && seenAt === null;

  const createdAt = Number(row.createdAt);
  const authenticatedAt = Number(row.authenticatedAt);
  const lastSeenAt = Number(row.lastSeenAt);
  const expiresAt = Number(row.expiresAt);
  const isOver = hasPassed(expiresAt, 0) || hasPassed(authenticatedAt, rules.absoluteTimeout);
  const isFinite = [createdAt, authenticatedAt, lastSeenAt, expiresAt].every(Number.isFinite);

  let refusal: Judgement["refusal"] = null;
  if (past?.revoked) refusal = "revoked";
  else if (isOver) refusal = "expired";
  else if (hasPassed(lastSeenAt, rules.idleTimeout)) refusal = "idle";
  else if (!isFinite) refusal = "expired";
  else if (isSettled && !isCurrent) refusal = "reused";
  else if (row.username === null) refusal = "user";

  let due: Judgement["due"] = null;
  const { rotateAfter, touchInterval } = rules;
  const isOld = rotateAfter !== false && hasPassed(past?.rotatedAt ?? authenticatedAt, rotateAfter);
  if (isOld && isCurrent && isSettled || isNeverSeen && !isCurrent) due = "rotation";
  else if (isNeverSeen || touchInterval !== false && hasPassed(lastSeenAt, touchInterval)) {
    due = "touch";
  }

  return {
    ...row,
    digest: isCurrent ? row.digest : previous ?? "",
    expiresAt: Math.min(expiresAt, authenticatedAt + rules.absoluteTimeout),
    refusal,
    revokedReason: past?.revokedReason ?? null,
    stale: within !== undefined && hasPassed(authenticatedAt, within),
    due,
  };
}
