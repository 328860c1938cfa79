/**
 * Server-side sessions for every runtime that speaks the Fetch API, kept in your own PostgreSQL.
 *
 * @example Sign in, validate, sign out
 * ```ts
 * import { createSession, revokeSession, validateSession } from "coatcheck";
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
 * const request = new Request("https://app.example/", { headers: { cookie } });
 * const result = await validateSession(request.headers, sql);
 * assert.equal(result.session?.username, "ada");
 *
 * // On sign-out:
 * await revokeSession(request.headers, sql);
 * assert.equal((await validateSession(request.headers, sql)).reason, "revoked");
 * await sql.end();
 * ```
 *
 * @module
 */

export { batched } from "./src/batch.ts";
export type { SessionCache, SessionCacheStats } from "./src/cached.ts";
export { configure, type SessionFunctions } from "./src/configure.ts";
export type { RequestHeaders } from "./src/cookie.ts";
export {
  type CreatedSession,
  createSession,
  type CreateSessionOptions,
  insertSession,
  type SessionRecord,
} from "./src/create.ts";
export { SessionError, type SessionErrorCode } from "./src/errors.ts";
export type { RefusalReason, SessionEvent, SessionEventListener } from "./src/events.ts";
export { createGuestSession, type CreateGuestSessionOptions } from "./src/guest.ts";
export { withSession, type WithSessionOptions } from "./src/handler.ts";
export { listSessions, type ListSessionsOptions } from "./src/list.ts";
export { migrate, type MigrateOptions, type MigrateResult } from "./src/migrate.ts";
export { type Migration, migrations, type UsersTable } from "./src/migrations.ts";
export { type CrossOriginOptions, isCrossOrigin } from "./src/origin.ts";
export {
  AAL1,
  AAL2,
  AAL3,
  type CookiePolicy,
  type Policy,
  type PreviousCookie,
} from "./src/policy.ts";
export { reauthenticateSession } from "./src/reauthenticate.ts";
export {
  completeResponse,
  type ParsedCookie,
  parseSetCookies,
  type ResponseResult,
} from "./src/response.ts";
export type { GuestResult, SessionResult } from "./src/result.ts";
export {
  type RevokedSession,
  revokeSession,
  type RevokeSessionOptions,
  type RevokeSessionResult,
  revokeSessions,
  type RevokeTarget,
} from "./src/revoke.ts";
export { rotateSession } from "./src/rotate.ts";
export type { GuestSession, Session } from "./src/session.ts";
export type { Sql, SqlValue } from "./src/sql.ts";
export { type SweepProgress, sweepSessions, type SweepSessionsOptions } from "./src/sweep.ts";
export { createToken, type Token } from "./src/token.ts";
export {
  type SessionDataPatch,
  updateSession,
  type UpdateSessionOptions,
  type UpdateSessionResult,
} from "./src/update.ts";
export { getUserId } from "./src/user.ts";
export { validateSession, type ValidateSessionOptions } from "./src/validate.ts";
