import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import { createSession, createToken, getUserId, insertSession, type Sql } from "../mod.ts";

/** A client that would find any user, and store anything: what is refused is refused before it. */
let calls: unknown[][] = [];
const sql: Sql = (_, ...values) => {
  calls.push(values);
  return Promise.resolve([]);
};

/** Expects a refusal before any SQL, which does not show the value that was refused. */
async function refuses(
  call: () => Promise<unknown>,
  error: string,
  message: string,
  secret?: string,
): Promise<void> {
  calls = [];
  await assert.rejects(call, (thrown: Error) => {
    assert.deepEqual([thrown.name, thrown.message], [error, message]);
    assert.equal(thrown.cause, undefined);
    assert.ok(!secret || !thrown.stack!.includes(secret));
    return true;
  });
  assert.deepEqual(calls, []);
}

/** Expects that a call got as far as the database, which answered nothing of use. */
async function sends(call: () => Promise<unknown>): Promise<unknown[]> {
  calls = [];
  await assert.rejects(call, { name: "SessionError", code: "UNEXPECTED_RESULT" });
  assert.equal(calls.length, 1);
  return calls[0]!;
}

// A lazy client of a port that nobody serves: its fragments are made, and never sent.
const lazy = postgres("postgres://nobody@127.0.0.1:1/none", { max: 1 });
const fragments = [
  { name: "a fragment of postgres.js", value: lazy`1 or 1=1`, kind: "Query" },
  { name: "unsafe SQL of postgres.js", value: lazy.unsafe("1 or 1=1"), kind: "Query" },
  { name: "an identifier of postgres.js", value: lazy("users"), kind: "Identifier" },
  { name: "a list of postgres.js", value: lazy(["ada", "grace"]), kind: "Builder" },
  {
    name: "a typed parameter of postgres.js",
    value: lazy.typed("ada" as never, 25),
    kind: "Parameter",
  },
];

const SECRET = "correct horse battery";

describe("a username", () => {
  const bad = [
    {
      name: "empty",
      username: "",
      error: "RangeError",
      refusal: "be 1 to 1024 bytes: received 0 bytes",
    },
    {
      name: "1025 bytes",
      username: "a".repeat(1025),
      error: "RangeError",
      refusal: "be 1 to 1024 bytes: received 1025 bytes",
    },
    {
      name: "1025 bytes in fewer characters",
      username: `a${"é".repeat(512)}`,
      error: "RangeError",
      refusal: "be 1 to 1024 bytes: received 1025 bytes",
    },
    {
      name: "a megabyte",
      username: SECRET.repeat(50_000),
      error: "RangeError",
      refusal: "be 1 to 1024 bytes: received 1050000 bytes",
    },
    {
      name: "text with NUL, at which PostgreSQL would stop",
      username: `ada\0${SECRET}`,
      error: "RangeError",
      refusal: "be free of NUL: received one",
    },
    {
      name: "NUL alone",
      username: "\0",
      error: "RangeError",
      refusal: "be free of NUL: received one",
    },
    {
      name: "a lone high surrogate, which would be stored as U+FFFD",
      username: `${SECRET}\uD800`,
      error: "RangeError",
      refusal: "be well-formed: received a lone surrogate",
    },
    {
      name: "a lone low surrogate",
      username: `\uDC00${SECRET}`,
      error: "RangeError",
      refusal: "be well-formed: received a lone surrogate",
    },
    {
      name: "surrogates in the wrong order",
      username: "\uDC00\uD800",
      error: "RangeError",
      refusal: "be well-formed: received a lone surrogate",
    },
  ];
  for (const { name, username, error, refusal } of bad) {
    test(`is refused where it is ${name}`, async () => {
      const message = `Cannot proceed as username must ${refusal}`;
      const secret = username && username.slice(0, 40);
      await refuses(() => createSession(username, sql), error, message, secret);
      await refuses(() => getUserId(username, sql), error, message, secret);
    });
  }

  const strangers = [
    { name: "a number", value: 1, received: "number" },
    { name: "a bigint", value: 1n, received: "bigint" },
    { name: "a boolean", value: true, received: "boolean" },
    { name: "null", value: null, received: "null" },
    { name: "undefined", value: undefined, received: "undefined" },
    { name: "a symbol", value: Symbol(SECRET), received: "symbol" },
    { name: "a function", value: () => SECRET, received: "function" },
    { name: "an array", value: [SECRET], received: "an instance of Array" },
    { name: "an empty array", value: [], received: "an instance of Array" },
    { name: "an object", value: { username: SECRET }, received: "an object" },
    { name: "an object without a prototype", value: Object.create(null), received: "an object" },
    { name: "a String object", value: Object(SECRET), received: "an instance of String" },
    { name: "an object with toString", value: { toString: () => SECRET }, received: "an object" },
    { name: "an object with toJSON", value: { toJSON: () => SECRET }, received: "an object" },
    {
      name: "an object with valueOf",
      value: { [Symbol.toPrimitive]: () => SECRET },
      received: "an object",
    },
    {
      name: "a promise that was not awaited",
      value: Promise.resolve(SECRET),
      received: "an instance of Promise",
    },
    { name: "a Date", value: new Date(0), received: "an instance of Date" },
    {
      name: "bytes",
      value: new TextEncoder().encode(SECRET),
      received: "an instance of Uint8Array",
    },
    ...fragments.map(({ name, value, kind }) => ({
      name,
      value,
      received: `an instance of ${kind}`,
    })),
  ];
  for (const { name, value, received } of strangers) {
    test(`is refused where it is ${name}`, async () => {
      await refuses(
        () => getUserId(value as never, sql),
        "TypeError",
        `Cannot proceed as username must be a string: received ${received}`,
        SECRET,
      );
      await refuses(
        () => createSession(value as never, sql),
        "TypeError",
        `Cannot proceed as user must be a username or { userId }: received ${received}`,
        SECRET,
      );
    });
  }

  const ordinary = [
    { name: "one character", username: "a" },
    { name: "1024 bytes", username: "a".repeat(1024) },
    { name: "1024 bytes in fewer characters", username: "é".repeat(512) },
    { name: "white space", username: " " },
    { name: "zero-width characters", username: "\u200B\u200D" },
    { name: "a character beyond the basic plane", username: "𝒶da" },
    { name: "__proto__", username: "__proto__" },
    { name: "constructor", username: "constructor" },
    { name: "the word null", username: "null" },
    { name: "SQL text", username: "' or 1=1--" },
    { name: "JSON text", username: `{"id":1}` },
    { name: "a quote that would end JSON text", username: `","id":"1` },
    { name: "a backslash and u0000 as text", username: "\\u0000" },
    { name: "line breaks and a right-to-left override", username: "a\r\nb\u202E" },
    { name: "a template's placeholder", username: "$1 ${x}" },
    { name: "composed", username: "é" },
    { name: "decomposed", username: "e\u0301" },
  ];
  for (const { name, username } of ordinary) {
    test(`is sent as it is, as one parameter, where it is ${name}`, async () => {
      const [asGetUserId] = await sends(() => getUserId(username, sql));
      assert.deepEqual(JSON.parse(asGetUserId as string), { username });
      const [asCreate] = await sends(() => createSession(username, sql));
      assert.deepEqual(JSON.parse(asCreate as string), { username });
    });
  }
});

describe("a user's key", () => {
  const text = (actual: string) => `be a safe integer, or text: received ${actual}`;
  const bad = [
    {
      name: "empty",
      userId: "",
      error: "RangeError",
      refusal: "be 1 to 1024 bytes: received 0 bytes",
    },
    {
      name: "1025 bytes",
      userId: SECRET.padEnd(1025),
      error: "RangeError",
      refusal: "be 1 to 1024 bytes: received 1025 bytes",
    },
    {
      name: "text with NUL",
      userId: "1\0",
      error: "RangeError",
      refusal: "be free of NUL: received one",
    },
    {
      name: "a lone surrogate",
      userId: "\uD800",
      error: "RangeError",
      refusal: "be well-formed: received a lone surrogate",
    },
    {
      name: "NaN",
      userId: NaN,
      error: "RangeError",
      refusal: "be a safe integer, or text: received NaN",
    },
    {
      name: "Infinity",
      userId: Infinity,
      error: "RangeError",
      refusal: "be a safe integer, or text: received Infinity",
    },
    {
      name: "a fraction",
      userId: 1.5,
      error: "RangeError",
      refusal: "be a safe integer, or text: received 1.5",
    },
    {
      name: "a number that JavaScript has rounded",
      userId: 2 ** 53,
      error: "RangeError",
      refusal: "be a safe integer, or text: received 9007199254740992",
    },
    { name: "a bigint", userId: 1n, error: "TypeError", refusal: text("bigint") },
    { name: "a boolean", userId: true, error: "TypeError", refusal: text("boolean") },
    { name: "null", userId: null, error: "TypeError", refusal: text("null") },
    { name: "undefined", userId: undefined, error: "TypeError", refusal: text("undefined") },
    { name: "a symbol", userId: Symbol(SECRET), error: "TypeError", refusal: text("symbol") },
    { name: "an array", userId: [1], error: "TypeError", refusal: text("an instance of Array") },
    { name: "an object", userId: { id: 1 }, error: "TypeError", refusal: text("an object") },
    {
      name: "a Number object",
      userId: Object(1),
      error: "TypeError",
      refusal: text("an instance of Number"),
    },
    {
      name: "a String object",
      userId: Object("1"),
      error: "TypeError",
      refusal: text("an instance of String"),
    },
    {
      name: "an object with toJSON",
      userId: { toJSON: () => 1 },
      error: "TypeError",
      refusal: text("an object"),
    },
    ...fragments.map(({ name, value, kind }) => ({
      name,
      userId: value,
      error: "TypeError",
      refusal: text(`an instance of ${kind}`),
    })),
  ];
  for (const { name, userId, error, refusal } of bad) {
    test(`is refused where it is ${name}`, async () => {
      const message = `Cannot proceed as userId must ${refusal}`;
      await refuses(() => createSession({ userId } as never, sql), error, message, SECRET);
    });
  }

  const ordinary = [
    { name: "a number", userId: 7 },
    { name: "zero", userId: 0 },
    { name: "a negative number", userId: -7 },
    { name: "the largest safe integer", userId: Number.MAX_SAFE_INTEGER },
    { name: "text of a bigint", userId: "9223372036854775807" },
    { name: "a UUID", userId: "0123abcd-89ef-4012-8345-6789abcdef01" },
    { name: "text of 1024 bytes", userId: "k".repeat(1024) },
  ];
  for (const { name, userId } of ordinary) {
    test(`is sent as it is where it is ${name}`, async () => {
      const [sent] = await sends(() => createSession({ userId }, sql));
      assert.deepEqual(JSON.parse(sent as string), { id: userId });
    });
  }

  test("is read once, so that what was checked is what is sent", async () => {
    let reads = 0;
    const user = {
      get userId() {
        return reads++ ? (lazy`1` as never) : 7;
      },
    };
    const [sent] = await sends(() => createSession(user, sql));
    assert.deepEqual(JSON.parse(sent as string), { id: 7 });
  });
});

describe("data", () => {
  const cycle: Record<string, unknown> = { secret: SECRET };
  cycle.self = { cycle };
  const spelling = "be JSON: received a cycle, a bigint, or an error of toJSON";
  const unholdable = "be text that PostgreSQL can hold: received a NUL or a lone surrogate";
  const bad: { name: string; data: unknown; error: string; refusal: string }[] = [
    { name: "null", data: null, error: "TypeError", refusal: "be an object: received null" },
    { name: "text", data: SECRET, error: "TypeError", refusal: "be an object: received string" },
    { name: "a number", data: 1, error: "TypeError", refusal: "be an object: received number" },
    {
      name: "a boolean",
      data: true,
      error: "TypeError",
      refusal: "be an object: received boolean",
    },
    { name: "a bigint", data: 1n, error: "TypeError", refusal: "be an object: received bigint" },
    {
      name: "a symbol",
      data: Symbol(SECRET),
      error: "TypeError",
      refusal: "be an object: received symbol",
    },
    {
      name: "a function",
      data: () => SECRET,
      error: "TypeError",
      refusal: "be an object: received function",
    },
    {
      name: "an array",
      data: [SECRET],
      error: "TypeError",
      refusal: "be an object: received an instance of Array",
    },
    {
      name: "a Date, which spells itself as text",
      data: new Date(0),
      error: "TypeError",
      refusal: "be a JSON object: received an instance of Date",
    },
    {
      name: "a String object",
      data: Object(SECRET),
      error: "TypeError",
      refusal: "be a JSON object: received an instance of String",
    },
    {
      name: "a Number object",
      data: Object(1),
      error: "TypeError",
      refusal: "be a JSON object: received an instance of Number",
    },
    {
      name: "an object whose toJSON returns text",
      data: { toJSON: () => `{"a":1}` },
      error: "TypeError",
      refusal: "be a JSON object: received an object",
    },
    {
      name: "an object whose toJSON returns an array",
      data: { toJSON: () => [SECRET] },
      error: "TypeError",
      refusal: "be a JSON object: received an object",
    },
    {
      name: "an object whose toJSON returns nothing",
      data: { toJSON: () => undefined },
      error: "TypeError",
      refusal: "be a JSON object: received an object",
    },
    {
      name: "an object whose toJSON returns null",
      data: { toJSON: () => null },
      error: "TypeError",
      refusal: "be a JSON object: received an object",
    },
    {
      name: "an object whose toJSON throws",
      data: {
        toJSON() {
          throw new Error(SECRET);
        },
      },
      error: "TypeError",
      refusal: spelling,
    },
    {
      name: "an object with a getter that throws",
      data: {
        get key() {
          throw new Error(SECRET);
        },
      },
      error: "TypeError",
      refusal: spelling,
    },
    {
      name: "a cycle, which the engine's own message would describe",
      data: cycle,
      error: "TypeError",
      refusal: spelling,
    },
    {
      name: "an object with a bigint",
      data: { [SECRET]: 1n },
      error: "TypeError",
      refusal: spelling,
    },
    {
      name: "NUL in a value",
      data: { a: `${SECRET}\0` },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "NUL in a key",
      data: { [`${SECRET}\0`]: 1 },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "NUL deep within",
      data: { a: [{ b: ["\0"] }] },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "NUL after a backslash",
      data: { a: "\\\0" },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "NUL after two backslashes",
      data: { a: "\\\\\0" },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "NUL after its own escape as text",
      data: { a: "\\u0000\0" },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "a lone high surrogate in a value",
      data: { a: "x\uD800" },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "a lone low surrogate in a value",
      data: { a: "\uDFFFx" },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "a lone surrogate in a key",
      data: { "\uDBFF": 1 },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "surrogates in the wrong order",
      data: { a: "\uDC00\uD800" },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "65,537 bytes of JSON",
      data: { a: "x".repeat(65_529) },
      error: "RangeError",
      refusal: "be at most 65536 bytes of JSON: received 65537 bytes",
    },
    {
      name: "65,538 bytes of JSON in fewer characters",
      data: { a: "é".repeat(32_765) },
      error: "RangeError",
      refusal: "be at most 65536 bytes of JSON: received 65538 bytes",
    },
    {
      name: "a Map, whose entries would be lost without a word",
      data: new Map([["a", SECRET]]),
      error: "TypeError",
      refusal: "be a JSON object: received an instance of Map",
    },
    {
      name: "a Set, which would be stored empty",
      data: new Set([SECRET]),
      error: "TypeError",
      refusal: "be a JSON object: received an instance of Set",
    },
  ];
  for (const { name, data, error, refusal } of bad) {
    test(`is refused where it is ${name}`, async () => {
      const message = `Cannot proceed as data must ${refusal}`;
      await refuses(() => createSession("ada", sql, { data } as never), error, message, SECRET);
      const { id, digest } = createToken();
      const [createdAt, expiresAt] = [new Date("2026-01-01"), new Date("2027-01-01")];
      const record = { id, digest, userId: 1, createdAt, expiresAt, data };
      await refuses(() => insertSession(record as never, sql), error, message, SECRET);
    });
  }

  const ordinary: { name: string; data: object }[] = [
    { name: "empty", data: {} },
    { name: "the escape of NUL as literal text", data: { a: "\\u0000", "\\u0000": "\\\\u0000" } },
    { name: "the escape of a surrogate as literal text", data: { a: "\\ud800 \\\\\\udfff" } },
    { name: "a pair of surrogates", data: { "😀": "😀" } },
    { name: "control characters but NUL", data: { a: "\x01\x1f\x7f\u2028" } },
    { name: "U+D7FF and U+E000, which stand beside the surrogates", data: { a: "\uD7FF\uE000" } },
    { name: "65,536 bytes of JSON", data: { a: "x".repeat(65_528) } },
    { name: "nested arrays and objects", data: { a: [1, [null, { b: true }]] } },
    { name: "a key called __proto__", data: JSON.parse(`{"__proto__":{"admin":true}}`) },
    { name: "an object without a prototype", data: Object.assign(Object.create(null), { a: 1 }) },
  ];
  for (const { name, data } of ordinary) {
    test(`is sent as it is where it is ${name}`, async () => {
      const sent = await sends(() => createSession("ada", sql, { data }));
      assert.equal(sent.at(-1), JSON.stringify(data));
    });
  }

  test("is spelled once, so that what was checked is what is sent", async () => {
    let spelled = 0;
    const data = { toJSON: () => ({ spelled: spelled++ ? "\0" : "once" }) };
    const sent = await sends(() => createSession("ada", sql, { data }));
    assert.equal(sent.at(-1), `{"spelled":"once"}`);
  });
});

describe("the options of createSession", () => {
  const kinds = [
    { name: "null", value: null, received: "null" },
    { name: "text", value: "true", received: "string" },
    { name: "a number", value: 1, received: "number" },
    { name: "an object", value: {}, received: "an object" },
  ];
  for (const { name, value, received } of kinds) {
    test(`are refused where persistent is ${name}`, async () => {
      await refuses(
        () => createSession("ada", sql, { persistent: value as never }),
        "TypeError",
        `Cannot proceed as persistent must be true or false: received ${received}`,
      );
    });
  }
});

describe("the record of insertSession", () => {
  const { id, digest } = createToken();
  const good = {
    id,
    digest,
    userId: 1,
    createdAt: new Date("2026-01-01T00:00:00.000Z"),
    expiresAt: new Date("2027-01-01T00:00:00.000Z"),
  };

  test("is sent with the digest in hexadecimal and the times in UTC", async () => {
    const sent = await sends(() => insertSession(good, sql));
    for (const value of [id, Buffer.from(digest).toString("hex"), "2026-01-01T00:00:00.000Z"]) {
      assert.ok(sent.includes(value));
    }
  });

  test("may have the digest as a Buffer, times in year 1 and 9999, and a UUID of any version", async () => {
    await sends(() => insertSession({ ...good, digest: Buffer.from(digest) }, sql));
    await sends(() => insertSession({ ...good, id: "00000000-0000-0000-0000-000000000000" }, sql));
    const createdAt = new Date("0001-01-01T00:00:00.000Z");
    const expiresAt = new Date("9999-12-31T23:59:59.999Z");
    await sends(() => insertSession({ ...good, createdAt, expiresAt }, sql));
  });

  const uuid = "be a UUID in lower case: received something else";
  const years = "be in the years 1 to 9999: received";
  const bad: { name: string; record: unknown; error: string; refusal: string }[] = [
    {
      name: "null",
      record: null,
      error: "TypeError",
      refusal: "record must be an object: received null",
    },
    {
      name: "undefined",
      record: undefined,
      error: "TypeError",
      refusal: "record must be an object: received undefined",
    },
    {
      name: "text",
      record: SECRET,
      error: "TypeError",
      refusal: "record must be an object: received string",
    },
    {
      name: "an array",
      record: [],
      error: "TypeError",
      refusal: "record must be an object: received an instance of Array",
    },

    {
      name: "no id",
      record: { id: undefined },
      error: "TypeError",
      refusal: "record.id must be a string: received undefined",
    },
    {
      name: "a number as id",
      record: { id: 1 },
      error: "TypeError",
      refusal: "record.id must be a string: received number",
    },
    {
      name: "an object as id",
      record: { id: { toString: () => id } },
      error: "TypeError",
      refusal: "record.id must be a string: received an object",
    },
    {
      name: "an empty id",
      record: { id: "" },
      error: "RangeError",
      refusal: "record.id must be 1 to 36 bytes: received 0 bytes",
    },
    {
      name: "an id in upper case",
      record: { id: "0123ABCD-89EF-4012-8345-6789ABCDEF01" },
      error: "RangeError",
      refusal: `record.id must ${uuid}`,
    },
    {
      name: "an id in braces",
      record: { id: `{${id}}` },
      error: "RangeError",
      refusal: "record.id must be 1 to 36 bytes: received 38 bytes",
    },
    {
      name: "an id without hyphens",
      record: { id: id.replaceAll("-", "") },
      error: "RangeError",
      refusal: `record.id must ${uuid}`,
    },
    {
      name: "an id with a line feed",
      record: { id: `${id.slice(0, 35)}\n` },
      error: "RangeError",
      refusal: `record.id must ${uuid}`,
    },
    {
      name: "SQL text as id",
      record: { id: "' or 1=1--" },
      error: "RangeError",
      refusal: `record.id must ${uuid}`,
    },

    {
      name: "no digest",
      record: { digest: undefined },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array: received undefined",
    },
    {
      name: "the digest as hexadecimal",
      record: { digest: SECRET },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array: received string",
    },
    {
      name: "the digest as an array",
      record: { digest: [...digest] },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array: received an instance of Array",
    },
    {
      name: "the digest as an ArrayBuffer",
      record: { digest: new ArrayBuffer(32) },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array: received an instance of ArrayBuffer",
    },
    {
      name: "the digest as a Uint16Array",
      record: { digest: new Uint16Array(32) },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array: received an instance of Uint16Array",
    },
    {
      name: "an empty digest",
      record: { digest: new Uint8Array() },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes: received 0 bytes",
    },
    {
      name: "a digest of 31 bytes",
      record: { digest: new Uint8Array(31) },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes: received 31 bytes",
    },
    {
      name: "a digest of 33 bytes",
      record: { digest: new Uint8Array(33) },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes: received 33 bytes",
    },
    {
      name: "a digest of another hash",
      record: { digest: new Uint8Array(64) },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes: received 64 bytes",
    },

    {
      name: "no user",
      record: { userId: undefined },
      error: "TypeError",
      refusal: "userId must be a safe integer, or text: received undefined",
    },
    {
      name: "an empty user",
      record: { userId: "" },
      error: "RangeError",
      refusal: "userId must be 1 to 1024 bytes: received 0 bytes",
    },
    {
      name: "a fraction as user",
      record: { userId: 0.5 },
      error: "RangeError",
      refusal: "userId must be a safe integer, or text: received 0.5",
    },

    ...["createdAt", "expiresAt"].flatMap((field) => [
      {
        name: `no ${field}`,
        record: { [field]: undefined },
        error: "TypeError",
        refusal: `record.${field} must be a Date: received undefined`,
      },
      {
        name: `null as ${field}`,
        record: { [field]: null },
        error: "TypeError",
        refusal: `record.${field} must be a Date: received null`,
      },
      {
        name: `text as ${field}`,
        record: { [field]: "2026-01-01" },
        error: "TypeError",
        refusal: `record.${field} must be a Date: received string`,
      },
      {
        name: `milliseconds as ${field}`,
        record: { [field]: 1e12 },
        error: "TypeError",
        refusal: `record.${field} must be a Date: received number`,
      },
      {
        name: `an object with toISOString as ${field}`,
        record: { [field]: { toISOString: (): string => SECRET } },
        error: "TypeError",
        refusal: `record.${field} must be a Date: received an object`,
      },
      {
        name: `an invalid Date as ${field}`,
        record: { [field]: new Date(NaN) },
        error: "RangeError",
        refusal: `record.${field} must ${years} Invalid Date`,
      },
      {
        name: `year 0 as ${field}`,
        record: { [field]: new Date("0000-12-31T23:59:59.999Z") },
        error: "RangeError",
        refusal: `record.${field} must ${years} 0`,
      },
      {
        name: `year 10000 as ${field}`,
        record: { [field]: new Date("+010000-01-01T00:00:00.000Z") },
        error: "RangeError",
        refusal: `record.${field} must ${years} 10000`,
      },
      {
        name: `the last instant of JavaScript as ${field}`,
        record: { [field]: new Date(8.64e15) },
        error: "RangeError",
        refusal: `record.${field} must ${years} 275760`,
      },
    ]),
    {
      name: "an end at its beginning",
      record: { expiresAt: good.createdAt },
      error: "RangeError",
      refusal: "record.expiresAt must be later than createdAt: received 2026-01-01T00:00:00.000Z",
    },
    {
      name: "an end before its beginning",
      record: { expiresAt: new Date("2025-12-31T00:00:00.000Z") },
      error: "RangeError",
      refusal: "record.expiresAt must be later than createdAt: received 2025-12-31T00:00:00.000Z",
    },
  ];
  for (const { name, record, error, refusal } of bad) {
    test(`is refused with ${name}`, async () => {
      const plain = typeof record === "object" && record !== null && !Array.isArray(record);
      const given = plain ? { ...good, ...record } : record;
      await refuses(
        () => insertSession(given as never, sql),
        error,
        `Cannot proceed as ${refusal}`,
        SECRET,
      );
    });
  }
});
