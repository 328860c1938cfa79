/**
 * What went wrong, for code to branch on.
 *
 * - `USER_NOT_FOUND`: `coatcheck.users` has no user with that username or key.
 * - `STORE_UNAVAILABLE`: the database cannot be reached, or asks to try again later.
 * - `STORE_TIMEOUT`: no answer within `queryTimeout`, or within the server's own time limits. A write
 *   may still have happened.
 * - `STORE_REJECTED`: the database rejected the statement; `sqlstate` says why.
 * - `SCHEMA_MISSING`: the schema `coatcheck` is missing or incomplete: run `migrate`.
 * - `UNEXPECTED_RESULT`: the SQL client returned something that the statement cannot return, or
 *   `coatcheck.users` has two rows for one user.
 */
export type SessionErrorCode =
  | "USER_NOT_FOUND"
  | "STORE_UNAVAILABLE"
  | "STORE_TIMEOUT"
  | "STORE_REJECTED"
  | "SCHEMA_MISSING"
  | "UNEXPECTED_RESULT";

/**
 * The error of a call that could not do its work: the user is unknown, or the store failed.
 *
 * It has no `cause`: errors of SQL clients carry the statement and its parameters, some of them in
 * hidden properties that loggers print. A token that opens no session is not an error; see
 * {@linkcode validateSession}.
 *
 * @example
 * ```ts
 * import { SessionError } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 *
 * const error = new SessionError("STORE_REJECTED", "createSession: rejected", "42501");
 * assert.equal(error.code, "STORE_REJECTED");
 * assert.equal(error.sqlstate, "42501");
 * ```
 */
export class SessionError extends Error {
  /** What went wrong, for code to branch on. */
  readonly code: SessionErrorCode;
  /** PostgreSQL's five-character error code; unset if the database sent none. */
  declare readonly sqlstate?: string;

  /** Creates the error. Unset, `sqlstate` is no property of it. */
  constructor(code: SessionErrorCode, message: string, sqlstate?: string) {
    super(message);
    this.name = "SessionError";
    this.code = code;
    if (sqlstate !== undefined) this.sqlstate = sqlstate;
  }
}

/** The error for a result that the statement cannot have returned: a broken client or view. */
export function unexpected(caller: string, expected: string, actual: string): SessionError {
  return new SessionError(
    "UNEXPECTED_RESULT",
    `${caller}: expected ${expected} from the SQL client, got ${actual}`,
  );
}

/** The error for a row that belongs to another session, or lacks a part of it. */
export function unexpectedRow(caller: string): SessionError {
  return unexpected(caller, "the session that was asked for", "another row");
}

/** The error for a user whom `coatcheck.users` does not have. */
export function userNotFound(caller: string): SessionError {
  return new SessionError("USER_NOT_FOUND", `${caller}: user not found in coatcheck.users`);
}

/** The error for a statement that took longer than `queryTimeout`. */
export function timedOut(caller: string, seconds: number): SessionError {
  return new SessionError(
    "STORE_TIMEOUT",
    `${caller}: the database did not answer within queryTimeout, ${seconds} s`,
  );
}

/**
 * Translates what a SQL client threw. Nothing of it is kept but a code: it carries the statement and
 * its parameters.
 *
 * @param received What was thrown, in words, for an error without a code.
 */
export function storeError(caller: string, error: unknown, received: string): SessionError {
  const { code, message, sqlstate } = driverError(error);
  if (sqlstate === undefined) {
    // A driver's own code, such as ECONNREFUSED, is a constant of its source and reveals nothing.
    const isConstant = typeof code === "string" && /^[A-Z][A-Z_]{1,49}$/.test(code);
    const reason = isConstant ? code : received;
    return new SessionError(
      "STORE_UNAVAILABLE",
      `${caller}: the database is unreachable (${reason})`,
    );
  }
  // Class CC is raised by our own migrations, in messages that hold our own names only. A trigger of
  // the app may raise it too, with a row in its message: that one is not shown.
  if (sqlstate.startsWith("CC") && String(message).startsWith("migrate: ")) {
    return new SessionError("STORE_REJECTED", String(message), sqlstate);
  }
  // An overlapping pair of rows in the app's view, which a look-up of one row finds.
  if (sqlstate === "21000") {
    return new SessionError(
      "UNEXPECTED_RESULT",
      `${caller}: coatcheck.users has more than one row for the user; make id and username unique in it`,
    );
  }
  const ours = codeOf(sqlstate);
  const hint = ours === "SCHEMA_MISSING"
    ? `the schema coatcheck is missing or incomplete (SQLSTATE ${sqlstate}); run migrate(sql)`
    : `the database rejected the statement (SQLSTATE ${sqlstate})`;
  return new SessionError(ours, `${caller}: ${hint}`, sqlstate);
}

// Classes and codes are those of PostgreSQL 18, appendix A.
function codeOf(sqlstate: string): SessionErrorCode {
  if (/^(3F000|42P01|42703)$/.test(sqlstate)) return "SCHEMA_MISSING";
  if (/^(57014|55P03|25P04)$/.test(sqlstate)) return "STORE_TIMEOUT";
  if (/^(08|53|57P|40|25006|25P03)/.test(sqlstate)) return "STORE_UNAVAILABLE";
  return "STORE_REJECTED";
}

/** What is read of a driver's error. */
export interface DriverError {
  readonly code: unknown;
  readonly message: unknown;
  /** The table or the row that the error is about; unset if it is about none. Citus gives no table. */
  readonly row: unknown;
  /** PostgreSQL's code: postgres.js has it in `code`, Bun.SQL in `errno`, our own errors in `sqlstate`. */
  readonly sqlstate: string | undefined;
}

/**
 * Reads the error that has a code: the client's own, or the driver's beneath, as drizzle and slonik
 * throw errors of their own around it. A getter that throws counts as unset.
 */
export function driverError(error: unknown): DriverError {
  let it = error;
  // No deeper than clients wrap errors: a cause may lead back to where it came from.
  for (let depth = 0; depth < 5 && typeof property(it, "code") !== "string"; depth++) {
    const cause = property(it, "cause");
    if (!(cause instanceof Error)) break;
    it = cause;
  }
  const code = property(it, "code");
  // Five capitals and digits. EPIPE is not from PostgreSQL, whose errors have a severity.
  const form = property(it, "severity") === undefined
    ? /^(?=.*\d)[0-9A-Z]{5}$/
    : /^[0-9A-Z]{5}$/;
  const sqlstate = [property(it, "sqlstate"), code, property(it, "errno")]
    .find((value): value is string => typeof value === "string" && form.test(value));
  const row = property(it, "table") ?? property(it, "table_name") ?? property(it, "detail");
  return { code, message: property(it, "message"), row, sqlstate };
}

function property(error: unknown, name: string): unknown {
  try {
    return (error as Record<string, unknown> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}
