import { type Context, contextOf, requireOne } from "./context.ts";
import { unexpected } from "./errors.ts";
import { kindOf, refuse, requireFunction, requireObject, requireSeconds } from "./input.ts";
import { MAX_COOKIE_AGE, type Policy, readOptions } from "./policy.ts";
import { type Cell, isNotSupported, query, requireSql, type Sql } from "./sql.ts";
import { DELETE_DEAD, FIND_DEAD, SWEEP } from "./statements.ts";

/** Options of one {@linkcode sweepSessions} call, in addition to the policy. */
export interface SweepSessionsOptions {
  /**
   * Seconds for which a revoked session is kept, with its reason; 0 to 34,560,000.
   *
   * @default {2592000}, 30 days: a cookie of it may be presented for as long, and get the reason `revoked`.
   */
  readonly retention?: number;
  /** Called with the progress after each batch, and awaited. An error that it throws stops the sweep. */
  readonly onProgress?: (progress: SweepProgress) => unknown;
  /** Stops the sweep before its next batch: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** The progress of a sweep. */
export interface SweepProgress {
  /** Sessions deleted so far. */
  readonly swept: number;
  /** Blocks of the table read so far. */
  readonly scanned: number;
  /** Blocks of the table. On a server without block ranges (Citus): 1,000, each for a part of the keys. */
  readonly blocks: number;
}

/**
 * Deletes dead sessions: those past their deadline, and those revoked more than `retention` seconds ago.
 *
 * Sessions end by their deadlines, with or without a sweep; a sweep frees their space. Call it once an hour
 * or once a day, from a timer or a job. Idle sessions are deleted only if you set `idleTimeout`, here or with
 * {@linkcode configure}: another policy may call them live.
 *
 * It sends one DELETE for each 100 blocks of the table (800 KiB), each in its own transaction. It waits for
 * no lock, and leaves a locked row to the next sweep. Any number of processes can sweep at the same time. On
 * a server without block ranges (Citus), it goes by key: for each 5,000 rows one SELECT, and one DELETE if
 * some of them are dead.
 *
 * @example
 * ```ts
 * import { sweepSessions } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * const { swept } = await sweepSessions(sql, { retention: 7 * 86_400 });
 * assert.equal(typeof swept, "number");
 * await sql.end();
 * ```
 *
 * @param sql The SQL client. A transaction locks the deleted rows until its commit.
 * @param options The policy, of which `idleTimeout` and `queryTimeout` (for each statement) apply, and
 * `retention`, `onProgress` and `signal`.
 * @returns How many sessions were deleted.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 * @throws {SessionError} If the store fails. What was deleted before stays deleted.
 * @throws The reason of `signal`, if it is aborted.
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

/** {@linkcode sweepSessions} with a resolved policy. */
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

/** The start of a batch: a block of the table and how many the table has, or the key before its first row. */
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
