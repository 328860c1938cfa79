/** Names what a caller passed, without showing it: it may be a password in the wrong argument. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return typeof value;
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  return typeof name === "string" && name !== "Object" ? `an instance of ${name}` : "an object";
}

/**
 * Refuses what a caller passed.
 *
 * @param subject The function and its argument: `createSession: username`.
 */
export function refuse(
  Refusal: typeof TypeError | typeof RangeError,
  subject: string,
  desired: string,
  actual: string,
): never {
  throw new Refusal(`${subject} must ${desired}, got ${actual}`);
}

export function requireObject(
  subject: string,
  value: unknown,
  desired = "be an object",
): asserts value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse(TypeError, subject, desired, kindOf(value));
  }
}

/**
 * Copies an object of options. An unknown key throws: a misspelt timeout that is silently ignored would make
 * a session last too long. The copy has no prototype, so that no property of `Object.prototype` counts as an
 * option, and each property is read once.
 */
export function copyOptions<Options extends object>(
  subject: string,
  options: Options,
  known: readonly string[],
  desired?: string,
): Options {
  requireObject(subject, options, desired);
  const copy = Object.create(null);
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) {
      const desired = known.length ? `have no keys but ${known.join(", ")}` : "have no keys";
      refuse(TypeError, subject, desired, JSON.stringify(key));
    }
    copy[key] = options[key as keyof Options];
  }
  return copy;
}

export function requireBoolean(subject: string, value: unknown): asserts value is boolean {
  if (typeof value !== "boolean") refuse(TypeError, subject, "be true or false", kindOf(value));
}

export function requireSeconds(
  subject: string,
  value: unknown,
  min: number,
  max: number,
): asserts value is number {
  requireWhole(subject, value, min, max, "whole seconds");
}

export function requireWhole(
  subject: string,
  value: unknown,
  min: number,
  max: number,
  what = "a whole number",
): asserts value is number {
  const desired = `be ${what} from ${min} to ${max}`;
  if (typeof value !== "number") refuse(TypeError, subject, desired, kindOf(value));
  if (!Number.isInteger(value) || value < min || value > max) {
    refuse(RangeError, subject, desired, String(value));
  }
}

export function requireFunction(subject: string, value: unknown): void {
  if (typeof value !== "function") refuse(TypeError, subject, "be a function", kindOf(value));
}

export function requireDate(subject: string, value: unknown): asserts value is Date {
  if (!(value instanceof Date)) refuse(TypeError, subject, "be a Date", kindOf(value));
  const year = value.getUTCFullYear();
  if (!(year >= 1 && year <= 9999)) {
    refuse(
      RangeError,
      subject,
      "be in the years 1 to 9999",
      Number.isNaN(year) ? "Invalid Date" : `${year}`,
    );
  }
}

/** Refuses text that is empty or too long, or that PostgreSQL cannot hold. */
export function requireText(
  subject: string,
  value: unknown,
  maxBytes: number,
): asserts value is string {
  if (typeof value !== "string") refuse(TypeError, subject, "be a string", kindOf(value));
  const bytes = new TextEncoder().encode(value).length;
  if (bytes < 1 || bytes > maxBytes) {
    refuse(RangeError, subject, `be 1 to ${maxBytes} bytes`, `${bytes} bytes`);
  }
  // A lone surrogate is sent as U+FFFD, so two different names would be one.
  if (!value.isWellFormed()) refuse(RangeError, subject, "be well-formed", "a lone surrogate");
  if (value.includes("\0")) refuse(RangeError, subject, "be free of NUL", "one");
}

/**
 * Returns the JSON of an object, and refuses what PostgreSQL cannot hold. Reads each property once.
 *
 * @param omitted Gets the keys of the object whose value is undefined, which JSON leaves out.
 */
export function requireJson(
  subject: string,
  value: unknown,
  maxBytes: number,
  omitted?: string[],
): string {
  requireObject(subject, value);
  // JSON.stringify writes a Map, a Set or Headers as {}, and silently loses their content.
  if (Symbol.iterator in value) refuse(TypeError, subject, "be a JSON object", kindOf(value));
  let text: string | undefined;
  let root: unknown;
  let lost: object | undefined;
  // Where the replacer is: an object, and those that contain it. To write deep data costs more than to find it.
  const path: unknown[] = [];
  function replacer(this: unknown, key: string, it: unknown): unknown {
    while (path.length > 0 && path.at(-1) !== this) path.pop();
    if (path.length > MAX_DEPTH) throw new RangeError();
    if (typeof it === "object" && it !== null) path.push(it);
    if (root === undefined) root = it;
    else if (this === root && it === undefined) omitted?.push(key);
    if (isLost(it)) lost ??= it;
    return it;
  }
  try {
    text = JSON.stringify(value, replacer);
  } catch (error) {
    // Deep data overflows the stack. The engine's own message would quote property names.
    if (error instanceof RangeError) refuse(RangeError, subject, SHALLOW, "more");
    refuse(TypeError, subject, "be JSON", "a cycle, a bigint, or an error of toJSON");
  }
  if (!text?.startsWith("{")) refuse(TypeError, subject, "be a JSON object", kindOf(value));
  if (lost) {
    const desired = lost === value ? "be a JSON object" : "contain only JSON values";
    refuse(TypeError, subject, desired, kindOf(lost));
  }
  requireHoldable(subject, text, maxBytes);
  return text;
}

// A promise, or an instance of a class of which JSON writes nothing, such as a Map or an Error.
function isLost(it: unknown): it is object {
  if (typeof it !== "object" || it === null || Array.isArray(it)) return false;
  if ("then" in it && typeof it.then === "function") return true;
  const prototype = Object.getPrototypeOf(it);
  const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null;
  return !isPlain && Object.keys(it).length === 0;
}

/** Refuses JSON that is too long or too deep, or that PostgreSQL cannot hold. */
export function requireHoldable(subject: string, json: string, maxBytes: number): void {
  // With `JSON.rawJSON`, an app can write what JSON.stringify does not: 1E9, or an escaped surrogate.
  const strings: string[] = [];
  const others = json.replaceAll(/"[^"\\]*(?:\\.[^"\\]*)*"/g, (it) => (strings.push(it), ""));
  let bytes = new TextEncoder().encode(json).length;
  let decimals = /\.\d{16384}/.test(others) ? Infinity : 0;
  for (const [, fraction = "", exponent] of others.matchAll(/(?:\.(\d+))?e([+-]?\d+)/gi)) {
    // PostgreSQL writes a number like 1e308 with all of its digits.
    bytes += Math.abs(Number(exponent));
    decimals = Math.max(decimals, fraction.length - Number(exponent));
  }
  if (bytes > maxBytes) {
    refuse(RangeError, subject, `be at most ${maxBytes} bytes of JSON`, `${bytes} bytes`);
  }
  if (decimals > 16_383) {
    refuse(RangeError, subject, "be numbers that PostgreSQL can hold", "more than 16383 decimals");
  }
  let depth = 0;
  for (const bracket of others.replaceAll(/[^[\]{}]+/g, "")) {
    depth += bracket === "{" || bracket === "[" ? 1 : -1;
    if (depth > MAX_DEPTH) refuse(RangeError, subject, SHALLOW, "more");
  }
  const isText = (it: string) => it.isWellFormed() && !it.includes("\0");
  if (!isText(json) || !strings.every((it) => !it.includes("\\u") || isText(JSON.parse(it)))) {
    refuse(RangeError, subject, "be text that PostgreSQL can hold", "a NUL or a lone surrogate");
  }
}

// PostgreSQL fails at some thousands, by its max_stack_depth.
const MAX_DEPTH = 100;
const SHALLOW = `be at most ${MAX_DEPTH} levels deep`;

/** The maximum bytes of JSON in one call. */
export const MAX_SESSION_DATA_BYTES = 65_536;
