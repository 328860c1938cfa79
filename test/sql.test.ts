import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import process from "node:process";
import { inspect } from "node:util";
import {
  batched,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  SessionError,
  type SessionErrorCode,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { answer, query, statement } from "../src/sql.ts";
import * as statements from "../src/statements.ts";

const ASK = statement("ask", `select ${answer({ a: "$1::integer", b: "$2::text" })}`);
const ask = (sql: unknown, seconds = 5) => query(sql as Sql, ASK, [1, "two"], seconds);

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64url");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();

const mine = createToken();
const mySecret = Buffer.from(mine.secret, "base64url");
/** The secret that follows mine by a salt, by an independent HMAC-SHA256. */
const derived = (salt: Uint8Array) => createHmac("sha256", mySecret).update(salt).digest();
const { id, digest } = createToken();
const [createdAt, expiresAt] = [new Date("2026-01-01"), new Date("2027-01-01")];
const data = { marker: "MARKER-OF-DATA" };
const record = { id, digest, userId: "MARKER-OF-KEY", createdAt, expiresAt, data };
const headers = new Headers({ cookie: `__Host-session=${mine.token}` });
const USERNAME = "MARKER-OF-USERNAME";
const REASON = "MARKER-OF-REASON";
const userId = record.userId;

interface Verb {
  readonly name: string;
  readonly purpose: string;
  /** Whom its statement is told, so that the database may say that no user could be that. */
  readonly about: "a token" | "a user" | "nobody";
  readonly call: (sql: Sql, policy?: Policy) => Promise<unknown>;
}

/** The verbs, each in a call that presents a token or a user. */
const verbs: Verb[] = [
  {
    name: "createSession",
    purpose: "store the session",
    about: "a user",
    call: (sql, policy) => createSession(USERNAME, sql, { ...policy, data, replaces: headers }),
  },
  {
    name: "insertSession",
    purpose: "store the session",
    about: "a user",
    call: (sql, policy) => insertSession(record, sql, policy),
  },
  {
    name: "getUserId",
    purpose: "find the user",
    about: "a user",
    call: (sql, policy) => getUserId(USERNAME, sql, policy),
  },
  {
    name: "validateSession",
    purpose: "validate the session",
    about: "a token",
    call: (sql, policy) => validateSession(headers, sql, policy),
  },
  {
    name: "rotateSession",
    purpose: "rotate the session",
    about: "a token",
    call: (sql, policy) => rotateSession(headers, sql, policy),
  },
  {
    name: "reauthenticateSession",
    purpose: "reauthenticate the session",
    about: "a token",
    call: (sql, policy) => reauthenticateSession(headers, sql, policy),
  },
  {
    name: "updateSession",
    purpose: "update the session",
    about: "a token",
    call: (sql, policy) =>
      updateSession(headers, { ...data, "MARKER-OF-REMOVED": undefined }, sql, policy),
  },
  {
    name: "listSessions",
    purpose: "list the sessions",
    about: "a user",
    call: (sql, policy) => listSessions(userId, sql, policy),
  },
  {
    name: "revokeSession",
    purpose: "revoke the session",
    about: "a token",
    call: (sql, policy) => revokeSession(headers, sql, { ...policy, reason: REASON }),
  },
  {
    name: "revokeSessions",
    purpose: "revoke the sessions",
    about: "a user",
    call: (sql, policy) =>
      revokeSessions({ userId, id: mine.id }, sql, { ...policy, reason: REASON }),
  },
  {
    name: "sweepSessions",
    purpose: "sweep the sessions",
    about: "nobody",
    call: (sql, policy) => sweepSessions(sql, policy),
  },
];

/** 2026-01-01, as answers have it. */
const AT = 1_767_225_600;

/** The row of the session that is asked for by these values: its id, and the digest beside it. */
function rowFor(values: readonly unknown[]) {
  const i = values.findLastIndex((value) => /^[\da-f]{8}-.{27}$/.test(String(value)));
  return {
    id: values[i] as string,
    digest: values[i + 1] as string,
    userId,
    username: "ada",
    createdAt: AT,
    authenticatedAt: AT,
    lastSeenAt: AT,
    persistent: true,
    version: 0,
    data,
    expiresAt: AT + 3600,
  };
}
type Row = ReturnType<typeof rowFor>;

/** What a statement asks, by the constant that it is. */
function purposeOf(strings: TemplateStringsArray): string {
  const constants = Object.values(statements).filter((value) => typeof value === "object");
  return constants.find((constant) => constant.strings === strings)!.purpose;
}

const isNumber = (value: unknown) => /^q\d+_\d+$/.test(String(value));
/** The number of a call, which its answer must bring back. */
const numberOf = (values: readonly unknown[]) => values.find(isNumber) as string;
const withoutNumber = (values: readonly unknown[]) => values.filter((value) => !isNumber(value));

const written = { authenticatedAt: AT, lastSeenAt: AT, expiresAt: AT, version: 1, data, now: AT };
const judged = { refusal: null, revokedReason: null };

/** What the statement of each verb answers about a session, beside the session itself. */
const own = {
  validated: () => ({ now: AT, past: null }),
  rotated: () => ({ ...judged, heir: null, written }),
  reauthenticated: () => ({ ...judged, written }),
  updated: () => ({ ...judged, size: 2, written }),
  revoked: () => ({ revokedAt: AT, revokedReason: REASON }),
  none: () => ({}),
};

const answered = (values: readonly unknown[], answer: object) =>
  Promise.resolve([{ json: JSON.stringify({ of: numberOf(values), ...answer }) }]);

/** A client that answers its first statement, and leaves the others to another client. */
function after(first: (row: Row) => object, then: Sql): Sql {
  let asked = 0;
  return (strings, ...values) =>
    asked++ === 0 ? answered(values, first(rowFor(values))) : then(strings, ...values);
}

/** What some verbs ask once their first statement was answered. */
const seconds: Verb[] = [
  {
    name: "createSession with maxSessions",
    purpose: "limit the sessions",
    about: "nobody",
    call: (sql, policy) =>
      createSession(USERNAME, after((row) => row, sql), { ...policy, data, maxSessions: 1 }),
  },
  {
    name: "validateSession that touches",
    purpose: "touch the session",
    about: "a token",
    call: (sql, policy) => {
      const due = (row: Row) => ({ ...row, ...own.validated(), now: AT + 300 });
      return validateSession(headers, after(due, sql), policy);
    },
  },
  {
    name: "validateSession that rotates",
    purpose: "rotate the session",
    about: "a token",
    call: (sql, policy) => {
      const due = (row: Row) => ({ ...row, ...own.validated(), now: AT + 60 });
      return validateSession(headers, after(due, sql), { ...policy, rotateAfter: 60 });
    },
  },
  {
    name: "validateSession of a reused secret",
    purpose: "revoke the reused session",
    about: "nobody",
    call: (sql, policy) => {
      const past = { revoked: false, previousDigest: hex(mine.digest), rotationSeenAt: AT - 30 };
      const reused = (row: Row) => ({ ...row, ...own.validated(), digest: hex(digest), past });
      return validateSession(headers, after(reused, sql), policy);
    },
  },
  {
    name: "sweepSessions in its second batch",
    purpose: "sweep the sessions",
    about: "nobody",
    call: (sql, policy) => sweepSessions(after(() => ({ swept: 0, blocks: 150 }), sql), policy),
  },
];

/** Makes two calls at once, which leave as one statement. */
async function twice(sql: Sql, call: (sql: Sql) => Promise<unknown>): Promise<void> {
  const both = batched(sql);
  await Promise.all([call(both), call(both)]);
}

/** What is sent for many calls at once. */
const many: Verb[] = [
  {
    name: "createSession, batched",
    purpose: "store the session",
    about: "a user",
    call: (sql, policy) => twice(sql, (both) => createSession(USERNAME, both, { ...policy, data })),
  },
  {
    name: "createSession that replaces, batched",
    purpose: "store the session",
    about: "a user",
    call: (sql, policy) => {
      const options = { ...policy, data, replaces: headers };
      return twice(sql, (both) => createSession(USERNAME, both, options));
    },
  },
  {
    name: "validateSession, batched",
    purpose: "validate the session",
    about: "a token",
    call: (sql, policy) => twice(sql, (both) => validateSession(headers, both, policy)),
  },
];
const { VALIDATE_MANY, INSERT_MANY, REPLACE_MANY } = statements;
const MANY = [VALIDATE_MANY, INSERT_MANY, REPLACE_MANY].map(({ strings }) => strings);

/** The values of each call that a statement was sent for. */
function callsOf(strings: TemplateStringsArray, values: unknown[]): unknown[][] {
  return MANY.includes(strings) ? JSON.parse(String(values[0])) : [values];
}

/** Every statement that there is, each in a call that sends it to the client. */
const asking = [...verbs, ...seconds, ...many];

/** Runs, and tells which bytes were drawn from the generator meanwhile. */
async function drawing(run: () => Promise<unknown>): Promise<Uint8Array[]> {
  const generator = crypto.getRandomValues.bind(crypto);
  const own = Object.getOwnPropertyDescriptor(crypto, "getRandomValues");
  const drawn: Uint8Array[] = [];
  const value = (bytes: Uint8Array<ArrayBuffer>) => {
    drawn.push(generator(bytes));
    return bytes;
  };
  Object.defineProperty(crypto, "getRandomValues", { value, configurable: true, writable: true });
  try {
    await run();
  } finally {
    if (own) Object.defineProperty(crypto, "getRandomValues", own);
    else delete (crypto as Partial<Crypto>).getRandomValues;
  }
  return drawn;
}

/** Each way to spell what may be in a cookie: what was presented, drawn or derived. */
function secretsOf(drawn: readonly Uint8Array[]): string[] {
  const secrets = [mySecret, ...drawn, ...drawn.map(derived)];
  return secrets.flatMap((bytes) => [base64url(bytes), bytes.join(), hex(bytes)]);
}

/** All that can be seen of an error: message, stack, cause, properties of every kind. */
function seen(error: Error): string {
  const own = Object.getOwnPropertyNames(error).map((key) => String(Reflect.get(error, key)));
  const hidden = inspect(error, { showHidden: true, depth: 10, getters: true });
  return [String(error), error.stack, String(error.cause), ...own, hidden, JSON.stringify(error)]
    .join("\n");
}

/** Expects an error of ours that shows none of these, and has no more on it than it should. */
function showsNone(error: unknown, secrets: readonly string[], context: string): void {
  assert.ok(error instanceof SessionError, `${context}: ${String(error)}`);
  const all = seen(error);
  // Bytes are inspected with spaces between them.
  const dense = all.replace(/\s/g, "");
  for (const secret of secrets) {
    assert.ok(!all.includes(secret) && !dense.includes(secret), `${context}: ${secret}`);
  }
  const properties = Object.getOwnPropertyNames(error).filter((key) => !isTrace(key));
  for (const key of properties) assert.match(key, /^(name|message|code|sqlstate)$/);
  assert.ok(!("cause" in error));
}
// What engines themselves put on an Error; the stack is looked at above.
const isTrace = (key: string) =>
  /^(stack|line|column|originalLine|originalColumn|sourceURL)$/.test(key);

class Pool {
  query() {}
}
const clients = [
  { name: "null", sql: null, received: "null" },
  { name: "undefined", sql: undefined, received: "undefined" },
  { name: "an object", sql: {}, received: "an object" },
  { name: "an instance of pg's Pool", sql: new Pool(), received: "an instance of Pool" },
  {
    name: "a promise of a client",
    sql: Promise.resolve(() => []),
    received: "an instance of Promise",
  },
  { name: "a connection string", sql: "postgres://me:secret@host/db", received: "string" },
];

describe("a client that is no function", () => {
  for (const { name, sql, received } of clients) {
    const refusal = {
      name: "TypeError",
      message:
        `Cannot proceed as sql must be a tagged-template client, like postgres(url), got ${received}`,
    };

    test(`is refused where it is ${name}`, async () => {
      await assert.rejects(ask(sql), refusal);
      for (const { name, call } of verbs) await assert.rejects(call(sql as never), refusal, name);
    });
  }

  const idle: { name: string; call: (sql: Sql) => Promise<unknown> }[] = [
    { name: "validateSession", call: (sql) => validateSession(new Headers(), sql) },
    { name: "rotateSession", call: (sql) => rotateSession(new Headers(), sql) },
    { name: "reauthenticateSession", call: (sql) => reauthenticateSession(new Headers(), sql) },
    { name: "updateSession", call: (sql) => updateSession(new Headers(), {}, sql) },
    { name: "revokeSession", call: (sql) => revokeSession(new Headers(), sql) },
    { name: "revokeSessions", call: (sql) => revokeSessions({ userIds: [] }, sql) },
  ];
  for (const { name, call } of idle) {
    test(`is refused by ${name} also where there is nothing to ask, so that the first request finds the mistake`, async () => {
      await assert.rejects(call(undefined as never), {
        name: "TypeError",
        message:
          "Cannot proceed as sql must be a tagged-template client, like postgres(url), got undefined",
      });
    });
  }
});

describe("a statement", () => {
  interface Sent {
    readonly name: string;
    readonly strings: TemplateStringsArray;
    readonly values: unknown[];
    /** The values of each call that it was sent for. */
    readonly calls: unknown[][];
    readonly purpose: string;
    readonly about: Verb["about"];
    /** What was drawn from the generator for it. */
    readonly drawn: Uint8Array[];
  }

  /** The strings and values of each statement that there is. */
  async function sent(): Promise<Sent[]> {
    const all: Sent[] = [];
    for (const { name, purpose, about, call } of asking) {
      const statements: Pick<Sent, "strings" | "values">[] = [];
      const drawn = await drawing(() =>
        call((strings, ...values) => {
          statements.push({ strings, values });
          return Promise.resolve([]);
        }).catch(() => {})
      );
      assert.equal(statements.length, 1, name);
      const [{ strings, values }] = statements as [Sent];
      const calls = callsOf(strings, values);
      all.push({ name, strings, values, calls, purpose, about, drawn });
    }
    return all;
  }

  test("is an array of strings with a raw that cannot be enumerated, as Bun.SQL asks", async () => {
    for (const { strings } of await sent()) {
      assert.ok(Array.isArray(strings));
      assert.deepEqual([...strings.raw], [...strings]);
      assert.deepEqual(Object.keys(strings), [...strings.keys()].map(String));
    }
  });

  test("has as many values as places, none of them in its text", async () => {
    for (const { name, strings, values, calls } of await sent()) {
      assert.equal(strings.length, values.length + 1, name);
      const text = strings.join("?");
      assert.ok(!text.includes("$"), name);
      for (const value of [...values, ...calls.flat()]) {
        // "true" is a word of SQL as well.
        if (typeof value !== "string" || value === "true") continue;
        assert.ok(!text.includes(value), `${name}: ${value}`);
      }
    }
  });

  test("has values that are strings, finite numbers, booleans and null alone", async () => {
    for (const { name, values, calls } of await sent()) {
      for (const value of [...values, ...calls.flat()]) {
        if (value === null) continue;
        assert.match(typeof value, /^(string|number|boolean)$/, name);
        if (typeof value === "number") assert.ok(Number.isSafeInteger(value), name);
      }
    }
  });

  test("is the same array from call to call, so that each connection prepares it once", async () => {
    const [first, second] = [await sent(), await sent()];
    for (const [i, { name, strings }] of first.entries()) {
      assert.equal(strings, second[i]!.strings, name);
    }
  });

  test("is a constant of one module, all of which are asked here", async () => {
    const constants = Object.values(statements).filter((value) => typeof value === "object");
    const asked = new Set((await sent()).map(({ strings }) => strings));
    assert.deepEqual(asked, new Set(constants.map(({ strings }) => strings)));
  });

  test("carries a number that no other call has, and that says nothing of what is asked", async () => {
    const numbers = [...await sent(), ...await sent()]
      .flatMap(({ calls }) => calls.map((values) => values.filter(isNumber)));
    for (const own of numbers) assert.ok(own.length > 0 && new Set(own).size === 1, String(own));
    assert.equal(new Set(numbers.flat()).size, numbers.length);
  });

  test("never carries a secret, neither mine nor one that follows, but its digest", async () => {
    for (const { name, values, drawn } of await sent()) {
      // The bytes that a rotation draws are its salt, which the row must hold.
      const salts = /rotate/.test(name) ? drawn.map(hex) : [];
      const text = JSON.stringify(values);
      assert.ok(!text.includes(mine.token), name);
      for (const secret of secretsOf(drawn)) {
        assert.ok(!text.includes(secret) || salts.includes(secret), `${name}: ${secret}`);
      }
    }
    for (const { name, about, calls } of await sent()) {
      for (const values of about === "a token" ? calls : []) {
        assert.deepEqual(withoutNumber(values).slice(0, 2), [mine.id, hex(mine.digest)], name);
      }
    }
  });

  test("of a reused secret carries the id, and the instant of the proof that was judged", async () => {
    const reused = (await sent()).filter(({ purpose }) => purpose === "revoke the reused session");
    assert.deepEqual(reused.map(({ values }) => withoutNumber(values)), [[mine.id, String(AT)]]);
  });

  test("of a rotation carries a fresh salt, and the digest of what that makes of my secret", async () => {
    const salts = new Set<string>();
    for (const { name, values, drawn } of [...await sent(), ...await sent()]) {
      if (!/rotate/.test(name)) continue;
      assert.equal(drawn.length, 1, name);
      const [salt] = drawn as [Uint8Array];
      assert.equal(salt.length, 16);
      const sent = withoutNumber(values);
      assert.deepEqual(sent.slice(-2), [hex(sha256(derived(salt))), hex(salt)], name);
      salts.add(hex(salt));
    }
    assert.equal(salts.size, 4);
  });

  test("of a reauthentication carries the digest of 32 fresh bytes, and nothing to derive them by", async () => {
    const digests = new Set<unknown>();
    for (const { name, values, drawn } of [...await sent(), ...await sent()]) {
      if (name !== "reauthenticateSession") continue;
      assert.deepEqual(drawn.map(({ length }) => length), [32]);
      const hexadecimal = values.filter((value) => /^[\da-f]{64}$/.test(String(value)));
      assert.deepEqual(hexadecimal, [hex(mine.digest), hex(sha256(drawn[0]!))]);
      digests.add(hexadecimal[1]);
    }
    assert.equal(digests.size, 2);
  });

  test("takes $1 to $12 for its places", () => {
    const text = Array.from({ length: 12 }, (_, i) => `$${i + 1}`).join(",");
    assert.deepEqual([...statement("ask", text).strings], ["", ...Array(11).fill(","), ""]);
  });

  test("makes its answers objects that bring back the number of the call", () => {
    const { strings, order } = statement("ask", `select ${answer({ a: "$1", b: "2" })}`);
    assert.deepEqual([...strings], [
      `select pg_catalog.concat('{"of":"', `,
      `::text, '","a":', `,
      `, ',"b":', 2, '}') as json`,
    ]);
    assert.deepEqual(order, [0, 1]);
  });

  const orders = [
    { name: "in order", text: "select $1, $2, $3", order: [1, 2, 3] },
    { name: "out of order", text: "select $3, $1, $2", order: [3, 1, 2] },
    { name: "repeated", text: "select $1, $1, $2, $1", order: [1, 1, 2, 1] },
    { name: "out of order and repeated", text: "select $2::text, $1, $2", order: [2, 1, 2] },
    { name: "left out, where a value is not needed", text: "select $3", order: [3] },
    {
      name: "of two digits",
      text: "$12 $1 $2 $3 $4 $5 $6 $7 $8 $9 $10 $11",
      order: [12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    },
    { name: "at the start and at the end", text: "$2 or $1", order: [2, 1] },
    { name: "side by side", text: "$2$1", order: [2, 1] },
    { name: "none", text: "select 1", order: [] },
    { name: "0, the call's own, among them and twice", text: "$0 $2 $0 $1", order: [0, 2, 0, 1] },
  ];
  for (const { name, text, order } of orders) {
    test(`sends each value to where its number stands, with numbers ${name}`, async () => {
      const numbered = statement("ask", text);
      assert.deepEqual(numbered.order, order);
      const values = "abcdefghijkl".split("");
      let rebuilt = "";
      await query(
        (strings, ...sent) => {
          rebuilt = strings.map((part, i) => part + (sent[i] ?? "")).join("");
          assert.equal(strings.length, sent.length + 1);
          return Promise.resolve([]);
        },
        numbered,
        values,
        5,
      );
      const spelled = rebuilt.replace(/q\d+_\d+/g, "$0");
      assert.equal(
        spelled,
        text.replace(/\$(\d+)/g, (place, number) => values[number - 1] ?? place),
      );
    });
  }
});

describe("an answer", () => {
  const json = (a: number) => `{"of":"OF","a":${a}}`;
  const read = (a: number) => ({ of: "OF", a });

  /** Asks a client that gives this answer, with the number of the call for OF. */
  async function askFor(answer: unknown, promised = true): Promise<unknown[]> {
    let number = "";
    const fill = (it: unknown): unknown =>
      typeof it === "string"
        ? it.replace('"OF"', `"${number}"`)
        : Array.isArray(it)
        ? Object.assign(it.map(fill), { count: 1 })
        : Object.prototype.toString.call(it) === "[object Object]" && it !== null
        ? Object.fromEntries(Object.entries(it as object).map(([key, value]) => [key, fill(value)]))
        : it;
    const rows = await ask((_: unknown, ...values: unknown[]) => {
      number = numberOf(values);
      const given = fill(answer);
      return promised ? Promise.resolve(given) : given;
    });
    return rows.map((row) => ({ ...row as object, of: "OF" }));
  }
  const good = [
    { name: "an array of rows", answer: [{ json: json(1) }], expected: [read(1)] },
    { name: "{ rows }", answer: { rows: [{ json: json(1) }] }, expected: [read(1)] },
    {
      name: "{ rows } beside more, as of pg",
      answer: { rows: [], rowCount: 0, command: "SELECT" },
      expected: [],
    },
    {
      name: "an array with more on it, as of postgres.js",
      answer: Object.assign([{ json: json(1) }], { count: 1 }),
      expected: [read(1)],
    },
    {
      name: "an array with holes, as of postgres.js after one that broke off",
      answer: Object.assign([], { 2: { json: json(1) } }),
      expected: [read(1)],
    },
    { name: "no rows", answer: [], expected: [] },
    { name: "a column in upper case", answer: [{ JSON: json(1) }], expected: [read(1)] },
    { name: "a column that was renamed", answer: [{ theJson: json(1) }], expected: [read(1)] },
    { name: "rows as arrays", answer: [[json(1)], [json(2)]], expected: [read(1), read(2)] },
    {
      name: "several rows, in their order",
      answer: [{ json: json(2) }, { json: json(1) }],
      expected: [read(2), read(1)],
    },
  ];
  for (const { name, answer, expected } of good) {
    test(`is read from ${name}`, async () => {
      assert.deepEqual(await askFor(answer), expected);
    });
  }

  test("is read from any thenable, and from a client that answers at once", async () => {
    const thenable = (_: unknown, ...values: unknown[]) => ({
      then: (resolve: (rows: unknown[]) => void) =>
        resolve([{ json: JSON.stringify({ of: numberOf(values), a: 1 }) }]),
    });
    assert.equal((await ask(thenable)).length, 1);
    assert.deepEqual(await askFor([{ json: json(1) }], false), [read(1)]);
  });

  const bad = [
    { name: "null", answer: null, expected: "rows, got null" },
    { name: "undefined", answer: undefined, expected: "rows, got undefined" },
    { name: "a number", answer: 1, expected: "rows, got number" },
    { name: "text", answer: "[]", expected: "rows, got string" },
    { name: "true", answer: true, expected: "rows, got boolean" },
    { name: "{}", answer: {}, expected: "rows, got an object" },
    { name: "{ rows: null }", answer: { rows: null }, expected: "rows, got an object" },
    { name: "{ rows: {} }", answer: { rows: {} }, expected: "rows, got an object" },
    { name: "an iterator", answer: [][Symbol.iterator](), expected: /^rows, got an? / },
    { name: "a row of null", answer: [null], expected: "one column of JSON, got null" },
    {
      name: "a row of undefined",
      answer: [undefined],
      expected: "one column of JSON, got undefined",
    },
    {
      name: "a row that is a number",
      answer: [1],
      expected: "one column of JSON, got number",
    },
    {
      name: "a row without columns",
      answer: [{}],
      expected: "one column of JSON, got an object",
    },
    {
      name: "a column of undefined",
      answer: [{ json: undefined }],
      expected: "one column of JSON, got an object",
    },
    {
      name: "a column of an object, already parsed",
      answer: [{ json: { a: 1 } }],
      expected: "one column of JSON, got an object",
    },
    {
      name: "a column that is no JSON",
      answer: [{ json: "SECRET" }],
      expected: "one column of JSON, got an object",
    },
    {
      name: "a column of JSON cut short",
      answer: [{ json: `{"a":"SECR` }],
      expected: "one column of JSON, got an object",
    },
    {
      name: "a good row and a bad one",
      answer: [{ json: json(1) }, {}],
      expected: "one column of JSON, got an object",
    },
    ...[
      { name: "JSON null", json: "null" },
      { name: "JSON of a number", json: "1" },
      { name: "JSON of text, be it ours", json: `"ask"` },
      { name: "JSON of an array", json: `[{"of":"OF"}]` },
      { name: "JSON of an object without a number", json: `{"a":"SECRET"}` },
      { name: "the answer to another call", json: `{"of":"q0","a":"SECRET"}` },
      { name: "the answer to several", json: `{"of":["OF"]}` },
    ].map(({ name, json }) => ({
      name,
      answer: [{ json }],
      expected: "its own, got another call's",
    })),
    {
      name: "a good row and another call's",
      answer: [{ json: json(1) }, { json: `{"of":"q0","a":"SECRET"}` }],
      expected: "its own, got another call's",
    },
  ];
  for (const { name, answer, expected } of bad) {
    test(`is refused where it is ${name}`, async () => {
      await assert.rejects(askFor(answer), (error: SessionError) => {
        assert.ok(error instanceof SessionError);
        assert.equal(error.code, "UNEXPECTED_RESULT");
        assert.equal(error.sqlstate, undefined);
        const start = "Cannot ask as the answer must be ";
        assert.ok(error.message.startsWith(start));
        const rest = error.message.slice(start.length);
        if (typeof expected === "string") assert.equal(rest, expected);
        else assert.match(rest, expected);
        assert.ok(!error.stack!.includes("SECRET"));
        return true;
      });
    });
  }
});

describe("a wrong answer", () => {
  const other = createToken();
  const one = (answer: unknown) => [{ json: JSON.stringify(answer) }];

  interface Asked {
    readonly verb: string;
    /** Where the session stands in the answer. */
    readonly json: (row: unknown) => object;
    readonly own: (row: Row) => object;
  }
  const bare = (row: unknown) => ({ ...row as object });
  const verbOf = (name: string) => asking.find((verb) => verb.name === name)!;
  const named = (name: string) => verbOf(name).call;
  const asked: Asked[] = [
    { verb: "createSession", json: bare, own: own.none },
    { verb: "insertSession", json: bare, own: own.none },
    { verb: "validateSession", json: bare, own: own.validated },
    { verb: "rotateSession", json: bare, own: own.rotated },
    { verb: "reauthenticateSession", json: bare, own: own.reauthenticated },
    { verb: "updateSession", json: bare, own: own.updated },
    { verb: "validateSession that rotates", json: bare, own: own.rotated },
    { verb: "revokeSession", json: bare, own: own.revoked },
  ];

  const foreign = "its own, got another call's";
  const another = "the session that was asked for, got another one";
  const two = /^one (row|session), got 2 rows$/;
  const wrong: {
    name: string;
    rows: (row: Row, json: (row: unknown) => object) => unknown;
    expected: string | RegExp;
  }[] = [
    { name: "null", rows: () => null, expected: "rows, got null" },
    { name: "undefined", rows: () => undefined, expected: "rows, got undefined" },
    { name: "a number", rows: () => 1, expected: "rows, got number" },
    { name: "{}", rows: () => ({}), expected: "rows, got an object" },
    { name: "{ rows: null }", rows: () => ({ rows: null }), expected: "rows, got an object" },
    {
      name: "a row of null",
      rows: () => [null],
      expected: "one column of JSON, got null",
    },
    {
      name: "a row without columns",
      rows: () => [{}],
      expected: "one column of JSON, got an object",
    },
    {
      name: "a row of no JSON",
      rows: () => [{ json: "SECRET" }],
      expected: "one column of JSON, got an object",
    },
    { name: "JSON null", rows: () => one(null), expected: foreign },
    { name: "JSON of a number", rows: () => one(1), expected: foreign },
    { name: "JSON of text", rows: () => one("text"), expected: foreign },
    { name: "JSON of an array", rows: () => one([]), expected: foreign },
    { name: "JSON of an empty object", rows: () => one({}), expected: foreign },
    {
      name: "its row, as the answer to another call",
      rows: (row, json) => one({ ...json(row), of: "q0" }),
      expected: foreign,
    },
    {
      name: "its row, as the answer to no call",
      rows: (row, json) => one({ ...json(row), of: undefined }),
      expected: foreign,
    },
    {
      name: "no session in the row",
      rows: (_, json) => one(json(null)),
      expected:
        /^(one session, got 1 rows|the session that was asked for, got another one)$/,
    },
    { name: "an empty session in the row", rows: (_, json) => one(json({})), expected: another },
    {
      name: "its row twice",
      rows: (row, json) => [...one(json(row)), ...one(json(row))],
      expected: two,
    },
    {
      name: "its row and another's",
      rows: (row, json) => [...one(json(row)), ...one(json({ ...row, id: other.id }))],
      expected: two,
    },
    {
      name: "its row and one of null",
      rows: (row, json) => [...one(json(row)), ...one(null)],
      expected: foreign,
    },
    {
      name: "the row of another id (oven-sh/bun #33665)",
      rows: (row, json) => one(json({ ...row, id: other.id })),
      expected: another,
    },
    {
      name: "an id in upper case",
      rows: (row, json) => one(json({ ...row, id: "A" + row.id })),
      expected: another,
    },
    {
      name: "no id",
      rows: (row, json) => one(json({ ...row, id: undefined })),
      expected: another,
    },
    {
      name: "the row of another digest",
      rows: (row, json) => one(json({ ...row, digest: hex(other.digest) })),
      expected: another,
    },
    {
      name: "the whole row of another session",
      rows: (row, json) => one(json({ ...row, id: other.id, digest: hex(other.digest) })),
      expected: another,
    },
    {
      name: "a digest in upper case",
      rows: (row, json) => one(json({ ...row, digest: row.digest.toUpperCase() })),
      expected: another,
    },
    {
      name: "a digest that begins like its own",
      rows: (row, json) => one(json({ ...row, digest: row.digest.slice(0, 63) })),
      expected: another,
    },
    {
      name: "no digest",
      rows: (row, json) => one(json({ ...row, digest: undefined })),
      expected: another,
    },
  ];

  const SESSION = "authenticatedAt createdAt data expiresAt id lastSeenAt persistent userId " +
    "username version";
  const sessionOf = (result: unknown) =>
    (result as object | null) !== null && "session" in (result as object)
      ? (result as { session: object | null }).session
      : result as object;

  for (const { verb, json, own } of asked) {
    const { purpose, call } = verbOf(verb);
    test(`is none for ${verb} that is the row it asked for`, async () => {
      const result = await call((strings, ...values) => {
        assert.equal(purposeOf(strings), purpose);
        const row = rowFor(values);
        return answered(values, json({ ...row, ...own(row) }));
      });
      const session = sessionOf(result)!;
      assert.equal((session as { username: string }).username, "ada");
      const more = verb === "revokeSession" ? " revokedAt revokedReason" : "";
      assert.deepEqual(Object.keys(session).sort(), (SESSION + more).split(" ").sort());
    });

    for (const { name, rows, expected } of wrong) {
      test(`throws in ${verb} where it is ${name}`, async () => {
        let thrown: unknown;
        const drawn = await drawing(() => {
          const answering: Sql = (_, ...values) => {
            const row = rowFor(values);
            const answer = (row: unknown) => ({ of: numberOf(values), ...json(row) });
            return Promise.resolve(rows({ ...row, ...own(row) }, answer) as never);
          };
          return call(answering).catch((error) => thrown = error);
        });
        assert.ok(thrown instanceof SessionError, String(thrown));
        assert.equal(thrown.code, "UNEXPECTED_RESULT");
        const start = `Cannot ${purpose} as the answer must be `;
        assert.ok(thrown.message.startsWith(start), thrown.message);
        const rest = thrown.message.slice(start.length);
        if (typeof expected === "string") assert.equal(rest, expected);
        else assert.match(rest, expected);
        const hidden = [...secretsOf(drawn), hex(mine.digest), other.id, hex(other.digest)];
        showsNone(thrown, [...hidden, "SECRET", "MARKER", "ada"], verb);
      });
    }
  }

  test("of no rows says that the user was not found, and hands out no cookie", async () => {
    for (const rows of [[], { rows: [] }]) {
      const client = () => Promise.resolve(rows);
      for (const call of [createSession("ada", client), getUserId("ada", client)]) {
        await assert.rejects(call, { name: "SessionError", code: "USER_NOT_FOUND" });
      }
    }
  });

  test("throws in createSession where it is the row of the session that this one replaces", async () => {
    const replaced = { ...rowFor([mine.id, hex(mine.digest)]) };
    const answering: Sql = (_, ...values) => answered(values, replaced);
    await assert.rejects(named("createSession")(answering), {
      name: "SessionError",
      code: "UNEXPECTED_RESULT",
      message:
        "Cannot store the session as the answer must be the session that was asked for, got another one",
    });
  });

  // With Bun.SQL before 1.4 two concurrent calls could exchange their answers.
  const exchanged: {
    name: string;
    calls: [one: (sql: Sql) => Promise<unknown>, other: (sql: Sql) => Promise<unknown>];
  }[] = [
    {
      name: "two usernames",
      calls: [(sql) => getUserId("ada", sql), (sql) => getUserId("grace", sql)],
    },
    {
      name: "two users' lists",
      calls: [(sql) => listSessions(1, sql), (sql) => listSessions(2, sql)],
    },
    {
      name: "two users' revocations",
      calls: [
        (sql) => revokeSessions({ userId: 1 }, sql),
        (sql) => revokeSessions({ userId: 2 }, sql),
      ],
    },
    {
      name: "a validation that asks for a proof, and one that does not",
      calls: [
        (sql) => validateSession(headers, sql, { authenticatedWithin: 60 }),
        (sql) => validateSession(headers, sql),
      ],
    },
    {
      name: "two rotations of one secret",
      calls: [(sql) => rotateSession(headers, sql), (sql) => rotateSession(headers, sql)],
    },
    {
      name: "a validation and an update of one session",
      calls: [(sql) => validateSession(headers, sql), (sql) => updateSession(headers, {}, sql)],
    },
  ];
  for (const { name, calls } of exchanged) {
    test(`throws in both where ${name} have exchanged their answers`, async () => {
      const numbers: string[] = [];
      const asked = Promise.withResolvers<void>();
      const client = (answer: number): Sql => async (_, ...values) => {
        numbers.push(numberOf(values));
        if (numbers.length === 2) asked.resolve();
        await asked.promise;
        const row = {
          ...rowFor([mine.id, hex(mine.digest)]),
          ...own.validated(),
          ...own.updated(),
        };
        const of = numbers[answer];
        return [{ json: JSON.stringify({ ...row, ...own.revoked(), heir: null, of }) }];
      };
      const [one, two] = calls;
      for (const result of await Promise.allSettled([one(client(1)), two(client(0))])) {
        assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
      }
    });
  }

  test("throws in reauthenticateSession where nothing was written, and hands out no cookie", async () => {
    const row = rowFor([mine.id, hex(mine.digest)]);
    const answer = { ...row, ...own.reauthenticated(), written: null };
    const answering: Sql = (_, ...values) => answered(values, answer);
    await assert.rejects(named("reauthenticateSession")(answering), {
      name: "SessionError",
      code: "UNEXPECTED_RESULT",
      message:
        "Cannot reauthenticate the session as the answer must be a session that was changed, got one that was not",
    });
  });

  describe("with a salt", () => {
    const salt = crypto.getRandomValues(new Uint8Array(16));
    const current = hex(sha256(derived(salt)));
    for (const verb of ["rotateSession", "validateSession that rotates"]) {
      const purpose = "rotate";
      // A use is noted then, which finds that nothing is due.
      const ask = (heir: object) =>
        named(verb)((strings, ...values) => {
          if (purposeOf(strings) === "touch the session") return Promise.resolve([]);
          const answer = { ...own.rotated(), written: null, heir: { now: AT, ...heir } };
          return answered(values, { ...rowFor(values), ...answer });
        });

      test(`is none for ${verb} that makes the current secret: that is handed out`, async () => {
        const { headers } = await ask({ salt: hex(salt), digest: current }) as { headers: Headers };
        const [, token] = headers.get("set-cookie")!.match(/^__Host-session=([^;]+); /)!;
        assert.equal(token, `${mine.id}.${base64url(derived(salt))}`);
      });

      const misfits = [
        { name: "of another rotation", salt: hex(sha256(salt)).slice(32), digest: current },
        { name: "of zeros", salt: "0".repeat(32), digest: current },
        { name: "cut short", salt: hex(salt).slice(2), digest: current },
        { name: "with a byte more", salt: `${hex(salt)}00`, digest: current },
        { name: "for a current secret that is another", salt: hex(salt), digest: hex(salt) },
        {
          name: "for a current digest in upper case",
          salt: hex(salt),
          digest: current.toUpperCase(),
        },
        { name: "for the secret that was presented", salt: hex(salt), digest: hex(mine.digest) },
        { name: "without a current digest", salt: hex(salt), digest: undefined },
        { name: "that is the new digest itself", salt: current, digest: current },
      ];
      for (const { name, ...answer } of misfits) {
        test(`throws in ${verb} where it is one ${name}, and hands out no cookie`, async () => {
          await assert.rejects(ask(answer), (error: SessionError) => {
            assert.equal(error.code, "UNEXPECTED_RESULT");
            assert.equal(
              error.message,
              `Cannot ${purpose} the session as the answer must be a salt that makes the current secret, got another one`,
            );
            showsNone(error, [...secretsOf([salt]), current], name);
            return true;
          });
        });
      }

      test(`throws in ${verb} where it is no hexadecimal text, and hands out no cookie`, async () => {
        const strange = [
          1,
          true,
          { hex: hex(salt) },
          "SECRET".padEnd(64, "-"),
          "SECRET".padEnd(32, "-"),
          "",
          [hex(salt)],
          hex(salt).slice(1),
          `${hex(salt)}\n`,
          base64url(salt),
        ];
        for (const salt of strange) {
          await assert.rejects(ask({ salt, digest: current }), (error: SessionError) => {
            showsNone(error, [...secretsOf([]), "SECRET"], verb);
            assert.equal(error.code, "UNEXPECTED_RESULT");
            assert.equal(
              error.message,
              `Cannot ${purpose} the session as the answer must be a salt that makes the current secret, got another one`,
            );
            return true;
          });
        }
      });
    }
  });

  const session = rowFor([mine.id, hex(mine.digest)]);
  const listed = session;
  const revoked = { ...session, ...own.revoked() };

  for (const verb of ["createSession with maxSessions", "validateSession of a reused secret"]) {
    test(`throws in ${verb} where a row is no session that was ended`, async () => {
      const { purpose, call } = verbOf(verb);
      for (const row of [null, 1, {}, { ...revoked, of: "q0" }]) {
        await assert.rejects(call(() => Promise.resolve(one(row))), {
          name: "SessionError",
          code: "UNEXPECTED_RESULT",
          message: `Cannot ${purpose} as the answer must be ${foreign}`,
        }, JSON.stringify(row));
      }
    });
  }

  const several: {
    verb: string;
    name: string;
    call: (sql: Sql) => Promise<unknown>;
    /** Objects are given the number of the call, if they bear none. */
    rows: unknown[];
    expected: string;
  }[] = [
    ...[
      { name: "null", rows: [null], expected: foreign },
      { name: "a number", rows: [1], expected: foreign },
      { name: "text", rows: ["text"], expected: foreign },
      { name: "an array", rows: [[]], expected: foreign },
      { name: "a session and null", rows: [listed, null], expected: foreign },
      {
        name: "a session and the answer to another call",
        rows: [listed, { ...listed, of: "q0" }],
        expected: foreign,
      },
    ].map((answer) => ({
      ...answer,
      verb: "listSessions",
      call: named("listSessions"),
    })),
    ...[
      { name: "null", rows: [null], expected: foreign },
      { name: "a number", rows: [1], expected: foreign },
      {
        name: "a session and the answer to another call",
        rows: [revoked, { ...revoked, of: "q0" }],
        expected: foreign,
      },
    ].map((answer) => ({ ...answer, verb: "revokeSessions", call: named("revokeSessions") })),
    ...["sweepSessions", "sweepSessions in its second batch"].flatMap((verb) =>
      [
        { name: "no row", rows: [] },
        { name: "null", rows: [null], expected: foreign },
        { name: "a number", rows: [1], expected: foreign },
        { name: "an array", rows: [[]], expected: foreign },
        { name: "an empty object", rows: [{}] },
        { name: "no number of rows", rows: [{ blocks: 1 }] },
        { name: "no number of blocks", rows: [{ swept: 1 }] },
        { name: "a number as text", rows: [{ swept: "1", blocks: 1 }] },
        { name: "a fraction", rows: [{ swept: 0.5, blocks: 1 }] },
        { name: "blocks of null", rows: [{ swept: 1, blocks: null }] },
        { name: "a session", rows: [session] },
        { name: "its row twice", rows: [{ swept: 1, blocks: 1 }, { swept: 1, blocks: 1 }] },
        {
          name: "its row, as the answer to another call",
          rows: [{ swept: 1, blocks: 1, of: "q0" }],
          expected: foreign,
        },
      ].map((answer) => ({
        expected: "two numbers, got something else",
        ...answer,
        verb,
        call: named(verb),
      }))
    ),
  ];
  const isObject = (row: unknown) => Object.prototype.toString.call(row) === "[object Object]";
  for (const { verb, name, call, rows, expected } of several) {
    test(`throws in ${verb} where it is ${name}`, async () => {
      const answering: Sql = (_, ...values) => {
        const of = numberOf(values);
        const answers = rows.map((row) => isObject(row) ? { of, ...row as object } : row);
        return Promise.resolve(answers.map((answer) => ({ json: JSON.stringify(answer) })));
      };
      await assert.rejects(call(answering), (error: SessionError) => {
        assert.ok(error instanceof SessionError, String(error));
        assert.equal(error.code, "UNEXPECTED_RESULT");
        const { purpose } = verbOf(verb);
        assert.equal(error.message, `Cannot ${purpose} as the answer must be ${expected}`);
        showsNone(error, [mine.id, hex(mine.digest), other.id, "MARKER", "ada"], verb);
        return true;
      });
    });
  }

  test("is none for listSessions and revokeSessions that is the rows they asked for", async () => {
    const ask = (verb: string, answer: object) =>
      named(verb)((_, ...values) => answered(values, answer));
    const sessions = await ask("listSessions", listed) as object[];
    assert.deepEqual(sessions.map((one) => Object.keys(one).sort()), [SESSION.split(" ").sort()]);
    const ended = await ask("revokeSessions", revoked) as object[];
    assert.deepEqual(ended.map((one) => Object.keys(one).sort()), [
      `${SESSION} revokedAt revokedReason`.split(" ").sort(),
    ]);
    assert.deepEqual(await ask("sweepSessions", { swept: 2, blocks: 1 }), { swept: 2 });
  });

  const keys = [
    {
      name: "two rows",
      rows: [{ userId: 1 }, { userId: 2 }],
      expected: "one row, got 2 rows",
    },
    { name: "a row without a key", rows: [{}], expected: "a user's key, got undefined" },
    { name: "the key null", rows: [{ userId: null }], expected: "a user's key, got null" },
    {
      name: "an object for a key",
      rows: [{ userId: {} }],
      expected: "a user's key, got an object",
    },
    {
      name: "its row, as the answer to another call",
      rows: [{ userId: 1, of: "q0" }],
      expected: foreign,
    },
  ];
  for (const { name, rows, expected } of keys) {
    test(`throws in getUserId where it is ${name}`, async () => {
      const answering: Sql = (_, ...values) =>
        Promise.resolve(rows.flatMap((row) => one({ of: numberOf(values), ...row })));
      await assert.rejects(getUserId("ada", answering), {
        name: "SessionError",
        code: "UNEXPECTED_RESULT",
        message: `Cannot find the user as the answer must be ${expected}`,
      });
    });
  }
});

describe("a failing client", () => {
  const unavailable = (received: string) =>
    `Cannot ask as the database must be reachable, got ${received}`;
  const codes: {
    name: string;
    error: unknown;
    code: SessionErrorCode;
    sqlstate?: string;
    message: string;
  }[] = [
    { name: "text", error: "SECRET", code: "STORE_UNAVAILABLE", message: unavailable("string") },
    { name: "null", error: null, code: "STORE_UNAVAILABLE", message: unavailable("null") },
    {
      name: "undefined",
      error: undefined,
      code: "STORE_UNAVAILABLE",
      message: unavailable("undefined"),
    },
    { name: "a number", error: 1, code: "STORE_UNAVAILABLE", message: unavailable("number") },
    {
      name: "a symbol",
      error: Symbol("SECRET"),
      code: "STORE_UNAVAILABLE",
      message: unavailable("symbol"),
    },
    {
      name: "an Error",
      error: new Error("SECRET"),
      code: "STORE_UNAVAILABLE",
      message: unavailable("an instance of Error"),
    },
    {
      name: "an AggregateError",
      error: new AggregateError([], "SECRET"),
      code: "STORE_UNAVAILABLE",
      message: unavailable("an instance of AggregateError"),
    },
    ...[
      "ECONNREFUSED",
      "ECONNRESET",
      "EPIPE",
      "ETIMEDOUT",
      "ENOTFOUND",
      "CONNECTION_CLOSED",
      "CONNECT_TIMEOUT",
      "ERR_POSTGRES_CONNECTION_CLOSED",
    ]
      .map((code) => ({
        name: `the driver's code ${code}`,
        error: Object.assign(new Error("SECRET"), { code }),
        code: "STORE_UNAVAILABLE" as const,
        message: unavailable(code),
      })),
    ...[
      { name: "a code that is a number", code: 111 },
      { name: "a code in lower case", code: "secret" },
      { name: "a code with spaces", code: "SE CRET" },
      { name: "a code with digits, as a digest might be", code: "ABCDEF0123456789" },
      { name: "a code that goes on for long", code: "A".repeat(51) },
      { name: "a code of several lines", code: "ABC\nSECRET" },
      { name: "a code that is an object", code: { toString: () => "SECRET" } },
      { name: "an SQLSTATE in lower case", code: "42p01" },
      { name: "an SQLSTATE with a line feed", code: "42P01\n" },
      { name: "an SQLSTATE cut short", code: "42P0" },
    ].map(({ name, code }) => ({
      name,
      error: Object.assign(new Error("SECRET"), { code }),
      code: "STORE_UNAVAILABLE" as const,
      message: unavailable("an instance of Error"),
    })),
    ...[
      { code: "QUOTA", severity: "ERROR" },
      { code: "ERR_POSTGRES_SERVER_ERROR", errno: "QUOTA", severity: "ERROR" },
    ].map((fields) => ({
      name: `an app's own SQLSTATE of five letters, with ${Object.keys(fields)}`,
      error: Object.assign(new Error("SECRET"), fields),
      code: "STORE_REJECTED" as const,
      sqlstate: "QUOTA",
      message: "Cannot ask as the database must accept the statement, got SQLSTATE QUOTA",
    })),
    ...([
      { name: "no schema", sqlstate: "3F000", code: "SCHEMA_MISSING" },
      { name: "no table", sqlstate: "42P01", code: "SCHEMA_MISSING" },
      { name: "no column", sqlstate: "42703", code: "SCHEMA_MISSING" },
      { name: "the statement_timeout", sqlstate: "57014", code: "STORE_TIMEOUT" },
      { name: "the lock_timeout", sqlstate: "55P03", code: "STORE_TIMEOUT" },
      { name: "the transaction_timeout", sqlstate: "25P04", code: "STORE_TIMEOUT" },
      {
        name: "the idle_in_transaction_session_timeout",
        sqlstate: "25P03",
        code: "STORE_UNAVAILABLE",
      },
      { name: "an administrator's shutdown", sqlstate: "57P01", code: "STORE_UNAVAILABLE" },
      { name: "a crash", sqlstate: "57P02", code: "STORE_UNAVAILABLE" },
      { name: "a server that starts up", sqlstate: "57P03", code: "STORE_UNAVAILABLE" },
      { name: "the idle_session_timeout", sqlstate: "57P05", code: "STORE_UNAVAILABLE" },
      { name: "a broken connection", sqlstate: "08006", code: "STORE_UNAVAILABLE" },
      { name: "a protocol violation", sqlstate: "08P01", code: "STORE_UNAVAILABLE" },
      { name: "too many connections", sqlstate: "53300", code: "STORE_UNAVAILABLE" },
      { name: "a full disk", sqlstate: "53100", code: "STORE_UNAVAILABLE" },
      { name: "no memory", sqlstate: "53200", code: "STORE_UNAVAILABLE" },
      { name: "a serialization failure", sqlstate: "40001", code: "STORE_UNAVAILABLE" },
      { name: "a deadlock", sqlstate: "40P01", code: "STORE_UNAVAILABLE" },
      { name: "a standby", sqlstate: "25006", code: "STORE_UNAVAILABLE" },
      { name: "a transaction that has failed", sqlstate: "25P02", code: "STORE_REJECTED" },
      { name: "no privilege", sqlstate: "42501", code: "STORE_REJECTED" },
      { name: "a unique key", sqlstate: "23505", code: "STORE_REJECTED" },
      {
        name: "a statement that the pooler does not know",
        sqlstate: "26000",
        code: "STORE_REJECTED",
      },
      { name: "a wrong password", sqlstate: "28P01", code: "STORE_REJECTED" },
      { name: "no such database", sqlstate: "3D000", code: "STORE_REJECTED" },
      { name: "a date out of range", sqlstate: "22008", code: "STORE_REJECTED" },
      { name: "a trigger's own code", sqlstate: "P0001", code: "STORE_REJECTED" },
      { name: "an internal error", sqlstate: "XX000", code: "STORE_REJECTED" },
    ] as const).flatMap(({ name, sqlstate, code }) => {
      const hint = code === "SCHEMA_MISSING" ? "; run migrate(sql)" : "";
      const message =
        `Cannot ask as the database must accept the statement, got SQLSTATE ${sqlstate}${hint}`;
      const bun = { code: "ERR_POSTGRES_SERVER_ERROR", errno: sqlstate };
      return [
        {
          name: `${name}, ${sqlstate} in code`,
          error: Object.assign(new Error("SECRET"), { code: sqlstate }),
          code,
          sqlstate,
          message,
        },
        {
          name: `${name}, ${sqlstate} in errno`,
          error: Object.assign(new Error("SECRET"), bun),
          code,
          sqlstate,
          message,
        },
      ];
    }),
  ];
  for (const { name, error, code, sqlstate, message } of codes) {
    test(`throws ${code} for ${name}`, async () => {
      const fails = [
        () => Promise.reject(error),
        () => {
          throw error;
        },
        () => ({ then: (_: unknown, reject: (error: unknown) => void) => reject(error) }),
      ];
      for (const fail of fails) {
        await assert.rejects(ask(fail), (thrown: SessionError) => {
          assert.ok(thrown instanceof SessionError && thrown instanceof Error);
          assert.deepEqual([thrown.name, thrown.code, thrown.sqlstate], [
            "SessionError",
            code,
            sqlstate,
          ]);
          assert.equal(thrown.message, message);
          assert.ok(!inspect(thrown, { showHidden: true, depth: 10 }).includes("SECRET"));
          return true;
        });
      }
    });
  }

  class PostgresError extends Error {
    override name = "PostgresError";
  }
  const drivers = [
    { name: "a rejected statement", code: "23505" },
    { name: "a missing schema", code: "42P01" },
    { name: "a timeout", code: "57014" },
    { name: "a lost connection", code: "CONNECTION_CLOSED" },
    { name: "an unknown user, by the foreign key", code: "23503" },
    { name: "a name too long for its column", code: "22001" },
    { name: "an app's own SQLSTATE, of the class that the migrations use", code: "CC001" },
  ];
  for (const { name, code } of drivers) {
    test(`leaves nothing of the driver's error in its own, for ${name}`, async () => {
      for (const { name: verb, call } of asking) {
        const sent: string[] = [];
        const failing: Sql = (strings, ...values) => {
          const all = [...values, ...callsOf(strings, values).flat()];
          sent.push(...all.filter((value) => typeof value === "string"));
          const text = strings.join("?");
          const detail = `Key (id, digest)=(${sent.join(", ")}) already exists. ${text}`;
          const error = Object.assign(new PostgresError(`${detail} MARKER-OF-MESSAGE`), {
            code,
            detail,
            where: detail,
            cause: new Error(detail),
          });
          for (
            const [key, value] of Object.entries({ query: text, parameters: values, args: values })
          ) {
            Object.defineProperty(error, key, { value, enumerable: false });
          }
          error.stack += detail;
          return Promise.reject(error);
        };
        let thrown: unknown;
        const drawn = await drawing(() => call(failing).catch((error) => thrown = error));
        const secrets = [
          ...sent,
          ...secretsOf(drawn),
          mine.id,
          USERNAME,
          "MARKER",
          "coatcheck.sessions",
          "already exists",
        ];
        showsNone(thrown, secrets, verb);
      }
    });
  }

  test("has no property sqlstate where the database sent none, which a log would show as undefined", async () => {
    await assert.rejects(ask(() => Promise.reject(new Error())), (error: SessionError) => {
      assert.ok(!("sqlstate" in error));
      return true;
    });
  });

  test("throws USER_NOT_FOUND for what no user can be, and only where one was asked for", async () => {
    const cases = [
      { sqlstate: "23503", code: "USER_NOT_FOUND" },
      { sqlstate: "22P02", code: "USER_NOT_FOUND" },
      { sqlstate: "22003", code: "USER_NOT_FOUND" },
      { sqlstate: "22001", code: "USER_NOT_FOUND" },
      { sqlstate: "23514", code: "USER_NOT_FOUND" },
      { sqlstate: "23502", code: "STORE_REJECTED" },
      { sqlstate: "23505", code: "STORE_REJECTED" },
    ];
    for (const { sqlstate, code } of cases) {
      const failing: Sql = () => Promise.reject(Object.assign(new Error(), { code: sqlstate }));
      for (const { name, about, call } of asking) {
        const expected = about === "a user" ? code : "STORE_REJECTED";
        await assert.rejects(
          call(failing),
          { name: "SessionError", code: expected },
          `${name} ${sqlstate}`,
        );
      }
    }
  });
});

describe("a client that does not answer", () => {
  test("is given up after queryTimeout; what comes of it later disturbs nobody", async () => {
    const unhandled: unknown[] = [];
    const note = (reason: unknown) => unhandled.push(reason);
    process.on("unhandledRejection", note);
    const late: { resolve: (rows: unknown[]) => void; reject: (error: Error) => void }[] = [];
    const never: Sql = () =>
      new Promise((resolve, reject) => {
        late.push({ resolve, reject });
      });
    const start = performance.now();
    const message = (purpose: string) =>
      `Cannot ${purpose} as the database must answer within queryTimeout, got nothing for 1 s`;
    await Promise.all(
      asking.map(({ purpose, call }) =>
        assert.rejects(call(never, { queryTimeout: 1 }), {
          name: "SessionError",
          code: "STORE_TIMEOUT",
          message: message(purpose),
        })
      ),
    );
    const seconds = (performance.now() - start) / 1000;
    assert.ok(seconds > 0.9 && seconds < 3, `${seconds} s`);

    assert.equal(late.length, asking.length);
    for (const [i, { resolve, reject }] of late.entries()) {
      if (i % 2 === 0) reject(new Error("late"));
      else resolve([{ json: "{}" }]);
    }
    // Rejections that nobody handles are told after the microtasks are done.
    await new Promise((resolve) => setTimeout(resolve));
    process.off("unhandledRejection", note);
    assert.deepEqual(unhandled, []);
  });

  test("is the only one whose timer lives on: an answer or an error leaves none behind", async () => {
    const { setTimeout, clearTimeout } = globalThis;
    const running = new Set<unknown>();
    let started = 0;
    Object.assign(globalThis, {
      setTimeout: (...args: Parameters<typeof setTimeout>) => {
        const timer = setTimeout(...args);
        started++;
        running.add(timer);
        return timer;
      },
      clearTimeout: (timer: ReturnType<typeof setTimeout>) => {
        running.delete(timer);
        clearTimeout(timer);
      },
    });
    try {
      await ask(() => Promise.resolve([]));
      await assert.rejects(ask(() => Promise.reject(new Error())));
      await assert.rejects(ask(() => {
        throw new Error();
      }));
      await assert.rejects(ask(() => null));
    } finally {
      Object.assign(globalThis, { setTimeout, clearTimeout });
    }
    assert.equal(started, 4);
    assert.equal(running.size, 0);
  });
});
