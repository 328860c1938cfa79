import type { Reason } from "./visit.ts";

/**
 * Something that happened to a session, as {@linkcode Policy.onEvent} is told it.
 *
 * It holds ids and reasons, and never a credential, so that it may be logged as it is.
 */
export type SessionEvent =
  | {
    /**
     * `reused`: a secret came back that a rotation had ended, so that two parties hold the session;
     * it was revoked.
     */
    readonly type: "created" | "rotated" | "reauthenticated" | "updated" | "reused";
    /** The session's public name. */
    readonly id: string;
    /** The user's key. */
    readonly userId: string | number;
  }
  | {
    readonly type: "revoked";
    readonly id: string;
    readonly userId: string | number;
    /** Why: `replaced` and `limit` are createSession's own, all else is what the caller gave. */
    readonly reason: string;
  }
  | {
    /** A cookie that opened nothing. A request without one is no event. */
    readonly type: "refused";
    readonly reason: Exclude<Reason, "absent">;
    /** The id that was presented; unset where the cookie was malformed. */
    readonly id?: string;
    /** The user's key; set only where the secret was right. */
    readonly userId?: string | number;
  };

/** Who is told of the events. */
export type Observer = (event: SessionEvent) => unknown;

/**
 * Tells an observer. It comes after the fact, so one that throws, or rejects, changes nothing: the
 * session is stored, and whoever signed in must get its cookie.
 */
export function tell(observer: Observer | undefined, event: SessionEvent): void {
  if (observer === undefined) return;
  try {
    Promise.resolve(observer(event)).catch(() => {});
  } catch {
    // As said above.
  }
}
