import { unexpected } from "./sql.ts";
import type { Instant, SessionRow } from "./statements.ts";
import type { TokenKey } from "./token.ts";

/**
 * A session, as its row holds it. It never contains the token, the secret or the digest; what else it
 * reveals is the app's `data`.
 */
export interface Session<Data extends object = Record<string, unknown>> {
  /** The session's public name, a UUID: safe to log, list and show. */
  readonly id: string;
  /** The user's key: a number for smallint and integer keys, a string for all others. */
  readonly userId: string | number;
  /** The username, as the view `coatcheck.users` spells it. */
  readonly username: string;
  /** When the session was created: by the database's clock, or as `insertSession` was told. */
  readonly createdAt: Date;
  /** When the user last proved who they are. */
  readonly authenticatedAt: Date;
  /** When a use was last noted, at most `touchInterval` before the last use. */
  readonly lastSeenAt: Date;
  /** When the session ends regardless of use: the stored deadline, or sooner by `absoluteTimeout`. */
  readonly expiresAt: Date;
  /** Whether the cookie outlives the browser. */
  readonly persistent: boolean;
  /** How often `data` was changed. */
  readonly version: number;
  /** What the app keeps with the session. */
  readonly data: Data;
}

/** Reads a session off its row, without what only coatcheck may see. */
export function toSession<Data extends object>(row: SessionRow): Session<Data> {
  return {
    id: row.id,
    userId: row.userId,
    username: row.username as string,
    createdAt: toDate(row.createdAt),
    authenticatedAt: toDate(row.authenticatedAt),
    lastSeenAt: toDate(row.lastSeenAt),
    expiresAt: toDate(row.expiresAt),
    persistent: row.persistent,
    version: row.version,
    data: row.data as Data,
  };
}

/**
 * Reads an instant of an answer. What is below a millisecond falls away, but not what a double has lost:
 * half of a microsecond, and more in centuries to come.
 */
export function toDate(instant: Instant): Date {
  const time = Number(instant) * 1000;
  return new Date(Math.floor(time + Math.max(0.0005, Math.abs(time) * 3e-16)));
}

/**
 * Takes the only row of an answer, if it is about the session that was asked for: Bun.SQL before 1.4
 * could hand over another query's row (oven-sh/bun #33665).
 *
 * The digests are compared as text: timing that could at most betray a digest, and behind a digest
 * are 32 random bytes, so it opens nothing.
 *
 * @throws {SessionError} `UNEXPECTED_RESULT` if the client answered with something else.
 */
export function requireRow<Row extends TokenKey>(
  purpose: string,
  rows: readonly (Row | null)[],
  asked: TokenKey,
): Row {
  const [row] = rows;
  if (rows.length !== 1 || !row) throw unexpected(purpose, "one session", `${rows.length} rows`);
  if (row.id !== asked.id || row.digest !== asked.digest) {
    throw unexpected(purpose, "the session that was asked for", "another one");
  }
  return row;
}
