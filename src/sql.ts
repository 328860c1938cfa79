import { SessionError, type SessionErrorCode } from "./errors.ts";
import { kindOf, refuse } from "./input.ts";

/**
 * What coatcheck asks of a SQL client: to be callable as a tagged template.
 *
 * postgres.js, `Bun.SQL`, a transaction of either, Neon's `neon()` and PGlite's bound `sql` fit as
 * they are. Only parameters of these four types are sent, and only one column of text is read, so
 * that no client's own parsing of dates, numbers, bytes or names comes in between.
 */
export type Sql = (
  strings: TemplateStringsArray,
  ...values: SqlValue[]
) => PromiseLike<readonly unknown[] | { readonly rows: readonly unknown[] }>;

/** A parameter of a statement. */
export type SqlValue = string | number | boolean | null;

/** A statement as the constant array that a template literal would be, and what it asks in words. */
export interface Statement {
  readonly strings: TemplateStringsArray;
  /** Which value goes between two of the strings: 1 for `$1`, and 0 for the call's own number. */
  readonly order: readonly number[];
  readonly purpose: string;
}

/**
 * Makes a statement from its text, with `$1`, `$2` … where its values go, and `$0` where the call's own
 * number goes; see {@linkcode answer}.
 *
 * The text is constant, so every server connection prepares it once; values never become text.
 */
export function statement(purpose: string, text: string): Statement {
  const parts = text.trim().split(/\$\d+/);
  const order = Array.from(text.matchAll(/\$(\d+)/g), ([, number]) => Number(number));
  // Bun.SQL takes an array for a list of values where `raw` can be enumerated, and slonik takes one for no
  // template literal where it is not frozen.
  Object.freeze(Object.defineProperty(parts, "raw", { value: parts }));
  return { strings: parts as unknown as TemplateStringsArray, order, purpose };
}

/** What stands in a JSON object: SQL, by name. */
export type Pairs = Readonly<Record<string, string>>;

// Functions stand with their schema where one of somebody's own could suit the call better, and would come
// first: what takes any type, or fewer parameters than it has.

/** Makes the SQL of a JSON object as text. */
export function object(pairs: Pairs): string {
  return `pg_catalog.json_build_object(${
    Object.entries(pairs).map((pair) => `'${pair.join("', ")}`).join(", ")
  })::text`;
}

/** Spells text in which nothing needs an escape, such as a UUID. */
export const quoted = (sql: string): string => `'"', ${sql}, '"'`;

/** Spells any text, or null. */
export const escaped = (sql: string): string => orNull(`pg_catalog.to_json(${sql})::text`);

/** Spells what is JSON already, or null. */
export const orNull = (sql: string): string => `coalesce(${sql}, 'null')`;

/**
 * Of an instant, in seconds since 1970: clients and settings disagree about how to write one. A numeric, as
 * extra_float_digits cuts what a double is spelt with.
 */
export const epoch = (sql: string): string => `extract(epoch from ${sql})`;

/** Spells an instant as text, as some are not finite. */
export const instant = (sql: string): string => quoted(epoch(sql));

/**
 * Makes the SQL of an answer: a JSON object, put together by `concat`, as json_build_object looks up the
 * type of each value of each row anew, which for a batch of sessions takes twice as long.
 *
 * It says which call it is an answer to, so that no row of another one is taken for it: Bun.SQL before
 * 1.4 could hand one over (oven-sh/bun #33665).
 *
 * @param spelt What spells each value as JSON: arguments of `concat`, of which none is null.
 */
export function answer(spelt: Pairs, call = "$0::text"): string {
  const pairs = Object.entries({ of: quoted(call), ...spelt })
    .map(([name, value]) => `'"${name}":', ${value}`);
  // What is constant, and side by side, becomes one.
  return `pg_catalog.concat('{', ${pairs.join(", ',', ")}, '}') as json`.replaceAll("', '", "");
}

/**
 * Sends one statement, and parses the JSON in the only column of each row that comes back, if it is an
 * answer to this call.
 *
 * The deadline is our own: with a connection that is half open, postgres.js and Bun.SQL wait for ever
 * (porsager/postgres #1089). What the client throws is told by SQLSTATE or not at all, because it
 * carries statement and parameters.
 *
 * @param seconds How long the client has for its answer.
 * @param translate What an error of the client's means, where that is not for the store to say.
 * @throws {TypeError} If `sql` is not a function.
 * @throws {SessionError} If the store fails.
 */
export async function query<Row>(
  sql: Sql,
  { strings, order, purpose }: Statement,
  values: readonly SqlValue[],
  seconds: number,
  translate: (error: unknown) => SessionError | undefined = () => undefined,
): Promise<Row[]> {
  requireSql(sql);
  const call = nextCall();
  const parameters = order.map((index) => index === 0 ? call : values[index - 1] as SqlValue);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const deadline = new Promise<typeof late>((resolve) => {
    timer = setTimeout(resolve, seconds * 1000, late);
  });
  let pending: PromiseLike<unknown> & { [giveUp]?: () => void };
  let result: unknown;
  try {
    pending = sql(strings, ...parameters);
    result = await Promise.race([pending, deadline]);
  } catch (error) {
    throw translate(error) ?? storeError(purpose, error);
  } finally {
    clearTimeout(timer);
  }
  if (result === late) {
    pending[giveUp]?.();
    throw new SessionError(
      "STORE_TIMEOUT",
      `Cannot ${purpose} as the database must answer within queryTimeout: ` +
        `received nothing for ${seconds} s`,
    );
  }
  const rows = rowsOf(result);
  if (!rows) throw unexpected(purpose, "rows", kindOf(result));
  return rows.map((row) => {
    let said;
    try {
      said = JSON.parse(Object.values(row as object)[0]);
    } catch {
      throw unexpected(purpose, "one column of JSON", kindOf(row));
    }
    if (said?.of !== call) throw unexpected(purpose, "its own", "another call's");
    return said;
  });
}

/**
 * The rows of a client's answer, if it has any. Holes are none: postgres.js leaves some in the answer after
 * one that broke off (porsager/postgres #1181).
 */
export function rowsOf(answer: unknown): unknown[] | undefined {
  const rows = Array.isArray(answer) ? answer : (answer as { rows?: unknown } | null)?.rows;
  return Array.isArray(rows) ? rows.filter(() => true) : undefined;
}

// After a random number, which Workers do not allow before the first call, so that two processes behind
// one pooler have no number in common.
let origin: string | undefined;
let calls = 0;

function nextCall(): string {
  origin ??= `q${crypto.getRandomValues(new Uint32Array(2)).join("")}_`;
  return origin + calls++;
}

/**
 * Refuses a client that is no function, or none of that form; called by hand where a request may need no
 * SQL.
 *
 * A tag takes the strings, and all values as a rest. What declares three parameters is pg's
 * `query(text, values, callback)`, which as a tag calls the second value back, out of everybody's reach:
 * that ends the process.
 */
export function requireSql(sql: unknown): asserts sql is Sql {
  const desired = "be a tagged-template client, like postgres(url)";
  if (typeof sql !== "function") refuse(TypeError, "sql", desired, kindOf(sql));
  if (sql.length > 2) {
    refuse(TypeError, "sql", desired, `a function of ${sql.length} parameters, like pg's query`);
  }
}

const late = Symbol("late");

/** By what an answer is told that nobody waits for it any more; {@linkcode batched} has such answers. */
export const giveUp: unique symbol = Symbol("give up");

/** An answer that the statement cannot have given: a broken client, or a view that is not unique. */
export function unexpected(purpose: string, desired: string, actual: string): SessionError {
  return new SessionError(
    "UNEXPECTED_RESULT",
    `Cannot ${purpose} as the answer must be ${desired}: received ${actual}`,
  );
}

function storeError(purpose: string, error: unknown): SessionError {
  const { code, message } = coded(error);
  const sqlstate = sqlstateOf(error);
  if (sqlstate === undefined) {
    // A driver's own code, such as ECONNREFUSED, is a constant of its source and says nothing else.
    const known = typeof code === "string" && /^[A-Z][A-Z_]{1,49}$/.test(code);
    const received = known ? code : kindOf(error);
    return new SessionError(
      "STORE_UNAVAILABLE",
      `Cannot ${purpose} as the database must be reachable: received ${received}`,
    );
  }
  // Class CC is raised by our own migrations, in sentences that hold nothing but our own names. A
  // trigger of the app's may raise it too, with a row in its text: that is not shown.
  const ownWords = "migrate: ";
  const sentence = sqlstate.startsWith("CC") && String(message).startsWith(ownWords)
    ? String(message)
    : `Cannot ${purpose} as the database must accept the statement: received SQLSTATE ${sqlstate}`;
  const ours = codeOf(sqlstate);
  const hint = ours === "SCHEMA_MISSING" ? "; run migrate(sql)" : "";
  return new SessionError(ours, sentence + hint, sqlstate);
}

/**
 * The error with a code: the client's, or the driver's beneath, where a client that stands on one, like
 * drizzle or slonik, has thrown its own.
 */
export function coded(error: unknown): Readonly<Record<string, unknown>> {
  const outer = (error ?? {}) as Record<string, unknown>;
  let it = outer;
  // No deeper than anybody wraps: a cause may lead back to where it came from.
  for (
    let depth = 0;
    depth < 5 && typeof it.code !== "string" && it.cause instanceof Error;
    depth++
  ) {
    it = it.cause as unknown as Record<string, unknown>;
  }
  return typeof it.code === "string" ? it : outer;
}

/** PostgreSQL's code in an error of a client's: postgres.js has it in `code`, Bun.SQL in `errno`. */
export function sqlstateOf(error: unknown): string | undefined {
  const { code, errno, severity } = coded(error);
  // Five capitals and digits. EPIPE is not from PostgreSQL, whose errors have a severity.
  const form = severity === undefined ? /^(?=.*\d)[0-9A-Z]{5}$/ : /^[0-9A-Z]{5}$/;
  return [code, errno].find((it): it is string => typeof it === "string" && form.test(it));
}

// Classes and codes are those of PostgreSQL 18, appendix A.
function codeOf(sqlstate: string): SessionErrorCode {
  if (/^(3F000|42P01|42703)$/.test(sqlstate)) return "SCHEMA_MISSING";
  if (/^(57014|55P03|25P04)$/.test(sqlstate)) return "STORE_TIMEOUT";
  if (/^(08|53|57P|40|25006|25P03)/.test(sqlstate)) return "STORE_UNAVAILABLE";
  return "STORE_REJECTED";
}
