import { type Context, contextOf } from "./context.ts";
import { readToken, type RequestHeaders } from "./cookie.ts";
import { emit } from "./events.ts";
import {
  MAX_SESSION_DATA_BYTES,
  refuse,
  requireHoldable,
  requireJson,
  requireObject,
  requireWhole,
} from "./input.ts";
import { type Policy, readOptions } from "./policy.ts";
import { granted, refused, type SessionResult } from "./result.ts";
import { readInstant, readSession, type Session } from "./session.ts";
import { requireSql, type Sql } from "./sql.ts";
import { STATE_CELLS } from "./evaluate.ts";
import { EXPLAIN_UPDATE, MAX_MERGED_DATA_BYTES, UPDATE } from "./statements.ts";
import { write } from "./write.ts";

/** The options of one {@linkcode updateSession}, beside the policy. */
export interface UpdateSessionOptions {
  /**
   * The version that the caller has seen: if `data` was changed since, nothing is written, and the
   * reason is `conflict`. Unset: the keys are merged into the data as it is.
   */
  readonly version?: number;
}

/** Keys to set, and with `undefined` keys to remove. */
export type SessionDataPatch<Data extends object = Record<string, unknown>> = {
  readonly [Key in keyof Data]?: Data[Key] | undefined;
};

/** The session as it is now; with `version`, also the session as another request has left it. */
export type UpdateSessionResult<Data extends object = Record<string, unknown>> = SessionResult<Data> | {
  /** The live session, with the data and the version that it has now. */
  readonly session: Session<Data>;
  readonly reason: "conflict";
  readonly revokedReason?: undefined;
  readonly headers: Headers;
};

/**
 * Merges keys into a session's `data`.
 *
 * One statement: what two requests write to different keys is kept, both of it. A key whose value is
 * `undefined` is removed; one whose value is an object is replaced as a whole. Give `version` where the
 * new value depends on the old one: then nobody's change is lost, and the loser is told.
 *
 * @example
 * ```ts
 * import { createSession, updateSession } from "@coatcheck/coatcheck";
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
 * @returns The session as it is now; or null, the reason and headers. With `version`: or the session as
 * somebody else has left it, and the reason `conflict`.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range, the patch is text that PostgreSQL cannot hold, or
 * the merged data would take more than 131,072 bytes as PostgreSQL spells JSON.
 * @throws {SessionError} If the store fails.
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

/** {@linkcode updateSession} by a policy that was checked. */
export async function update<Data extends object>(
  context: Context,
  headers: RequestHeaders,
  patch: SessionDataPatch<NoInfer<Data>>,
  { version }: UpdateSessionOptions,
): Promise<UpdateSessionResult<Data>> {
  const { caller, sql, policy } = context;
  if (version !== undefined) requireWhole(`${caller}: version`, version, 0, 2 ** 31 - 1);
  const { set, removed } = readPatch(`${caller}: patch`, patch);
  requireSql(caller, sql);
  const presented = readToken(`${caller}: headers`, headers, policy.cookie.name);
  if (typeof presented === "string") return refused(policy, { reason: presented });
  let isConflict = false;
  const result = await write<Data>(context, presented, {
    statement: UPDATE,
    values: [removed, set, version === undefined ? null : String(version)],
    explanation: EXPLAIN_UPDATE,
    changed: (cells) => {
      const session = readSession(caller, cells, presented.id);
      emit(policy.onEvent, { type: "updated", id: session.id, userId: session.userId });
      return granted<Data>(context, session);
    },
    unchanged: (state, _, cells) => {
      isConflict = version !== undefined && state.version !== version;
      if (isConflict) return Promise.resolve(granted<Data>(context, state));
      const size = readInstant(caller, cells[STATE_CELLS]);
      if (size <= MAX_MERGED_DATA_BYTES) return Promise.resolve(undefined);
      const desired = `leave at most ${MAX_MERGED_DATA_BYTES} bytes of data`;
      refuse(RangeError, `${caller}: patch`, desired, `${size} bytes`);
    },
  });
  return isConflict && result.session ? { ...result, reason: "conflict" } : result;
}

/** Reads a patch once: what to set, as JSON, and the keys to remove, as PostgreSQL writes a text[]. */
function readPatch(subject: string, patch: object): { set: string; removed: string } {
  requireObject(subject, patch);
  const isPlain = !(Symbol.iterator in patch) && !("toJSON" in patch);
  const read: object = isPlain ? { ...patch } : patch;
  // JSON has no undefined: it leaves such keys out, and the list names them.
  const set = requireJson(subject, read, MAX_SESSION_DATA_BYTES);
  const keys = Object.entries(read).flatMap(([key, value]) => value === undefined ? [key] : []);
  requireHoldable(subject, JSON.stringify(keys), MAX_SESSION_DATA_BYTES);
  const removed = keys.map((key) => `"${key.replace(/["\\]/g, "\\$&")}"`);
  return { set, removed: `{${removed.join()}}` };
}
