import type { Context } from "./context.ts";
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
import { challenge, type Issued, issueToken } from "./transport.ts";

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
    /** The session's new token, if it has one and `transport` is `bearer`. */
    readonly token?: string;
  }
  | {
    readonly session: null;
    /** Why there is no session. */
    readonly reason: RefusalReason;
    /** Why the session was revoked, if the reason is `revoked`. */
    readonly revokedReason?: string;
    /**
     * Without a session: empty, unless a `stale` session has a new secret. They never clear the cookie. If
     * `transport` is `bearer`: `WWW-Authenticate`.
     */
    readonly headers: Headers;
    /** The new token of a `stale` session, if it has one and `transport` is `bearer`. */
    readonly token?: string;
  };

/** What is known of a refusal: the properties of its event, why the session was revoked, and what it needs. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly id?: string;
  readonly userId?: string | number;
  readonly revokedReason?: string | null;
  readonly authenticatedWithin?: number | undefined;
}

/** Makes the result without a session, and emits the event. */
export function refused(
  policy: ResolvedPolicy,
  refusal: Refusal,
): SessionResult<never> {
  const { reason, revokedReason, authenticatedWithin, ...who } = refusal;
  if (reason !== "absent") emit(policy.onEvent, { type: "refused", reason, ...who });
  const headers = challenge(policy, reason, authenticatedWithin);
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
): { readonly session: Session<Data> } & Issued {
  const expiresAt = Math.min(stored.expiresAt, stored.authenticatedAt + policy.absoluteTimeout);
  const session = toSession<Data>(caller, { ...stored, expiresAt }, policy.idleTimeout);
  if (!issued) return { session, headers: new Headers() };
  // At most as long as a browser keeps a cookie. The millisecond is what a Date has lost.
  const left = Math.floor(session.expiresAt.getTime() / 1000 - issued.clock + 0.001);
  const maxAge = stored.persistent ? Math.min(Math.max(left, 1), MAX_COOKIE_AGE) : undefined;
  return { session, ...issueToken(policy, issued.token.token, maxAge) };
}

/** Makes the result of a statement that has stored a new token, and emits the event. */
export function renewed<Data extends object>(
  context: Context,
  type: "rotated" | "reauthenticated",
  token: Token,
  cells: readonly Cell[],
): { readonly session: Session<Data> } & Issued {
  const { caller, policy } = context;
  requireIntact(caller, cells[SESSION_CELLS + 1]);
  const session = readSession(caller, cells, token.id);
  const clock = readNumber(caller, cells[SESSION_CELLS]);
  emit(policy.onEvent, { type, id: session.id, userId: session.userId });
  return granted<Data>(context, session, { token, clock });
}
