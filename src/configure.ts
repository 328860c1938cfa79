import type { RequestHeaders } from "./cookie.ts";
import {
  type CreateCall,
  type Created,
  createSession,
  insertSession,
  type SessionRecord,
} from "./create.ts";
import { type HandlerCall, withSession } from "./handler.ts";
import { listSessions } from "./list.ts";
import { bindRules, type Policy, rulesOf } from "./policy.ts";
import {
  type RevokeCall,
  type Revoked,
  type RevokedSession,
  revokeSession,
  revokeSessions,
  type Whose,
} from "./revoke.ts";
import { reauthenticateSession, rotateSession } from "./rotate.ts";
import type { Session } from "./session.ts";
import type { Sql } from "./sql.ts";
import { type SweepCall, sweepSessions } from "./sweep.ts";
import { type Patch, type Update, type UpdateCall, updateSession } from "./update.ts";
import { getUserId, type UserKey } from "./user.ts";
import { type ValidateCall, validateSession } from "./validate.ts";
import type { Visit } from "./visit.ts";

/** The verbs with a policy bound to them: the last argument holds only what belongs to the call. */
export interface Sessions<Data extends object = Record<string, unknown>> {
  /** {@linkcode createSession} by this policy. */
  readonly createSession: (
    user: string | UserKey,
    sql: Sql,
    call?: CreateCall<Data>,
  ) => Promise<Created<Data>>;
  /** {@linkcode insertSession} by this policy. */
  readonly insertSession: (record: SessionRecord<Data>, sql: Sql) => Promise<Session<Data>>;
  /** {@linkcode getUserId} by this policy. */
  readonly getUserId: (username: string, sql: Sql) => Promise<string | number>;
  /** {@linkcode validateSession} by this policy. */
  readonly validateSession: (
    headers: RequestHeaders,
    sql: Sql,
    call?: ValidateCall,
  ) => Promise<Visit<Data>>;
  /** {@linkcode rotateSession} by this policy. */
  readonly rotateSession: (headers: RequestHeaders, sql: Sql) => Promise<Visit<Data>>;
  /** {@linkcode reauthenticateSession} by this policy. */
  readonly reauthenticateSession: (headers: RequestHeaders, sql: Sql) => Promise<Visit<Data>>;
  /** {@linkcode updateSession} by this policy. */
  readonly updateSession: (
    headers: RequestHeaders,
    patch: Patch<Data>,
    sql: Sql,
    call?: UpdateCall,
  ) => Promise<Update<Data>>;
  /** {@linkcode listSessions} by this policy. */
  readonly listSessions: (userId: string | number, sql: Sql) => Promise<Session<Data>[]>;
  /** {@linkcode revokeSession} by this policy. */
  readonly revokeSession: (
    headers: RequestHeaders,
    sql: Sql,
    call?: RevokeCall,
  ) => Promise<Revoked<Data>>;
  /** {@linkcode revokeSessions} by this policy. */
  readonly revokeSessions: (
    whose: Whose,
    sql: Sql,
    call?: RevokeCall,
  ) => Promise<RevokedSession<Data>[]>;
  /** {@linkcode sweepSessions} by this policy, of which only `queryTimeout` matters. */
  readonly sweepSessions: (sql: Sql, call?: SweepCall) => Promise<{ swept: number }>;
  /** {@linkcode withSession} by this policy. */
  readonly withSession: <
    Incoming extends Request = Request,
    Rest extends unknown[] = [],
    Answer extends Response | undefined = Response,
  >(
    handler: (
      request: Incoming,
      visit: Visit<Data>,
      ...rest: Rest
    ) => Answer | PromiseLike<Answer>,
    sql: Sql,
    call?: HandlerCall,
  ) => (request: Incoming, ...rest: Rest) => Promise<Answer | Response>;
}

/**
 * Checks a policy once, and returns the verbs with that policy bound.
 *
 * It binds the policy, never the client: a transaction or a Worker's per-request client is given to
 * each call as before.
 *
 * @example
 * ```ts
 * import { configure } from "@coatcheck/coatcheck";
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
 * @param policy Every setting with its unit and default is documented at {@linkcode Policy}.
 * @returns The verbs: same names, same order of arguments.
 * @throws {TypeError} If a setting is unknown or has the wrong type.
 * @throws {RangeError} If a setting is out of range, or contradicts another.
 */
export function configure<Data extends object = Record<string, unknown>>(
  policy?: Policy,
): Sessions<Data> {
  const rules = rulesOf(policy, []);
  // async, so that a bad argument rejects here as it does in the verbs themselves. Each takes options,
  // also those whose type has none: a setting given there must be refused, not ignored.
  return {
    createSession: async (user, sql, call) =>
      await createSession<Data>(user, sql, bindRules(rules, call)),
    insertSession: async (record, sql, call?: object) =>
      await insertSession<Data>(record, sql, bindRules(rules, call)),
    getUserId: async (username, sql, call?: object) =>
      await getUserId(username, sql, bindRules(rules, call)),
    validateSession: async (headers, sql, call) =>
      await validateSession<Data>(headers, sql, bindRules(rules, call)),
    rotateSession: async (headers, sql, call?: object) =>
      await rotateSession<Data>(headers, sql, bindRules(rules, call)),
    reauthenticateSession: async (headers, sql, call?: object) =>
      await reauthenticateSession<Data>(headers, sql, bindRules(rules, call)),
    updateSession: async (headers, patch, sql, call) =>
      await updateSession<Data>(headers, patch, sql, bindRules(rules, call)),
    listSessions: async (userId, sql, call?: object) =>
      await listSessions<Data>(userId, sql, bindRules(rules, call)),
    revokeSession: async (headers, sql, call) =>
      await revokeSession<Data>(headers, sql, bindRules(rules, call)),
    revokeSessions: async (whose, sql, call) =>
      await revokeSessions<Data>(whose, sql, bindRules(rules, call)),
    sweepSessions: async (sql, call) => await sweepSessions(sql, bindRules(rules, call)),
    withSession: (handler, sql, call) => withSession(handler, sql, bindRules(rules, call)),
  };
}
