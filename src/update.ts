import type { RequestHeaders } from "./cookie.ts";
import { tell } from "./events.ts";
import { LONGEST_DATA, refuse, requireHoldable, requireJson, requireWhole } from "./input.ts";
import { type Policy, rulesOf } from "./policy.ts";
import type { Session } from "./session.ts";
import { type Sql, unexpected } from "./sql.ts";
import { LARGEST_MERGED, UPDATE, type UpdatedRow } from "./statements.ts";
import { grant, isRefused, judge, readVisitor, type Visit } from "./visit.ts";

/** What belongs to one call of {@linkcode updateSession}. */
export interface UpdateCall {
  /**
   * The version that the caller has seen: where `data` was changed since, nothing is written, and the
   * reason is `conflict`. Unset: the keys are merged into whatever is there.
   */
  readonly version?: number;
}

/** Keys to set, and with `undefined` keys to remove. */
export type Patch<Data extends object = Record<string, unknown>> = {
  readonly [Key in keyof Data]?: Data[Key] | undefined;
};

/** A visit; or the session as it is, where `data` was changed since the version that was given. */
export type Update<Data extends object = Record<string, unknown>> = Visit<Data> | {
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
  patch: Patch<NoInfer<Data>>,
  sql: Sql,
  options?: Policy & UpdateCall,
): Promise<Update<Data>> {
  const rules = rulesOf(options, ["version"]);
  const { version } = options ?? {};
  if (version !== undefined) requireWhole("version", version, 0, 2 ** 31 - 1);
  // JSON has no undefined: the first leaves such keys out, and the second names them.
  const set = requireJson("patch", patch, LONGEST_DATA);
  const removed = JSON.stringify(
    Object.entries(patch).flatMap(([key, value]) => value === undefined ? [key] : []),
  );
  requireHoldable("patch", removed, LONGEST_DATA);
  const token = readVisitor(headers, sql, rules);
  if (isRefused(token)) return token;
  const own = [set, removed, version ?? null];
  const row = await judge<UpdatedRow>(token, sql, rules, UPDATE, own);
  if (isRefused(row)) return row;
  if (row.written) {
    tell(rules.onEvent, { type: "updated", id: row.id, userId: row.userId });
    return grant(rules, row);
  }
  if (row.size === null) return { ...grant<Data>(rules, row), reason: "conflict" };
  if (!(row.size > LARGEST_MERGED)) {
    throw unexpected(UPDATE.purpose, "a session that was changed", "one that was not");
  }
  const desired = `leave at most ${LARGEST_MERGED} bytes of data`;
  refuse(RangeError, "patch", desired, `${row.size} bytes`);
}
