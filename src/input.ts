/**
 * Names what a caller passed without showing it: it may be a password typed into the wrong field.
 */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return typeof value;
  const name = Object.getPrototypeOf(value)?.constructor?.name;
  return typeof name === "string" && name !== "Object" ? `an instance of ${name}` : "an object";
}

/** Refuses what a caller passed, in the one form that all refusals have. */
export function refuse(
  Refusal: typeof TypeError | typeof RangeError,
  name: string,
  desired: string,
  actual: string,
): never {
  throw new Refusal(`Cannot proceed as ${name} must ${desired}: received ${actual}`);
}

export function requireObject(
  name: string,
  value: unknown,
  desired = "be an object",
): asserts value is object {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    refuse(TypeError, name, desired, kindOf(value));
  }
}

export function requireKeys(name: string, value: object, known: readonly string[]): void {
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      const desired = known.length ? `have no keys but ${known.join(", ")}` : "have no keys";
      refuse(TypeError, name, desired, JSON.stringify(key));
    }
  }
}

export function requireBoolean(name: string, value: unknown): asserts value is boolean {
  if (typeof value !== "boolean") refuse(TypeError, name, "be true or false", kindOf(value));
}

export function requireSeconds(
  name: string,
  value: unknown,
  least: number,
  most: number,
): asserts value is number {
  requireWhole(name, value, least, most, "whole seconds");
}

export function requireWhole(
  name: string,
  value: unknown,
  least: number,
  most: number,
  what = "a whole number",
): asserts value is number {
  const desired = `be ${what} from ${least} to ${most}`;
  if (typeof value !== "number") refuse(TypeError, name, desired, kindOf(value));
  if (!Number.isInteger(value) || value < least || value > most) {
    refuse(RangeError, name, desired, String(value));
  }
}

export function requireFunction(name: string, value: unknown): void {
  if (typeof value !== "function") refuse(TypeError, name, "be a function", kindOf(value));
}

export function requireDate(name: string, value: unknown): asserts value is Date {
  if (!(value instanceof Date)) refuse(TypeError, name, "be a Date", kindOf(value));
  const year = value.getUTCFullYear();
  if (!(year >= 1 && year <= 9999)) {
    refuse(
      RangeError,
      name,
      "be in the years 1 to 9999",
      Number.isNaN(year) ? "Invalid Date" : `${year}`,
    );
  }
}

/** Refuses text that is empty, too long, or more than PostgreSQL can hold. */
export function requireText(
  name: string,
  value: unknown,
  mostBytes: number,
): asserts value is string {
  if (typeof value !== "string") refuse(TypeError, name, "be a string", kindOf(value));
  const bytes = new TextEncoder().encode(value).length;
  if (bytes < 1 || bytes > mostBytes) {
    refuse(RangeError, name, `be 1 to ${mostBytes} bytes`, `${bytes} bytes`);
  }
  // A lone surrogate is stored as U+FFFD, so that two different names would be one.
  if (!value.isWellFormed()) refuse(RangeError, name, "be well-formed", "a lone surrogate");
  if (value.includes("\0")) refuse(RangeError, name, "be free of NUL", "one");
}

/** Spells a JSON object, and refuses one that PostgreSQL cannot hold. */
export function requireJson(name: string, value: unknown, mostBytes: number): string {
  requireObject(name, value);
  // JSON.stringify spells a Map, a Set or Headers as {}, and loses what is in them without a word.
  if (Symbol.iterator in value) refuse(TypeError, name, "be a JSON object", kindOf(value));
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch {
    // The engine's own message would quote property names.
    refuse(TypeError, name, "be JSON", "a cycle, a bigint, or an error of toJSON");
  }
  if (!text?.startsWith("{")) refuse(TypeError, name, "be a JSON object", kindOf(value));
  requireHoldable(name, text, mostBytes);
  return text;
}

/** Refuses JSON that is too long, or more than PostgreSQL can hold. */
export function requireHoldable(name: string, json: string, mostBytes: number): void {
  const bytes = new TextEncoder().encode(json).length + digits(json);
  if (bytes > mostBytes) {
    refuse(RangeError, name, `be at most ${mostBytes} bytes of JSON`, `${bytes} bytes`);
  }
  // JSON.stringify spells a NUL and a lone surrogate as escapes, after an even number of backslashes.
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/.test(json)) {
    refuse(RangeError, name, "be text that PostgreSQL can hold", "a NUL or a lone surrogate");
  }
}

// PostgreSQL spells a number like 1e308 with all of its digits.
function digits(json: string): number {
  if (!/\de[+-]\d/.test(json)) return 0;
  let sum = 0;
  JSON.parse(json, (_, value) => {
    if (typeof value === "number") sum += Math.abs(Number(/e(.+)$/.exec(`${value}`)?.[1] ?? 0));
    return value;
  });
  return sum;
}

/** The bytes of JSON that one call may give. */
export const LONGEST_DATA = 65_536;
