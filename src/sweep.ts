import { kindOf, refuse, requireFunction, requireObject, requireSeconds } from "./input.ts";
import { LONGEST_COOKIE, type Policy, rulesOf } from "./policy.ts";
import { query, requireSql, type Sql, unexpected } from "./sql.ts";
import { SWEEP, type Swept } from "./statements.ts";

/** What belongs to one call of {@linkcode sweepSessions}. */
export interface SweepCall {
  /**
   * Seconds for which a revoked session stays, with its reason; 0 to 34,560,000.
   *
   * @default {2592000}, 30 days: for as long a cookie may still come and ask why.
   */
  readonly retention?: number;
  /**
   * Seconds without use after which a session is swept; 1 to `absoluteTimeout`. Unset: idle sessions
   * stay until their deadline, as policy is given per call, and another caller may call them alive.
   */
  readonly idleTimeout?: number;
  /** Is told, and waited for, after each batch. What it throws ends the sweep. */
  readonly onProgress?: (progress: SweepProgress) => unknown;
  /** Ends the sweep before its next batch: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** How far a sweep has come. */
export interface SweepProgress {
  /** Sessions deleted so far. */
  readonly swept: number;
  /** Blocks of the table looked at so far. */
  readonly scanned: number;
  /** Blocks that the table has. */
  readonly blocks: number;
}

/**
 * Deletes the sessions that are over: past their deadline, or revoked longer ago than `retention`.
 *
 * In batches of 100 blocks of the table (800 KiB), each a statement and a transaction of its own that
 * waits for nobody: a row that somebody holds is left for the next sweep. Any number of sweepers may run
 * beside each other and beside traffic. A session is dead with or without a sweep; this one gives the
 * room back. Call it once an hour or once a day, from a timer or from a job.
 *
 * @example
 * ```ts
 * import { sweepSessions } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { swept } = await sweepSessions(sql, { retention: 7 * 86_400 });
 * assert.equal(typeof swept, "number");
 * await sql.end();
 * ```
 *
 * @param sql The SQL client. In a transaction it holds what it has deleted until the commit.
 * @param options The policy, of which `queryTimeout` matters (for each batch), and what to sweep.
 * @returns How many sessions were deleted.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a setting is out of range.
 * @throws {SessionError} If the store fails: what was deleted before stays deleted.
 * @throws The reason of `signal`, once that is aborted.
 */
export async function sweepSessions(
  sql: Sql,
  options?: Policy & SweepCall,
): Promise<{ swept: number }> {
  const rules = rulesOf(options, ["retention", "idleTimeout", "onProgress", "signal"]);
  const { retention = 30 * 86_400, idleTimeout, onProgress, signal } = options ?? {};
  requireSeconds("retention", retention, 0, LONGEST_COOKIE);
  if (idleTimeout !== undefined) {
    requireSeconds("idleTimeout", idleTimeout, 1, rules.absoluteTimeout);
  }
  if (onProgress !== undefined) requireFunction("onProgress", onProgress);
  if (signal !== undefined) requireSignal(signal);
  requireSql(sql);

  let swept = 0;
  let scanned = 0;
  // The first answer says how many blocks there are. What is inserted meanwhile is not dead.
  let blocks = 1;
  while (scanned < blocks) {
    signal?.throwIfAborted();
    const values = [`(${scanned},0)`, `(${scanned + BATCH},0)`, retention, idleTimeout ?? null];
    const rows = await query<Swept>(sql, SWEEP, values, rules.queryTimeout);
    const [answer] = rows;
    if (
      rows.length !== 1 || !Number.isInteger(answer?.swept) || !Number.isInteger(answer?.blocks)
    ) {
      throw unexpected(SWEEP.purpose, "two numbers", "something else");
    }
    if (scanned === 0) blocks = answer!.blocks;
    swept += answer!.swept;
    scanned = Math.min(scanned + BATCH, Math.max(blocks, 0));
    await onProgress?.({ swept, scanned, blocks });
  }
  return { swept };
}

const BATCH = 100;

function requireSignal(signal: AbortSignal): void {
  requireObject("signal", signal, "be an AbortSignal");
  if (!("throwIfAborted" in signal)) {
    refuse(TypeError, "signal", "be an AbortSignal", kindOf(signal));
  }
}
