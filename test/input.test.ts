import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import {
  configure,
  createSession,
  createToken,
  getUserId,
  insertSession,
  isCrossOrigin,
  listSessions,
  migrate,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  type RevokeTarget,
  rotateSession,
  type SessionFunctions,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
  withSession,
} from "../mod.ts";
import type { Statement } from "../src/sql.ts";
import * as statements from "../src/statements.ts";

const known = new Map(
  Object.entries(statements)
    .filter((entry): entry is [string, Statement] => typeof entry[1] === "object")
    .map(([name, { strings, order }]) => [strings, { name, order }]),
);

/** A statement that was sent: its name, and the values of `$2`, `$3` … that its text has. */
interface Sent {
  readonly name: string;
  readonly values: readonly unknown[];
}

/** A client that returns no rows: what is refused is refused before it. */
let calls: Sent[] = [];
const sql: Sql = (strings, ...parameters) => {
  const { name, order } = known.get(strings)!;
  // `$1` is the number of the call, which is no input.
  const values: unknown[] = [];
  for (const [place, number] of order.entries()) {
    const value = parameters[place];
    assert.ok(typeof value === "string" || value === null, "is sent as text or null");
    if (number in values) assert.equal(values[number], value);
    values[number] = value;
  }
  calls.push({ name, values: values.slice(2) });
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

/** Expects that a call sends one statement, and fails because it returns no row. */
async function sends(name: string, call: () => Promise<unknown>): Promise<readonly unknown[]> {
  calls = [];
  await assert.rejects(call, {
    name: "SessionError",
    code: /^(UNEXPECTED_RESULT|USER_NOT_FOUND)$/,
  });
  assert.deepEqual(calls.map((it) => it.name), [name]);
  return calls[0]!.values;
}

/** Expects that a call sends these statements, and takes no rows for an answer; the first one's values. */
async function asks(names: string, call: () => Promise<unknown>): Promise<readonly unknown[]> {
  calls = [];
  await call();
  assert.deepEqual(calls.map((it) => it.name), names.split(", "));
  return calls[0]!.values;
}
// An update that changes no row reads why.
const UPDATES = "UPDATE, EXPLAIN_UPDATE";

const mine = createToken();
const headers = new Headers({ cookie: `__Host-session=${mine.token}` });

// A lazy client of a port without a server: its fragments are made, and never sent.
const lazy = postgres("postgres://user@127.0.0.1:1/none", { max: 1 });
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
    test(`is refused if it is ${name}`, async () => {
      const message = `username must ${refusal}`;
      const secret = username && username.slice(0, 40);
      const create = () => createSession(username, sql);
      await refuses(create, error, `createSession: ${message}`, secret);
      await refuses(() => getUserId(username, sql), error, `getUserId: ${message}`, secret);
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
    test(`is refused if it is ${name}`, async () => {
      await refuses(
        () => getUserId(value as never, sql),
        "TypeError",
        `getUserId: username must be a string, got ${received}`,
        SECRET,
      );
      await refuses(
        () => createSession(value as never, sql),
        "TypeError",
        `createSession: user must be a username or { userId }, got ${received}`,
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
    test(`is sent as it is, as one parameter, if it is ${name}`, async () => {
      assert.deepEqual(await sends("FIND_USER", () => getUserId(username, sql)), [username]);
      const [sent, ...rest] = await sends("CREATE", () => createSession(username, sql));
      assert.equal(sent, username);
      assert.equal(rest.length, 5);
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
    test(`is refused if it is ${name}`, async () => {
      const key = userId as never;
      const revoked = (target: RevokeTarget) => () => revokeSessions(target, sql);
      const calls: { subject: string; call: () => Promise<unknown> }[] = [
        { subject: "createSession: userId", call: () => createSession({ userId: key }, sql) },
        { subject: "listSessions: userId", call: () => listSessions(key, sql) },
        { subject: "revokeSessions: userId", call: revoked({ userId: key }) },
        { subject: "revokeSessions: userId", call: revoked({ userId: key, id: mine.id }) },
        { subject: "revokeSessions: userId", call: revoked({ userId: key, id: "no UUID" }) },
        { subject: "revokeSessions: userId", call: revoked({ userId: key, except: mine.id }) },
        { subject: "revokeSessions: userIds[0]", call: revoked({ userIds: [key] }) },
        { subject: "revokeSessions: userIds[2]", call: revoked({ userIds: [1, "2", key, 4] }) },
      ];
      for (const { subject, call } of calls) {
        await refuses(call, error, `${subject} must ${refusal}`, SECRET);
      }
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
    test(`is sent as it is if it is ${name}`, async () => {
      const [created] = await sends("INSERT", () => createSession({ userId }, sql));
      assert.equal(created, `${userId}`);
      const [listed] = await asks("LIST", () => listSessions(userId, sql));
      assert.equal(listed, `${userId}`);
      const [one] = await asks("REVOKE_MANY", () => revokeSessions({ userId }, sql));
      assert.deepEqual(JSON.parse(one as string), [userId]);
      const several = { userIds: ["9", userId, 9] };
      const [many] = await asks("REVOKE_MANY", () => revokeSessions(several, sql));
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
    const [created] = await sends("INSERT", () => createSession(user, sql));
    assert.equal(created, "7");
    reads = 0;
    const [revoked] = await asks("REVOKE_MANY", () => revokeSessions(user, sql));
    assert.deepEqual(JSON.parse(revoked as string), [7]);
  });
});

describe("data", () => {
  const cycle: Record<string, unknown> = { secret: SECRET };
  cycle.self = { cycle };
  // Not in every runtime yet.
  const { rawJSON } = JSON as { rawJSON?: (text: string) => unknown };
  const nested = (levels: number): object => {
    let data: object = {};
    while (--levels > 0) data = { data };
    return data;
  };
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
    {
      name: "a promise that was not awaited",
      data: Promise.resolve({ [SECRET]: 1 }),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Promise",
    },
    {
      name: "a query that was not awaited",
      data: Object.assign(Promise.resolve(), { [SECRET]: 1 }),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Promise",
    },
    {
      name: "an Error, of which JSON writes nothing",
      data: new Error(SECRET),
      error: "TypeError",
      refusal: "be a JSON object, got an instance of Error",
    },
    {
      name: "a promise within",
      data: { user: [Promise.resolve(SECRET)] },
      error: "TypeError",
      refusal: "contain only JSON values, got an instance of Promise",
    },
    {
      name: "a Map within",
      data: { roles: new Map([[SECRET, 1]]) },
      error: "TypeError",
      refusal: "contain only JSON values, got an instance of Map",
    },
    {
      name: "101 levels deep",
      data: nested(101),
      error: "RangeError",
      refusal: "be at most 100 levels deep, got more",
    },
    {
      name: "5,000 levels deep",
      data: nested(5000),
      error: "RangeError",
      refusal: "be at most 100 levels deep, got more",
    },
    {
      name: "50,000 levels deep",
      data: { a: JSON.parse("[".repeat(50_000) + "]".repeat(50_000)) },
      error: "RangeError",
      refusal: "be at most 100 levels deep, got more",
    },
    ...(rawJSON
      ? [
        {
          name: "3.6 KB of raw JSON that PostgreSQL would write as 52 MB",
          data: { a: Array.from({ length: 400 }, () => rawJSON("1e131071")) },
          error: "RangeError",
          refusal: "be at most 65536 bytes of JSON, got 52432007 bytes",
        },
        {
          name: "a raw number in capitals",
          data: { a: rawJSON("1.5E+65530") },
          error: "RangeError",
          refusal: "be at most 65536 bytes of JSON, got 65546 bytes",
        },
        {
          name: "a raw number whose exponent has no end",
          data: { a: rawJSON(`1e${"9".repeat(400)}`) },
          error: "RangeError",
          refusal: "be at most 65536 bytes of JSON, got Infinity bytes",
        },
        {
          name: "a raw number with too many decimals by its exponent",
          data: { a: rawJSON("1.5e-16383") },
          error: "RangeError",
          refusal: "be numbers that PostgreSQL can hold, got more than 16383 decimals",
        },
        {
          name: "a raw number with too many decimals",
          data: { a: rawJSON(`0.${"1".repeat(16_384)}`) },
          error: "RangeError",
          refusal: "be numbers that PostgreSQL can hold, got more than 16383 decimals",
        },
        {
          name: "a raw text with a lone surrogate",
          data: { a: rawJSON(`"\ud800"`) },
          error: "RangeError",
          refusal: unholdable,
        },
        {
          name: "a raw text with an escaped lone surrogate in capitals",
          data: { a: rawJSON(`"\\uDC00\\uD800"`) },
          error: "RangeError",
          refusal: unholdable,
        },
        {
          name: "a raw text with an escaped NUL",
          data: { a: rawJSON(`"\\u0000"`) },
          error: "RangeError",
          refusal: unholdable,
        },
      ]
      : []),
  ];
  for (const { name, data, error, refusal } of bad) {
    test(`is refused if it is ${name}`, async () => {
      const message = `data must ${refusal}`;
      const create = () => createSession("ada", sql, { data } as never);
      await refuses(create, error, `createSession: ${message}`, SECRET);
      const { id, digest } = createToken();
      const [createdAt, expiresAt] = [new Date("2026-01-01"), new Date("2027-01-01")];
      const record = { id, digest, userId: 1, createdAt, expiresAt, data };
      const insert = () => insertSession(record as never, sql);
      await refuses(insert, error, `insertSession: ${message}`, SECRET);
    });

    test(`is refused as a patch if it is ${name}`, async () => {
      const message = `updateSession: patch must ${refusal}`;
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
    { name: "100 levels deep", data: nested(100) },
    { name: "200 objects beside each other", data: { a: Array.from({ length: 200 }, () => ({})) } },
    { name: "brackets in a text", data: { a: "[{".repeat(200), b: `\\"${"[".repeat(200)}` } },
    { name: "numbers in a text", data: { a: "1e999999", "2E999999": ["-1.5e-99999", true] } },
    { name: "a text that is escapes", data: { a: `"\\\n`.repeat(10_000) } },
    { name: "a key called then", data: { then: "later" } },
    ...(rawJSON
      ? [{
        name: "raw JSON",
        data: { a: rawJSON(`"\\uD83D\\uDE00"`), b: rawJSON("12345678901234567890") },
      }]
      : []),
    { name: "nested arrays and objects", data: { a: [1, [null, { b: true }]] } },
    { name: "a key called __proto__", data: JSON.parse(`{"__proto__":{"admin":true}}`) },
    { name: "an object without a prototype", data: Object.assign(Object.create(null), { a: 1 }) },
  ];
  for (const { name, data } of ordinary) {
    test(`is sent as it is if it is ${name}`, async () => {
      const sent = await sends("CREATE", () => createSession("ada", sql, { data }));
      assert.equal(sent.at(-1), JSON.stringify(data));
      const patched = await asks(UPDATES, () => updateSession(headers, data, sql));
      assert.deepEqual(patched.slice(-3), ["{}", JSON.stringify(data), null]);
    });
  }

  test("is spelled once, so that what was checked is what is sent", async () => {
    let spelled = 0;
    const data = { toJSON: () => ({ spelled: spelled++ ? "\0" : "once" }) };
    const sent = await sends("CREATE", () => createSession("ada", sql, { data }));
    assert.equal(sent.at(-1), `{"spelled":"once"}`);
    spelled = 0;
    const patched = await asks(UPDATES, () => updateSession(headers, data as never, sql));
    assert.equal(patched.at(-2), `{"spelled":"once"}`);
    assert.equal(spelled, 1);
  });
});

describe("the patch of updateSession", () => {
  const unholdable = "be text that PostgreSQL can hold, got a NUL or a lone surrogate";
  const large = "be at most 65536 bytes of JSON, got";
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
    test(`is refused if it is ${name}, with a cookie or without one`, async () => {
      for (const request of [headers, new Headers()]) {
        const call = () => updateSession(request, patch as never, sql);
        await refuses(call, error, `updateSession: patch must ${refusal}`, SECRET);
      }
    });
  }

  const ordinary: { name: string; patch: object; set: string; removed: string }[] = [
    { name: "a key that is set", patch: { a: 1 }, set: `{"a":1}`, removed: "{}" },
    { name: "a key that is removed", patch: { a: undefined }, set: "{}", removed: `{"a"}` },
    {
      name: "keys of both kinds",
      patch: { a: undefined, b: null, c: false, d: 0, e: "", f: undefined },
      set: `{"b":null,"c":false,"d":0,"e":""}`,
      removed: `{"a","f"}`,
    },
    {
      name: "undefined within a value, which is part of that value",
      patch: { a: { b: undefined }, c: [undefined] },
      set: `{"a":{},"c":[null]}`,
      removed: "{}",
    },
    {
      name: "a removed key called __proto__",
      patch: Object.defineProperty({}, "__proto__", { value: undefined, enumerable: true }),
      set: "{}",
      removed: `{"__proto__"}`,
    },
    {
      name: "a removed key like SQL, JSON and a placeholder",
      patch: { [`"] or $1 '`]: undefined },
      set: "{}",
      removed: String.raw`{"\"] or $1 '"}`,
    },
    {
      name: "a removed key with the escapes of NUL and of a surrogate as literal text",
      patch: { "\\u0000\\ud800": undefined },
      set: "{}",
      removed: String.raw`{"\\u0000\\ud800"}`,
    },
    {
      name: "a removed pair of surrogates",
      patch: { "😀": undefined },
      set: "{}",
      removed: `{"😀"}`,
    },
    { name: "a removed empty key", patch: { "": undefined }, set: "{}", removed: `{""}` },
    {
      name: "an inherited key, which is no part of it",
      patch: Object.assign(Object.create({ a: 1, b: undefined }), { c: 1 }),
      set: `{"c":1}`,
      removed: "{}",
    },
    {
      name: "a removed key of which the list takes 65,536 bytes",
      patch: { ["x".repeat(65_532)]: undefined },
      set: "{}",
      removed: `{"${"x".repeat(65_532)}"}`,
    },
  ];
  for (const { name, patch, set, removed } of ordinary) {
    test(`is sent as what to remove and what to set, if it has ${name}`, async () => {
      const sent = await asks(UPDATES, () => updateSession(headers, patch, sql));
      assert.deepEqual(sent.slice(-3), [removed, set, null]);
    });
  }

  test("is read once, so that what was checked is what is sent", async () => {
    const reads: string[] = [];
    const once = (key: string, value: unknown) => ({
      enumerable: true,
      get: () => reads.push(key) > 3 ? lazy`1` : value,
    });
    const patch = Object.defineProperties({}, {
      theme: once("theme", "dark"),
      cart: once("cart", undefined),
      list: once("list", [1]),
    });
    const sent = await asks(UPDATES, () => updateSession(headers, patch, sql));
    assert.deepEqual(sent.slice(-3), [`{"cart"}`, `{"theme":"dark","list":[1]}`, null]);
    assert.deepEqual(calls[1]!.values.slice(-2), [`{"cart"}`, `{"theme":"dark","list":[1]}`]);
    assert.deepEqual(reads, ["theme", "cart", "list"]);
  });

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
          `updateSession: version must be a whole number from 0 to 2147483647, got ${received}`,
        );
      }
    });
  }

  test("is sent with a version from 0 to 2147483647, and with null if there is none", async () => {
    for (const version of [0, 1, 2 ** 31 - 1, undefined]) {
      const options = { version } as { version: number };
      const sent = await asks(UPDATES, () => updateSession(headers, { a: 1 }, sql, options));
      assert.equal(sent.at(-1), version === undefined ? null : `${version}`);
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
    test(`are refused if persistent is ${name}`, async () => {
      await refuses(
        () => createSession("ada", sql, { persistent: value as never }),
        "TypeError",
        `createSession: persistent must be true or false, got ${received}`,
      );
    });
  }
});

describe("the options of listSessions", () => {
  const { id } = mine;
  const limit = "limit must be a whole number from 1 to 10000, got";
  const text = "after must be a string, got";
  const bad: { name: string; options: unknown; error: string; refusal: string }[] = [
    ...[
      { name: "0", value: 0, error: "RangeError", received: "0" },
      { name: "10,001", value: 10_001, error: "RangeError", received: "10001" },
      { name: "negative", value: -1, error: "RangeError", received: "-1" },
      { name: "a fraction", value: 1.5, error: "RangeError", received: "1.5" },
      { name: "NaN", value: NaN, error: "RangeError", received: "NaN" },
      { name: "Infinity, which is no way to ask for all", value: Infinity, received: "Infinity" },
      { name: "null", value: null, error: "TypeError", received: "null" },
      { name: "false", value: false, error: "TypeError", received: "boolean" },
      { name: "text", value: "10", error: "TypeError", received: "string" },
      { name: "a bigint", value: 10n, error: "TypeError", received: "bigint" },
      {
        name: "an object",
        value: { valueOf: () => 10 },
        error: "TypeError",
        received: "an object",
      },
      { name: "an array", value: [10], error: "TypeError", received: "an instance of Array" },
      {
        name: "a Number object",
        value: Object(10),
        error: "TypeError",
        received: "an instance of Number",
      },
      ...fragments.map(({ name, value, kind }) => ({
        name,
        value,
        error: "TypeError",
        received: `an instance of ${kind}`,
      })),
    ].map(({ name, value, error = "RangeError", received }) => ({
      name: `a limit that is ${name}`,
      options: { limit: value },
      error,
      refusal: `${limit} ${received}`,
    })),
    ...[
      { name: "null", value: null, received: "null" },
      { name: "a number", value: 1, received: "number" },
      { name: "true", value: true, received: "boolean" },
      { name: "an array", value: [id], received: "an instance of Array" },
      { name: "a session", value: { id }, received: "an object" },
      { name: "an object with toString", value: { toString: () => id }, received: "an object" },
      { name: "a String object", value: Object(id), received: "an instance of String" },
      ...fragments.map(({ name, value, kind }) => ({
        name,
        value,
        received: `an instance of ${kind}`,
      })),
    ].map(({ name, value, received }) => ({
      name: `a place after ${name}`,
      options: { after: value },
      error: "TypeError",
      refusal: `${text} ${received}`,
    })),
    ...[
      { name: "empty text", value: "" },
      { name: "a UUID cut short", value: id.slice(0, 35) },
      { name: "a UUID and more", value: `${id}0` },
      { name: "a UUID with a line feed at the end", value: `${id}\n` },
      { name: "a UUID without hyphens", value: id.replaceAll("-", "") },
      { name: "a UUID in braces", value: `{${id}}` },
      { name: "a token for its id", value: mine.token },
      { name: "a page's number", value: "2" },
      { name: "the word null", value: "null" },
      { name: "SQL text", value: "' or 1=1--" },
      { name: "text with NUL", value: `${id.slice(0, 35)}\0` },
      { name: "a megabyte", value: SECRET.repeat(50_000) },
    ].map(({ name, value }) => ({
      name: `a place after ${name}`,
      options: { after: value },
      error: "RangeError",
      refusal: "after must be a UUID, got something else",
    })),
  ];
  for (const { name, options, error, refusal } of bad) {
    test(`are refused if they have ${name}`, async () => {
      for (const list of [listSessions, configure().listSessions]) {
        const call = () => list(1, sql, options as never);
        await refuses(call, error, `listSessions: ${refusal}`, SECRET);
      }
    });
  }

  const ordinary = [
    { name: "nothing", options: {}, expected: ["10000", null] },
    { name: "the smallest limit", options: { limit: 1 }, expected: ["1", null] },
    { name: "the largest limit", options: { limit: 10_000 }, expected: ["10000", null] },
    { name: "an id alone", options: { after: id }, expected: ["10000", id] },
    { name: "both", options: { limit: 50, after: id }, expected: ["50", id] },
    {
      name: "an id in upper case, which PostgreSQL compares as a uuid",
      options: { after: id.toUpperCase() },
      expected: ["10000", id.toUpperCase()],
    },
    {
      name: "undefined for each",
      options: { limit: undefined, after: undefined } as object,
      expected: ["10000", null],
    },
  ];
  for (const { name, options, expected: [limit, after] } of ordinary) {
    test(`are sent as text if they have ${name}`, async () => {
      for (const list of [listSessions, configure().listSessions]) {
        const sent = await asks("LIST", () => list(1, sql, options));
        assert.deepEqual(sent, ["1", limit, "2592000", "604800", after]);
      }
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
    const sent = await sends("INSERT", () => insertSession(good, sql));
    const times = ["2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"];
    const hex = Buffer.from(digest).toString("hex");
    assert.deepEqual(sent, ["1", id, hex, "2592000", "true", "{}", ...times]);
  });

  test("is sent with a cookie that ends with the browser, if it says so", async () => {
    const sent = await sends("INSERT", () => insertSession({ ...good, persistent: false }, sql));
    assert.equal(sent[4], "false");
  });

  test("may have the digest as a Buffer, times in year 1 and 9999, and a UUID of any version", async () => {
    await sends("INSERT", () => insertSession({ ...good, digest: Buffer.from(digest) }, sql));
    await sends(
      "INSERT",
      () => insertSession({ ...good, id: "00000000-0000-0000-0000-000000000000" }, sql),
    );
    const createdAt = new Date("0001-01-01T00:00:00.000Z");
    const expiresAt = new Date("9999-12-31T23:59:59.999Z");
    await sends("INSERT", () => insertSession({ ...good, createdAt, expiresAt }, sql));
  });

  const uuid = "be a UUID in lower case, got something else";
  const years = "be in the years 1 to 9999, got";
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
      name: "a persistent that is no boolean",
      record: { ...good, persistent: 1 },
      error: "TypeError",
      refusal: "record.persistent must be true or false, got number",
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
      refusal:
        "record must have no keys but id, digest, userId, createdAt, expiresAt, persistent, data, " +
        'got "token"',
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
        `insertSession: ${refusal}`,
        SECRET,
      );
    });
  }
});

describe("the target of revokeSessions", () => {
  const desired = "target must be { userId }, { userId, id }, { userId, except } or { userIds }";
  const keys = "target must have no keys but userId, id, except, userIds";
  const { id } = mine;
  const bad: { name: string; target: unknown; error: string; refusal: string }[] = [
    {
      name: "undefined",
      target: undefined,
      error: "TypeError",
      refusal: `${desired}, got undefined`,
    },
    { name: "null", target: null, error: "TypeError", refusal: `${desired}, got null` },
    { name: "a key alone", target: 1, error: "TypeError", refusal: `${desired}, got number` },
    { name: "text", target: SECRET, error: "TypeError", refusal: `${desired}, got string` },
    {
      name: "a function",
      target: () => id,
      error: "TypeError",
      refusal: `${desired}, got function`,
    },
    {
      name: "an array of keys",
      target: [1, 2],
      error: "TypeError",
      refusal: `${desired}, got an instance of Array`,
    },
    {
      name: "{}, which must not be all users",
      target: {},
      error: "TypeError",
      refusal: `${desired}, got no keys`,
    },
    {
      name: "a Map, target entries are no keys",
      target: new Map([["userId", 1]]),
      error: "TypeError",
      refusal: `${desired}, got no keys`,
    },
    {
      name: "an object that only inherits a user",
      target: Object.create({ userId: 1 }),
      error: "TypeError",
      refusal: `${desired}, got no keys`,
    },
    {
      name: "an id alone",
      target: { id },
      error: "TypeError",
      refusal: `${desired}, got { id }`,
    },
    {
      name: "an exception alone, which must not be all other users",
      target: { except: id },
      error: "TypeError",
      refusal: `${desired}, got { except }`,
    },
    {
      name: "an id and an exception without a user",
      target: { id, except: id },
      error: "TypeError",
      refusal: `${desired}, got { except,id }`,
    },
    {
      name: "an id with an exception",
      target: { userId: 1, id, except: createToken().id },
      error: "TypeError",
      refusal: `${desired}, got { except,id,userId }`,
    },
    {
      name: "an id with an exception of undefined",
      target: { userId: 1, id, except: undefined },
      error: "TypeError",
      refusal: `${desired}, got { except,id,userId }`,
    },
    {
      name: "one user and several",
      target: { userId: 1, userIds: [2] },
      error: "TypeError",
      refusal: `${desired}, got { userId,userIds }`,
    },
    {
      name: "one user, and several that are undefined",
      target: { userId: 1, userIds: undefined },
      error: "TypeError",
      refusal: `${desired}, got { userId,userIds }`,
    },
    {
      name: "several users and an id",
      target: { userIds: [1], id },
      error: "TypeError",
      refusal: `${desired}, got { id,userIds }`,
    },
    {
      name: "several users and an exception",
      target: { userIds: [1], except: id },
      error: "TypeError",
      refusal: `${desired}, got { except,userIds }`,
    },
    ...["userid", "user", "username", "ids", "exceptId", "reason", "", "__proto__x"].map((key) => ({
      name: `a user and an unknown key ${JSON.stringify(key)}`,
      target: { userId: 1, [key]: id },
      error: "TypeError",
      refusal: `${keys}, got ${JSON.stringify(key)}`,
    })),
    {
      name: "an unknown key of undefined",
      target: { userId: 1, expect: undefined },
      error: "TypeError",
      refusal: `${keys}, got "expect"`,
    },

    {
      name: "a user of undefined",
      target: { userId: undefined },
      error: "TypeError",
      refusal: "userId must be a safe integer, or text, got undefined",
    },
    {
      name: "a user of undefined and an id",
      target: { userId: undefined, id },
      error: "TypeError",
      refusal: "userId must be a safe integer, or text, got undefined",
    },
    {
      name: "an id of undefined, which must not be all of them",
      target: { userId: 1, id: undefined },
      error: "TypeError",
      refusal: "id must be a string, got undefined",
    },
    {
      name: "an exception of undefined, which must not be none",
      target: { userId: 1, except: undefined },
      error: "TypeError",
      refusal: "except must be a string, got undefined",
    },
    {
      name: "several users of undefined",
      target: { userIds: undefined },
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
        target: { userId: 1, [key]: value },
        error: "TypeError",
        refusal: `${key} must be a string, got ${received}`,
      }))
    ),
    ...[
      { name: "empty", except: "" },
      { name: "a UUID cut short", except: id.slice(0, 35) },
      { name: "a UUID and more", except: `${id}0` },
      {
        name: "a UUID with a line feed at the end, which a lenient $ would accept",
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
      target: { userId: 1, except },
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
      target: { userIds: value },
      error: "TypeError",
      refusal: `userIds must be an array, got ${received}`,
    })),
    {
      name: "an array with a hole",
      target: { userIds: Object.assign(Array(3), { 0: 1, 2: 3 }) },
      error: "TypeError",
      refusal: "userIds[1] must be a safe integer, or text, got undefined",
    },
    {
      name: "an array of holes alone",
      target: { userIds: Array(3) },
      error: "TypeError",
      refusal: "userIds[0] must be a safe integer, or text, got undefined",
    },
    {
      name: "an array within the array",
      target: { userIds: [[1]] },
      error: "TypeError",
      refusal: "userIds[0] must be a safe integer, or text, got an instance of Array",
    },
    {
      name: "an array with { userId } in it",
      target: { userIds: [1, { userId: 2 }] },
      error: "TypeError",
      refusal: "userIds[1] must be a safe integer, or text, got an object",
    },
    {
      name: "10,001 users",
      target: { userIds: Array(10_001).fill(1) },
      error: "RangeError",
      refusal: "userIds must be at most 10000 keys, got 10001",
    },
    {
      name: "a length without an end",
      target: { userIds: Array(2 ** 32 - 1) },
      error: "RangeError",
      refusal: "userIds must be at most 10000 keys, got 4294967295",
    },
  ];
  for (const { name, target, error, refusal } of bad) {
    test(`is refused if it is ${name}`, async () => {
      const message = `revokeSessions: ${refusal}`;
      await refuses(() => revokeSessions(target as RevokeTarget, sql), error, message, SECRET);
    });
  }

  const forms = [
    { name: "a user", target: { userId: 1 }, expected: ["[1]", null, null] },
    { name: "a user and an id", target: { userId: 1, id }, expected: ["[1]", id, null] },
    {
      name: "a user and an exception",
      target: { userId: 1, except: id },
      expected: ["[1]", null, id],
    },
    {
      name: "several users",
      target: { userIds: [1, "2", 3] },
      expected: [`[1,"2",3]`, null, null],
    },
    { name: "one of several users", target: { userIds: ["a"] }, expected: [`["a"]`, null, null] },
    { name: "a user twice", target: { userIds: [1, 1] }, expected: ["[1,1]", null, null] },
    {
      name: "10,000 users",
      target: { userIds: Array<number>(10_000).fill(1) },
      expected: [JSON.stringify(Array(10_000).fill(1)), null, null],
    },
    {
      name: "an id in upper case, which PostgreSQL compares as a uuid",
      target: { userId: 1, id: id.toUpperCase() },
      expected: ["[1]", id.toUpperCase(), null],
    },
    {
      name: "an exception in upper case",
      target: { userId: 1, except: id.toUpperCase() },
      expected: ["[1]", null, id.toUpperCase()],
    },
    {
      name: "the nil UUID",
      target: { userId: 1, except: "00000000-0000-0000-0000-000000000000" },
      expected: ["[1]", null, "00000000-0000-0000-0000-000000000000"],
    },
    {
      name: "an object without a prototype",
      target: Object.assign(Object.create(null), { userId: 1 }),
      expected: ["[1]", null, null],
    },
  ];
  for (const { name, target, expected } of forms) {
    test(`is sent as it is if it is ${name}`, async () => {
      const sent = await asks("REVOKE_MANY", () => revokeSessions(target, sql));
      assert.deepEqual(sent, [...expected, "revoked"]);
    });
  }

  test("is read once, so that what was checked is what is sent", async () => {
    const once = (value: unknown) => {
      let reads = 0;
      return { enumerable: true, get: () => reads++ === 0 ? value : lazy`1` };
    };
    for (const key of ["id", "except"] as const) {
      const target = Object.defineProperties({}, { userId: once(7), [key]: once(id) });
      const sent = await asks("REVOKE_MANY", () => revokeSessions(target as RevokeTarget, sql));
      assert.deepEqual(sent.slice(0, 3), ["[7]", ...key === "id" ? [id, null] : [null, id]]);
    }
    const userIds = Object.defineProperty([0, 8], 0, once(7));
    assert.equal((await asks("REVOKE_MANY", () => revokeSessions({ userIds }, sql)))[0], "[7,8]");
  });

  const empty = [
    { name: "an empty id", target: { userId: 1, id: "" } },
    { name: "an id from a broken form", target: { userId: 1, id: "undefined" } },
    { name: "an id that is a token", target: { userId: 1, id: mine.token } },
    { name: "an id in braces", target: { userId: 1, id: `{${id}}` } },
    { name: "an id without hyphens", target: { userId: 1, id: id.replaceAll("-", "") } },
    { name: "an id with a line feed", target: { userId: 1, id: `${id}\n` } },
    { name: "an id that is SQL text", target: { userId: 1, id: "' or 1=1--" } },
    { name: "an id with NUL", target: { userId: 1, id: "\0" } },
    { name: "an id of a megabyte", target: { userId: 1, id: SECRET.repeat(50_000) } },
    { name: "no users", target: { userIds: [] } },
  ];
  for (const { name, target } of empty) {
    test(`is no session if it is ${name}, and sends no SQL`, async () => {
      calls = [];
      assert.deepEqual(await revokeSessions(target, sql), []);
      assert.deepEqual(calls, []);
      await refuses(
        () => revokeSessions(target, undefined as never),
        "TypeError",
        "revokeSessions: sql must be a tagged-template client, like postgres(url), got undefined",
      );
      await refuses(
        () => revokeSessions(target, sql, { reason: "" }),
        "RangeError",
        "revokeSessions: reason must be 1 to 200 bytes, got 0 bytes",
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
    test(`is refused if it is ${name}, with something to revoke or without`, async () => {
      const options = { reason: reason as never };
      const all = [
        { caller: "revokeSession", call: () => revokeSession(headers, sql, options) },
        { caller: "revokeSession", call: () => revokeSession(new Headers(), sql, options) },
        { caller: "revokeSessions", call: () => revokeSessions({ userId: 1 }, sql, options) },
        { caller: "revokeSessions", call: () => revokeSessions({ userIds: [] }, sql, options) },
      ];
      for (const { caller, call } of all) {
        await refuses(call, error, `${caller}: reason must ${refusal}`, SECRET);
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
    test(`is sent as it is if it is ${name}`, async () => {
      const [, , own] = await asks("REVOKE", () => revokeSession(headers, sql, { reason }));
      assert.equal(own, reason);
      const all = () => revokeSessions({ userId: 1 }, sql, { reason });
      assert.equal((await asks("REVOKE_MANY", all)).at(-1), reason);
    });
  }

  test("is signed-out for revokeSession, and revoked for revokeSessions, if it is unset", async () => {
    const unset = { reason: undefined } as never;
    const [, , own] = await asks("REVOKE", () => revokeSession(headers, sql, unset));
    assert.equal(own, "signed-out");
    const all = () => revokeSessions({ userId: 1 }, sql, unset);
    assert.equal((await asks("REVOKE_MANY", all)).at(-1), "revoked");
  });
});

describe("the users of migrate", () => {
  const strangers = [
    { name: "null", value: null, received: "null" },
    { name: "empty text", value: "", received: "string" },
    { name: "the name of a table", value: "users", received: "string" },
    { name: "0", value: 0, received: "number" },
    { name: "false", value: false, received: "boolean" },
    { name: "an array", value: ["users"], received: "an instance of Array" },
  ];
  for (const { name, value, received } of strangers) {
    test(`are refused if they are ${name}`, async () => {
      const message = `migrate: users must be an object, got ${received}`;
      await refuses(() => migrate(sql, { users: value as never }), "TypeError", message);
    });
  }
});

describe("the options of sweepSessions", () => {
  const times = [
    { key: "retention", least: 0, most: 34_560_000 },
    { key: "idleTimeout", least: 1, most: 2_592_000 },
  ];
  const signal = "signal must be an AbortSignal, got";
  const progress = "onProgress must be a function, got";
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
    test(`are refused if they are ${name}`, async () => {
      await refuses(
        () => sweepSessions(sql, options as never),
        error,
        `sweepSessions: ${refusal}`,
      );
    });
  }

  const ordinary = [
    { name: "nothing", options: {}, expected: ["2592000", null, "604800"] },
    { name: "no retention", options: { retention: 0 }, expected: ["0", null, "604800"] },
    {
      name: "400 days",
      options: { retention: 34_560_000 },
      expected: ["34560000", null, "604800"],
    },
    { name: "an idleTimeout", options: { idleTimeout: 1 }, expected: ["2592000", "1", "1"] },
    {
      name: "an idleTimeout as long as absoluteTimeout",
      options: { idleTimeout: 34_560_000, absoluteTimeout: 34_560_000 },
      expected: ["2592000", "34560000", "34560000"],
    },
    {
      name: "a touchInterval for that idleTimeout",
      options: { idleTimeout: 60, touchInterval: 59 },
      expected: ["2592000", "60", "60"],
    },
    {
      name: "onProgress and a signal, which are not sent",
      options: { onProgress: () => {}, signal: new AbortController().signal },
      expected: ["2592000", null, "604800"],
    },
    {
      name: "a guestIdleTimeout",
      options: { idleTimeout: 60, guestIdleTimeout: 30 },
      expected: ["2592000", "60", "30"],
    },
    {
      name: "undefined for each",
      options: { retention: undefined, onProgress: undefined, signal: undefined },
      expected: ["2592000", null, "604800"],
    },
  ];
  for (const { name, options, expected } of ordinary) {
    test(`are sent as whole seconds if they are ${name}`, async () => {
      const sent = await sends("SWEEP", () => sweepSessions(sql, options as never));
      assert.deepEqual(sent, ["(0,0)", "(100,0)", ...expected]);
    });
  }

  test("reject the sweep with the signal's reason before any SQL, if the signal is aborted", async () => {
    calls = [];
    const reason = new Error("shutting down");
    const sweeping = sweepSessions(sql, { signal: AbortSignal.abort(reason) });
    await assert.rejects(sweeping, (error) => error === reason);
    assert.deepEqual(calls, []);
  });
});

describe("a property that every object inherits", () => {
  const now = 1_767_225_600;
  const { id, digest } = mine;
  const other = createToken().id;
  const session = (id: unknown) => {
    const instants = [now - 61, now - 61, now - 1, now + 1000].map(String);
    return [id, "1", "true", "ada", ...instants, "true", "0", `{"a":0}`];
  };
  /** A row of each statement that returns one, so that the calls go on behind it. */
  const rows: Record<string, (values: readonly unknown[]) => unknown[]> = {
    FIND_USER: () => ["1", "true"],
    CREATE: ([, id]) => session(id),
    INSERT: ([, id]) => session(id),
    VALIDATE: ([id]) => [...session(id), `${now}`, "false", null, "false", null, null, "true"],
    ROTATE: ([id]) => [...session(id), `${now}`],
    REAUTHENTICATE: ([id]) => [...session(id), `${now}`],
    UPDATE: ([id]) => session(id),
    LIST: () => session(id),
    REVOKE: ([id]) => [...session(id), `${now}`, "signed-out"],
    REVOKE_MANY: () => [...session(id), `${now}`, "revoked"],
    SWEEP: () => ["0", "0"],
  };

  /** What a call does: the SQL that it sends, its timers, and its result or its error. */
  interface Trace {
    readonly name: string;
    readonly sent: unknown[];
    readonly waits: unknown[];
    readonly outcome: unknown;
  }

  async function trace(name: string, call: (sql: Sql) => unknown): Promise<Trace> {
    const sent: unknown[] = [];
    const waits: unknown[] = [];
    const answering: Sql = async (strings, ...parameters) => {
      if (!known.has(strings)) {
        sent.push(strings.join("$"));
        return [];
      }
      await sql(strings, ...parameters);
      const { name, values } = calls.at(-1)!;
      sent.push([name, values]);
      const number = parameters[known.get(strings)!.order.indexOf(1)];
      const row = rows[name]?.(values);
      return row ? [[number, ...row]] : [];
    };
    const { setTimeout } = globalThis;
    const timer = (...args: Parameters<typeof setTimeout>) => {
      waits.push(args[1]);
      return setTimeout(...args);
    };
    Object.assign(globalThis, { setTimeout: timer });
    let outcome: unknown;
    try {
      outcome = plain(await call(answering));
    } catch (error) {
      outcome = `${error}`;
    } finally {
      Object.assign(globalThis, { setTimeout });
    }
    return { name, sent, waits, outcome };
  }

  /** A result with its headers as a list. */
  function plain(result: unknown): unknown {
    if (result instanceof Response) return [result.status, [...result.headers]];
    const { headers } = Object(result);
    return headers instanceof Headers ? [{ ...result as object, headers: [...headers] }] : result;
  }

  const record = {
    id,
    digest,
    userId: 1,
    createdAt: new Date(now * 1000),
    expiresAt: new Date((now + 1000) * 1000),
  };
  const evil = { "sec-fetch-site": "cross-site", origin: "https://evil.example" };
  const post = new Request("https://app.example/", { method: "POST", headers: evil });
  const get = new Request("https://app.example/", { headers });

  /** Calls each function, with a policy as its last argument or without one. */
  async function traceFunctions(name: string, functions: SessionFunctions, policy: Policy[]) {
    const given = policy as [];
    const {
      createSession,
      insertSession,
      getUserId,
      validateSession,
      rotateSession,
      reauthenticateSession,
      updateSession,
      listSessions,
      revokeSession,
      revokeSessions,
      sweepSessions,
      withSession,
    } = functions;
    const answer = () => new Response(null, { status: 204 });
    const all: ((sql: Sql) => unknown)[] = [
      (sql) => createSession("ada", sql, ...given),
      (sql) => createSession({ userId: 1 }, sql, ...given),
      (sql) => insertSession(record, sql, ...given),
      (sql) => getUserId("ada", sql, ...given),
      (sql) => validateSession(headers, sql, ...given),
      (sql) => rotateSession(headers, sql, ...given),
      (sql) => reauthenticateSession(headers, sql, ...given),
      (sql) => updateSession(headers, { a: 1 }, sql, ...given),
      (sql) => listSessions(1, sql, ...given),
      (sql) => revokeSession(headers, sql, ...given),
      (sql) => revokeSessions({ userId: 1 }, sql, ...given),
      (sql) => revokeSessions({ userId: 1, id }, sql, ...given),
      (sql) => revokeSessions({ userId: 1, except: id }, sql, ...given),
      (sql) => revokeSessions({ userIds: [1] }, sql, ...given),
      (sql) => revokeSessions({} as never, sql, ...given),
      (sql) => sweepSessions(sql, ...given),
      (sql) => withSession(answer, sql, ...given)(post),
      (sql) => withSession(answer, sql, ...given)(get),
    ];
    const traces: Trace[] = [];
    for (const [index, call] of all.entries()) traces.push(await trace(`${name} ${index}`, call));
    return traces;
  }

  const unbound = {
    createSession,
    insertSession,
    getUserId,
    validateSession,
    rotateSession,
    reauthenticateSession,
    updateSession,
    listSessions,
    revokeSession,
    revokeSessions,
    sweepSessions,
    withSession,
  } as unknown as SessionFunctions;

  async function traceAll(): Promise<Trace[]> {
    const traces: Trace[] = [];
    const policies: Policy[] = [{}, { cookie: {} }, {
      idleTimeout: 3600,
      cookie: { path: "/app" },
    }];
    traces.push(...await traceFunctions("without options", unbound, []));
    traces.push(...await traceFunctions("configured", configure(), []));
    for (const [index, policy] of policies.entries()) {
      traces.push(...await traceFunctions(`with options ${index}`, unbound, [policy]));
      traces.push(
        ...await traceFunctions(`with configured options ${index}`, configure(policy), []),
      );
    }
    const more: ((sql: Sql) => unknown)[] = [
      (sql) => createSession("ada", sql, { data: { a: 1 } }),
      (sql) => createSession("ada", sql, { maxSessions: 2, replaces: headers }),
      (sql) => createSession({} as never, sql),
      (sql) => insertSession({ ...record, data: {} }, sql),
      (sql) => insertSession({} as never, sql),
      (sql) => listSessions(1, sql, { limit: 9 }),
      (sql) => sweepSessions(sql, { retention: 9 }),
      () => isCrossOrigin(post),
      () => isCrossOrigin(post, {}),
      () => isCrossOrigin(post, { origin: "https://app.example" }),
      () => isCrossOrigin(post, { trustedOrigins: [] }),
      (sql) => migrate(sql),
      (sql) => migrate(sql, {}),
      (sql) => migrate(sql, { users: { table: "people" } }),
      (sql) => migrate(sql, { users: {} as never }),
    ];
    for (const [index, call] of more.entries()) traces.push(await trace(`more ${index}`, call));
    return traces;
  }

  /** Makes chance the same each time, so that what the calls do can be compared. */
  async function withoutChance<Result>(run: () => Promise<Result>): Promise<Result> {
    const functions = {
      randomUUID: () => "11111111-1111-4111-8111-111111111111",
      getRandomValues: (bytes: Uint8Array) => bytes.fill(7),
    };
    for (const [key, value] of Object.entries(functions)) {
      Object.defineProperty(crypto, key, { value, configurable: true, writable: true });
    }
    try {
      return await run();
    } finally {
      for (const key of Object.keys(functions)) Reflect.deleteProperty(crypto, key);
    }
  }

  /** Runs while every object inherits these properties. */
  async function inheriting<Result>(properties: object, run: () => Promise<Result>) {
    const keys = Object.keys(properties);
    for (const key of keys) assert.ok(!(key in {}), key);
    Object.assign(Object.prototype, properties);
    try {
      return await run();
    } finally {
      for (const key of keys) Reflect.deleteProperty(Object.prototype, key);
    }
  }

  let fired = 0;
  const properties: Record<string, unknown> = {
    // A policy.
    idleTimeout: 1,
    absoluteTimeout: 60,
    touchInterval: 0,
    rotateAfter: 31,
    rotationGrace: 3600,
    maxSessions: 1,
    queryTimeout: 86_400,
    cookie: { name: "evil" },
    onEvent: () => fired++,
    // Its cookie, and what @std/http makes of one.
    name: "evil",
    domain: "evil.example",
    path: "/evil",
    secure: false,
    sameSite: "None",
    partitioned: true,
    persistent: false,
    value: "evil",
    expires: new Date(2),
    maxAge: 1,
    httpOnly: false,
    unparsed: ["Evil"],
    // The options of a call.
    data: { evil: true },
    replaces: headers,
    authenticatedWithin: 0,
    version: 9,
    limit: 1,
    after: other,
    reason: "evil",
    retention: 0,
    onProgress: () => fired++,
    signal: AbortSignal.abort(new Error("evil")),
    origin: "https://evil.example",
    trustedOrigins: ["https://evil.example"],
    // A record, a user and a target.
    id: other,
    digest: new Uint8Array(32),
    userId: 2,
    createdAt: new Date(1),
    expiresAt: new Date(2),
    except: other,
    userIds: [2],
    // A migration.
    users: { table: "evil" },
    table: "evil",
    username: "evil",
  };
  for (const key of Object.keys(properties)) {
    test(`is ignored if it is called ${key}`, async () => {
      fired = 0;
      const expected = await withoutChance(traceAll);
      const traces = await withoutChance(() => inheriting({ [key]: properties[key] }, traceAll));
      for (const [index, it] of traces.entries()) assert.deepEqual(it, expected[index]);
      assert.equal(traces.length, expected.length);
      assert.equal(fired, 0);
    });
  }
});
