import { type Context, contextOf, requireOne } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import { discard, requireCommitted } from "./create.ts";
import { driverError, notIntact, SessionError } from "./errors.ts";
import { emit } from "./events.ts";
import { MAX_SESSION_DATA_BYTES, requireBoolean, requireJson } from "./input.ts";
import { type Policy, readOptions } from "./policy.ts";
import type { GuestResult, SessionResult } from "./result.ts";
import { readSession, requireIntact, SESSION_CELLS, toGuest } from "./session.ts";
import { query, type Sql } from "./sql.ts";
import { INSERT_GUEST } from "./statements.ts";
import { createToken, keyOf } from "./token.ts";
import { issueToken, readTokens } from "./transport.ts";
import { validate } from "./validate.ts";

/** Options of one {@linkcode createGuestSession} call, in addition to the policy. */
export interface CreateGuestSessionOptions<Data extends object = Record<string, unknown>> {
  /** What to keep for the visitor: a JSON object of at most 65,536 bytes. @default {{}} */
  readonly data?: Data;
  /** Whether the cookie outlives the browser. @default {policy.cookie.persistent} */
  readonly persistent?: boolean;
  /**
   * The request's headers. If they present a live session, of a user or of a guest, that is the result, and
   * nothing is created. If they present two, the reason is `malformed`, and nothing is created either: a new
   * cookie could end the user's. Unset: a guest is created, whose cookie replaces the one that the browser has.
   */
  readonly headers?: RequestHeaders;
}

/**
 * Creates a session without a user, for a visitor who has not signed in.
 *
 * Call it when there is something to keep, such as the first article in a cart, and not for each visitor: each
 * call stores a row. Anybody can make it be called, so bound it as you bound sign-ins, by address for example;
 * {@linkcode sweepSessions} deletes the guests that do not come back.
 *
 * A guest is nobody: {@linkcode validateSession} returns `session: null`, the reason `guest`, and `guest`. Code
 * that knows nothing of guests lets none in. {@linkcode updateSession}, {@linkcode rotateSession} and
 * {@linkcode revokeSession} work for guests, {@linkcode reauthenticateSession} refuses them, and
 * {@linkcode listSessions} and {@linkcode revokeSessions} do not know them. At the sign-in, `replaces` and `keep`
 * of {@linkcode createSession} end the guest and keep some of the data.
 *
 * It sends one INSERT; with `headers`, what {@linkcode validateSession} sends before it.
 *
 * @example
 * ```ts
 * import { createGuestSession, createSession, validateSession } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { headers } = await createGuestSession(sql, { data: { cart: ["umbrella"] } });
 * const request = new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 *
 * const { session, guest, reason } = await validateSession(request, sql);
 * assert.equal(session, null);
 * assert.equal(reason, "guest");
 * assert.deepEqual(guest?.data, { cart: ["umbrella"] });
 *
 * const signedIn = await createSession("ada", sql, { replaces: request, keep: ["cart"] });
 * assert.deepEqual(signedIn.session.data, { cart: ["umbrella"] });
 * await sql.end();
 * ```
 *
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `data`, `persistent` and `headers` of this call.
 * @returns The guest and the headers that set the cookie; or the result of {@linkcode validateSession}, if
 * `headers` present something live.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option or `data` is out of range.
 * @throws {SessionError} If the store fails, or the schema is that of an earlier version (`SCHEMA_MISSING`).
 */
export async function createGuestSession<Data extends object = Record<string, unknown>>(
  sql: Sql,
  options?: Policy & CreateGuestSessionOptions<Data>,
): Promise<SessionResult<Data>> {
  const { policy, own } = readOptions("createGuestSession", options, GUEST_OPTIONS);
  return await createGuest<Data>(contextOf("createGuestSession", sql, policy), own);
}

/** The names in {@linkcode CreateGuestSessionOptions}. */
export const GUEST_OPTIONS = ["data", "persistent", "headers"] as const;

/** {@linkcode createGuestSession} with a resolved policy. */
export async function createGuest<Data extends object>(
  context: Context,
  options: CreateGuestSessionOptions<Data>,
): Promise<SessionResult<Data>> {
  const { caller, policy } = context;
  const { data = {}, persistent = policy.cookie.persistent, headers } = options;
  requireBoolean(`${caller}: persistent`, persistent);
  const json = requireJson(`${caller}: data`, data, MAX_SESSION_DATA_BYTES);
  let areSeveral = false;
  if (headers !== undefined) {
    const presented = readTokens(`${caller}: headers`, headers, policy);
    areSeveral = presented.areSeveral;
    const result = await validate<Data>(context, headers, {});
    const areLive = result.reason === "malformed" && typeof presented.tokens !== "string";
    if (result.session !== null || result.guest || areLive) return result;
  }
  const token = createToken();
  const { id, digest } = keyOf(token);
  const values = [id, digest, String(policy.absoluteTimeout), String(persistent), json];
  const translate = (error: unknown) => needsUser(caller, error);
  const row = requireOne(context, await query(context, INSERT_GUEST, values, translate));
  if (!row) throw notIntact(caller);
  let guest: GuestResult<Data>["guest"];
  try {
    requireIntact(caller, row[SESSION_CELLS]);
    guest = toGuest<Data>(readSession(caller, row, id), policy.idleTimeout);
    await requireCommitted(context, { id, digest }, row[SESSION_CELLS + 1]);
  } catch (error) {
    await discard(context, id);
    throw error;
  }
  emit(policy.onEvent, { type: "created", id });
  const maxAge = persistent ? policy.absoluteTimeout : undefined;
  const issued = issueToken(policy, token.token, maxAge, areSeveral);
  return { session: null, guest, reason: "guest", ...issued };
}

/** Tells the schema of an earlier version, in which each session has a user, from other errors. */
function needsUser(caller: string, error: unknown): SessionError | undefined {
  const { sqlstate, isNested, column } = driverError(error);
  if (sqlstate !== "23502" || isNested || column && column !== "user_id") return undefined;
  const message = `${caller}: coatcheck.sessions is that of an earlier version; run migrate(sql)`;
  return new SessionError("SCHEMA_MISSING", message, "23502");
}
