/**
 * Server-side sessions for every runtime that speaks the Fetch API, kept in your own PostgreSQL.
 *
 * @example Sign in, know who it is, sign out
 * ```ts
 * import { createSession, revokeSession, validateSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 *
 * // After your own sign-in has checked the password:
 * const { session, headers } = await createSession("ada", sql);
 * const response = Response.json({ signedInUntil: session.expiresAt }, { headers });
 *
 * // On every later request:
 * const cookie = response.headers.get("set-cookie")!.split(";")[0]!;
 * const request = new Request("https://example.com", { headers: { cookie } });
 * const visit = await validateSession(request.headers, sql);
 * assert.equal(visit.session?.username, "ada");
 *
 * // And in the end:
 * await revokeSession(request.headers, sql);
 * assert.equal((await validateSession(request.headers, sql)).reason, "revoked");
 * await sql.end();
 * ```
 *
 * @module
 */

export { batched } from "./src/batch.ts";
export { configure, type Sessions } from "./src/configure.ts";
export type { RequestHeaders } from "./src/cookie.ts";
export {
  type CreateCall,
  type Created,
  createSession,
  insertSession,
  type SessionRecord,
} from "./src/create.ts";
export { SessionError, type SessionErrorCode } from "./src/errors.ts";
export type { Observer, SessionEvent } from "./src/events.ts";
export { type HandlerCall, withSession } from "./src/handler.ts";
export { listSessions } from "./src/list.ts";
export { migrate, type MigrateOptions, type MigrateResult } from "./src/migrate.ts";
export { type Migration, migrations, type UsersTable } from "./src/migrations.ts";
export { isCrossOrigin, type OriginOptions, type OriginRequest } from "./src/origin.ts";
export { AAL1, AAL2, AAL3, type CookiePolicy, type Policy } from "./src/policy.ts";
export {
  type RevokeCall,
  type Revoked,
  type RevokedSession,
  revokeSession,
  revokeSessions,
  type Whose,
} from "./src/revoke.ts";
export { reauthenticateSession, rotateSession } from "./src/rotate.ts";
export type { Session } from "./src/session.ts";
export type { Sql, SqlValue } from "./src/sql.ts";
export { type SweepCall, type SweepProgress, sweepSessions } from "./src/sweep.ts";
export { createToken, type Token } from "./src/token.ts";
export { type Patch, type Update, type UpdateCall, updateSession } from "./src/update.ts";
export { getUserId, type UserKey } from "./src/user.ts";
export { type ValidateCall, validateSession } from "./src/validate.ts";
export type { Granted, Reason, Refused, Visit } from "./src/visit.ts";
