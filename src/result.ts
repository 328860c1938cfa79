import type { Context } from "./context.ts";
import { issueCookie } from "./cookie.ts";
import { emit, type RefusalReason } from "./events.ts";
import { MAX_COOKIE_AGE, type ResolvedPolicy } from "./policy.ts";
import {
  readNumber,
  readSession,
  requireIntact,
  type Session,
  SESSION_CELLS,
  type StoredSession,
  toSession,
} from "./session.ts";
import type { Cell } from "./sql.ts";
import type { Token } from "./token.ts";

/** What a cookie opens: a live session, or null and the reason. */
export type SessionResult<Data extends object = Record<string, unknown>> =
  | {
    /** The session as it is stored now. */
    readonly session: Session<Data>;
    readonly reason?: undefined;
    readonly revokedReason?: undefined;
    /**
     * With a session: `Set-Cookie` and `Cache-Control: no-store` if it has a new secret, else empty. Append
     * each entry to your response.
     */
    readonly headers: Headers;
  }
  | {
    readonly session: null;
    /** Why there is no session. */
    readonly reason: RefusalReason;
    /** Why the session was revoked, if the reason is `revoked`. */
    readonly revokedReason?: string;
    /** Without a session: empty, unless a `stale` session has a new secret. They never clear the cookie. */
    readonly headers: Headers;
  };

/** What is known of a refusal: the properties of its event, and why the session was revoked. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly id?: string;
  readonly userId?: string | number;
  readonly revokedReason?: string | null;
}

/** Makes the result without a session, and emits the event. */
export function refused(
  policy: ResolvedPolicy,
  refusal: Refusal,
): SessionResult<never> {
  const { reason, revokedReason, ...who } = refusal;
  if (reason !== "absent") emit(policy.onEvent, { type: "refused", reason, ...who });
  const headers = new Headers();
  const isKnown = Object.hasOwn(refusal, "revokedReason") && revokedReason;
  return { session: null, reason, ...(isKnown && { revokedReason: isKnown }), headers };
}

/** A new token to issue, and the database's clock, in seconds since 1970. */
export interface NewToken {
  readonly token: Token;
  readonly clock: number;
}

/** Makes the result with a session, and the cookie of a new token if there is one. */
export function granted<Data extends object>(
  { caller, policy }: Context,
  stored: StoredSession,
  issued?: NewToken,
): { readonly session: Session<Data>; readonly headers: Headers } {
  const expiresAt = Math.min(stored.expiresAt, stored.authenticatedAt + policy.absoluteTimeout);
  const session = toSession<Data>(caller, { ...stored, expiresAt }, policy.idleTimeout);
  if (!issued) return { session, headers: new Headers() };
  // At most as long as a browser keeps a cookie. The millisecond is what a Date has lost.
  const left = Math.floor(session.expiresAt.getTime() / 1000 - issued.clock + 0.001);
  const maxAge = stored.persistent ? Math.min(Math.max(left, 1), MAX_COOKIE_AGE) : undefined;
  return { session, headers: issueCookie(policy.cookie, issued.token.token, maxAge) };
}

/** Makes the result of a statement that has stored a new token, and emits the event. */
export function renewed<Data extends object>(
  context: Context,
  type: "rotated" | "reauthenticated",
  token: Token,
  cells: readonly Cell[],
): { readonly session: Session<Data>; readonly headers: Headers } {
  const { caller, policy } = context;
  requireIntact(caller, cells[SESSION_CELLS + 1]);
  const session = readSession(caller, cells, token.id);
  const clock = readNumber(caller, cells[SESSION_CELLS]);
  emit(policy.onEvent, { type, id: session.id, userId: session.userId });
  return granted<Data>(context, session, { token, clock });
}
