/**
 * Why there is no session.
 *
 * - `absent`: no cookie of our name. `malformed`: one that is no token of ours, or several.
 * - `unknown`: no session has that id and that secret.
 * - `idle`, `expired`: it ended by `idleTimeout`, or at its absolute deadline.
 * - `revoked`: it was revoked; `revokedReason` says why.
 * - `reused`: its secret was rotated, and the old one came back after the grace period. Two parties hold
 *   the session, so it was revoked.
 * - `stale`: the session is live, but the user proved who they are longer ago than
 *   `authenticatedWithin`.
 * - `user`: the user is not in the view `coatcheck.users`.
 */
export type RefusalReason =
  | "absent"
  | "malformed"
  | "unknown"
  | "idle"
  | "expired"
  | "revoked"
  | "reused"
  | "stale"
  | "user";

/**
 * An event in the life of a session, as {@linkcode Policy.onEvent} gets it.
 *
 * It holds ids and reasons, and never a credential, so you can log it as it is.
 */
export type SessionEvent =
  | {
    /**
     * `reused`: a secret came back after its rotation was over, so that two parties hold the session;
     * it was revoked.
     */
    readonly type: "created" | "rotated" | "reauthenticated" | "updated" | "reused";
    /** The session's public id. */
    readonly id: string;
    /** The user's key. */
    readonly userId: string | number;
  }
  | {
    readonly type: "revoked";
    readonly id: string;
    readonly userId: string | number;
    /** Why: `replaced` and `limit` are createSession's own, all others are what the caller gave. */
    readonly reason: string;
  }
  | {
    /** A cookie that opened no session. A request without a cookie is no event. */
    readonly type: "refused";
    readonly reason: Exclude<RefusalReason, "absent">;
    /** The id that was presented; unset if the cookie was malformed. */
    readonly id?: string;
    /** The user's key; set only if the secret was right. */
    readonly userId?: string | number;
  };

/** A function that gets the events. */
export type SessionEventListener = (event: SessionEvent) => unknown;

/**
 * Sends an event to the listener. A listener that throws or rejects changes nothing: the session is
 * stored, and the user who signed in must get its cookie.
 */
export function emit(listener: SessionEventListener | undefined, event: SessionEvent): void {
  if (listener === undefined) return;
  try {
    Promise.resolve(listener(event)).catch(() => {});
  } catch {
    // As said above.
  }
}
