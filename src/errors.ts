/**
 * What went wrong, for code to branch on.
 *
 * - `USER_NOT_FOUND`: nobody has that username or key.
 * - `STORE_UNAVAILABLE`: the database could not be reached, or asks to try again later.
 * - `STORE_TIMEOUT`: no answer within `queryTimeout`, or within the server's own time limits. A
 *   write may still have happened.
 * - `STORE_REJECTED`: the database refused the statement; `sqlstate` says why.
 * - `SCHEMA_MISSING`: the schema `coatcheck` is not there, or is not complete: run `migrate`.
 * - `UNEXPECTED_RESULT`: the client answered with something that this statement cannot return.
 */
export type SessionErrorCode =
  | "USER_NOT_FOUND"
  | "STORE_UNAVAILABLE"
  | "STORE_TIMEOUT"
  | "STORE_REJECTED"
  | "SCHEMA_MISSING"
  | "UNEXPECTED_RESULT";

/**
 * Says that a call could not do its work: the user is unknown, or the store failed.
 *
 * It has no `cause`: errors of SQL clients carry the statement and its parameters, some of them in
 * hidden properties that loggers print. A token that opens nothing is no error; see
 * {@linkcode validateSession}.
 *
 * @example
 * ```ts
 * import { SessionError } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 *
 * const error = new SessionError("STORE_REJECTED", "Cannot store", "42501");
 * assert.equal(error.code, "STORE_REJECTED");
 * assert.equal(error.sqlstate, "42501");
 * ```
 */
export class SessionError extends Error {
  /** What went wrong, for code to branch on. */
  readonly code: SessionErrorCode;
  /** PostgreSQL's five-character error code, where the database sent one. */
  declare readonly sqlstate?: string;

  /** Makes the error; `sqlstate` is left out where the database sent none. */
  constructor(code: SessionErrorCode, message: string, sqlstate?: string) {
    super(message);
    this.name = "SessionError";
    this.code = code;
    if (sqlstate !== undefined) this.sqlstate = sqlstate;
  }
}
