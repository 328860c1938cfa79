import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import process from "node:process";
import { inspect } from "node:util";
import {
  createSession,
  createToken,
  getUserId,
  insertSession,
  revokeSession,
  SessionError,
  type SessionErrorCode,
  type Sql,
  validateSession,
} from "../mod.ts";
import { query, statement } from "../src/sql.ts";

const ASK = statement("ask", "select $1, $2::text as json");
const ask = (sql: unknown, seconds = 5) => query(sql as Sql, ASK, [1, "two"], seconds);

const mine = createToken();
const { id, digest } = createToken();
const [createdAt, expiresAt] = [new Date("2026-01-01"), new Date("2027-01-01")];
const record = { id, digest, userId: 1, createdAt, expiresAt, data: { marker: "MARKER-OF-DATA" } };
const headers = new Headers({ cookie: `__Host-session=${mine.token}` });
const USERNAME = "MARKER-OF-USERNAME";

/** The verbs with SQL of their own, each in a call that presents a token or a user. */
const verbs: { name: string; purpose: string; call: (sql: Sql) => Promise<unknown> }[] = [
  {
    name: "createSession",
    purpose: "store the session",
    call: (sql) => createSession(USERNAME, sql, { data: record.data, replaces: headers }),
  },
  {
    name: "insertSession",
    purpose: "store the session",
    call: (sql) => insertSession(record, sql),
  },
  { name: "getUserId", purpose: "find the user", call: (sql) => getUserId(USERNAME, sql) },
  {
    name: "validateSession",
    purpose: "validate the session",
    call: (sql) => validateSession(headers, sql),
  },
  {
    name: "revokeSession",
    purpose: "revoke the session",
    call: (sql) => revokeSession(headers, sql),
  },
];

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
        `Cannot proceed as sql must be a tagged-template client, like postgres(url): received ${received}`,
    };

    test(`is refused where it is ${name}`, async () => {
      await assert.rejects(ask(sql), refusal);
      for (const { call } of verbs) await assert.rejects(call(sql as never), refusal);
    });
  }

  test("is refused also where no cookie is presented, so that the first request finds the mistake", async () => {
    for (const verb of [validateSession, revokeSession]) {
      await assert.rejects(verb(new Headers(), undefined as never), {
        name: "TypeError",
        message:
          "Cannot proceed as sql must be a tagged-template client, like postgres(url): received undefined",
      });
    }
  });
});

describe("a statement", () => {
  /** The strings and values of each statement that the verbs send. */
  async function sent(): Promise<{ strings: TemplateStringsArray; values: unknown[] }[]> {
    const all: { strings: TemplateStringsArray; values: unknown[] }[] = [];
    for (const { call } of verbs) {
      await call((strings, ...values) => {
        all.push({ strings, values });
        return Promise.resolve([]);
      }).catch(() => {});
    }
    assert.equal(all.length, verbs.length);
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
    for (const { strings, values } of await sent()) {
      assert.equal(strings.length, values.length + 1);
      const text = strings.join("?");
      for (const value of values) if (typeof value === "string") assert.ok(!text.includes(value));
      for (const value of values) assert.match(typeof value, /^(string|number|boolean|object)$/);
      for (const value of values) if (typeof value === "object") assert.equal(value, null);
    }
  });

  test("is the same array from call to call, so that each connection prepares it once", async () => {
    const [first, second] = [await sent(), await sent()];
    for (const [i, { strings }] of first.entries()) assert.equal(strings, second[i]!.strings);
  });

  test("never carries the secret, but its digest", async () => {
    const secrets = [mine.secret, mine.token];
    const digests = [...mine.digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    for (const { values } of await sent()) {
      for (const secret of secrets) assert.ok(!JSON.stringify(values).includes(secret));
    }
    const validation = (await sent())[3]!;
    assert.ok(validation.values.includes(digests));
  });

  test("takes $1 to $12 for its places", () => {
    const text = Array.from({ length: 12 }, (_, i) => `$${i + 1}`).join(",");
    assert.deepEqual([...statement("ask", text).strings], ["", ...Array(11).fill(","), ""]);
  });
});

describe("an answer", () => {
  const good = [
    { name: "an array of rows", answer: [{ json: `{"a":1}` }], expected: [{ a: 1 }] },
    { name: "{ rows }", answer: { rows: [{ json: `{"a":1}` }] }, expected: [{ a: 1 }] },
    {
      name: "{ rows } beside more, as of pg",
      answer: { rows: [], rowCount: 0, command: "SELECT" },
      expected: [],
    },
    {
      name: "an array with more on it, as of postgres.js",
      answer: Object.assign([{ json: "1" }], { count: 1 }),
      expected: [1],
    },
    { name: "no rows", answer: [], expected: [] },
    { name: "a column in upper case", answer: [{ JSON: "1" }], expected: [1] },
    { name: "a column that was renamed", answer: [{ theJson: "1" }], expected: [1] },
    { name: "rows as arrays", answer: [["1"], ["2"]], expected: [1, 2] },
    {
      name: "several rows, in their order",
      answer: [{ json: "2" }, { json: "1" }],
      expected: [2, 1],
    },
  ];
  for (const { name, answer, expected } of good) {
    test(`is read from ${name}`, async () => {
      assert.deepEqual(await ask(() => Promise.resolve(answer)), expected);
    });
  }

  test("is read from any thenable, and from a client that answers at once", async () => {
    const thenable = { then: (resolve: (rows: unknown[]) => void) => resolve([{ json: "1" }]) };
    assert.deepEqual(await ask(() => thenable), [1]);
    assert.deepEqual(await ask(() => [{ json: "1" }]), [1]);
  });

  const bad = [
    { name: "null", answer: null, expected: "rows: received null" },
    { name: "undefined", answer: undefined, expected: "rows: received undefined" },
    { name: "a number", answer: 1, expected: "rows: received number" },
    { name: "text", answer: "[]", expected: "rows: received string" },
    { name: "true", answer: true, expected: "rows: received boolean" },
    { name: "{}", answer: {}, expected: "rows: received an object" },
    { name: "{ rows: null }", answer: { rows: null }, expected: "rows: received an object" },
    { name: "{ rows: {} }", answer: { rows: {} }, expected: "rows: received an object" },
    { name: "an iterator", answer: [][Symbol.iterator](), expected: /^rows: received an? / },
    { name: "a row of null", answer: [null], expected: "one column of JSON: received null" },
    {
      name: "a row of undefined",
      answer: [undefined],
      expected: "one column of JSON: received undefined",
    },
    {
      name: "a row that is a number",
      answer: [1],
      expected: "one column of JSON: received number",
    },
    {
      name: "a row without columns",
      answer: [{}],
      expected: "one column of JSON: received an object",
    },
    {
      name: "a column of undefined",
      answer: [{ json: undefined }],
      expected: "one column of JSON: received an object",
    },
    {
      name: "a column of an object, already parsed",
      answer: [{ json: { a: 1 } }],
      expected: "one column of JSON: received an object",
    },
    {
      name: "a column that is no JSON",
      answer: [{ json: "SECRET" }],
      expected: "one column of JSON: received an object",
    },
    {
      name: "a column of JSON cut short",
      answer: [{ json: `{"a":"SECR` }],
      expected: "one column of JSON: received an object",
    },
    {
      name: "a good row and a bad one",
      answer: [{ json: "1" }, {}],
      expected: "one column of JSON: received an object",
    },
  ];
  for (const { name, answer, expected } of bad) {
    test(`is refused where it is ${name}`, async () => {
      await assert.rejects(ask(() => Promise.resolve(answer)), (error: SessionError) => {
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
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

  /** The row that a statement with these values returns. */
  function rowFor(values: readonly unknown[]) {
    const found = values.filter((value) => typeof value === "string");
    const at = "2026-01-01T00:00:00+00:00";
    return {
      id: found.findLast((value) => /^[\da-f]{8}-.{27}$/.test(value)),
      digest: found.findLast((value) => /^[\da-f]{64}$/.test(value)),
      userId: 1,
      username: "ada",
      createdAt: at,
      authenticatedAt: at,
      lastSeenAt: at,
      persistent: true,
      version: 0,
      data: {},
      expiresAt: at,
    };
  }
  type Row = ReturnType<typeof rowFor>;
  const live = { ended: null, revokedReason: null, due: false };
  const gone = { revokedAt: "2026-01-01T00:00:00+00:00", revokedReason: "signed-out" };

  const asked = [
    {
      name: "createSession",
      call: (sql: Sql) => createSession("ada", sql),
      json: (row: unknown) => ({ matches: 1, session: row }),
      own: {},
    },
    {
      name: "insertSession",
      call: (sql: Sql) => insertSession(record, sql),
      json: (row: unknown) => ({ matches: 1, session: row }),
      own: {},
    },
    {
      name: "validateSession",
      call: (sql: Sql) => validateSession(headers, sql),
      json: (row: unknown) => row,
      own: live,
    },
    {
      name: "revokeSession",
      call: (sql: Sql) => revokeSession(headers, sql),
      json: (row: unknown) => row,
      own: gone,
    },
  ];

  const wrong: { name: string; rows: (row: Row, json: (row: unknown) => unknown) => unknown }[] = [
    { name: "null", rows: () => null },
    { name: "undefined", rows: () => undefined },
    { name: "a number", rows: () => 1 },
    { name: "{}", rows: () => ({}) },
    { name: "{ rows: null }", rows: () => ({ rows: null }) },
    { name: "a row of null", rows: () => [null] },
    { name: "a row without columns", rows: () => [{}] },
    { name: "a row of no JSON", rows: () => [{ json: "SECRET" }] },
    { name: "JSON null", rows: () => [{ json: "null" }] },
    { name: "JSON of a number", rows: () => [{ json: "1" }] },
    { name: "JSON of text", rows: () => [{ json: `"text"` }] },
    { name: "JSON of an array", rows: () => [{ json: "[]" }] },
    { name: "JSON of an empty object", rows: () => [{ json: "{}" }] },
    { name: "no session in the row", rows: (_, json) => [{ json: JSON.stringify(json(null)) }] },
    {
      name: "an empty session in the row",
      rows: (_, json) => [{ json: JSON.stringify(json({})) }],
    },
    {
      name: "its row twice",
      rows: (
        row,
        json,
      ) => [{ json: JSON.stringify(json(row)) }, { json: JSON.stringify(json(row)) }],
    },
    {
      name: "its row and another's",
      rows: (row, json) => [
        { json: JSON.stringify(json(row)) },
        { json: JSON.stringify(json({ ...row, id: other.id })) },
      ],
    },
    {
      name: "the row of another id (oven-sh/bun #33665)",
      rows: (row, json) => [{ json: JSON.stringify(json({ ...row, id: other.id })) }],
    },
    {
      name: "the row of another digest",
      rows: (row, json) => [{ json: JSON.stringify(json({ ...row, digest: hex(other.digest) })) }],
    },
    {
      name: "the whole row of another session",
      rows: (row, json) => [
        { json: JSON.stringify(json({ ...row, id: other.id, digest: hex(other.digest) })) },
      ],
    },
    {
      name: "a digest in upper case",
      rows: (
        row,
        json,
      ) => [{ json: JSON.stringify(json({ ...row, digest: row.digest!.toUpperCase() })) }],
    },
    {
      name: "a digest that begins like its own",
      rows: (
        row,
        json,
      ) => [{ json: JSON.stringify(json({ ...row, digest: row.digest!.slice(0, 63) })) }],
    },
    {
      name: "no digest",
      rows: (row, json) => [{ json: JSON.stringify(json({ ...row, digest: undefined })) }],
    },
  ];
  for (const { name: verb, call, json, own } of asked) {
    test(`is none for ${verb} that is the row it asked for`, async () => {
      const result = await call((_, ...values) =>
        Promise.resolve([{ json: JSON.stringify(json({ ...rowFor(values), ...own })) }])
      );
      const session = "session" in (result as object)
        ? (result as { session: unknown }).session
        : result;
      assert.equal((session as { username: string }).username, "ada");
      assert.ok(!JSON.stringify(session).includes("digest"));
    });

    for (const { name, rows } of wrong) {
      test(`throws in ${verb} where it is ${name}`, async () => {
        const answering: Sql = (_, ...values) =>
          Promise.resolve(rows({ ...rowFor(values), ...own }, json) as never);
        await assert.rejects(call(answering), (error: SessionError) => {
          assert.ok(error instanceof SessionError);
          assert.equal(error.code, "UNEXPECTED_RESULT");
          assert.match(
            error.message,
            /^Cannot \w+ the session as the answer must be [\w ]+: received [\w ]+$/,
          );
          assert.ok(!error.message.includes("SECRET"));
          return true;
        });
      });
    }
  }

  test("of no rows throws in createSession, and hands out no cookie", async () => {
    for (const rows of [[], { rows: [] }]) {
      await assert.rejects(createSession("ada", () => Promise.resolve(rows)), {
        name: "SessionError",
        code: "UNEXPECTED_RESULT",
        message: "Cannot store the session as the answer must be one row: received 0 rows",
      });
    }
  });

  // The same session, but the row of another statement: with Bun.SQL before 1.4 two concurrent calls
  // about one session could exchange their answers.
  const exchanged = [
    { name: "revokeSession", own: live, from: "validateSession" },
    { name: "validateSession", own: gone, from: "revokeSession" },
  ];
  for (const { name: verb, own, from } of exchanged) {
    test(`throws in ${verb} where it is the answer to ${from} about the same session`, async () => {
      const { call } = asked.find(({ name }) => name === verb)!;
      await assert.rejects(
        call((_, ...values) =>
          Promise.resolve([{ json: JSON.stringify({ ...rowFor(values), ...own }) }])
        ),
        { name: "SessionError", code: "UNEXPECTED_RESULT" },
      );
    });
  }

  const touches = [
    { name: "a number", json: "1" },
    { name: "null", json: "null" },
    { name: "text that is no instant", json: `"soon"` },
    { name: "an object", json: `{"id":"${other.id}"}` },
  ];
  for (const { name, json } of touches) {
    test(`of a touch throws where it is ${name}`, async () => {
      const sql: Sql = (strings, ...values) =>
        Promise.resolve([{
          json: strings[0]!.startsWith("update")
            ? json
            : JSON.stringify({ ...rowFor(values), ...live, due: true }),
        }]);
      await assert.rejects(validateSession(headers, sql), {
        name: "SessionError",
        code: "UNEXPECTED_RESULT",
      });
    });
  }

  const keys = [
    { name: "no rows", rows: [] },
    {
      name: "two rows",
      rows: [{ json: `{"matches":1,"userId":1}` }, { json: `{"matches":1,"userId":2}` }],
    },
    { name: "no matches", rows: [{ json: `{"userId":1}` }] },
    { name: "matches as text", rows: [{ json: `{"matches":"1","userId":1}` }] },
    { name: "one match without a key", rows: [{ json: `{"matches":1}` }] },
    { name: "one match with the key null", rows: [{ json: `{"matches":1,"userId":null}` }] },
    { name: "one match with an object for a key", rows: [{ json: `{"matches":1,"userId":{}}` }] },
    { name: "two matches", rows: [{ json: `{"matches":2,"userId":1}` }] },
  ];
  for (const { name, rows } of keys) {
    test(`throws in getUserId where it is ${name}`, async () => {
      await assert.rejects(getUserId("ada", () => Promise.resolve(rows)), {
        name: "SessionError",
        code: "UNEXPECTED_RESULT",
      });
    });
  }
});

describe("a failing client", () => {
  const unavailable = (received: string) =>
    `Cannot ask as the database must be reachable: received ${received}`;
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
      { name: "a trigger's own code", sqlstate: "P0001", code: "STORE_REJECTED" },
      { name: "an internal error", sqlstate: "XX000", code: "STORE_REJECTED" },
    ] as const).flatMap(({ name, sqlstate, code }) => {
      const hint = code === "SCHEMA_MISSING" ? "; run migrate(sql)" : "";
      const message =
        `Cannot ask as the database must accept the statement: received SQLSTATE ${sqlstate}${hint}`;
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

  /** All that can be seen of an error: message, stack, cause, properties of every kind. */
  function seen(error: Error): string {
    const own = Object.getOwnPropertyNames(error).map((key) => String(Reflect.get(error, key)));
    const hidden = inspect(error, { showHidden: true, depth: 10, getters: true });
    return [String(error), error.stack, String(error.cause), ...own, hidden, JSON.stringify(error)]
      .join("\n");
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
      for (const { name: verb, call } of verbs) {
        let sent: string[] = [];
        let text = "";
        const failing: Sql = (strings, ...values) => {
          sent = values.filter((value) => typeof value === "string");
          text = strings.join("?");
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
        await assert.rejects(call(failing), (error: SessionError) => {
          assert.ok(error instanceof SessionError, verb);
          const all = seen(error);
          const secrets = [
            ...sent,
            mine.id,
            mine.secret,
            USERNAME,
            "MARKER",
            "coatcheck.sessions",
            "already exists",
          ];
          // The reason of a sign-out is a word of our own.
          for (const secret of secrets) {
            if (secret !== "signed-out") assert.ok(!all.includes(secret), `${verb}: ${secret}`);
          }
          const properties = Object.getOwnPropertyNames(error).filter((key) => !isTrace(key));
          for (const key of properties) assert.match(key, /^(name|message|code|sqlstate)$/);
          assert.ok(!("cause" in error));
          return true;
        });
      }
    });
  }
  // What engines themselves put on an Error; the stack is looked at above.
  const isTrace = (key: string) =>
    /^(stack|line|column|originalLine|originalColumn|sourceURL)$/.test(key);

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
      for (const { name, call } of verbs) {
        const expected = /validate|revoke/.test(name) ? "STORE_REJECTED" : code;
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
      `Cannot ${purpose} as the database must answer within queryTimeout: received nothing for 1 s`;
    await Promise.all([
      assert.rejects(createSession("ada", never, { queryTimeout: 1 }), {
        name: "SessionError",
        code: "STORE_TIMEOUT",
        message: message("store the session"),
      }),
      assert.rejects(validateSession(headers, never, { queryTimeout: 1 }), {
        name: "SessionError",
        code: "STORE_TIMEOUT",
        message: message("validate the session"),
      }),
      assert.rejects(revokeSession(headers, never, { queryTimeout: 1 }), {
        name: "SessionError",
        code: "STORE_TIMEOUT",
        message: message("revoke the session"),
      }),
    ]);
    const seconds = (performance.now() - start) / 1000;
    assert.ok(seconds > 0.9 && seconds < 3, `${seconds} s`);

    assert.equal(late.length, 3);
    late[0]!.reject(new Error("late"));
    late[1]!.resolve([{ json: "{}" }]);
    late[2]!.reject(new Error("late"));
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
