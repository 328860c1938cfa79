import { driverError, type SessionError, storeError, timedOut, unexpected } from "./errors.ts";
import { kindOf, refuse } from "./input.ts";

/**
 * What coatcheck needs of a SQL client: a function that can be called as a tagged template.
 *
 * postgres.js, `Bun.SQL`, a transaction of either, Neon's `neon()` and PGlite's bound `sql` fit as they are.
 * coatcheck sends only text and null, and reads only columns of text, so it does not matter how the client
 * handles dates, numbers, bytes or names. The conformance suite tests a client of your own.
 */
export type Sql = (
  strings: TemplateStringsArray,
  ...values: SqlValue[]
) => PromiseLike<readonly unknown[] | { readonly rows: readonly unknown[] }>;

/** A parameter of a statement. */
export type SqlValue = string | number | boolean | null;

/** A statement, as the constant array that a template literal would be. */
export interface Statement {
  readonly strings: TemplateStringsArray;
  /** The number of the value that goes between two of the strings: 1 for `$1`. */
  readonly order: readonly number[];
  /** How many columns each row has. */
  readonly columns: number;
  /** The text as it is written, for sql/statements.sql. */
  readonly text: string;
}

/** Writes a text[] as PostgreSQL does. */
export function arrayOf(texts: readonly string[]): string {
  return `{${texts.map((text) => `"${text.replace(/["\\]/g, "\\$&")}"`).join()}}`;
}

/** A column of a row: text or null. */
export type Cell = string | null;

/** What a function works with: its name for errors, the client, and the seconds to wait for each answer. */
export interface Call {
  readonly caller: string;
  readonly sql: Sql;
  readonly queryTimeout: number;
}

/**
 * Makes a statement of a text with `$1`, `$2` … for its values. `$1` is the number of the call.
 *
 * The text is constant, so that each server connection prepares it once; values never become text.
 */
export function statement(columns: number, text: string): Statement {
  // Shorter, as clients take microseconds for each 100 characters. No literal contains two spaces.
  const parts = text.replaceAll(/\s+/g, " ").split(/\$\d+/);
  const order = Array.from(text.matchAll(/\$(\d+)/g), ([, number]) => Number(number));
  return { strings: templateOf(parts), order, columns, text };
}

/** Makes a statement of a text without values and rows, which is sent as it is. */
export function script(text: string): Statement {
  return { strings: templateOf([text]), order: [], columns: 0, text };
}

function templateOf(parts: string[]): TemplateStringsArray {
  // Bun.SQL reads an array with an enumerable `raw` as a list of values, and slonik rejects one that is not
  // frozen.
  Object.freeze(Object.defineProperty(parts, "raw", { value: parts }));
  return parts as unknown as TemplateStringsArray;
}

/**
 * Sends one statement, and returns its rows without their first column, the number of the call.
 *
 * The timeout is our own: on a half-open connection postgres.js and Bun.SQL wait forever
 * (porsager/postgres #1089). The number of the call stops a driver that returns another query's row,
 * as Bun.SQL did before 1.4 (oven-sh/bun #33665).
 *
 * @param values The values of `$2`, `$3` …
 * @param translate What an error of the client means, if it is not about the store.
 * @throws {TypeError} If `sql` is not a function.
 * @throws {SessionError} If the store fails.
 */
export async function query(
  { caller, sql, queryTimeout }: Call,
  { strings, order, columns }: Statement,
  values: readonly SqlValue[],
  translate?: (error: unknown) => SessionError | undefined,
): Promise<Cell[][]> {
  requireSql(caller, sql);
  const call = nextCall();
  const parameters = order.map((number) => number === 1 ? call : values[number - 2] as SqlValue);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<typeof late>((resolve) => {
    timer = setTimeout(resolve, queryTimeout * 1000, late);
  });
  let pending: PromiseLike<unknown> & { [abandon]?: () => void };
  let result: unknown;
  try {
    pending = sql(strings, ...parameters);
    result = await Promise.race([pending, timeout]);
  } catch (error) {
    await afterLoss(error);
    throw translate?.(error) ?? storeError(caller, error, kindOf(error));
  } finally {
    clearTimeout(timer);
  }
  if (result === late) {
    pending[abandon]?.();
    throw timedOut(caller, queryTimeout);
  }
  const rows = rowsOf(result);
  if (!rows) throw unexpected(caller, "rows", kindOf(result));
  return rows.map((row) => readRow(caller, row, call, columns));
}

/**
 * Waits for the next turn of the event loop if a connection was lost. postgres.js 3.4.9 fails its queries before it
 * notes that the connection is closed: a query that is sent in between is never answered, nor is any that follows it
 * on that place of the pool.
 */
export async function afterLoss(error: unknown): Promise<void> {
  if (driverError(error).sqlstate === undefined) {
    await new Promise((resolve) => setTimeout(resolve));
  }
}

/** Statements that a server has refused as a feature that it does not have. */
export const unsupported: WeakSet<Statement> = new WeakSet();

/**
 * Sends a statement; or its other form, if the server has refused the first one as a feature that it does not
 * have, as Citus refuses to lock rows of many shards. The first refusal is remembered. In a transaction it
 * aborts the transaction, which succeeds when it is run again.
 */
export async function queryEither(
  call: Call,
  [statement, other]: readonly [Statement, Statement],
  values: readonly SqlValue[],
  translate?: (error: unknown) => SessionError | undefined,
): Promise<Cell[][]> {
  if (unsupported.has(statement)) return await query(call, other, values, translate);
  try {
    return await query(call, statement, values, translate);
  } catch (refusal) {
    if (!isNotSupported(refusal)) throw refusal;
    unsupported.add(statement);
    try {
      return await query(call, other, values, translate);
    } catch (error) {
      // In a transaction, the refusal has aborted it.
      throw driverError(error).sqlstate === "25P02" ? refusal : error;
    }
  }
}

function readRow(caller: string, row: unknown, call: string, columns: number): Cell[] {
  // By position, as some clients rename columns.
  const cells: unknown[] = typeof row === "object" && row !== null ? Object.values(row) : [];
  if (cells.length !== columns) {
    throw unexpected(caller, `rows of ${columns} columns`, `${cells.length} columns`);
  }
  for (const cell of cells) {
    if (cell !== null && typeof cell !== "string") {
      throw unexpected(caller, "columns of text", kindOf(cell));
    }
  }
  if (cells.shift() !== call) throw unexpected(caller, "its own row", "another query's row");
  return cells as Cell[];
}

/**
 * The rows in a client's result, if it has any. Holes are skipped: postgres.js leaves some in the result
 * after one that broke off (porsager/postgres #1181).
 */
export function rowsOf(result: unknown): unknown[] | undefined {
  const rows = Array.isArray(result) ? result : (result as { rows?: unknown } | null)?.rows;
  return Array.isArray(rows) ? rows.filter(() => true) : undefined;
}

// The numbers begin with a random one, so that two processes behind one pooler never use the same. It is made
// in the first call, as Workers allow no random number before the first request.
let origin: string | undefined;
let calls = 0;

function nextCall(): string {
  origin ??= `q${crypto.getRandomValues(new Uint32Array(2)).join("")}_`;
  return origin + calls++;
}

/**
 * Refuses a client that is not a function, or whose function cannot be a tag. Call it if a request may need
 * no SQL, so that the first request finds the mistake.
 *
 * A tag takes the strings, and all values as a rest parameter. A function of three parameters is pg's
 * `query(text, values, callback)`: called as a tag, it calls its second value, which ends the process.
 */
export function requireSql(caller: string, sql: unknown): asserts sql is Sql {
  const desired = "be a tagged-template client, like postgres(url)";
  if (typeof sql !== "function") refuse(TypeError, `${caller}: sql`, desired, kindOf(sql));
  if (sql.length > 2) {
    const actual = `a function of ${sql.length} parameters, like pg's query`;
    refuse(TypeError, `${caller}: sql`, desired, actual);
  }
}

/** Whether the server has refused a statement as a feature that it does not have. */
export function isNotSupported(error: unknown): boolean {
  return driverError(error).sqlstate === "0A000";
}

const late = Symbol("late");

/** The method of a pending result by which {@linkcode batched} stops waiting for it. */
export const abandon: unique symbol = Symbol("abandon");
