import type { Context } from "./context.ts";
import { emit, idsOf, type RefusalReason } from "./events.ts";
import { MAX_COOKIE_AGE, type ResolvedPolicy } from "./policy.ts";
import {
  type GuestSession,
  readNumber,
  readSession,
  requireIntact,
  type Session,
  SESSION_CELLS,
  type StoredSession,
  toDate,
  toGuest,
  toSession,
} from "./session.ts";
import type { Cell } from "./sql.ts";
import type { Token } from "./token.ts";
import { challenge, type Issued, issueToken } from "./transport.ts";

/** The result for a guest: no session, but what is kept for the visitor. */
export interface GuestResult<Data extends object = Record<string, unknown>> {
  /** A guest is no session. */
  readonly session: null;
  /** The guest's session as it is stored now. */
  readonly guest: GuestSession<Data>;
  /** Why there is no session. */
  readonly reason: "guest";
  /** Unset: a guest is live. */
  readonly revokedReason?: undefined;
  /** As with a session. */
  readonly headers: Headers;
  /** As with a session. */
  readonly token?: string;
}

/** What a cookie opens: a live session, or null and the reason. */
export type SessionResult<Data extends object = Record<string, unknown>> =
  | {
    /** The session as it is stored now. */
    readonly session: Session<Data>;
    readonly guest?: undefined;
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
  | GuestResult<Data>
  | {
    readonly session: null;
    readonly guest?: undefined;
    /** Why there is no session. */
    readonly reason: Exclude<RefusalReason, "guest">;
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
  readonly reason: Exclude<RefusalReason, "guest">;
  readonly id?: string;
  readonly userId?: string | number;
  readonly revokedReason?: string | null;
  readonly authenticatedWithin?: number | undefined;
}

/** Makes the result without a session, and emits the event. */
export function refused(
  policy: ResolvedPolicy,
  refusal: Refusal,
): RefusedResult {
  const { reason, revokedReason, authenticatedWithin, ...who } = refusal;
  if (reason !== "absent") emit(policy.onEvent, { type: "refused", reason, ...who });
  const headers = challenge(policy, reason, authenticatedWithin);
  const isKnown = Object.hasOwn(refusal, "revokedReason") && revokedReason;
  return { session: null, reason, ...(isKnown && { revokedReason: isKnown }), headers };
}

/** The result without a session and without a guest. */
export type RefusedResult = Exclude<SessionResult<never>, GrantedResult<never>>;

/** The result with a session, or with a guest. */
export type GrantedResult<Data extends object = Record<string, unknown>> =
  | Extract<SessionResult<Data>, { readonly session: Session<Data> }>
  | GuestResult<Data>;

/** A new token to issue, and the database's clock, in seconds since 1970. */
export interface NewToken {
  readonly token: Token;
  readonly clock: number;
}

/** Makes the session that a caller gets: a policy can only lower its deadline. */
export function sessionOf<Data extends object>(
  context: Context,
  stored: StoredSession,
): Session<Data> {
  return toSession(context.caller, lowered(context, stored), context.policy.idleTimeout);
}

function lowered({ policy }: Context, stored: StoredSession): StoredSession {
  const expiresAt = Math.min(stored.expiresAt, stored.authenticatedAt + policy.absoluteTimeout);
  return expiresAt === stored.expiresAt ? stored : { ...stored, expiresAt };
}

/** Makes the result with a session or a guest, and the cookie of a new token if there is one. */
export function granted<Data extends object>(
  context: Context,
  stored: StoredSession,
  issued?: NewToken,
): GrantedResult<Data> {
  const { caller, policy } = context;
  const owned = lowered(context, stored);
  const result = owned.userId !== null
    ? { session: toSession<Data>(caller, owned, policy.idleTimeout), headers: new Headers() }
    : {
      session: null,
      guest: toGuest<Data>(owned, policy.idleTimeout),
      reason: "guest" as const,
      headers: new Headers(),
    };
  return issued ? { ...result, ...issue(policy, owned, issued) } : result;
}

function issue(
  policy: ResolvedPolicy,
  { persistent, expiresAt }: StoredSession,
  { token, clock }: NewToken,
): Issued {
  // At most as long as a browser keeps a cookie. The millisecond is what a Date loses.
  const left = Math.floor(toDate(expiresAt).getTime() / 1000 - clock + 0.001);
  const maxAge = persistent ? Math.min(Math.max(left, 1), MAX_COOKIE_AGE) : undefined;
  return issueToken(policy, token.token, maxAge);
}

/** Makes the result of a statement that has stored a new token, and emits the event. */
export function renewed<Data extends object>(
  context: Context,
  type: "rotated" | "reauthenticated",
  token: Token,
  cells: readonly Cell[],
): GrantedResult<Data> {
  const { caller, policy } = context;
  requireIntact(caller, cells[SESSION_CELLS + 1]);
  const session = readSession(caller, cells, token.id);
  const clock = readNumber(caller, cells[SESSION_CELLS]);
  emit(policy.onEvent, { type, ...idsOf(session) });
  return granted<Data>(context, session, { token, clock });
}
