import type { SessionEventListener } from "./events.ts";
import { kindOf, refuse } from "./input.ts";
import type { Session, StoredState } from "./session.ts";
import type { Sql } from "./sql.ts";
import type { TokenKey } from "./token.ts";

/** Validated sessions in memory, as `createSessionCache` of `coatcheck/cache` makes them. */
export interface SessionCache {
  /**
   * Calls `onEnd` once the session has ended, to close its WebSocket or event stream. It has ended if any process
   * or SQL has revoked or deleted it, or if it is past its deadline, which a re-authentication moves by as much as
   * `authenticatedAt`; `idleTimeout` does not count. While the database is unreachable, nothing is noticed; that is
   * made up for afterwards. What `onEnd` throws changes nothing. Returns a function that ends the watch.
   */
  readonly watch: (
    session: Pick<Session, "id" | "expiresAt"> & Partial<Pick<Session, "authenticatedAt">>,
    onEnd: () => unknown,
  ) => () => void;
  /** Returns figures for your monitoring. */
  readonly stats: () => SessionCacheStats;
  /** Stops listening. The cache is empty after that, and each validation asks the database. */
  readonly close: () => Promise<void>;
}

/** Figures of a {@linkcode SessionCache}. */
export interface SessionCacheStats {
  /** How many validations were answered from memory. */
  readonly hits: number;
  /** How many had to ask the database. */
  readonly misses: number;
  /** How many sessions are in memory. */
  readonly sessions: number;
  /** How many sessions are watched. */
  readonly watched: number;
  /** Seconds since the moment up to which all revocations are known; Infinity if none is. */
  readonly staleness: number;
  /**
   * How full the server's queue of notifications is, 0 to 1. A listener that sits in a transaction fills it. If it is
   * full, each revocation fails.
   */
  readonly queueUsage: number;
}

/** What the functions ask of a cache. */
export interface ValidationCache {
  /**
   * Finds the state of the session that a token opens; undefined if the database must be asked.
   *
   * @param isEnough Whether a state answers the call.
   */
  readonly find: (
    key: TokenKey,
    sql: Sql,
    isEnough: (state: StoredState) => boolean,
  ) => StoredState | undefined;
  /** Announces that a row will be read; undefined if it cannot be kept. */
  readonly read: (id: string, sql: Sql) => Reading | undefined;
  /** Makes an event listener that also forgets each session which this process has changed. */
  readonly hearing: (onEvent: SessionEventListener | undefined) => SessionEventListener;
}

/** A row that is being read for the cache. */
export interface Reading {
  /** Keeps what was read, unless the session was changed meanwhile. */
  readonly keep: (key: TokenKey, state: StoredState) => void;
  /** Ends it, kept or not. */
  readonly end: () => void;
}

/** The property of a {@linkcode SessionCache} with what the functions ask of it. */
export const VALIDATION_CACHE: unique symbol = Symbol("validation cache");

/** Returns what the functions ask of a cache; refuses what is none. */
export function cacheOf(subject: string, cache: unknown): ValidationCache {
  const own = (cache as { [VALIDATION_CACHE]?: ValidationCache } | null)?.[VALIDATION_CACHE];
  return own ?? refuse(TypeError, subject, "be made by createSessionCache", kindOf(cache));
}
