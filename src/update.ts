import { type Context, contextOf } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import { emit, idsOf } from "./events.ts";
import {
  MAX_SESSION_DATA_BYTES,
  refuse,
  requireHoldable,
  requireJson,
  requireWhole,
} from "./input.ts";
import { type Policy, readOptions } from "./policy.ts";
import { findToken } from "./presented.ts";
import { granted, refused, type SessionResult } from "./result.ts";
import {
  type GuestSession,
  readNumber,
  readSession,
  requireIntact,
  type Session,
  SESSION_CELLS,
  STATE_CELLS,
} from "./session.ts";
import { arrayOf, type Sql } from "./sql.ts";
import { EXPLAIN_UPDATE, MAX_MERGED_DATA_BYTES, UPDATE } from "./statements.ts";
import { write } from "./write.ts";

/** Options of one {@linkcode updateSession} call, in addition to the policy. */
export interface UpdateSessionOptions {
  /**
   * The `version` that the caller has read. If `data` was changed since, nothing is written, and the reason
   * is `conflict`. Unset: the keys are merged into the current data.
   */
  readonly version?: number;
}

/** Keys to set in `data`. A key whose value is `undefined` is removed. */
export type SessionDataPatch<Data extends object = Record<string, unknown>> = {
  readonly [Key in keyof Data]?: Data[Key] | undefined;
};

/**
 * The session after the update, or null and the reason. If `version` is out of date, the session as another
 * request left it, with the reason `conflict`.
 */
export type UpdateSessionResult<Data extends object = Record<string, unknown>> =
  | Exclude<SessionResult<Data>, { readonly reason: "guest" }>
  | {
    readonly session: null;
    /** The guest's session, with its current data and version. */
    readonly guest: GuestSession<Data>;
    /** Unset if the data was updated. */
    readonly reason?: "conflict" | undefined;
    readonly revokedReason?: undefined;
    readonly headers: Headers;
  }
  | {
    /** The live session, with its current data and version. */
    readonly session: Session<Data>;
    readonly guest?: undefined;
    readonly reason: "conflict";
    readonly revokedReason?: undefined;
    readonly headers: Headers;
  };

/**
 * Merges keys into a session's `data`.
 *
 * It sends one UPDATE, so parallel requests that write different keys lose nothing. If it changes no row, a
 * second statement reads why. A key whose value is `undefined` is removed, and a nested object is replaced as
 * a whole. An update counts as a use, and increases `version` by one. The patch is at most 65,536 bytes of
 * JSON, the merged data at most 131,072 bytes as PostgreSQL writes JSON, with a space after each comma and
 * colon.
 *
 * Pass `version` if the new value depends on the old one: of two requests that read the same version, the
 * first one writes, and the second one gets `conflict`.
 *
 * @example
 * ```ts
 * import { createSession, updateSession } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { headers } = await createSession("ada", sql, { data: { cart: 1, theme: "dark" } });
 * const request = new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 *
 * const { session } = await updateSession(request, { cart: 2, theme: undefined }, sql);
 * assert.deepEqual(session?.data, { cart: 2 });
 * assert.equal(session?.version, 1);
 * const late = await updateSession(request, { cart: 9 }, sql, { version: 0 });
 * assert.equal(late.reason, "conflict");
 * assert.deepEqual(late.session?.data, { cart: 2 });
 * await sql.end();
 * ```
 *
 * @param headers The request's headers: `request.headers`, not the `Request`.
 * @param patch The keys to set or to remove: at most 65,536 bytes of JSON.
 * @param sql The SQL client, or a transaction of it.
 * @param options The policy, and `version`.
 * @returns The session after the update; or null, the reason and headers. If `version` is out of date: the
 * session as another request left it, and the reason `conflict`.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range, the patch or the merged data is too large, or the patch
 * is text that PostgreSQL cannot hold.
 * @throws {SessionError} If the store fails. If the answer was lost (`STORE_TIMEOUT`, `STORE_UNAVAILABLE`),
 * the keys may have been written.
 */
export async function updateSession<Data extends object = Record<string, unknown>>(
  headers: RequestHeaders,
  patch: SessionDataPatch<NoInfer<Data>>,
  sql: Sql,
  options?: Policy & UpdateSessionOptions,
): Promise<UpdateSessionResult<Data>> {
  const { policy, own } = readOptions("updateSession", options, UPDATE_OPTIONS);
  return await update<Data>(contextOf("updateSession", sql, policy), headers, patch, own);
}

/** The names in {@linkcode UpdateSessionOptions}. */
export const UPDATE_OPTIONS = ["version"] as const;

/** {@linkcode updateSession} with a resolved policy. */
export async function update<Data extends object>(
  context: Context,
  headers: RequestHeaders,
  patch: SessionDataPatch<NoInfer<Data>>,
  { version }: UpdateSessionOptions,
): Promise<UpdateSessionResult<Data>> {
  const { caller, policy } = context;
  if (version !== undefined) requireWhole(`${caller}: version`, version, 0, 2 ** 31 - 1);
  const { set, removed } = readPatch(`${caller}: patch`, patch);
  const presented = await findToken(context, headers);
  if (typeof presented === "string") return refused(policy, { reason: presented });
  return await write<UpdateSessionResult<Data>>(context, presented, {
    statement: UPDATE,
    values: [removed, set, version === undefined ? null : String(version)],
    explanation: EXPLAIN_UPDATE,
    changed: (cells) => {
      requireIntact(caller, cells[SESSION_CELLS]);
      const session = readSession(caller, cells, presented.id);
      emit(policy.onEvent, { type: "updated", ...idsOf(session) });
      const { reason: _, ...updated } = granted<Data>(context, session);
      return updated;
    },
    unchanged: (state, _, cells) => {
      if (version !== undefined && state.version !== version) {
        return { ...granted<Data>(context, state), reason: "conflict" };
      }
      const size = readNumber(caller, cells[STATE_CELLS]);
      if (size <= MAX_MERGED_DATA_BYTES) return undefined;
      const desired = `leave at most ${MAX_MERGED_DATA_BYTES} bytes of data`;
      refuse(RangeError, `${caller}: patch`, desired, `${size} bytes`);
    },
  });
}

/** Reads a patch: what to set, as JSON, and the keys to remove, as PostgreSQL writes a text[]. */
function readPatch(subject: string, patch: object): { set: string; removed: string } {
  const keys: string[] = [];
  const set = requireJson(subject, patch, MAX_SESSION_DATA_BYTES, keys);
  requireHoldable(subject, JSON.stringify(keys), MAX_SESSION_DATA_BYTES);
  return { set, removed: arrayOf(keys) };
}
