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
  function replacer(this: unknown, key: string, it: unknown): unknown {
    if (root === undefined) root = it;
    else if (this === root && it === undefined) omitted?.push(key);
    return it;
  }
  try {
    text = omitted ? JSON.stringify(value, replacer) : JSON.stringify(value);
  } catch {
    // The engine's own message would quote property names.
    refuse(TypeError, subject, "be JSON", "a cycle, a bigint, or an error of toJSON");
  }
  if (!text?.startsWith("{")) refuse(TypeError, subject, "be a JSON object", kindOf(value));
  requireHoldable(subject, text, maxBytes);
  return text;
}

/** Refuses JSON that is too long, or that PostgreSQL cannot hold. */
export function requireHoldable(subject: string, json: string, maxBytes: number): void {
  const bytes = new TextEncoder().encode(json).length + digits(json);
  if (bytes > maxBytes) {
    refuse(RangeError, subject, `be at most ${maxBytes} bytes of JSON`, `${bytes} bytes`);
  }
  // JSON.stringify writes a NUL and a lone surrogate as escapes, after an even number of backslashes.
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(json)) {
    refuse(RangeError, subject, "be text that PostgreSQL can hold", "a NUL or a lone surrogate");
  }
}

// PostgreSQL writes a number like 1e308 with all of its digits.
function digits(json: string): number {
  if (!/\de[+-]\d/.test(json)) return 0;
  let sum = 0;
  JSON.parse(json, (_, value) => {
    if (typeof value === "number") sum += Math.abs(Number(/e(.+)$/.exec(`${value}`)?.[1] ?? 0));
    return value;
  });
  return sum;
}

/** The maximum bytes of JSON in one call. */
export const MAX_SESSION_DATA_BYTES = 65_536;
