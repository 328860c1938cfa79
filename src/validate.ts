import { readToken, type RequestHeaders } from "./cookie.ts";
import { type Policy, rulesOf } from "./policy.ts";
import { requireRow, type Session, toSession } from "./session.ts";
import { query, requireSql, type Sql, unexpected } from "./sql.ts";
import { TOUCH, VALIDATE, type ValidatedRow } from "./statements.ts";

/**
 * Why there is no session.
 *
 * - `absent`: no cookie of our name. `malformed`: one that is no token of ours, or several.
 * - `unknown`: no session has that id and that secret.
 * - `idle`, `expired`: it ended by `idleTimeout`, or at its absolute deadline.
 * - `revoked`: it was ended; `revokedReason` says why.
 * - `user`: the user is no longer in the view `coatcheck.users`.
 */
export type Reason = "absent" | "malformed" | "unknown" | "idle" | "expired" | "revoked" | "user";

/** What a token opens: a session, or none and the reason. */
export type Visit<Data extends object = Record<string, unknown>> =
  | {
    readonly session: Session<Data>;
    readonly reason?: undefined;
    readonly revokedReason?: undefined;
    readonly headers: Headers;
  }
  | {
    readonly session: null;
    readonly reason: Reason;
    readonly revokedReason?: string;
    readonly headers: Headers;
  };

/**
 * Finds the live session that a request's cookie opens, and touches it when due.
 *
 * One SELECT; an UPDATE follows at most once in `touchInterval`. A cookie that is absent or malformed
 * costs no SQL. A session that is not there is an answer, with its reason; only a failing store
 * throws. The headers never clear the cookie: a late answer to an old cookie would delete the new
 * one that a sign-in has set meanwhile. It ends by itself at the absolute deadline.
 *
 * @example
 * ```ts
 * import { createSession, validateSession } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { headers } = await createSession("ada", sql);
 * const cookie = headers.get("set-cookie")!.split(";")[0]!;
 *
 * const { session, reason } = await validateSession(new Headers({ cookie }), sql);
 * assert.equal(session?.username, "ada");
 * assert.equal(reason, undefined);
 * assert.equal((await validateSession(new Headers(), sql)).reason, "absent");
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy.
 * @returns The session and headers; or null, the reason and headers.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range.
 * @throws {SessionError} If the store fails: answer with 503, and leave the cookie alone.
 */
export async function validateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  sql: Sql,
  options?: Policy,
): Promise<Visit<Data>> {
  const rules = rulesOf(options, []);
  requireSql(sql);
  const token = readToken(headers, rules.cookie.name);
  if (typeof token === "string") return refused(token);
  const { absoluteTimeout, idleTimeout, touchInterval, queryTimeout } = rules;
  const touchAfter = touchInterval === false ? null : touchInterval;
  const values = [absoluteTimeout, idleTimeout, touchAfter, token.id, token.digest];
  const rows = await query<ValidatedRow>(sql, VALIDATE, values, queryTimeout);
  if (rows.length === 0) return refused("unknown");
  const row = requireRow(VALIDATE.purpose, rows, token);
  // The row of another statement about the same session has no `ended`.
  if (row.ended === undefined) {
    throw unexpected(VALIDATE.purpose, "a validated session", "another row");
  }
  if (row.ended === "revoked") return refused(row.ended, row.revokedReason);
  if (row.ended !== null) return refused(row.ended);
  if (row.username === null) return refused("user");
  const touched = row.due ? await query<unknown>(sql, TOUCH, values, queryTimeout) : [];
  const [lastSeenAt = row.lastSeenAt] = touched;
  if (
    typeof lastSeenAt !== "string" || touched.length > 0 && Number.isNaN(Date.parse(lastSeenAt))
  ) {
    throw unexpected(TOUCH.purpose, "an instant", "something else");
  }
  return { session: toSession<Data>({ ...row, lastSeenAt }), headers: new Headers() };
}

function refused(reason: Reason, revokedReason?: string | null): Visit<never> {
  return {
    session: null,
    reason,
    ...(revokedReason && { revokedReason }),
    headers: new Headers(),
  };
}
