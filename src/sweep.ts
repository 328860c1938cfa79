import { type Context, contextOf, requireOne } from "./context.ts";
import { unexpected } from "./errors.ts";
import { kindOf, refuse, requireFunction, requireObject, requireSeconds } from "./input.ts";
import { MAX_COOKIE_AGE, type Policy, readOptions } from "./policy.ts";
import { type Cell, isNotSupported, query, requireSql, type Sql } from "./sql.ts";
import { DELETE_DEAD, FIND_DEAD, SWEEP } from "./statements.ts";

/** The options of one {@linkcode sweepSessions}, beside the policy. */
export interface SweepSessionsOptions {
  /**
   * Seconds for which a revoked session stays, with its reason; 0 to 34,560,000.
   *
   * @default {2592000}, 30 days: for as long a cookie may still come and ask why.
   */
  readonly retention?: number;
  /** Gets the progress after each batch, and is awaited. What it throws ends the sweep. */
  readonly onProgress?: (progress: SweepProgress) => unknown;
  /** Ends the sweep before its next batch: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** How far a sweep has come. */
export interface SweepProgress {
  /** Sessions deleted so far. */
  readonly swept: number;
  /** Blocks of the table read so far. */
  readonly scanned: number;
  /** Blocks that the table has; 1,000 parts of the keys on a server without block ranges (Citus). */
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
  options?: Policy & SweepSessionsOptions,
): Promise<{ swept: number }> {
  const { policy, own } = readOptions("sweepSessions", options, SWEEP_OPTIONS);
  return await sweep(contextOf("sweepSessions", sql, policy), own);
}

/** The names in {@linkcode SweepSessionsOptions}. */
export const SWEEP_OPTIONS = ["retention", "onProgress", "signal"] as const;

/** {@linkcode sweepSessions} by a policy that was checked. */
export async function sweep(
  context: Context,
  { retention = 30 * 86_400, onProgress, signal }: SweepSessionsOptions,
): Promise<{ swept: number }> {
  const { caller, sql, policy } = context;
  requireSeconds(`${caller}: retention`, retention, 0, MAX_COOKIE_AGE);
  if (onProgress !== undefined) requireFunction(`${caller}: onProgress`, onProgress);
  if (signal !== undefined) requireSignal(`${caller}: signal`, signal);
  requireSql(caller, sql);
  const { sweepIdleAfter } = policy;
  const dead = [String(retention), sweepIdleAfter === undefined ? null : String(sweepIdleAfter)];
  let swept = 0;
  let next: Batch | null = FIRST_BLOCKS;
  while (next !== null) {
    signal?.throwIfAborted();
    const done: BatchResult = await sweepBatch(context, next, dead);
    swept += done.swept;
    next = done.next;
    await onProgress?.({ swept, scanned: done.scanned, blocks: done.blocks });
  }
  return { swept };
}

/** Where a batch begins: at a block of the table, of so many, or after a key. */
type Batch = { readonly block: number; readonly blocks?: number } | { readonly after: string };

interface BatchResult extends SweepProgress {
  readonly next: Batch | null;
}

const FIRST_BLOCKS: Batch = { block: 0 };
const FIRST_KEYS: Batch = { after: "00000000-0000-0000-0000-000000000000" };
const BLOCKS = 100;
const KEYS = 5000;
const PARTS = 1000;

async function sweepBatch(
  context: Context,
  batch: Batch,
  dead: readonly (string | null)[],
): Promise<BatchResult> {
  if ("after" in batch) return await sweepKeys(context, batch.after, dead);
  try {
    return await sweepBlocks(context, batch.block, batch.blocks, dead);
  } catch (error) {
    if (batch.block > 0 || !isNotSupported(error)) throw error;
    return await sweepBatch(context, FIRST_KEYS, dead);
  }
}

async function sweepBlocks(
  context: Context,
  block: number,
  known: number | undefined,
  dead: readonly (string | null)[],
): Promise<BatchResult> {
  const values = [`(${block},0)`, `(${block + BLOCKS},0)`, ...dead];
  const [swept, all] = requireOne(context, await query(context, SWEEP, values)) ?? [];
  const count = readCount(context, swept);
  // The first batch says how many blocks there are. What is inserted meanwhile is not dead.
  const blocks = known ?? readCount(context, all);
  const end = block + BLOCKS;
  const next = end < blocks ? { block: end, blocks } : null;
  return { swept: count, scanned: Math.min(end, blocks), blocks, next };
}

async function sweepKeys(
  context: Context,
  after: string,
  dead: readonly (string | null)[],
): Promise<BatchResult> {
  const rows = await query(context, FIND_DEAD, [after, String(KEYS), ...dead]);
  const ids = rows.flatMap(([id, isDead]) => isDead === "true" ? [id!] : []);
  let swept = 0;
  if (ids.length > 0) {
    const row = requireOne(context, await query(context, DELETE_DEAD, [`{${ids}}`, null, ...dead]));
    swept = readCount(context, row?.[0]);
  }
  const last = rows.at(-1)?.[0];
  if (!last) return { swept, scanned: PARTS, blocks: PARTS, next: null };
  // Keys are random: their first digits tell how far in the table this is.
  const scanned = Math.floor(parseInt(last.slice(0, 4), 16) / 0x10000 * PARTS);
  return { swept, scanned, blocks: PARTS, next: { after: last } };
}

function readCount({ caller }: Context, cell: Cell | undefined): number {
  if (typeof cell !== "string" || !/^\d+$/.test(cell)) {
    throw unexpected(caller, "two numbers", "something else");
  }
  return Number(cell);
}

function requireSignal(subject: string, signal: AbortSignal): void {
  requireObject(subject, signal, "be an AbortSignal");
  if (!("throwIfAborted" in signal)) {
    refuse(TypeError, subject, "be an AbortSignal", kindOf(signal));
  }
}
