import { notIntact, unexpectedRow } from "./errors.ts";
import type { Cell } from "./sql.ts";

/** A session as it is stored. It never contains the token, the secret or the digest. */
export interface Session<Data extends object = Record<string, unknown>> {
  /** The session id, a UUID: safe to log, list and show. */
  readonly id: string;
  /** The user's key: a number for smallint and integer keys, a string for all others. */
  readonly userId: string | number;
  /** The username, as the view `coatcheck.users` has it. */
  readonly username: string;
  /** When the session was created, by the database's clock; or `createdAt` of `insertSession`. */
  readonly createdAt: Date;
  /** When the user last proved their identity. */
  readonly authenticatedAt: Date;
  /** The last recorded use, at most `touchInterval` before the last use. */
  readonly lastSeenAt: Date;
  /**
   * When the session ends regardless of use: the stored deadline, or earlier by `absoluteTimeout` of the
   * policy.
   */
  readonly expiresAt: Date;
  /** When the session ends if it is not used: `idleTimeout` after `lastSeenAt`, at most `expiresAt`. */
  readonly idleExpiresAt: Date;
  /** Whether the cookie outlives the browser. */
  readonly persistent: boolean;
  /** How often `data` was updated. */
  readonly version: number;
  /** What the app keeps with the session, as JSON returns it: a `Date` comes back as a string. */
  readonly data: Data;
}

/** The session of a guest: of a visitor who has not signed in. */
export type GuestSession<Data extends object = Record<string, unknown>> = Omit<
  Session<Data>,
  "userId" | "username" | "authenticatedAt"
>;

/** A session as read from its row. Instants are seconds since 1970, and may be infinite. */
export interface StoredSession {
  readonly id: string;
  /** Null for a guest. */
  readonly userId: string | number | null;
  /** Null for a guest, and if the user is not in the view `coatcheck.users`. */
  readonly username: string | null;
  readonly createdAt: number;
  readonly authenticatedAt: number;
  readonly lastSeenAt: number;
  readonly expiresAt: number;
  readonly persistent: boolean;
  readonly version: number;
  readonly data: object;
}

/** How many cells {@linkcode readSession} reads. */
export const SESSION_CELLS = 11;

/**
 * Reads the columns of a session: the first cells of a row.
 *
 * @param id The session that was requested; unset: any.
 * @throws {SessionError} `UNEXPECTED_RESULT` if a part is missing, or the session is another one.
 */
export function readSession(caller: string, cells: readonly Cell[], id?: string): StoredSession {
  const [ownId, key, type, username, created, authenticated, lastSeen, expires] = cells;
  const [persistent, version, data] = cells.slice(8);
  if (typeof ownId !== "string" || id !== undefined && ownId !== id) throw unexpectedRow(caller);
  const isGuest = key === null && username === null && typeof type === "string";
  return {
    id: ownId,
    userId: isGuest ? null : readUserId(caller, key, type),
    username: username ?? null,
    createdAt: readNumber(caller, created),
    authenticatedAt: readNumber(caller, authenticated),
    lastSeenAt: readNumber(caller, lastSeen),
    expiresAt: readNumber(caller, expires),
    persistent: readBoolean(caller, persistent),
    version: readNumber(caller, version),
    data: readData(caller, data),
  };
}

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

/**
 * Refuses a write that a trigger of the app has changed.
 *
 * @param cell The column is_intact; null if the trigger has kept the row from being written.
 */
export function requireIntact(caller: string, cell: Cell | undefined): void {
  if (cell !== "true") throw notIntact(caller);
}

/** Reads a user's key: a number if its column is an integer that a double holds exactly, else text. */
export function readUserId(
  caller: string,
  key: Cell | undefined,
  type: Cell | undefined,
): string | number {
  if (typeof key !== "string" || typeof type !== "string") throw unexpectedRow(caller);
  return type === "integer" || type === "smallint" ? readNumber(caller, key) : key;
}

/** Reads a boolean as PostgreSQL writes it. */
export function readBoolean(caller: string, cell: Cell | undefined): boolean {
  if (cell !== "true" && cell !== "false") throw unexpectedRow(caller);
  return cell === "true";
}

/** Reads seconds since 1970, or another number, as PostgreSQL writes a numeric. */
export function readNumber(caller: string, cell: Cell | undefined): number {
  if (typeof cell !== "string" || !/^-?(\d+(\.\d+)?|Infinity)$/.test(cell)) {
    throw unexpectedRow(caller);
  }
  return Number(cell);
}

function readData(caller: string, cell: Cell | undefined): object {
  if (typeof cell !== "string") throw unexpectedRow(caller);
  let data: unknown;
  try {
    data = JSON.parse(cell);
  } catch {
    // Refused below.
  }
  if (typeof data !== "object" || data === null || Array.isArray(data)) throw unexpectedRow(caller);
  return data;
}

/**
 * Makes the session that a caller gets.
 *
 * @throws {SessionError} `UNEXPECTED_RESULT` if it has no user: a live session has one.
 */
export function toSession<Data extends object>(
  caller: string,
  stored: StoredSession,
  idleTimeout: number,
): Session<Data> {
  const { userId, username } = stored;
  if (userId === null || username === null) throw unexpectedRow(caller);
  const { id, persistent, version, data } = stored;
  return {
    id,
    userId,
    username,
    createdAt: toDate(stored.createdAt),
    authenticatedAt: toDate(stored.authenticatedAt),
    lastSeenAt: toDate(stored.lastSeenAt),
    expiresAt: toDate(stored.expiresAt),
    idleExpiresAt: idleEnd(stored, idleTimeout),
    persistent,
    version,
    data: data as Data,
  };
}

/** Makes the session of a guest. */
export function toGuest<Data extends object>(
  stored: StoredSession,
  idleTimeout: number,
): GuestSession<Data> {
  const { userId: _, username: __, authenticatedAt: ___, ...guest } = withDates<Data>(stored);
  return { ...guest, idleExpiresAt: idleEnd(stored, idleTimeout) };
}

function idleEnd({ lastSeenAt, expiresAt }: StoredSession, idleTimeout: number): Date {
  return toDate(Math.min(expiresAt, lastSeenAt + idleTimeout));
}

/** Makes Dates of the instants of a session. */
export function withDates<Data extends object>(
  stored: StoredSession,
):
  & Omit<Session<Data>, "userId" | "username" | "idleExpiresAt">
  & Pick<StoredSession, "userId" | "username"> {
  return {
    id: stored.id,
    userId: stored.userId,
    username: stored.username,
    createdAt: toDate(stored.createdAt),
    authenticatedAt: toDate(stored.authenticatedAt),
    lastSeenAt: toDate(stored.lastSeenAt),
    expiresAt: toDate(stored.expiresAt),
    persistent: stored.persistent,
    version: stored.version,
    data: stored.data as Data,
  };
}

/**
 * Makes a Date from seconds since 1970. Fractions of a millisecond are dropped, after adding what a double
 * may have lost: half of a microsecond, and more in later centuries.
 */
export function toDate(seconds: number): Date {
  const time = seconds * 1000;
  return new Date(Math.floor(time + Math.max(0.0005, Math.abs(time) * 3e-16)));
}
