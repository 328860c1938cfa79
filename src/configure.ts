import { contextOf } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import {
  create,
  CREATE_OPTIONS,
  type CreatedSession,
  type CreateSessionOptions,
  insert,
  type SessionRecord,
} from "./create.ts";
import { createGuest, type CreateGuestSessionOptions, GUEST_OPTIONS } from "./guest.ts";
import { WITH_SESSION_OPTIONS, type WithSessionOptions, wrap } from "./handler.ts";
import { list, LIST_OPTIONS, type ListSessionsOptions } from "./list.ts";
import { type Policy, readOptions, readOwnOptions } from "./policy.ts";
import { reauthenticate } from "./reauthenticate.ts";
import { complete, type ResponseResult } from "./response.ts";
import type { SessionResult } from "./result.ts";
import {
  revoke,
  REVOKE_OPTIONS,
  type RevokedSession,
  revokeMany,
  type RevokeSessionOptions,
  type RevokeSessionResult,
  type RevokeTarget,
} from "./revoke.ts";
import { rotate } from "./rotate.ts";
import type { Session } from "./session.ts";
import type { Sql } from "./sql.ts";
import { sweep, SWEEP_OPTIONS, type SweepSessionsOptions } from "./sweep.ts";
import {
  type SessionDataPatch,
  update,
  UPDATE_OPTIONS,
  type UpdateSessionOptions,
  type UpdateSessionResult,
} from "./update.ts";
import { findUser } from "./user.ts";
import { validate, VALIDATE_OPTIONS, type ValidateSessionOptions } from "./validate.ts";

/** The functions with a policy bound to them. Their options hold only what belongs to one call. */
export interface SessionFunctions<Data extends object = Record<string, unknown>> {
  /** {@linkcode createSession} with this policy. */
  readonly createSession: (
    user: string | { readonly userId: string | number },
    sql: Sql,
    options?: CreateSessionOptions<Data>,
  ) => Promise<CreatedSession<Data>>;
  /** {@linkcode createGuestSession} with this policy. */
  readonly createGuestSession: (
    sql: Sql,
    options?: CreateGuestSessionOptions<Data>,
  ) => Promise<SessionResult<Data>>;
  /** {@linkcode insertSession} with this policy. */
  readonly insertSession: (record: SessionRecord<Data>, sql: Sql) => Promise<Session<Data>>;
  /** {@linkcode getUserId} with this policy. */
  readonly getUserId: (username: string, sql: Sql) => Promise<string | number>;
  /** {@linkcode validateSession} with this policy. */
  readonly validateSession: (
    headers: RequestHeaders,
    sql: Sql,
    options?: ValidateSessionOptions,
  ) => Promise<SessionResult<Data>>;
  /** {@linkcode rotateSession} with this policy. */
  readonly rotateSession: (headers: RequestHeaders, sql: Sql) => Promise<SessionResult<Data>>;
  /** {@linkcode reauthenticateSession} with this policy. */
  readonly reauthenticateSession: (
    headers: RequestHeaders,
    sql: Sql,
  ) => Promise<SessionResult<Data>>;
  /** {@linkcode updateSession} with this policy. */
  readonly updateSession: (
    headers: RequestHeaders,
    patch: SessionDataPatch<Data>,
    sql: Sql,
    options?: UpdateSessionOptions,
  ) => Promise<UpdateSessionResult<Data>>;
  /** {@linkcode listSessions} with this policy. */
  readonly listSessions: (
    userId: string | number,
    sql: Sql,
    options?: ListSessionsOptions,
  ) => Promise<Session<Data>[]>;
  /** {@linkcode revokeSession} with this policy. */
  readonly revokeSession: (
    headers: RequestHeaders,
    sql: Sql,
    options?: RevokeSessionOptions,
  ) => Promise<RevokeSessionResult<Data>>;
  /** {@linkcode revokeSessions} with this policy. */
  readonly revokeSessions: (
    target: RevokeTarget,
    sql: Sql,
    options?: RevokeSessionOptions,
  ) => Promise<RevokedSession<Data>[]>;
  /** {@linkcode sweepSessions} with this policy. */
  readonly sweepSessions: (sql: Sql, options?: SweepSessionsOptions) => Promise<{ swept: number }>;
  /** {@linkcode withSession} with this policy. */
  readonly withSession: <
    Incoming extends Request = Request,
    Rest extends unknown[] = [],
    Answer extends Response | undefined = Response,
  >(
    handler: (
      request: Incoming,
      result: SessionResult<Data>,
      ...rest: Rest
    ) => Answer | PromiseLike<Answer>,
    sql: Sql,
    options?: WithSessionOptions,
  ) => (request: Incoming, ...rest: Rest) => Promise<Answer | Response>;
  /** {@linkcode completeResponse} with this policy. */
  readonly completeResponse: <Answer extends Response | undefined>(
    response: Answer,
    result: ResponseResult,
  ) => Answer | Response;
}

/**
 * Checks a policy once, and returns the functions with that policy bound to them.
 *
 * It does not bind the SQL client: pass a client or a transaction to each call, as to the functions
 * themselves. A setting of the policy in the options of a call is a `TypeError`.
 *
 * @example
 * ```ts
 * import { configure } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { createSession, validateSession } = configure<{ theme: "light" | "dark" }>({
 *   idleTimeout: 3600,
 *   cookie: { sameSite: "Strict" },
 * });
 * const { headers } = await createSession("ada", sql, { data: { theme: "dark" } });
 * const cookie = headers.get("set-cookie")!.split(";")[0]!;
 * const { session } = await validateSession(new Headers({ cookie }), sql);
 * assert.equal(session?.data.theme, "dark");
 * await sql.end();
 * ```
 *
 * @param policy The settings; {@linkcode Policy} documents each with its unit and its default.
 * @returns The functions, with the same names and the same order of arguments.
 * @throws {TypeError} If a setting is unknown or has the wrong type.
 * @throws {RangeError} If a setting is out of range, or contradicts another one.
 */
export function configure<Data extends object = Record<string, unknown>>(
  policy?: Policy,
): SessionFunctions<Data> {
  const { policy: resolved } = readOptions("configure", policy, []);
  const on = (caller: string, sql: Sql) => contextOf(caller, sql, resolved);
  // async, so that a bad argument rejects here as it does in the functions themselves. Each takes options,
  // also those whose type has none: a setting given there must be refused, not ignored.
  return {
    createSession: async (user, sql, options) => {
      const own = readOwnOptions("createSession", options, CREATE_OPTIONS);
      return await create<Data>(on("createSession", sql), user, own);
    },
    createGuestSession: async (sql, options) => {
      const own = readOwnOptions("createGuestSession", options, GUEST_OPTIONS);
      return await createGuest<Data>(on("createGuestSession", sql), own);
    },
    insertSession: async (record, sql, options?: object) => {
      readOwnOptions("insertSession", options, []);
      return await insert<Data>(on("insertSession", sql), record);
    },
    getUserId: async (username, sql, options?: object) => {
      readOwnOptions("getUserId", options, []);
      return await findUser(on("getUserId", sql), username);
    },
    // Without an await, which takes a turn although what is in memory is no promise.
    // deno-lint-ignore require-await
    validateSession: async (headers, sql, options) => {
      const own = readOwnOptions("validateSession", options, VALIDATE_OPTIONS);
      return validate<Data>(on("validateSession", sql), headers, own);
    },
    rotateSession: async (headers, sql, options?: object) => {
      readOwnOptions("rotateSession", options, []);
      return await rotate<Data>(on("rotateSession", sql), headers);
    },
    reauthenticateSession: async (headers, sql, options?: object) => {
      readOwnOptions("reauthenticateSession", options, []);
      return await reauthenticate<Data>(on("reauthenticateSession", sql), headers);
    },
    updateSession: async (headers, patch, sql, options) => {
      const own = readOwnOptions("updateSession", options, UPDATE_OPTIONS);
      return await update<Data>(on("updateSession", sql), headers, patch, own);
    },
    listSessions: async (userId, sql, options) => {
      const own = readOwnOptions("listSessions", options, LIST_OPTIONS);
      return await list<Data>(on("listSessions", sql), userId, own);
    },
    revokeSession: async (headers, sql, options) => {
      const own = readOwnOptions("revokeSession", options, REVOKE_OPTIONS);
      return await revoke<Data>(on("revokeSession", sql), headers, own);
    },
    revokeSessions: async (target, sql, options) => {
      const own = readOwnOptions("revokeSessions", options, REVOKE_OPTIONS);
      return await revokeMany<Data>(on("revokeSessions", sql), target, own);
    },
    sweepSessions: async (sql, options) => {
      const own = readOwnOptions("sweepSessions", options, SWEEP_OPTIONS);
      return await sweep(on("sweepSessions", sql), own);
    },
    withSession: (handler, sql, options) =>
      wrap(resolved, handler, sql, readOwnOptions("withSession", options, WITH_SESSION_OPTIONS)),
    completeResponse: (response, result, options?: object) => {
      readOwnOptions("completeResponse", options, []);
      return complete("completeResponse", response, result, resolved);
    },
  };
}
