import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import {
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  revokeSession,
  revokeSessions,
  type Sql,
  sweepSessions,
  updateSession,
  type RevokeTarget,
} from "../mod.ts";

/** A client that would find any user, and store anything: what is refused is refused before it. */
let calls: unknown[][] = [];
const sql: Sql = (_, ...values) => {
  // Without the number of the call, which is no input.
  calls.push(values.filter((value) => !/^q\d+_\d+$/.test(String(value))));
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
  await assert.rejects(call, {
    name: "SessionError",
    code: /^(UNEXPECTED_RESULT|USER_NOT_FOUND)$/,
  });
  assert.equal(calls.length, 1);
  return calls[0]!;
}

/** Expects that a call asked the database once, for which the answer of no rows is an answer. */
async function asks(call: () => Promise<unknown>): Promise<unknown[]> {
  calls = [];
  await call();
  assert.equal(calls.length, 1);
  return calls[0]!;
}

const mine = createToken();
const headers = new Headers({ cookie: `__Host-session=${mine.token}` });

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
      refusal: "be 1 to 1024 bytes, got 0 bytes",
    },
    {
      name: "1025 bytes",
      username: "a".repeat(1025),
      error: "RangeError",
      refusal: "be 1 to 1024 bytes, got 1025 bytes",
    },
    {
      name: "1025 bytes in fewer characters",
      username: `a${"é".repeat(512)}`,
      error: "RangeError",
      refusal: "be 1 to 1024 bytes, got 1025 bytes",
    },
    {
      name: "a megabyte",
      username: SECRET.repeat(50_000),
      error: "RangeError",
      refusal: "be 1 to 1024 bytes, got 1050000 bytes",
    },
    {
      name: "text with NUL, at which PostgreSQL would stop",
      username: `ada\0${SECRET}`,
      error: "RangeError",
      refusal: "be free of NUL, got one",
    },
    {
      name: "NUL alone",
      username: "\0",
      error: "RangeError",
      refusal: "be free of NUL, got one",
    },
    {
      name: "a lone high surrogate, which would be stored as U+FFFD",
      username: `${SECRET}\uD800`,
      error: "RangeError",
      refusal: "be well-formed, got a lone surrogate",
    },
    {
      name: "a lone low surrogate",
      username: `\uDC00${SECRET}`,
      error: "RangeError",
      refusal: "be well-formed, got a lone surrogate",
    },
    {
      name: "surrogates in the wrong order",
      username: "\uDC00\uD800",
      error: "RangeError",
      refusal: "be well-formed, got a lone surrogate",
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
        `Cannot proceed as username must be a string, got ${received}`,
        SECRET,
      );
      await refuses(
        () => createSession(value as never, sql),
        "TypeError",
        `Cannot proceed as user must be a username or { userId }, got ${received}`,
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
      const asCreate = await sends(() => createSession(username, sql));
      assert.deepEqual(JSON.parse(asCreate.at(-1) as string), { username });
    });
  }
});

describe("a user's key", () => {
  const text = (actual: string) => `be a safe integer, or text, got ${actual}`;
  const bad = [
    {
      name: "empty",
      userId: "",
      error: "RangeError",
      refusal: "be 1 to 1024 bytes, got 0 bytes",
    },
    {
      name: "1025 bytes",
      userId: SECRET.padEnd(1025),
      error: "RangeError",
      refusal: "be 1 to 1024 bytes, got 1025 bytes",
    },
    {
      name: "text with NUL",
      userId: "1\0",
      error: "RangeError",
      refusal: "be free of NUL, got one",
    },
    {
      name: "a lone surrogate",
      userId: "\uD800",
      error: "RangeError",
      refusal: "be well-formed, got a lone surrogate",
    },
    {
      name: "NaN",
      userId: NaN,
      error: "RangeError",
      refusal: "be a safe integer, or text, got NaN",
    },
    {
      name: "Infinity",
      userId: Infinity,
      error: "RangeError",
      refusal: "be a safe integer, or text, got Infinity",
    },
    {
      name: "a fraction",
      userId: 1.5,
      error: "RangeError",
      refusal: "be a safe integer, or text, got 1.5",
    },
    {
      name: "a number that JavaScript has rounded",
      userId: 2 ** 53,
      error: "RangeError",
      refusal: "be a safe integer, or text, got 9007199254740992",
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
      const message = (key: string) => `Cannot proceed as ${key} must ${refusal}`;
      const key = userId as never;
      const calls: { key: string; call: () => Promise<unknown> }[] = [
        { key: "userId", call: () => createSession({ userId: key }, sql) },
        { key: "userId", call: () => listSessions(key, sql) },
        { key: "userId", call: () => revokeSessions({ userId: key }, sql) },
        { key: "userId", call: () => revokeSessions({ userId: key, id: mine.id }, sql) },
        { key: "userId", call: () => revokeSessions({ userId: key, id: "no UUID" }, sql) },
        { key: "userId", call: () => revokeSessions({ userId: key, except: mine.id }, sql) },
        { key: "userIds[0]", call: () => revokeSessions({ userIds: [key] }, sql) },
        { key: "userIds[2]", call: () => revokeSessions({ userIds: [1, "2", key, 4] }, sql) },
      ];
      for (const { key, call } of calls) await refuses(call, error, message(key), SECRET);
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
      const sent = await sends(() => createSession({ userId }, sql));
      assert.deepEqual(JSON.parse(sent.at(-1) as string), { id: userId });
      const listed = await asks(() => listSessions(userId, sql));
      const [key] = listed.filter((value) => typeof value === "string");
      assert.deepEqual(JSON.parse(key!), { user_id: userId });
      const [one] = await asks(() => revokeSessions({ userId }, sql));
      assert.deepEqual(JSON.parse(one as string), [userId]);
      const [many] = await asks(() => revokeSessions({ userIds: ["9", userId, 9] }, sql));
      assert.deepEqual(JSON.parse(many as string), ["9", userId, 9]);
    });
  }

  test("is read once, so that what was checked is what is sent", async () => {
    let reads = 0;
    const user = {
      get userId() {
        return reads++ ? (lazy`1` as never) : 7;
      },
    };
    const sent = await sends(() => createSession(user, sql));
    assert.deepEqual(JSON.parse(sent.at(-1) as string), { id: 7 });
    reads = 0;
    const [revoked] = await asks(() => revokeSessions(user, sql));
    assert.deepEqual(JSON.parse(revoked as string), [7]);
  });
});

describe("data", () => {
  const cycle: Record<string, unknown> = { secret: SECRET };
  cycle.self = { cycle };
  const spelling = "be JSON, got a cycle, a bigint, or an error of toJSON";
  const unholdable = "be text that PostgreSQL can hold, got a NUL or a lone surrogate";
  const bad: { name: string; data: unknown; error: string; refusal: string }[] = [
    { name: "null", data: null, error: "TypeError", refusal: "be an object, got null" },
    { name: "text", data: SECRET, error: "TypeError", refusal: "be an object, got string" },
    { name: "a number", data: 1, error: "TypeError", refusal: "be an object, got number" },
    {
      name: "a boolean",
      data: true,
      error: "TypeError",
      refusal: "be an object, got boolean",
    },
    { name: "a bigint", data: 1n, error: "TypeError", refusal: "be an object, got bigint" },
    {
      name: "a symbol",
      data: Symbol(SECRET),
      error: "TypeError",
      refusal: "be an object, got symbol",
    },
    {
      name: "a function",
      data: () => SECRET,
      error: "TypeError",
      refusal: "be an object, got function",
    },
    {
      name: "an array",
      data: [SECRET],
      error: "TypeError",
      refusal: "be an object, got an instance of Array",
    },
    {
      name: "a Date, which spells itself as text",
      data: new Date(0),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Date",
    },
    {
      name: "a String object",
      data: Object(SECRET),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of String",
    },
    {
      name: "a Number object",
      data: Object(1),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Number",
    },
    {
      name: "an object whose toJSON returns text",
      data: { toJSON: () => `{"a":1}` },
      error: "TypeError",
      refusal: "be a JSON object, got an object",
    },
    {
      name: "an object whose toJSON returns an array",
      data: { toJSON: () => [SECRET] },
      error: "TypeError",
      refusal: "be a JSON object, got an object",
    },
    {
      name: "an object whose toJSON returns nothing",
      data: { toJSON: () => undefined },
      error: "TypeError",
      refusal: "be a JSON object, got an object",
    },
    {
      name: "an object whose toJSON returns null",
      data: { toJSON: () => null },
      error: "TypeError",
      refusal: "be a JSON object, got an object",
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
      refusal: "be at most 65536 bytes of JSON, got 65537 bytes",
    },
    {
      name: "65,538 bytes of JSON in fewer characters",
      data: { a: "é".repeat(32_765) },
      error: "RangeError",
      refusal: "be at most 65536 bytes of JSON, got 65538 bytes",
    },
    {
      name: "a Map, whose entries would be lost without a word",
      data: new Map([["a", SECRET]]),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Map",
    },
    {
      name: "a Set, which would be stored empty",
      data: new Set([SECRET]),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Set",
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

    test(`is refused as a patch where it is ${name}`, async () => {
      const message = `Cannot proceed as patch must ${refusal}`;
      for (const request of [headers, new Headers()]) {
        await refuses(() => updateSession(request, data as never, sql), error, message, SECRET);
      }
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
      assert.equal(sent.at(-2), JSON.stringify(data));
      const patched = await asks(() => updateSession(headers, data, sql));
      assert.deepEqual(patched.slice(-3), [JSON.stringify(data), "[]", null]);
    });
  }

  test("is spelled once, so that what was checked is what is sent", async () => {
    let spelled = 0;
    const data = { toJSON: () => ({ spelled: spelled++ ? "\0" : "once" }) };
    const sent = await sends(() => createSession("ada", sql, { data }));
    assert.equal(sent.at(-2), `{"spelled":"once"}`);
    spelled = 0;
    const patched = await asks(() => updateSession(headers, data as never, sql));
    assert.equal(patched.at(-3), `{"spelled":"once"}`);
  });
});

describe("the patch of updateSession", () => {
  const unholdable = "be text that PostgreSQL can hold, got a NUL or a lone surrogate";
  const large = "be at most 65536 bytes of JSON: received";
  const bad: { name: string; patch: unknown; error: string; refusal: string }[] = [
    {
      name: "undefined",
      patch: undefined,
      error: "TypeError",
      refusal: "be an object, got undefined",
    },
    {
      name: "Headers, as of arguments in another order",
      patch: new Headers({ secret: SECRET }),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Headers",
    },
    {
      name: "a form",
      patch: new URLSearchParams({ secret: SECRET }),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of URLSearchParams",
    },
    {
      name: "a client, as of arguments in another order",
      patch: sql,
      error: "TypeError",
      refusal: "be an object, got function",
    },
    {
      name: "removing a key with NUL",
      patch: { [`${SECRET}\0`]: undefined },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "removing a key that is NUL alone",
      patch: { "\0": undefined },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "removing a key with NUL after a backslash",
      patch: { "\\\0": undefined },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "removing a key with a lone high surrogate",
      patch: { [`${SECRET}\uD800`]: undefined },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "removing a key with a lone low surrogate",
      patch: { [`\uDFFF${SECRET}`]: undefined },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "removing a key with NUL beside keys that are good",
      patch: { theme: "dark", cart: undefined, "a\0": undefined },
      error: "RangeError",
      refusal: unholdable,
    },
    {
      name: "removing a key of which the list takes 65,537 bytes of JSON",
      patch: { ["x".repeat(65_533)]: undefined },
      error: "RangeError",
      refusal: `${large} 65537 bytes`,
    },
    {
      name: "removing a key of which the list takes 65,538 bytes in fewer characters",
      patch: { ["é".repeat(32_767)]: undefined },
      error: "RangeError",
      refusal: `${large} 65538 bytes`,
    },
    {
      name: "removing too many keys",
      patch: Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`key${i}`, undefined])),
      error: "RangeError",
      refusal: `${large} 98891 bytes`,
    },
    {
      name: "setting a key that is too large while it removes another",
      patch: { a: "x".repeat(65_529), b: undefined },
      error: "RangeError",
      refusal: `${large} 65537 bytes`,
    },
  ];
  for (const { name, patch, error, refusal } of bad) {
    test(`is refused where it is ${name}, with a cookie or without one`, async () => {
      for (const request of [headers, new Headers()]) {
        const call = () => updateSession(request, patch as never, sql);
        await refuses(call, error, `Cannot proceed as patch must ${refusal}`, SECRET);
      }
    });
  }

  const ordinary: { name: string; patch: object; set: string; removed: string }[] = [
    { name: "a key that is set", patch: { a: 1 }, set: `{"a":1}`, removed: "[]" },
    { name: "a key that is removed", patch: { a: undefined }, set: "{}", removed: `["a"]` },
    {
      name: "keys of both kinds",
      patch: { a: undefined, b: null, c: false, d: 0, e: "", f: undefined },
      set: `{"b":null,"c":false,"d":0,"e":""}`,
      removed: `["a","f"]`,
    },
    {
      name: "undefined within a value, which is part of that value",
      patch: { a: { b: undefined }, c: [undefined] },
      set: `{"a":{},"c":[null]}`,
      removed: "[]",
    },
    {
      name: "a removed key called __proto__",
      patch: Object.defineProperty({}, "__proto__", { value: undefined, enumerable: true }),
      set: "{}",
      removed: `["__proto__"]`,
    },
    {
      name: "a removed key like SQL, JSON and a placeholder",
      patch: { [`"] or $1 '`]: undefined },
      set: "{}",
      removed: String.raw`["\"] or $1 '"]`,
    },
    {
      name: "a removed key with the escapes of NUL and of a surrogate as literal text",
      patch: { "\\u0000\\ud800": undefined },
      set: "{}",
      removed: String.raw`["\\u0000\\ud800"]`,
    },
    {
      name: "a removed pair of surrogates",
      patch: { "😀": undefined },
      set: "{}",
      removed: `["😀"]`,
    },
    { name: "a removed empty key", patch: { "": undefined }, set: "{}", removed: `[""]` },
    {
      name: "an inherited key, which is no part of it",
      patch: Object.assign(Object.create({ a: 1, b: undefined }), { c: 1 }),
      set: `{"c":1}`,
      removed: "[]",
    },
    {
      name: "a removed key of which the list takes 65,536 bytes",
      patch: { ["x".repeat(65_532)]: undefined },
      set: "{}",
      removed: `["${"x".repeat(65_532)}"]`,
    },
  ];
  for (const { name, patch, set, removed } of ordinary) {
    test(`is sent as what to set and what to remove, where it has ${name}`, async () => {
      const sent = await asks(() => updateSession(headers, patch, sql));
      assert.deepEqual(sent.slice(-3), [set, removed, null]);
    });
  }

  const versions = [
    { name: "negative", version: -1, error: "RangeError", received: "-1" },
    { name: "beyond integer", version: 2 ** 31, error: "RangeError", received: "2147483648" },
    { name: "a fraction", version: 0.5, error: "RangeError", received: "0.5" },
    { name: "NaN", version: NaN, error: "RangeError", received: "NaN" },
    { name: "Infinity", version: Infinity, error: "RangeError", received: "Infinity" },
    { name: "null", version: null, error: "TypeError", received: "null" },
    { name: "text", version: "1", error: "TypeError", received: "string" },
    { name: "a bigint", version: 1n, error: "TypeError", received: "bigint" },
    { name: "a boolean", version: true, error: "TypeError", received: "boolean" },
    { name: "an object", version: { valueOf: () => 1 }, error: "TypeError", received: "an object" },
    {
      name: "a Number object",
      version: Object(1),
      error: "TypeError",
      received: "an instance of Number",
    },
    {
      name: "a fragment of postgres.js",
      version: lazy`1 or 1=1`,
      error: "TypeError",
      received: "an instance of Query",
    },
  ];
  for (const { name, version, error, received } of versions) {
    test(`is refused with a version that is ${name}, with a cookie or without one`, async () => {
      for (const request of [headers, new Headers()]) {
        await refuses(
          () => updateSession(request, { a: 1 }, sql, { version: version as never }),
          error,
          `Cannot proceed as version must be a whole number from 0 to 2147483647, got ${received}`,
        );
      }
    });
  }

  test("is sent with a version from 0 to 2147483647, and with null where there is none", async () => {
    for (const version of [0, 1, 2 ** 31 - 1, undefined]) {
      const options = { version } as { version: number };
      const sent = await asks(() => updateSession(headers, { a: 1 }, sql, options));
      assert.equal(sent.at(-1), version ?? null);
    }
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
        `Cannot proceed as persistent must be true or false, got ${received}`,
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

  const uuid = "be a UUID in lower case, got something else";
  const years = "be in the years 1 to 9999: received";
  const bad: { name: string; record: unknown; error: string; refusal: string }[] = [
    {
      name: "null",
      record: null,
      error: "TypeError",
      refusal: "record must be an object, got null",
    },
    {
      name: "undefined",
      record: undefined,
      error: "TypeError",
      refusal: "record must be an object, got undefined",
    },
    {
      name: "text",
      record: SECRET,
      error: "TypeError",
      refusal: "record must be an object, got string",
    },
    {
      name: "an array",
      record: [],
      error: "TypeError",
      refusal: "record must be an object, got an instance of Array",
    },

    {
      name: "no id",
      record: { id: undefined },
      error: "TypeError",
      refusal: "record.id must be a string, got undefined",
    },
    {
      name: "a number as id",
      record: { id: 1 },
      error: "TypeError",
      refusal: "record.id must be a string, got number",
    },
    {
      name: "an object as id",
      record: { id: { toString: () => id } },
      error: "TypeError",
      refusal: "record.id must be a string, got an object",
    },
    {
      name: "an empty id",
      record: { id: "" },
      error: "RangeError",
      refusal: "record.id must be 1 to 36 bytes, got 0 bytes",
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
      refusal: "record.id must be 1 to 36 bytes, got 38 bytes",
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
      refusal: "record.digest must be a Uint8Array, got undefined",
    },
    {
      name: "the digest as hexadecimal",
      record: { digest: SECRET },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array, got string",
    },
    {
      name: "the digest as an array",
      record: { digest: [...digest] },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array, got an instance of Array",
    },
    {
      name: "the digest as an ArrayBuffer",
      record: { digest: new ArrayBuffer(32) },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array, got an instance of ArrayBuffer",
    },
    {
      name: "the digest as a Uint16Array",
      record: { digest: new Uint16Array(32) },
      error: "TypeError",
      refusal: "record.digest must be a Uint8Array, got an instance of Uint16Array",
    },
    {
      name: "an empty digest",
      record: { digest: new Uint8Array() },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes, got 0 bytes",
    },
    {
      name: "a digest of 31 bytes",
      record: { digest: new Uint8Array(31) },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes, got 31 bytes",
    },
    {
      name: "a digest of 33 bytes",
      record: { digest: new Uint8Array(33) },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes, got 33 bytes",
    },
    {
      name: "a digest of another hash",
      record: { digest: new Uint8Array(64) },
      error: "RangeError",
      refusal: "record.digest must be 32 bytes, got 64 bytes",
    },

    {
      name: "no user",
      record: { userId: undefined },
      error: "TypeError",
      refusal: "userId must be a safe integer, or text, got undefined",
    },
    {
      name: "an empty user",
      record: { userId: "" },
      error: "RangeError",
      refusal: "userId must be 1 to 1024 bytes, got 0 bytes",
    },
    {
      name: "a fraction as user",
      record: { userId: 0.5 },
      error: "RangeError",
      refusal: "userId must be a safe integer, or text, got 0.5",
    },

    ...["createdAt", "expiresAt"].flatMap((field) => [
      {
        name: `no ${field}`,
        record: { [field]: undefined },
        error: "TypeError",
        refusal: `record.${field} must be a Date, got undefined`,
      },
      {
        name: `null as ${field}`,
        record: { [field]: null },
        error: "TypeError",
        refusal: `record.${field} must be a Date, got null`,
      },
      {
        name: `text as ${field}`,
        record: { [field]: "2026-01-01" },
        error: "TypeError",
        refusal: `record.${field} must be a Date, got string`,
      },
      {
        name: `milliseconds as ${field}`,
        record: { [field]: 1e12 },
        error: "TypeError",
        refusal: `record.${field} must be a Date, got number`,
      },
      {
        name: `an object with toISOString as ${field}`,
        record: { [field]: { toISOString: (): string => SECRET } },
        error: "TypeError",
        refusal: `record.${field} must be a Date, got an object`,
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
      refusal: "record.expiresAt must be later than createdAt, got 2026-01-01T00:00:00.000Z",
    },
    {
      name: "a key that no record has",
      record: { token: SECRET },
      error: "TypeError",
      refusal: "record must have no keys but id, digest, userId, createdAt, expiresAt, data: " +
        'received "token"',
    },
    {
      name: "an end before its beginning",
      record: { expiresAt: new Date("2025-12-31T00:00:00.000Z") },
      error: "RangeError",
      refusal: "record.expiresAt must be later than createdAt, got 2025-12-31T00:00:00.000Z",
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

describe("whose sessions to revoke", () => {
  const desired = "whose must be { userId }, { userId, id }, { userId, except } or { userIds }";
  const keys = "whose must have no keys but userId, id, except, userIds";
  const { id } = mine;
  const bad: { name: string; whose: unknown; error: string; refusal: string }[] = [
    {
      name: "undefined",
      whose: undefined,
      error: "TypeError",
      refusal: `${desired}, got undefined`,
    },
    { name: "null", whose: null, error: "TypeError", refusal: `${desired}, got null` },
    { name: "a key alone", whose: 1, error: "TypeError", refusal: `${desired}, got number` },
    { name: "text", whose: SECRET, error: "TypeError", refusal: `${desired}, got string` },
    {
      name: "a function",
      whose: () => id,
      error: "TypeError",
      refusal: `${desired}, got function`,
    },
    {
      name: "an array of keys",
      whose: [1, 2],
      error: "TypeError",
      refusal: `${desired}, got an instance of Array`,
    },
    {
      name: "{}, which must not be everybody",
      whose: {},
      error: "TypeError",
      refusal: `${desired}, got no keys`,
    },
    {
      name: "a Map, whose entries are no keys",
      whose: new Map([["userId", 1]]),
      error: "TypeError",
      refusal: `${desired}, got no keys`,
    },
    {
      name: "an object that only inherits a user",
      whose: Object.create({ userId: 1 }),
      error: "TypeError",
      refusal: `${desired}, got no keys`,
    },
    {
      name: "an id alone",
      whose: { id },
      error: "TypeError",
      refusal: `${desired}, got { id }`,
    },
    {
      name: "an exception alone, which must not be everybody else",
      whose: { except: id },
      error: "TypeError",
      refusal: `${desired}, got { except }`,
    },
    {
      name: "an id and an exception without a user",
      whose: { id, except: id },
      error: "TypeError",
      refusal: `${desired}, got { except,id }`,
    },
    {
      name: "an id with an exception",
      whose: { userId: 1, id, except: createToken().id },
      error: "TypeError",
      refusal: `${desired}, got { except,id,userId }`,
    },
    {
      name: "an id with an exception of undefined",
      whose: { userId: 1, id, except: undefined },
      error: "TypeError",
      refusal: `${desired}, got { except,id,userId }`,
    },
    {
      name: "one user and several",
      whose: { userId: 1, userIds: [2] },
      error: "TypeError",
      refusal: `${desired}, got { userId,userIds }`,
    },
    {
      name: "one user, and several that are undefined",
      whose: { userId: 1, userIds: undefined },
      error: "TypeError",
      refusal: `${desired}, got { userId,userIds }`,
    },
    {
      name: "several users and an id",
      whose: { userIds: [1], id },
      error: "TypeError",
      refusal: `${desired}, got { id,userIds }`,
    },
    {
      name: "several users and an exception",
      whose: { userIds: [1], except: id },
      error: "TypeError",
      refusal: `${desired}, got { except,userIds }`,
    },
    ...["userid", "user", "username", "ids", "exceptId", "reason", "", "__proto__x"].map((key) => ({
      name: `a user and an unknown key ${JSON.stringify(key)}`,
      whose: { userId: 1, [key]: id },
      error: "TypeError",
      refusal: `${keys}, got ${JSON.stringify(key)}`,
    })),
    {
      name: "an unknown key of undefined",
      whose: { userId: 1, expect: undefined },
      error: "TypeError",
      refusal: `${keys}, got "expect"`,
    },

    {
      name: "a user of undefined",
      whose: { userId: undefined },
      error: "TypeError",
      refusal: "userId must be a safe integer, or text, got undefined",
    },
    {
      name: "a user of undefined and an id",
      whose: { userId: undefined, id },
      error: "TypeError",
      refusal: "userId must be a safe integer, or text, got undefined",
    },
    {
      name: "an id of undefined, which must not be all of them",
      whose: { userId: 1, id: undefined },
      error: "TypeError",
      refusal: "id must be a string, got undefined",
    },
    {
      name: "an exception of undefined, which must not be none",
      whose: { userId: 1, except: undefined },
      error: "TypeError",
      refusal: "except must be a string, got undefined",
    },
    {
      name: "several users of undefined",
      whose: { userIds: undefined },
      error: "TypeError",
      refusal: "userIds must be an array, got undefined",
    },
    ...["id", "except"].flatMap((key) =>
      [
        { name: "null", value: null, received: "null" },
        { name: "a number", value: 1, received: "number" },
        { name: "an array", value: [id], received: "an instance of Array" },
        { name: "an object with toString", value: { toString: () => id }, received: "an object" },
        { name: "a String object", value: Object(id), received: "an instance of String" },
        ...fragments.map(({ name, value, kind }) => ({
          name,
          value,
          received: `an instance of ${kind}`,
        })),
      ].map(({ name, value, received }) => ({
        name: `${key} that is ${name}`,
        whose: { userId: 1, [key]: value },
        error: "TypeError",
        refusal: `${key} must be a string, got ${received}`,
      }))
    ),
    ...[
      { name: "empty", except: "" },
      { name: "a UUID cut short", except: id.slice(0, 35) },
      { name: "a UUID and more", except: `${id}0` },
      {
        name: "a UUID with a line feed at the end, where a lenient $ would match",
        except: `${id}\n`,
      },
      { name: "a UUID with a line before", except: `x\n${id}` },
      { name: "a UUID with a space", except: ` ${id}` },
      {
        name: "a UUID without hyphens, which PostgreSQL would take",
        except: id.replaceAll("-", ""),
      },
      { name: "a UUID in braces, which PostgreSQL would take", except: `{${id}}` },
      { name: "a UUID as a URN", except: `urn:uuid:${id}` },
      { name: "a UUID with a letter beyond f", except: `g${id.slice(1)}` },
      { name: "a UUID with fullwidth digits", except: `０${id.slice(1)}` },
      { name: "a token for its id", except: mine.token },
      { name: "the word null", except: "null" },
      { name: "SQL text", except: "' or 1=1--" },
      { name: "text with NUL", except: `${id.slice(0, 35)}\0` },
      { name: "a megabyte", except: SECRET.repeat(50_000) },
    ].map(({ name, except }) => ({
      name: `an exception that is ${name}`,
      whose: { userId: 1, except },
      error: "RangeError",
      refusal: "except must be a UUID, got something else",
    })),

    ...[
      { name: "null", value: null, received: "null" },
      { name: "one key", value: 1, received: "number" },
      { name: "text", value: "1,2", received: "string" },
      { name: "a Set", value: new Set([1]), received: "an instance of Set" },
      {
        name: "an iterator",
        value: { [Symbol.iterator]: () => [1].values() },
        received: "an object",
      },
      { name: "an object like an array", value: { 0: 1, length: 1 }, received: "an object" },
      {
        name: "numbers in bytes",
        value: new Uint8Array([1]),
        received: "an instance of Uint8Array",
      },
      ...fragments.map(({ name, value, kind }) => ({
        name,
        value,
        received: `an instance of ${kind}`,
      })),
    ].map(({ name, value, received }) => ({
      name: `several users that are ${name}`,
      whose: { userIds: value },
      error: "TypeError",
      refusal: `userIds must be an array, got ${received}`,
    })),
    {
      name: "an array with a hole",
      whose: { userIds: Object.assign(Array(3), { 0: 1, 2: 3 }) },
      error: "TypeError",
      refusal: "userIds[1] must be a safe integer, or text, got undefined",
    },
    {
      name: "an array of holes alone",
      whose: { userIds: Array(3) },
      error: "TypeError",
      refusal: "userIds[0] must be a safe integer, or text, got undefined",
    },
    {
      name: "an array within the array",
      whose: { userIds: [[1]] },
      error: "TypeError",
      refusal: "userIds[0] must be a safe integer, or text, got an instance of Array",
    },
    {
      name: "an array with { userId } in it",
      whose: { userIds: [1, { userId: 2 }] },
      error: "TypeError",
      refusal: "userIds[1] must be a safe integer, or text, got an object",
    },
    {
      name: "10,001 users",
      whose: { userIds: Array(10_001).fill(1) },
      error: "RangeError",
      refusal: "userIds must be at most 10000 keys, got 10001",
    },
    {
      name: "a length without an end",
      whose: { userIds: Array(2 ** 32 - 1) },
      error: "RangeError",
      refusal: "userIds must be at most 10000 keys, got 4294967295",
    },
  ];
  for (const { name, whose, error, refusal } of bad) {
    test(`are refused with ${name}`, async () => {
      const message = `Cannot proceed as ${refusal}`;
      await refuses(() => revokeSessions(whose as RevokeTarget, sql), error, message, SECRET);
    });
  }

  const forms = [
    { name: "a user", whose: { userId: 1 }, expected: ["[1]", null, null] },
    { name: "a user and an id", whose: { userId: 1, id }, expected: ["[1]", id, null] },
    {
      name: "a user and an exception",
      whose: { userId: 1, except: id },
      expected: ["[1]", null, id],
    },
    { name: "several users", whose: { userIds: [1, "2", 3] }, expected: [`[1,"2",3]`, null, null] },
    { name: "one of several users", whose: { userIds: ["a"] }, expected: [`["a"]`, null, null] },
    { name: "a user twice", whose: { userIds: [1, 1] }, expected: ["[1,1]", null, null] },
    {
      name: "10,000 users",
      whose: { userIds: Array<number>(10_000).fill(1) },
      expected: [JSON.stringify(Array(10_000).fill(1)), null, null],
    },
    {
      name: "an id in upper case, which PostgreSQL compares as a uuid",
      whose: { userId: 1, id: id.toUpperCase() },
      expected: ["[1]", id.toUpperCase(), null],
    },
    {
      name: "an exception in upper case",
      whose: { userId: 1, except: id.toUpperCase() },
      expected: ["[1]", null, id.toUpperCase()],
    },
    {
      name: "the nil UUID",
      whose: { userId: 1, except: "00000000-0000-0000-0000-000000000000" },
      expected: ["[1]", null, "00000000-0000-0000-0000-000000000000"],
    },
    {
      name: "an object without a prototype",
      whose: Object.assign(Object.create(null), { userId: 1 }),
      expected: ["[1]", null, null],
    },
  ];
  for (const { name, whose, expected } of forms) {
    test(`are sent as they are with ${name}`, async () => {
      const sent = await asks(() => revokeSessions(whose, sql));
      assert.deepEqual(sent, [...expected, "revoked"]);
    });
  }

  test("are read once, so that what was checked is what is sent", async () => {
    const once = (value: unknown) => {
      let reads = 0;
      return { enumerable: true, get: () => reads++ === 0 ? value : lazy`1` };
    };
    for (const key of ["id", "except"] as const) {
      const whose = Object.defineProperties({}, { userId: once(7), [key]: once(id) });
      const sent = await asks(() => revokeSessions(whose as RevokeTarget, sql));
      assert.deepEqual(sent.slice(0, 3), ["[7]", ...key === "id" ? [id, null] : [null, id]]);
    }
    const userIds = Object.defineProperty([0, 8], 0, once(7));
    assert.equal((await asks(() => revokeSessions({ userIds }, sql)))[0], "[7,8]");
  });

  const nobodys = [
    { name: "an empty id", whose: { userId: 1, id: "" } },
    { name: "an id from a broken form", whose: { userId: 1, id: "undefined" } },
    { name: "an id that is a token", whose: { userId: 1, id: mine.token } },
    { name: "an id in braces", whose: { userId: 1, id: `{${id}}` } },
    { name: "an id without hyphens", whose: { userId: 1, id: id.replaceAll("-", "") } },
    { name: "an id with a line feed", whose: { userId: 1, id: `${id}\n` } },
    { name: "an id that is SQL text", whose: { userId: 1, id: "' or 1=1--" } },
    { name: "an id with NUL", whose: { userId: 1, id: "\0" } },
    { name: "an id of a megabyte", whose: { userId: 1, id: SECRET.repeat(50_000) } },
    { name: "no users", whose: { userIds: [] } },
  ];
  for (const { name, whose } of nobodys) {
    test(`are none with ${name}, and the database is not asked`, async () => {
      calls = [];
      assert.deepEqual(await revokeSessions(whose, sql), []);
      assert.deepEqual(calls, []);
      await refuses(
        () => revokeSessions(whose, undefined as never),
        "TypeError",
        "Cannot proceed as sql must be a tagged-template client, like postgres(url), got undefined",
      );
      await refuses(
        () => revokeSessions(whose, sql, { reason: "" }),
        "RangeError",
        "Cannot proceed as reason must be 1 to 200 bytes, got 0 bytes",
      );
    });
  }
});

describe("a reason", () => {
  const bad = [
    {
      name: "empty",
      reason: "",
      error: "RangeError",
      refusal: "be 1 to 200 bytes, got 0 bytes",
    },
    {
      name: "201 bytes",
      reason: SECRET.padEnd(201),
      error: "RangeError",
      refusal: "be 1 to 200 bytes, got 201 bytes",
    },
    {
      name: "201 bytes in fewer characters",
      reason: `a${"é".repeat(100)}`,
      error: "RangeError",
      refusal: "be 1 to 200 bytes, got 201 bytes",
    },
    {
      name: "text with NUL",
      reason: `${SECRET}\0`,
      error: "RangeError",
      refusal: "be free of NUL, got one",
    },
    {
      name: "a lone surrogate",
      reason: `${SECRET}\uD800`,
      error: "RangeError",
      refusal: "be well-formed, got a lone surrogate",
    },
    { name: "null", reason: null, error: "TypeError", refusal: "be a string, got null" },
    { name: "a number", reason: 1, error: "TypeError", refusal: "be a string, got number" },
    {
      name: "a boolean",
      reason: true,
      error: "TypeError",
      refusal: "be a string, got boolean",
    },
    {
      name: "a symbol",
      reason: Symbol(SECRET),
      error: "TypeError",
      refusal: "be a string, got symbol",
    },
    {
      name: "an error",
      reason: new Error(SECRET),
      error: "TypeError",
      refusal: "be a string, got an instance of Error",
    },
    {
      name: "an object with toString",
      reason: { toString: () => SECRET },
      error: "TypeError",
      refusal: "be a string, got an object",
    },
    ...fragments.map(({ name, value, kind }) => ({
      name,
      reason: value,
      error: "TypeError",
      refusal: `be a string, got an instance of ${kind}`,
    })),
  ];
  for (const { name, reason, error, refusal } of bad) {
    test(`is refused where it is ${name}, with something to revoke or without`, async () => {
      const options = { reason: reason as never };
      const all = [
        () => revokeSession(headers, sql, options),
        () => revokeSession(new Headers(), sql, options),
        () => revokeSessions({ userId: 1 }, sql, options),
        () => revokeSessions({ userIds: [] }, sql, options),
      ];
      for (const call of all) {
        await refuses(call, error, `Cannot proceed as reason must ${refusal}`, SECRET);
      }
    });
  }

  const ordinary = [
    { name: "one character", reason: "a" },
    { name: "200 bytes", reason: "a".repeat(200) },
    { name: "200 bytes in fewer characters", reason: "é".repeat(100) },
    { name: "SQL text", reason: "'; drop table coatcheck.sessions--" },
    { name: "a word of our own", reason: "reused" },
    { name: "line breaks", reason: "a\r\nb" },
  ];
  for (const { name, reason } of ordinary) {
    test(`is sent as it is where it is ${name}`, async () => {
      assert.equal((await asks(() => revokeSession(headers, sql, { reason }))).at(-1), reason);
      const sent = await asks(() => revokeSessions({ userId: 1 }, sql, { reason }));
      assert.equal(sent.at(-1), reason);
    });
  }

  test("is signed-out for one's own session, and revoked for others, where there is none", async () => {
    const unset = { reason: undefined } as never;
    assert.equal((await asks(() => revokeSession(headers, sql, unset))).at(-1), "signed-out");
    const sent = await asks(() => revokeSessions({ userId: 1 }, sql, unset));
    assert.equal(sent.at(-1), "revoked");
  });
});

describe("the options of sweepSessions", () => {
  const times = [
    { key: "retention", least: 0, most: 34_560_000 },
    { key: "idleTimeout", least: 1, most: 2_592_000 },
  ];
  const signal = "signal must be an AbortSignal: received";
  const progress = "onProgress must be a function: received";
  const bad: { name: string; options: unknown; error: string; refusal: string }[] = [
    ...times.flatMap(({ key, least, most }) =>
      [
        { name: "too little", value: least - 1, error: "RangeError", received: `${least - 1}` },
        { name: "too much", value: most + 1, error: "RangeError", received: `${most + 1}` },
        { name: "a fraction", value: 1.5, error: "RangeError", received: "1.5" },
        { name: "NaN", value: NaN, error: "RangeError", received: "NaN" },
        { name: "Infinity", value: Infinity, error: "RangeError", received: "Infinity" },
        { name: "false", value: false, error: "TypeError", received: "boolean" },
        { name: "null", value: null, error: "TypeError", received: "null" },
        { name: "text", value: "3600", error: "TypeError", received: "string" },
        { name: "an interval", value: "30 days", error: "TypeError", received: "string" },
        { name: "a bigint", value: 3600n, error: "TypeError", received: "bigint" },
        { name: "a Date", value: new Date(), error: "TypeError", received: "an instance of Date" },
      ].map(({ name, value, error, received }) => ({
        name: `${key} that is ${name}`,
        options: { [key]: value },
        error,
        refusal: `${key} must be whole seconds from ${least} to ${most}, got ${received}`,
      }))
    ),
    {
      name: "idleTimeout beyond absoluteTimeout",
      options: { idleTimeout: 61, absoluteTimeout: 60 },
      error: "RangeError",
      refusal: "idleTimeout must be whole seconds from 1 to 60, got 61",
    },

    {
      name: "onProgress that is null",
      options: { onProgress: null },
      error: "TypeError",
      refusal: `${progress} null`,
    },
    {
      name: "onProgress that is true",
      options: { onProgress: true },
      error: "TypeError",
      refusal: `${progress} boolean`,
    },
    {
      name: "onProgress that is an object",
      options: { onProgress: { swept: 0 } },
      error: "TypeError",
      refusal: `${progress} an object`,
    },

    {
      name: "a signal that is null",
      options: { signal: null },
      error: "TypeError",
      refusal: `${signal} null`,
    },
    {
      name: "a signal that is text",
      options: { signal: "SIGINT" },
      error: "TypeError",
      refusal: `${signal} string`,
    },
    {
      name: "a signal that is a number",
      options: { signal: 5000 },
      error: "TypeError",
      refusal: `${signal} number`,
    },
    {
      name: "a signal that is a function",
      options: { signal: () => {} },
      error: "TypeError",
      refusal: `${signal} function`,
    },
    {
      name: "a signal that is an array",
      options: { signal: [AbortSignal.timeout] },
      error: "TypeError",
      refusal: `${signal} an instance of Array`,
    },
    {
      name: "a signal that is {}",
      options: { signal: {} },
      error: "TypeError",
      refusal: `${signal} an object`,
    },
    {
      name: "the AbortController for its signal",
      options: { signal: new AbortController() },
      error: "TypeError",
      refusal: `${signal} an instance of AbortController`,
    },
  ];
  for (const { name, options, error, refusal } of bad) {
    test(`are refused with ${name}`, async () => {
      await refuses(
        () => sweepSessions(sql, options as never),
        error,
        `Cannot proceed as ${refusal}`,
      );
    });
  }

  const ordinary = [
    { name: "nothing", options: {}, expected: [2_592_000, null] },
    { name: "no retention", options: { retention: 0 }, expected: [0, null] },
    { name: "400 days", options: { retention: 34_560_000 }, expected: [34_560_000, null] },
    { name: "an idleTimeout", options: { idleTimeout: 1 }, expected: [2_592_000, 1] },
    {
      name: "an idleTimeout as long as absoluteTimeout",
      options: { idleTimeout: 34_560_000, absoluteTimeout: 34_560_000 },
      expected: [2_592_000, 34_560_000],
    },
    {
      name: "a touchInterval for that idleTimeout",
      options: { idleTimeout: 60, touchInterval: 59 },
      expected: [2_592_000, 60],
    },
    {
      name: "an observer and a signal, which are ours alone",
      options: { onProgress: () => {}, signal: new AbortController().signal },
      expected: [2_592_000, null],
    },
    {
      name: "undefined for each",
      options: { retention: undefined, onProgress: undefined, signal: undefined },
      expected: [2_592_000, null],
    },
  ];
  for (const { name, options, expected } of ordinary) {
    test(`are sent as whole seconds with ${name}`, async () => {
      assert.deepEqual(
        (await sends(() => sweepSessions(sql, options as never))).slice(2),
        expected,
      );
    });
  }

  test("end the sweep before any SQL where the signal is aborted, by its reason", async () => {
    calls = [];
    const reason = new Error("shutting down");
    const sweeping = sweepSessions(sql, { signal: AbortSignal.abort(reason) });
    await assert.rejects(sweeping, (error) => error === reason);
    assert.deepEqual(calls, []);
  });
});
