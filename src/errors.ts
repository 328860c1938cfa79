/**
 * What failed, for code to branch on.
 *
 * - `USER_NOT_FOUND`: `coatcheck.users` has no user with that username or key. Answer as for a wrong
 *   password.
 * - `STORE_UNAVAILABLE`: the database is unreachable, or asks to try again later. Answer with 503.
 * - `STORE_TIMEOUT`: no answer within `queryTimeout`, or within the server's own time limits. A write may
 *   still have happened. Answer with 503.
 * - `STORE_REJECTED`: the database rejected the statement; `sqlstate` says why.
 * - `SCHEMA_MISSING`: the schema `coatcheck` is missing or incomplete: run `migrate`.
 * - `UNEXPECTED_RESULT`: the SQL client returned something that the statement cannot return,
 *   `coatcheck.users` has two rows for one user, or a trigger on `coatcheck.sessions` changed what was written.
 */
export type SessionErrorCode =
  | "USER_NOT_FOUND"
  | "STORE_UNAVAILABLE"
  | "STORE_TIMEOUT"
  | "STORE_REJECTED"
  | "SCHEMA_MISSING"
  | "UNEXPECTED_RESULT";

/**
 * The error of a call that failed because the user does not exist, or because the store failed.
 *
 * It has no `cause`: errors of SQL clients contain the statement and its parameters, some of them in hidden
 * properties that loggers print. A token that opens no session is not an error; see
 * {@linkcode validateSession}.
 *
 * @example
 * ```ts
 * import { SessionError } from "coatcheck";
 * import assert from "node:assert/strict";
 *
 * const error = new SessionError("STORE_REJECTED", "createSession: rejected", "42501");
 * assert.equal(error.code, "STORE_REJECTED");
 * assert.equal(error.sqlstate, "42501");
 * ```
 */
export class SessionError extends Error {
  /** What failed, for code to branch on. */
  readonly code: SessionErrorCode;
  /** PostgreSQL's five-character error code; unset if the database sent none. */
  declare readonly sqlstate?: string;

  /** Creates the error. Without `sqlstate`, it has no such property. */
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

/** The error for a user who is not in `coatcheck.users`. */
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
 * Translates an error of a SQL client. Only its code is kept: the rest contains the statement and its
 * parameters.
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
  // Class CC is raised by our own migrations, with messages that contain our own names only. A trigger of the
  // app may raise it too, with a row in its message: that message is not shown.
  if (sqlstate.startsWith("CC") && String(message).startsWith("migrate: ")) {
    return new SessionError("STORE_REJECTED", String(message), sqlstate);
  }
  // A subquery for one row of the app's view has found two.
  if (sqlstate === "21000") {
    return new SessionError(
      "UNEXPECTED_RESULT",
      `${caller}: coatcheck.users has more than one row for the user; make id and username unique in it`,
    );
  }
  // The statement has found another row than it wrote; see `intact` in statements.ts.
  if (sqlstate === "2201E") {
    return new SessionError(
      "UNEXPECTED_RESULT",
      `${caller}: a trigger changed what was written to coatcheck.sessions; nothing was written`,
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
  if (/^(3F000|42P01|42703|42704)$/.test(sqlstate)) return "SCHEMA_MISSING";
  if (/^(57014|55P03|25P04)$/.test(sqlstate)) return "STORE_TIMEOUT";
  if (/^(08|53|57P|40|25006|25P03)/.test(sqlstate)) return "STORE_UNAVAILABLE";
  return "STORE_REJECTED";
}

/** What is read from a driver's error. */
export interface DriverError {
  readonly code: unknown;
  readonly message: unknown;
  /** The table or the row that the error is about; unset if it is about none. Citus gives no table. */
  readonly row: unknown;
  /** PostgreSQL's code: postgres.js has it in `code`, Bun.SQL in `errno`, our own errors in `sqlstate`. */
  readonly sqlstate: string | undefined;
}

/**
 * Reads the error that has a code: the client's own, or the driver's beneath it, as drizzle and slonik wrap
 * errors. A getter that throws counts as unset.
 */
export function driverError(error: unknown): DriverError {
  let it = error;
  // Clients wrap no deeper than this, and a chain of causes may be a cycle.
  for (let depth = 0; depth < 5 && typeof property(it, "code") !== "string"; depth++) {
    const cause = property(it, "cause");
    if (!(cause instanceof Error)) break;
    it = cause;
  }
  const code = property(it, "code");
  // Five capitals and digits; without a digit only if there is a severity, as EPIPE is not PostgreSQL's.
  const form = property(it, "severity") === undefined ? /^(?=.*\d)[0-9A-Z]{5}$/ : /^[0-9A-Z]{5}$/;
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
