// How the properties of test/fuzz.test.ts run, and arbitrary values that several of them share.
import fc from "fast-check";
import assert from "node:assert/strict";
import process from "node:process";

// FUZZ_SECONDS asks for a longer run of each property, with another seed each time; FUZZ_SEED repeats one.
const seconds = numberOf("FUZZ_SECONDS", 0);
// Below the time that the test command gives to one test.
if (seconds > 150) throw new Error("FUZZ_SECONDS must be at most 150, for each property");
const seed = numberOf(
  "FUZZ_SEED",
  seconds ? crypto.getRandomValues(new Uint32Array(1))[0]! >>> 1 : 20_260_101,
);
const replay = `FUZZ_SEED=${seed}${seconds ? ` FUZZ_SECONDS=${seconds}` : ""} npm test -- fuzz`;
console.log(`Replay: ${replay}`);

/** How often a property is tried: so often, or for FUZZ_SECONDS. */
function parameters<Values>(runs: number): fc.Parameters<Values> {
  return seconds
    ? { seed, numRuns: 2 ** 31 - 1, interruptAfterTimeLimit: seconds * 1000 }
    : { seed, numRuns: runs };
}

/** Tries a property, and throws for the smallest input that it finds to break it, with the seed. */
export function holds<Values extends unknown[]>(
  property: fc.IPropertyWithHooks<Values>,
  runs = 500,
): void {
  try {
    fc.assert(property, parameters<Values>(runs));
  } catch (error) {
    throw withReplay(error);
  }
}

/** As `holds`, for a property that awaits. */
export async function holdsAsync<Values extends unknown[]>(
  property: fc.IAsyncPropertyWithHooks<Values>,
  runs: number,
): Promise<void> {
  try {
    await fc.assert(property, parameters<Values>(runs));
  } catch (error) {
    throw withReplay(error);
  }
}

/**
 * Fails if too few of a property's inputs came to what it is about. In a run by time, how many there are is up to
 * the machine.
 */
export function covers(count: number, least: number): void {
  if (!seconds) assert.ok(count >= least, `only ${count} inputs of at least ${least}`);
}

function withReplay(error: unknown): Error {
  const { message, cause } = error as Error;
  return new Error(`Replay: ${replay}\n${message}\n${cause ?? ""}`, { cause });
}

function numberOf(name: string, otherwise: number): number {
  const text = process.env[name];
  if (!text) return otherwise;
  if (!/^\d+$/.test(text)) throw new Error(`${name} must be a number`);
  return Number(text);
}

/** 32 bytes of a secret, and the token that carries them. */
export interface DrawnToken {
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly token: string;
}

/** A token, written without the code of src/. */
export const tokens: fc.Arbitrary<DrawnToken> = fc
  .record({ id: fc.uuid(), bytes: fc.uint8Array({ minLength: 32, maxLength: 32 }) })
  .map(({ id, bytes }) => ({
    id,
    bytes,
    token: `${id}.${Buffer.from(bytes).toString("base64url")}`,
  }));

/** Text of every kind: of ASCII, of any code point, and of single code units, also of halves of pairs. */
export const texts: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)) }),
);

/** What must never be in a message. */
export const SECRET = "hunter2-hunter2";

/** Values of every kind, and some that carry a secret. */
export const things: fc.Arbitrary<unknown> = fc.oneof(
  fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withObjectString: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
  }),
  fc.constantFrom<unknown[]>(
    SECRET,
    [SECRET],
    { [SECRET]: SECRET },
    new Error(SECRET),
    Symbol(SECRET),
    () => SECRET,
    { toString: () => SECRET, valueOf: () => SECRET, toJSON: () => SECRET },
    new String(SECRET),
    new Map([[SECRET, SECRET]]),
    new URL(`https://ada:${SECRET}@app.example/`),
    new Headers({ cookie: SECRET }),
    Object.create(null),
    Object.create({ constructor: undefined }),
    JSON.parse(`{"__proto__":{"polluted":"${SECRET}"}}`),
  ),
  fc.double(),
  fc.integer(),
  fc.constantFrom(undefined, null, true, false, 0, -0, NaN, Infinity, 2 ** 53),
);
