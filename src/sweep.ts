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
   * @default {2592000}, 30 days: for as long, its cookie gets the reason `revoked`, and after that `unknown`.
   */
  readonly retention?: number;
  /**
   * Seconds without use after which a guest is deleted; 1 to 34,560,000. The cookie of a deleted guest gets the
   * reason `unknown`.
   *
   * @default {policy.idleTimeout}
   */
  readonly guestIdleTimeout?: number;
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
 * some of them are dead. There, the DELETE waits for locked rows.
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
export const SWEEP_OPTIONS = ["retention", "guestIdleTimeout", "onProgress", "signal"] as const;

/** {@linkcode sweepSessions} with a resolved policy. */
export async function sweep(
  context: Context,
  options: SweepSessionsOptions,
): Promise<{ swept: number }> {
  const { caller, sql, policy } = context;
  const { retention = 30 * 86_400, guestIdleTimeout = policy.idleTimeout, onProgress, signal } =
    options;
  requireSeconds(`${caller}: guestIdleTimeout`, guestIdleTimeout, 1, MAX_COOKIE_AGE);
  requireSeconds(`${caller}: retention`, retention, 0, MAX_COOKIE_AGE);
  if (onProgress !== undefined) requireFunction(`${caller}: onProgress`, onProgress);
  if (signal !== undefined) requireSignal(`${caller}: signal`, signal);
  requireSql(caller, sql);
  const { sweepIdleAfter } = policy;
  const idle = sweepIdleAfter === undefined ? null : String(sweepIdleAfter);
  const dead = [String(retention), idle, String(guestIdleTimeout)];
  let swept = 0;
  for await (const { deleted, scanned, blocks } of sweepBlocks(context, dead, signal)) {
    swept += deleted;
    await onProgress?.({ swept, scanned, blocks });
  }
  return { swept };
}

interface Batch extends Omit<SweepProgress, "swept"> {
  readonly deleted: number;
}

const BLOCKS_A_BATCH = 100;
const KEYS_A_BATCH = 5000;
const PARTS = 1000;

/** Sweeps the table block by block, or key by key if the server has no block ranges. */
async function* sweepBlocks(
  context: Context,
  dead: readonly (string | null)[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Batch> {
  // The number of blocks is that of the first batch. Rows that are inserted meanwhile are not dead.
  let blocks = 1;
  for (let block = 0; block < blocks; block += BLOCKS_A_BATCH) {
    signal?.throwIfAborted();
    const end = block + BLOCKS_A_BATCH;
    let rows: Cell[][];
    try {
      rows = await query(context, SWEEP, [`(${block},0)`, `(${end},0)`, ...dead]);
    } catch (error) {
      if (block > 0 || !isNotSupported(error)) throw error;
      return yield* sweepKeys(context, dead, signal);
    }
    const [swept, all] = requireOne(context, rows) ?? [];
    const deleted = readCount(context, swept);
    const found = readCount(context, all);
    if (block === 0) blocks = found;
    yield { deleted, scanned: Math.min(end, blocks), blocks };
  }
}

/** Sweeps the table key by key: reads a page of rows, and deletes those of it that are dead. */
async function* sweepKeys(
  context: Context,
  dead: readonly (string | null)[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Batch> {
  let last: Cell | undefined = "00000000-0000-0000-0000-000000000000";
  while (last) {
    signal?.throwIfAborted();
    const rows: Cell[][] = await query(context, FIND_DEAD, [last, String(KEYS_A_BATCH), ...dead]);
    const ids = rows.flatMap(([id, isDead]) => isDead === "true" ? [id] : []);
    let deleted = 0;
    if (ids.length > 0) {
      const values = [`{${ids.join()}}`, null, ...dead];
      deleted = readCount(
        context,
        requireOne(context, await query(context, DELETE_DEAD, values))?.[0],
      );
    }
    last = rows.at(-1)?.[0];
    // Keys are random, so their first digits are the progress.
    const part = last ? parseInt(last.slice(0, 4), 16) / 0x10000 : 1;
    yield { deleted, scanned: Math.floor(part * PARTS), blocks: PARTS };
  }
}

function readCount({ caller }: Context, cell: Cell | undefined): number {
  if (typeof cell !== "string" || !/^\d+$/.test(cell)) {
    throw unexpected(caller, "a number of rows or blocks", "something else");
  }
  return Number(cell);
}

function requireSignal(subject: string, signal: AbortSignal): void {
  requireObject(subject, signal, "be an AbortSignal");
  if (!("throwIfAborted" in signal)) {
    refuse(TypeError, subject, "be an AbortSignal", kindOf(signal));
  }
}
