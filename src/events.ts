/**
 * Why there is no session.
 *
 * - `absent`: the request has no cookie of our name.
 * - `malformed`: the cookie is not a token. Or there are several of our name, and two sessions are live or more
 *   than eight tokens presented.
 * - `unknown`: no session has that id and that secret.
 * - `idle`: it was not used for `idleTimeout`.
 * - `expired`: it is past its deadline.
 * - `revoked`: it was revoked; `revokedReason` says why.
 * - `reused`: the previous secret came back after the grace period. Two parties hold the session, or a proxy
 *   held a request back for longer than `rotationGrace`. It was revoked.
 * - `stale`: the session is live, but the user last proved their identity longer ago than
 *   `authenticatedWithin`.
 * - `user`: the user is not in the view `coatcheck.users`.
 * - `guest`: the visitor has not signed in; `guest` is what is kept for them.
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
  | "user"
  | "guest";

/**
 * An event in the life of a session, as {@linkcode Policy.onEvent} gets it.
 *
 * - `created`, `rotated`, `reauthenticated`, `updated`: what a call has done.
 * - `dropped`: `keep` of {@linkcode createSession} kept nothing, as the guest's data was too large.
 * - `revoked`: a session was revoked. `reason` is the caller's, or `replaced` or `limit` of
 *   {@linkcode createSession}.
 * - `reused`: the previous secret came back after the grace period. Two parties hold the session, or a proxy
 *   held a request back for longer than `rotationGrace`. It was revoked.
 * - `refused`: a request with a cookie got no session. A request without a cookie emits no event.
 *
 * An event contains ids and reasons, and never a token, so you can log it as it is.
 */
export type SessionEvent =
  | {
    /** What happened. */
    readonly type: "created" | "rotated" | "reauthenticated" | "updated" | "dropped" | "reused";
    /** The session id. */
    readonly id: string;
    /** The user's key; unset for a guest. */
    readonly userId?: string | number;
  }
  | {
    /** What happened. */
    readonly type: "revoked";
    /** The session id. */
    readonly id: string;
    /** The user's key; unset for a guest. */
    readonly userId?: string | number;
    /** For `revoked`: why the session was revoked. */
    readonly reason: string;
  }
  | {
    /** What happened. */
    readonly type: "refused";
    /** For `refused`: why there is no session. */
    readonly reason: Exclude<RefusalReason, "absent" | "guest">;
    /** For `refused`: the presented session id; unset if the cookie was malformed. */
    readonly id?: string;
    /** For `refused`: the user's key; set only if the secret was right. */
    readonly userId?: string | number;
  };

/** A function that gets the events. What it throws changes nothing; a promise is not awaited. */
export type SessionEventListener = (event: SessionEvent) => unknown;

/** The ids of an event: a guest has no user. */
export function idsOf(
  { id, userId }: { readonly id: string; readonly userId: string | number | null },
): { readonly id: string; readonly userId?: string | number } {
  return userId === null ? { id } : { id, userId };
}

/**
 * Sends an event to the listener. A listener that throws or rejects changes nothing: the session is stored,
 * and the user must get its cookie.
 */
export function emit(listener: SessionEventListener | undefined, event: SessionEvent): void {
  if (listener !== undefined) notify(() => listener(event));
}

/** Calls a listener. What it throws, and a promise that rejects, change nothing. */
export function notify(listener: () => unknown): void {
  try {
    Promise.resolve(listener()).catch(() => {});
  } catch {
    // As said above.
  }
}
