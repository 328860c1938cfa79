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

/** The error for a write that a trigger of the app has changed. */
export function notIntact(caller: string): SessionError {
  return new SessionError(
    "UNEXPECTED_RESULT",
    `${caller}: a trigger changed what was written to coatcheck.sessions`,
  );
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
  const { code, message, isNested, sqlstate } = driverError(error);
  if (sqlstate === undefined) {
    // A driver's own code, such as ECONNREFUSED or P2024, is a constant of its source and reveals nothing.
    const isConstant = typeof code === "string" && /^([A-Z][A-Z_]{1,49}|[A-Z]\d{4})$/.test(code);
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
  const ours = isNested && isMissing(sqlstate) ? "STORE_REJECTED" : codeOf(sqlstate);
  const hint = ours === "SCHEMA_MISSING"
    ? `the schema coatcheck is missing or incomplete (SQLSTATE ${sqlstate}); run migrate(sql)`
    : `the database rejected the statement (SQLSTATE ${sqlstate})`;
  return new SessionError(ours, `${caller}: ${hint}`, sqlstate);
}

// Classes and codes are those of PostgreSQL 18, appendix A.
const isMissing = (sqlstate: string) => /^(3F000|42P01|42703|42704)$/.test(sqlstate);

function codeOf(sqlstate: string): SessionErrorCode {
  if (isMissing(sqlstate)) return "SCHEMA_MISSING";
  if (/^(57014|55P03|25P04)$/.test(sqlstate)) return "STORE_TIMEOUT";
  // 58030 and XX000, an I/O and an internal error, are what Citus reports when a worker is lost in a statement.
  if (/^(08|53|57P|40|25006|25P03|58030|XX000)/.test(sqlstate)) return "STORE_UNAVAILABLE";
  return "STORE_REJECTED";
}

/** What is read from a driver's error. */
export interface DriverError {
  readonly code: unknown;
  readonly message: unknown;
  /** The table that the error is about; unset if it is about none. Citus gives none. */
  readonly table: unknown;
  /** The table or the row that the error is about; unset if it is about none. */
  readonly row: unknown;
  /** The column that the error is about; unset if it is about none, or the client does not tell. */
  readonly column: unknown;
  /** Whether it was raised inside a function in the database, such as a trigger of the app. */
  readonly isNested: boolean;
  /** PostgreSQL's code; unset if the error is not PostgreSQL's. */
  readonly sqlstate: string | undefined;
}

/**
 * Reads the error that has PostgreSQL's code: the client's own, or the driver's beneath it. drizzle and slonik
 * wrap it as `cause`, Prisma in `meta`. A getter that throws counts as unset.
 */
export function driverError(error: unknown): DriverError {
  let code: unknown;
  let it = error;
  // Clients wrap no deeper than this, and a chain of causes may be a cycle.
  for (let depth = 0; depth < 5 && typeof it === "object" && it !== null; depth++) {
    const sqlstate = sqlstateOf(it);
    if (sqlstate !== undefined) {
      const table = property(it, "table") ?? property(it, "table_name");
      const row = table ?? property(it, "detail");
      const isNested = isInFunction(property(it, "where"));
      // On Bun, `column` of each error is the place in the code, a number.
      const column = [property(it, "column"), property(it, "column_name")]
        .find((name) => typeof name === "string");
      const message = property(it, "message");
      return { code: sqlstate, message, table, row, column, isNested, sqlstate };
    }
    if (typeof code !== "string") code = property(it, "code");
    it = property(it, "cause") ?? property(it, "driverAdapterError") ?? property(it, "meta");
  }
  const none = undefined;
  return {
    code,
    message: none,
    table: none,
    row: none,
    column: none,
    isNested: false,
    sqlstate: none,
  };
}

/** Whether PostgreSQL says that an error was raised in a function. Our migrations are blocks. */
function isInFunction(context: unknown): boolean {
  return typeof context === "string" &&
    /^(PL\/\w+ function (?!inline_code_block)|SQL function )/m.test(context);
}

/**
 * Reads PostgreSQL's code: postgres.js and pg have it in `code`, Bun.SQL in `errno`, our own errors in
 * `sqlstate`, Prisma's driver adapters in `originalCode`.
 *
 * Five characters are not enough, as a client's own code may have as many: Prisma's P2024, or EPIPE. They
 * must be of one of PostgreSQL's classes; or of any, as an app's trigger may raise, if the severity beside
 * them shows that they come from the server.
 */
function sqlstateOf(error: object): string | undefined {
  const form = typeof property(error, "severity") === "string" ? /^[0-9A-Z]{5}$/ : KNOWN_SQLSTATE;
  return [
    property(error, "sqlstate"),
    property(error, "originalCode"),
    property(error, "code"),
    property(error, "errno"),
  ].find((value): value is string => typeof value === "string" && form.test(value));
}

// The classes of PostgreSQL 18, appendix A; 72, which PostgreSQL 16 had last; and CC of our migrations. Of the
// classes 10 and 20 their only codes, as 10054 is an error of Windows' sockets.
const KNOWN_SQLSTATE =
  /^(?:10608|20000|(0[0-389ABFLPZ]|2[1-8BDF]|3[489BDF]|4[024]|5[34578]|72|CC|F0|HV|P0|XX)[0-9A-Z]{3})$/;

function property(error: unknown, name: string): unknown {
  try {
    return (error as Record<string, unknown> | null | undefined)?.[name];
  } catch {
    return undefined;
  }
}
