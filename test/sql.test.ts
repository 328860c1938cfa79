import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import process from "node:process";
import { inspect } from "node:util";
import {
  batched,
  createGuestSession,
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
import { query, type Statement, statement, unsupported } from "../src/sql.ts";
import * as module from "../src/statements.ts";

const statements = Object.fromEntries(
  Object.entries(module).filter(([, value]) => typeof value === "object"),
) as Record<string, Statement>;

const ASK = statement(3, "select $1::text as call, $2::text as a, $3::text as b");
const ask = (sql: unknown, queryTimeout = 5) =>
  query({ caller: "ask", sql: sql as Sql, queryTimeout }, ASK, ["1", "two"]);

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
const patch = { ...data, "MARKER-OF-REMOVED": undefined };

interface Function {
  /** The function that is called, and what is special of the call. */
  readonly name: string;
  /** The name of the statement that the client is sent. */
  readonly statement: string;
  /** Whom its statement is told, so that the database may say that no user can be that. */
  readonly about: "a token" | "a user" | "neither";
  readonly call: (sql: Sql, policy?: Policy) => Promise<unknown>;
}

/** The function that an error names. */
const callerOf = (name: string) => name.split(/[ ,]/)[0]!;

/** The functions, each in a call that presents a token or a user. */
const functions: Function[] = [
  {
    name: "createSession",
    statement: "CREATE",
    about: "a user",
    call: (sql, policy) => createSession(USERNAME, sql, { ...policy, data }),
  },
  {
    name: "createSession by key",
    statement: "INSERT",
    about: "a user",
    call: (sql, policy) => createSession({ userId }, sql, { ...policy, data }),
  },
  {
    name: "createGuestSession",
    statement: "INSERT_GUEST",
    about: "neither",
    call: (sql, policy) => createGuestSession(sql, { ...policy, data }),
  },
  {
    name: "insertSession",
    statement: "INSERT",
    about: "a user",
    call: (sql, policy) => insertSession(record, sql, policy),
  },
  {
    name: "getUserId",
    statement: "FIND_USER",
    about: "a user",
    call: (sql, policy) => getUserId(USERNAME, sql, policy),
  },
  {
    name: "validateSession",
    statement: "VALIDATE",
    about: "a token",
    call: (sql, policy) => validateSession(headers, sql, policy),
  },
  {
    name: "rotateSession",
    statement: "ROTATE",
    about: "a token",
    call: (sql, policy) => rotateSession(headers, sql, policy),
  },
  {
    name: "reauthenticateSession",
    statement: "REAUTHENTICATE",
    about: "a token",
    call: (sql, policy) => reauthenticateSession(headers, sql, policy),
  },
  {
    name: "updateSession",
    statement: "UPDATE",
    about: "a token",
    call: (sql, policy) => updateSession(headers, patch, sql, policy),
  },
  {
    name: "listSessions",
    statement: "LIST",
    about: "a user",
    call: (sql, policy) => listSessions(userId, sql, policy),
  },
  {
    name: "revokeSession",
    statement: "REVOKE",
    about: "a token",
    call: (sql, policy) => revokeSession(headers, sql, { ...policy, reason: REASON }),
  },
  {
    name: "revokeSessions",
    statement: "REVOKE_MANY",
    about: "a user",
    call: (sql, policy) =>
      revokeSessions({ userId, id: mine.id }, sql, { ...policy, reason: REASON }),
  },
  {
    name: "sweepSessions",
    statement: "SWEEP",
    about: "neither",
    call: (sql, policy) => sweepSessions(sql, policy),
  },
];

/** 2026-01-01, as rows have it. */
const AT = 1_767_225_600;

/** The columns of each statement after the number of its call, by name; null for SQL's null. */
type Row = Record<string, unknown>;

const session = (id: unknown = mine.id): Row => ({
  id,
  user_id: userId,
  user_id_type: "text",
  username: "ada",
  created: String(AT),
  authenticated: String(AT),
  last_seen: String(AT),
  expires: String(AT + 3600),
  persistent: "true",
  version: "0",
  data: JSON.stringify(data),
});
const state = (changes: Row = {}): Row => ({
  ...session(),
  clock: String(AT),
  is_revoked: "false",
  reason: null,
  is_rotated: "false",
  rotated: null,
  rotation_seen: null,
  is_standby: "false",
  is_current: "true",
  ...changes,
});
const revoked = (id: unknown = mine.id): Row => ({
  ...session(id),
  revoked: String(AT),
  reason: REASON,
});
const key = (): Row => ({ id: mine.id, user_id: userId, user_id_type: "text" });

const asGuest = (row: Row): Row => ({ ...row, user_id: null, username: null });
/** The new session is the second id of the statement. */
const kept = (values: readonly unknown[]): Row => ({
  ...session(
    values.filter((value) => /^[\da-f]{8}-.{27}$/.test(String(value)) && value !== mine.id)[0],
  ),
  is_intact: "true",
  is_citus: "false",
  guest: mine.id,
  is_dropped: "false",
});

/** A row that a statement may return, for the values that it was sent. */
const rows: Record<string, (values: readonly unknown[]) => Row> = {
  FIND_USER: () => ({ user_id: userId, user_id_type: "text" }),
  CREATE: (values) => ({ ...session(idOf(values)), is_intact: "true", is_citus: "false" }),
  INSERT: (values) => ({ ...session(idOf(values)), is_intact: "true", is_citus: "false" }),
  CREATE_KEEPING: (values) => kept(values),
  INSERT_KEEPING: (values) => kept(values),
  INSERT_GUEST: (values) => ({
    ...asGuest(session(idOf(values))),
    is_intact: "true",
    is_citus: "false",
  }),
  DISCARD: (values) => ({ id: idOf(values) }),
  LIMIT: key,
  LIMIT_UNLOCKED: key,
  VALIDATE: () => state(),
  TOUCH: () => ({ id: mine.id, last_seen: String(AT), is_intact: "true" }),
  ROTATE: () => ({ ...session(), clock: String(AT), is_intact: "true" }),
  ROTATE_DUE: () => ({ ...session(), clock: String(AT), is_intact: "true" }),
  REAUTHENTICATE: () => ({ ...session(), clock: String(AT), is_intact: "true" }),
  UPDATE: () => ({ ...session(), is_intact: "true" }),
  EXPLAIN: () => ({ ...state(), digest: hex(mine.digest), salt: null }),
  EXPLAIN_DUE: () => ({ ...state(), digest: hex(mine.digest), salt: null }),
  EXPLAIN_UPDATE: () => ({ ...state(), size: "2" }),
  LIST: () => session(),
  REVOKE: () => revoked(),
  REVOKE_REUSED: () => ({ id: mine.id }),
  FIND_UNREVOKED: () => ({ id: mine.id }),
  REVOKE_MANY: () => revoked(),
  REVOKE_MANY_UNLOCKED: () => revoked(),
  REVOKE_SKIPPED: () => revoked(),
  SWEEP: () => ({ swept: "2", blocks: "1" }),
  FIND_DEAD: () => ({ id: mine.id, dead: "true" }),
  DELETE_DEAD: () => ({ swept: "1" }),
};

/** The session's id among the values of a statement. */
function idOf(values: readonly unknown[]): unknown {
  return values.find((value) => /^[\da-f]{8}-.{27}$/.test(String(value)));
}

/** The name of a statement, by the constant that it is. */
function nameOf(strings: TemplateStringsArray): string {
  return Object.entries(statements).find(([, it]) => it.strings === strings)![0];
}

const isNumber = (value: unknown) => /^q\d+_\d+$/.test(String(value));
/** The number of a call, which its row must bring back. */
const numberOf = (values: readonly unknown[]) => values.find(isNumber) as string;
const withoutNumber = (values: readonly unknown[]) => values.filter((value) => !isNumber(value));

const answered = (values: readonly unknown[], ...rows: Row[]) =>
  Promise.resolve(rows.map((row) => ({ call: numberOf(values), ...row })));

const notSupported = Object.assign(new Error(), { code: "0A000" });

/** A client that answers its first statements, and leaves the others to another client. */
function after(script: readonly ((row: () => Row) => Row | Row[] | Error)[], then: Sql): Sql {
  let sent = 0;
  return (strings, ...values) => {
    const step = script[sent++];
    if (!step) return then(strings, ...values);
    const result = step(() => rows[nameOf(strings)]!(values));
    if (result instanceof Error) return Promise.reject(result);
    return answered(values, ...Array.isArray(result) ? result : [result]);
  };
}

const nothing = () => [];
const itself = (row: () => Row) => row();
const changed = (changes: Row) => (row: () => Row) => ({ ...row(), ...changes });

/** What functions send after their first statement. */
const later: Function[] = [
  {
    name: "createSession that replaces",
    statement: "REVOKE",
    about: "a token",
    call: (sql, policy) =>
      createSession(USERNAME, after([itself], sql), { ...policy, data, replaces: headers }),
  },
  ...["CREATE_KEEPING", "INSERT_KEEPING"].map((statement): Function => ({
    name: `createSession that keeps, by ${statement}`,
    statement,
    about: "a user",
    call: (sql, policy) =>
      createSession(statement === "CREATE_KEEPING" ? USERNAME : { userId }, sql, {
        ...policy,
        data,
        replaces: headers,
        keep: ["cart"],
      }),
  })),
  {
    name: "createSession with maxSessions",
    statement: "LIMIT",
    about: "neither",
    call: (sql, policy) =>
      createSession(USERNAME, after([itself], sql), { ...policy, data, maxSessions: 1 }),
  },
  {
    name: "createSession with maxSessions on a server that cannot lock many rows",
    statement: "LIMIT_UNLOCKED",
    about: "neither",
    call: (sql, policy) => {
      unsupported.delete(module.LIMIT);
      const client = after([itself, () => notSupported], sql);
      return createSession(USERNAME, client, { ...policy, data, maxSessions: 1 })
        .finally(() => unsupported.delete(module.LIMIT));
    },
  },
  {
    name: "validateSession that touches",
    statement: "TOUCH",
    about: "a token",
    call: (sql, policy) =>
      validateSession(headers, after([changed({ clock: String(AT + 300) })], sql), policy),
  },
  {
    name: "validateSession that rotates",
    statement: "ROTATE_DUE",
    about: "a token",
    call: (sql, policy) => {
      const client = after([changed({ clock: String(AT + 60) })], sql);
      return validateSession(headers, client, { ...policy, rotateAfter: 60 });
    },
  },
  {
    name: "validateSession whose rotation changed nothing",
    statement: "EXPLAIN_DUE",
    about: "a token",
    call: (sql, policy) => {
      const client = after([changed({ clock: String(AT + 60) }), nothing], sql);
      return validateSession(headers, client, { ...policy, rotateAfter: 60 });
    },
  },
  {
    name: "validateSession of a reused secret",
    statement: "REVOKE_REUSED",
    about: "neither",
    call: (sql, policy) => {
      const settled = { is_rotated: "true", rotation_seen: String(AT - 30), is_current: "false" };
      return validateSession(headers, after([changed(settled)], sql), policy);
    },
  },
  {
    name: "rotateSession that changed nothing",
    statement: "EXPLAIN",
    about: "a token",
    call: (sql, policy) => rotateSession(headers, after([nothing], sql), policy),
  },
  {
    name: "updateSession that changed nothing",
    statement: "EXPLAIN_UPDATE",
    about: "a token",
    call: (sql, policy) => updateSession(headers, patch, after([nothing], sql), policy),
  },
  {
    name: "revokeSession that changed nothing",
    statement: "FIND_UNREVOKED",
    about: "a token",
    call: (sql, policy) => {
      const unchanged = changed({ id: null, user_id: null });
      return revokeSession(headers, after([unchanged], sql), { ...policy, reason: REASON });
    },
  },
  {
    name: "revokeSessions of a session that another statement holds",
    statement: "REVOKE_SKIPPED",
    about: "neither",
    call: (sql, policy) => {
      const skip = (row: () => Row) =>
        Object.fromEntries(Object.keys(row()).map((key) => [key, key === "id" ? mine.id : null]));
      return revokeSessions({ userId }, after([skip], sql), { ...policy, reason: REASON });
    },
  },
  {
    name: "revokeSessions on a server that cannot lock many rows",
    statement: "REVOKE_MANY_UNLOCKED",
    about: "a user",
    call: (sql, policy) => {
      unsupported.delete(module.REVOKE_MANY);
      const options = { ...policy, reason: REASON };
      return revokeSessions({ userId }, after([() => notSupported], sql), options)
        .finally(() => unsupported.delete(module.REVOKE_MANY));
    },
  },
  {
    name: "sweepSessions in its second batch",
    statement: "SWEEP",
    about: "neither",
    call: (sql, policy) =>
      sweepSessions(after([changed({ swept: "0", blocks: "150" })], sql), policy),
  },
  {
    name: "sweepSessions on a server without block ranges",
    statement: "FIND_DEAD",
    about: "neither",
    call: (sql, policy) => sweepSessions(after([() => notSupported], sql), policy),
  },
  {
    name: "sweepSessions that deletes by key",
    statement: "DELETE_DEAD",
    about: "neither",
    call: (sql, policy) => sweepSessions(after([() => notSupported, itself], sql), policy),
  },
];

/** Makes two calls at once, which are sent as one statement. */
async function twice(sql: Sql, call: (sql: Sql) => Promise<unknown>): Promise<void> {
  const both = batched(sql);
  await Promise.all([call(both), call(both)]);
}

/** What is sent for many calls at once. */
const many: Function[] = [
  {
    name: "createSession, batched",
    statement: "CREATE_MANY",
    about: "a user",
    call: (sql, policy) => twice(sql, (both) => createSession(USERNAME, both, { ...policy, data })),
  },
  {
    name: "createSession by key, batched",
    statement: "INSERT_MANY",
    about: "a user",
    call: (sql, policy) =>
      twice(sql, (both) => createSession({ userId }, both, { ...policy, data })),
  },
  {
    name: "validateSession, batched",
    statement: "VALIDATE_MANY",
    about: "a token",
    call: (sql, policy) => twice(sql, (both) => validateSession(headers, both, policy)),
  },
];
const MANY = many.map(({ statement }) => statements[statement]!.strings);

/** The values of each call that a statement was sent for. */
function callsOf(strings: TemplateStringsArray, values: unknown[]): unknown[][] {
  return MANY.includes(strings) ? JSON.parse(String(values[0])) : [values];
}

/** The statement that takes back a new session, after one that fails. */
const discarding: Function = {
  name: "createSession whose second statement fails",
  statement: "DISCARD",
  about: "neither",
  call: (sql, policy) => {
    const client = after([itself, () => new Error("SECRET")], sql);
    return createSession(USERNAME, client, { ...policy, data, replaces: headers });
  },
};

/** Every statement that there is, each in a call that sends it to the client. */
const asking = [...functions, ...later, ...many];

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
  const refusal = (caller: string, received: string) => ({
    name: "TypeError",
    message: `${caller}: sql must be a tagged-template client, like postgres(url), got ${received}`,
  });

  for (const { name, sql, received } of clients) {
    test(`is refused if it is ${name}`, async () => {
      await assert.rejects(ask(sql), refusal("ask", received));
      for (const { name, call } of functions) {
        await assert.rejects(call(sql as never), refusal(callerOf(name), received), name);
      }
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
    test(`is refused by ${name} even if there is nothing to ask, so that the first request finds the mistake`, async () => {
      await assert.rejects(call(undefined as never), refusal(name, "undefined"));
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
    readonly about: Function["about"];
    /** What was drawn from the generator for it. */
    readonly drawn: Uint8Array[];
  }

  /** The strings and values of each statement that there is. */
  async function sent(): Promise<Sent[]> {
    const all: Sent[] = [];
    for (const { name, statement, about, call } of [...asking, discarding]) {
      const statements: Pick<Sent, "strings" | "values">[] = [];
      const drawn = await drawing(() =>
        call((strings, ...values) => {
          if (nameOf(strings) === statement) statements.push({ strings, values });
          return Promise.resolve([]);
        }).catch(() => {})
      );
      // What follows a batch in which no call was answered is sent alone.
      assert.equal(statements.length, 1, name);
      const [{ strings, values }] = statements as [Sent];
      const calls = callsOf(strings, values);
      all.push({ name, strings, values, calls, about, drawn });
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
        // "true" is a word of SQL as well, and small numbers are parts of others.
        if (typeof value !== "string" || value.length < 5) continue;
        assert.ok(!text.includes(value), `${name}: ${value}`);
      }
    }
  });

  test("has values that are text and null only", async () => {
    for (const { name, values, calls } of await sent()) {
      for (const value of [...values, ...calls.flat()]) {
        assert.ok(value === null || typeof value === "string", `${name}: ${String(value)}`);
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
    const asked = (await sent()).map(({ strings }) => nameOf(strings));
    assert.deepEqual([...new Set(asked)].sort(), Object.keys(statements).sort());
  });

  test("names each column once, also in camel case, and none by a number", () => {
    for (const [name, { strings, columns }] of Object.entries(statements)) {
      const text = strings.join("$").replaceAll(/\([^()]*\)/g, "");
      const all = Array.from(text.slice(text.lastIndexOf("select ")).matchAll(/ as (\w+)/g));
      const names = all.map(([, column]) => column!.replaceAll("_", "").toLowerCase());
      assert.equal(new Set(names).size, names.length, name);
      assert.ok(names.every((it) => /^[a-z]+$/.test(it)), name);
      assert.ok(columns > 0, name);
    }
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
        const own = new Set(withoutNumber(values));
        assert.ok(own.has(mine.id) && own.has(hex(mine.digest)), name);
      }
    }
  });

  test("of a reused secret carries the id, and the instant of the proof that was evaluated", async () => {
    const reused = (await sent()).filter(({ strings }) => nameOf(strings) === "REVOKE_REUSED");
    assert.deepEqual(reused.map(({ values }) => [...new Set(withoutNumber(values))]), [
      [mine.id, String(AT)],
    ]);
  });

  test("of a rotation carries a fresh salt, and the digest of what that makes of my secret", async () => {
    const salts = new Set<string>();
    for (const { strings, values, drawn } of [...await sent(), ...await sent()]) {
      if (!/^ROTATE/.test(nameOf(strings))) continue;
      assert.equal(drawn.length, 1);
      const [salt] = drawn as [Uint8Array];
      assert.equal(salt.length, 16);
      const own = withoutNumber(values);
      assert.ok(own.includes(hex(sha256(derived(salt)))) && own.includes(hex(salt)));
      salts.add(hex(salt));
    }
    assert.equal(salts.size, 4);
  });

  test("of a reauthentication carries the digest of 32 fresh bytes, and nothing to derive them by", async () => {
    const digests = new Set<unknown>();
    for (const { name, values, drawn } of [...await sent(), ...await sent()]) {
      if (name !== "reauthenticateSession") continue;
      assert.deepEqual(drawn.map(({ length }) => length), [32]);
      const all = values.filter((value) => /^[\da-f]{64}$/.test(String(value)));
      const fresh = hex(sha256(drawn[0]!));
      assert.deepEqual(new Set(all), new Set([hex(mine.digest), fresh]));
      digests.add(fresh);
    }
    assert.equal(digests.size, 2);
  });

  test("takes $1 to $12 for its places", () => {
    const text = Array.from({ length: 12 }, (_, i) => `$${i + 1}`).join(",");
    assert.deepEqual([...statement(1, text).strings], ["", ...Array(11).fill(","), ""]);
  });

  const orders = [
    { name: "in order", text: "select $1, $2, $3", order: [1, 2, 3] },
    { name: "out of order", text: "select $3, $1, $2", order: [3, 1, 2] },
    { name: "repeated", text: "select $2, $2, $3, $2", order: [2, 2, 3, 2] },
    { name: "out of order and repeated", text: "select $3::text, $2, $3", order: [3, 2, 3] },
    { name: "left out, as a value is not needed", text: "select $4", order: [4] },
    {
      name: "of two digits",
      text: "$12 $2 $3 $4 $5 $6 $7 $8 $9 $10 $11",
      order: [12, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    },
    { name: "at the start and at the end", text: "$3 or $2", order: [3, 2] },
    { name: "side by side", text: "$3$2", order: [3, 2] },
    { name: "none", text: "select 1", order: [] },
    { name: "1, the call's own, among them and twice", text: "$1 $3 $1 $2", order: [1, 3, 1, 2] },
  ];
  for (const { name, text, order } of orders) {
    test(`sends each value to the place of its number, with numbers ${name}`, async () => {
      const numbered = statement(1, text);
      assert.deepEqual(numbered.order, order);
      const values = "bcdefghijkl".split("");
      let rebuilt = "";
      const sql: Sql = (strings, ...sent) => {
        rebuilt = strings.map((part, i) => part + (sent[i] ?? "")).join("");
        assert.equal(strings.length, sent.length + 1);
        return Promise.resolve([]);
      };
      await query({ caller: "ask", sql, queryTimeout: 5 }, numbered, values);
      const spelled = rebuilt.replace(/q\d+_\d+/g, "$1");
      assert.equal(
        spelled,
        text.replace(/\$(\d+)/g, (place, number) => values[number - 2] ?? place),
      );
    });
  }
});

/** What an error says of a result that the statement cannot have returned. */
const unexpected = (caller: string, rest: string) =>
  `${caller}: expected ${rest.replace(": ", " from the SQL client, got ")}`;

describe("a result", () => {
  const CALL = "CALL";
  const row = (a: string | null) => ({ call: CALL, a, b: "two" });

  /** Asks a client that gives this result, with the number of the call for CALL. */
  async function askFor(result: unknown, promised = true): Promise<unknown[]> {
    const fill = (it: unknown, number: string): unknown =>
      it === CALL
        ? number
        : Array.isArray(it)
        ? it.map((one) => fill(one, number))
        : Object.prototype.toString.call(it) === "[object Object]" && it !== null
        ? Object.fromEntries(
          Object.entries(it as object).map(([key, value]) => [key, fill(value, number)]),
        )
        : it;
    return await ask((_: unknown, ...values: unknown[]) => {
      const given = fill(result, numberOf(values));
      return promised ? Promise.resolve(given) : given;
    });
  }
  const good = [
    { name: "an array of rows", result: [row("1")], expected: [["1", "two"]] },
    { name: "{ rows }", result: { rows: [row("1")] }, expected: [["1", "two"]] },
    {
      name: "{ rows } beside more, as of pg",
      result: { rows: [], rowCount: 0, command: "SELECT" },
      expected: [],
    },
    {
      name: "an array with more on it, as of postgres.js",
      result: Object.assign([row("1")], { count: 1 }),
      expected: [["1", "two"]],
    },
    {
      name: "an array with holes, as of postgres.js after one that broke off",
      result: Object.assign([], { 2: row("1") }),
      expected: [["1", "two"]],
    },
    { name: "no rows", result: [], expected: [] },
    {
      name: "columns in upper case",
      result: [{ CALL, A: "1", B: "two" }],
      expected: [["1", "two"]],
    },
    {
      name: "columns that were renamed",
      result: [{ theCall: CALL, x: "1", y: "two" }],
      expected: [["1", "two"]],
    },
    {
      name: "rows as arrays",
      result: [[CALL, "1", "two"], [CALL, "2", "two"]],
      expected: [["1", "two"], ["2", "two"]],
    },
    { name: "a column of null", result: [row(null)], expected: [[null, "two"]] },
    {
      name: "several rows, in their order",
      result: [row("2"), row("1")],
      expected: [["2", "two"], ["1", "two"]],
    },
  ];
  for (const { name, result, expected } of good) {
    test(`is read from ${name}`, async () => {
      assert.deepEqual(await askFor(result), expected);
    });
  }

  test("is read from any thenable, and from a client that answers at once", async () => {
    const thenable = (_: unknown, ...values: unknown[]) => ({
      then: (resolve: (rows: unknown[]) => void) =>
        resolve([{ call: numberOf(values), a: "1", b: "two" }]),
    });
    assert.equal((await ask(thenable)).length, 1);
    assert.deepEqual(await askFor([row("1")], false), [["1", "two"]]);
  });

  const columns = "rows of 3 columns: ";
  const bad = [
    { name: "null", result: null, expected: "rows: null" },
    { name: "undefined", result: undefined, expected: "rows: undefined" },
    { name: "a number", result: 1, expected: "rows: number" },
    { name: "text", result: "[]", expected: "rows: string" },
    { name: "true", result: true, expected: "rows: boolean" },
    { name: "{}", result: {}, expected: "rows: an object" },
    { name: "{ rows: null }", result: { rows: null }, expected: "rows: an object" },
    { name: "{ rows: {} }", result: { rows: {} }, expected: "rows: an object" },
    { name: "a row of null", result: [null], expected: `${columns}0 columns` },
    { name: "a row of undefined", result: [undefined], expected: `${columns}0 columns` },
    { name: "a row that is a number", result: [1], expected: `${columns}0 columns` },
    { name: "a row that is text", result: ["abc"], expected: `${columns}0 columns` },
    { name: "a row without columns", result: [{}], expected: `${columns}0 columns` },
    {
      name: "a row with a column too few, as of a client that merges names",
      result: [{ call: CALL, a: "1" }],
      expected: `${columns}2 columns`,
    },
    {
      name: "a row with a column too many",
      result: [{ ...row("1"), c: "SECRET" }],
      expected: `${columns}4 columns`,
    },
    {
      name: "a column of undefined",
      result: [{ call: CALL, a: undefined, b: "two" }],
      expected: "columns of text: undefined",
    },
    {
      name: "a column that the client has parsed",
      result: [{ call: CALL, a: { SECRET: 1 }, b: "two" }],
      expected: "columns of text: an object",
    },
    {
      name: "a column that is a number",
      result: [{ call: CALL, a: 1, b: "two" }],
      expected: "columns of text: number",
    },
    { name: "a good row and a bad one", result: [row("1"), {}], expected: `${columns}0 columns` },
    ...[
      { name: "without a number", call: null },
      { name: "of another call", call: "q0" },
      { name: "of no call", call: "" },
    ].map(({ name, call }) => ({
      name: `a row ${name}`,
      result: [{ call, a: "SECRET", b: "two" }],
      expected: "its own row: another query's row",
    })),
    {
      name: "a good row and another call's",
      result: [row("1"), { call: "q0", a: "SECRET", b: "two" }],
      expected: "its own row: another query's row",
    },
  ];
  for (const { name, result, expected } of bad) {
    test(`is refused if it is ${name}`, async () => {
      await assert.rejects(askFor(result), (error: SessionError) => {
        assert.ok(error instanceof SessionError);
        assert.equal(error.code, "UNEXPECTED_RESULT");
        assert.equal(error.sqlstate, undefined);
        assert.equal(error.message, unexpected("ask", expected));
        assert.ok(!error.stack!.includes("SECRET"));
        return true;
      });
    });
  }

  test("is refused if it is an iterator", async () => {
    await assert.rejects(askFor([][Symbol.iterator]()), {
      code: "UNEXPECTED_RESULT",
      message: /^ask: expected rows from the SQL client, got an? /,
    });
  });
});

describe("a wrong row", () => {
  const other = createToken();
  const ANOTHER = "the session that was asked for: another row";

  const SESSION = "authenticatedAt createdAt data expiresAt id idleExpiresAt lastSeenAt " +
    "persistent userId username version";
  const REVOKED = "authenticatedAt createdAt data expiresAt id lastSeenAt " +
    "persistent revokedAt revokedReason userId username version";

  /** The functions that answer with one session, by the statement that it is read from. */
  const asked = asking.filter(({ statement }) =>
    /^(CREATE|INSERT|VALIDATE|ROTATE|ROTATE_DUE|REAUTHENTICATE|UPDATE|REVOKE)$/.test(statement)
  ).filter(({ name }) => name !== "createSession that replaces");

  const without = (column: string) => (row: Row) => ({ ...row, [column]: null });
  const as = (column: string, value: string) => (row: Row) => ({ ...row, [column]: value });
  const wrong: { name: string; rows: (row: Row) => Row[]; expected?: string }[] = [
    { name: "its row twice", rows: (row) => [row, row], expected: "one row: 2 rows" },
    {
      name: "its row and another's",
      rows: (row) => [row, { ...row, id: other.id }],
      expected: "one row: 2 rows",
    },
    {
      name: "the row of another id (oven-sh/bun #33665)",
      rows: (row) => [{ ...row, id: other.id }],
    },
    { name: "an id in upper case", rows: (row) => [{ ...row, id: String(row.id).toUpperCase() }] },
    ...[
      "id",
      "user_id",
      "user_id_type",
      "created",
      "authenticated",
      "last_seen",
      "expires",
      "persistent",
      "version",
      "data",
    ].map((column) => ({
      name: `a row without ${column}`,
      rows: (row: Row) => [without(column)(row)],
    })),
    ...[
      ["user_id_type", "integer"],
      ["created", "SECRET"],
      ["expires", ""],
      ["expires", "1e9"],
      ["last_seen", "NaN"],
      ["authenticated", " 1"],
      ["persistent", "t"],
      ["version", "one"],
      ["data", "SECRET"],
      ["data", `{"a":"SECR`],
      ["data", ""],
    ].map(([column, value]) => ({
      name: `a row whose ${column} is ${JSON.stringify(value)}`,
      rows: (row: Row) => [as(column!, value!)(row)],
    })),
  ];

  const sessionOf = (result: unknown) =>
    (result as object | null) !== null && "session" in (result as object)
      ? (result as { session: object | null }).session
      : result as object;

  const rowOf = (strings: TemplateStringsArray, values: unknown[]) =>
    rows[nameOf(strings)]!(values);

  for (const { name: function_, statement, call } of asked) {
    const caller = callerOf(function_);
    test(`is none for ${function_} if it is the row it asked for`, async () => {
      const result = await call((strings, ...values) => {
        assert.equal(nameOf(strings), statement);
        return answered(values, rowOf(strings, values));
      });
      const session = sessionOf(result)!;
      assert.equal((session as { username: string }).username, "ada");
      const keys = statement === "REVOKE" ? REVOKED : SESSION;
      assert.deepEqual(Object.keys(session).sort(), keys.split(" "));
    });

    for (const { name, rows, expected = ANOTHER } of wrong) {
      test(`throws in ${function_} if it is ${name}`, async () => {
        let thrown: unknown;
        const drawn = await drawing(() => {
          const answering: Sql = (strings, ...values) =>
            answered(values, ...rows(rowOf(strings, values)));
          return call(answering).catch((error) => thrown = error);
        });
        assert.ok(thrown instanceof SessionError, String(thrown));
        assert.equal(thrown.code, "UNEXPECTED_RESULT");
        assert.equal(thrown.message, unexpected(caller, expected));
        const hidden = [...secretsOf(drawn), hex(mine.digest), other.id, hex(other.digest)];
        showsNone(thrown, [...hidden, "SECRET", "MARKER", "ada"], function_);
      });
    }

    const more = {
      VALIDATE: ["clock", "is_revoked", "is_rotated", "is_standby", "is_current"],
      ROTATE: ["clock", "username"],
      ROTATE_DUE: ["clock", "username"],
      REAUTHENTICATE: ["clock", "username"],
      CREATE: ["username"],
      INSERT: ["username"],
      UPDATE: ["username"],
      REVOKE: ["revoked", "reason"],
    }[statement]!;
    if (!/^(VALIDATE|REVOKE)$/.test(statement)) {
      for (const value of [null, "false"]) {
        test(`throws in ${function_} if it is a row that a trigger has changed, told by ${value}`, async () => {
          const answering: Sql = (strings, ...values) =>
            answered(values, { ...rowOf(strings, values), is_intact: value });
          await assert.rejects(call(answering), {
            name: "SessionError",
            code: "UNEXPECTED_RESULT",
            message: `${caller}: a trigger changed what was written to coatcheck.sessions`,
          });
        });
      }
    }
    for (const column of more) {
      test(`throws in ${function_} if it is a row without ${column}, and opens nothing`, async () => {
        const answering: Sql = (strings, ...values) =>
          answered(values, without(column)(rowOf(strings, values)));
        await assert.rejects(call(answering), {
          name: "SessionError",
          code: "UNEXPECTED_RESULT",
          message: unexpected(caller, ANOTHER),
        });
      });
    }
  }

  test("is none for validateSession if the user is gone: that is a reason", async () => {
    const answering: Sql = (_, ...values) => answered(values, { ...state(), username: null });
    const { session, reason } = await validateSession(headers, answering);
    assert.deepEqual([session, reason], [null, "user"]);
  });

  test("is none for no rows: the user was not found, and no cookie is handed out", async () => {
    for (const rows of [[], { rows: [] }]) {
      const client = () => Promise.resolve(rows);
      for (const call of [createSession("ada", client), getUserId("ada", client)]) {
        await assert.rejects(call, { name: "SessionError", code: "USER_NOT_FOUND" });
      }
    }
  });

  test("throws in createSession if it is the row of the session that this one replaces", async () => {
    const answering: Sql = (_, ...values) =>
      answered(values, { ...session(), is_intact: "true", is_citus: "false" });
    await assert.rejects(createSession(USERNAME, answering, { data, replaces: headers }), {
      name: "SessionError",
      code: "UNEXPECTED_RESULT",
      message: unexpected("createSession", ANOTHER),
    });
  });

  const creations: { name: string; call: (sql: Sql) => Promise<unknown> }[] = [
    { name: "createSession", call: (sql) => createSession(USERNAME, sql) },
    { name: "createGuestSession", call: (sql) => createGuestSession(sql) },
    { name: "insertSession", call: (sql) => insertSession(record, sql) },
  ];
  for (const { name, call } of creations) {
    test(`is none for ${name} if Citus has not committed what it reports, and the session is discarded`, async () => {
      const sent: string[] = [];
      const answering: Sql = (strings, ...values) => {
        const statement = nameOf(strings);
        sent.push(statement);
        return statement === "VALIDATE"
          ? Promise.resolve([])
          : answered(values, { ...rowOf(strings, values), is_citus: "true" });
      };
      await assert.rejects(call(answering), {
        name: "SessionError",
        code: "STORE_UNAVAILABLE",
        message: `${name}: the database has not committed the session; try again`,
      });
      assert.deepEqual(sent.slice(1), ["VALIDATE", "DISCARD"]);
    });
  }

  // With Bun.SQL before 1.4 two concurrent calls could exchange their results.
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
    test(`throws in both if ${name} have exchanged their results`, async () => {
      const numbers: string[] = [];
      const asked = Promise.withResolvers<void>();
      const client = (own: number): Sql => async (strings, ...values) => {
        numbers.push(numberOf(values));
        if (numbers.length === 2) asked.resolve();
        await asked.promise;
        return [{ call: numbers[own], ...rowOf(strings, values) }];
      };
      const [one, two] = calls;
      for (const result of await Promise.allSettled([one(client(1)), two(client(0))])) {
        assert.equal(result.status === "rejected" && result.reason.code, "UNEXPECTED_RESULT");
      }
    });
  }

  for (
    const { name, call } of asking.filter(({ statement }) =>
      /^(REAUTH|UPDATE|ROTATE)/.test(statement)
    )
  ) {
    if (name === "validateSession that rotates") continue;
    test(`is retried once in ${name}, and grants nothing, if a live session was not written to`, async () => {
      const sent: string[] = [];
      const answering: Sql = (strings, ...values) => {
        sent.push(nameOf(strings));
        return /^EXPLAIN/.test(sent.at(-1)!)
          ? answered(values, rowOf(strings, values))
          : Promise.resolve([]);
      };
      await assert.rejects(call(answering), {
        name: "SessionError",
        code: "STORE_UNAVAILABLE",
        message: `${name}: other requests changed the session at the same time; try again`,
      });
      assert.equal(sent.length, 4);
      assert.deepEqual(sent.slice(0, 2), sent.slice(2));
    });
  }

  describe("with a salt", () => {
    const salt = crypto.getRandomValues(new Uint8Array(16));
    const current = hex(sha256(derived(salt)));
    const rotated = { is_rotated: "true", is_current: "false" };
    const calls = [
      {
        name: "rotateSession",
        call: (sql: Sql) => rotateSession(headers, after([nothing], sql)),
      },
      {
        name: "validateSession",
        call: (sql: Sql) => validateSession(headers, after([changed(rotated)], sql)),
      },
    ];
    for (const { name: function_, call } of calls) {
      // A use is recorded then, which finds that nothing is due.
      const ask = (heir: Row) =>
        call((strings, ...values) => {
          if (nameOf(strings) === "TOUCH") return Promise.resolve([]);
          return answered(values, { ...state(rotated), ...heir });
        });
      const misfit = {
        code: "UNEXPECTED_RESULT",
        message: unexpected(function_, "a salt that derives the current secret: another one"),
      };

      test(`is none for ${function_} if it derives the current secret: that is handed out`, async () => {
        const { headers } = await ask({ digest: current, salt: hex(salt) });
        const [, token] = headers.get("set-cookie")!.match(/^__Host-session=([^;]+); /)!;
        assert.equal(token, `${mine.id}.${base64url(derived(salt))}`);
      });

      const misfits = [
        { name: "of another rotation", digest: current, salt: hex(sha256(salt)).slice(32) },
        { name: "of zeros", digest: current, salt: "0".repeat(32) },
        { name: "cut short", digest: current, salt: hex(salt).slice(2) },
        { name: "with a byte more", digest: current, salt: `${hex(salt)}00` },
        { name: "for a current secret that is another", digest: hex(salt), salt: hex(salt) },
        {
          name: "for a current digest in upper case",
          digest: current.toUpperCase(),
          salt: hex(salt),
        },
        { name: "for the secret that was presented", digest: hex(mine.digest), salt: hex(salt) },
        { name: "without a current digest", digest: null, salt: hex(salt) },
        { name: "that is the new digest itself", digest: current, salt: current },
        { name: "that is no hexadecimal text", digest: current, salt: "SECRET".padEnd(32, "-") },
        { name: "that is empty", digest: current, salt: "" },
        { name: "of an odd length", digest: current, salt: hex(salt).slice(1) },
        { name: "with a line feed", digest: current, salt: `${hex(salt)}\n` },
        { name: "in base64url", digest: current, salt: base64url(salt) },
      ];
      for (const { name, ...heir } of misfits) {
        test(`throws in ${function_} if it is one ${name}, and hands out no cookie`, async () => {
          await assert.rejects(ask(heir), (error: SessionError) => {
            assert.deepEqual([error.code, error.message], [misfit.code, misfit.message]);
            showsNone(error, [...secretsOf([salt]), current, "SECRET"], name);
            return true;
          });
        });
      }
    }
  });

  const named = (name: string) => asking.find((it) => it.name === name)!.call;
  const several: { name: string; function_: string; rows: Row[]; expected?: string }[] = [
    {
      function_: "listSessions",
      name: "a session without an id",
      rows: [without("id")(session())],
    },
    {
      function_: "listSessions",
      name: "a session, and one without its user",
      rows: [session(), without("username")(session())],
    },
    {
      function_: "revokeSessions",
      name: "a session, and one without its end",
      rows: [revoked(), without("revoked")(revoked())],
    },
    ...["sweepSessions", "sweepSessions in its second batch"].flatMap((function_) =>
      [
        { name: "no row", rows: [] },
        { name: "no number of rows", rows: [{ swept: null, blocks: "1" }] },
        { name: "a fraction", rows: [{ swept: "0.5", blocks: "1" }] },
        { name: "words", rows: [{ swept: "SECRET", blocks: "1" }] },
      ].map((it) => ({ ...it, function_, expected: "a number of rows or blocks: something else" }))
    ),
    {
      function_: "sweepSessions",
      name: "blocks of null",
      rows: [{ swept: "1", blocks: null }],
      expected: "a number of rows or blocks: something else",
    },
    {
      function_: "sweepSessions",
      name: "its row twice",
      rows: [{ swept: "1", blocks: "1" }, { swept: "1", blocks: "1" }],
      expected: "one row: 2 rows",
    },
    {
      function_: "getUserId",
      name: "two rows",
      rows: [rows.FIND_USER!([]), rows.FIND_USER!([])],
      expected: "one row: 2 rows",
    },
    {
      function_: "getUserId",
      name: "a row without a key",
      rows: [{ user_id: null, user_id_type: "text" }],
    },
    {
      function_: "getUserId",
      name: "a row without the type of its key",
      rows: [{ user_id: "1", user_id_type: null }],
    },
    {
      function_: "createSession with maxSessions",
      name: "a revoked session without its user",
      rows: [without("user_id")(key())],
    },
    {
      function_: "validateSession that touches",
      name: "the row of another session",
      rows: [{ id: other.id, last_seen: String(AT), is_intact: "true" }],
    },
    {
      function_: "validateSession that touches",
      name: "a row without its instant",
      rows: [{ id: mine.id, last_seen: null, is_intact: "true" }],
    },
  ];
  for (const { function_, name, rows, expected = ANOTHER } of several) {
    test(`throws in ${function_} if it is ${name}`, async () => {
      await assert.rejects(
        named(function_)((_, ...values) => answered(values, ...rows)),
        (error: SessionError) => {
          assert.ok(error instanceof SessionError, String(error));
          assert.equal(error.code, "UNEXPECTED_RESULT");
          assert.equal(error.message, unexpected(callerOf(function_), expected));
          showsNone(error, [mine.id, hex(mine.digest), other.id, "MARKER", "ada"], function_);
          return true;
        },
      );
    });
  }

  test("is none for listSessions and revokeSessions if it is the rows they asked for", async () => {
    const ask = (function_: string) =>
      named(function_)((strings, ...values) => answered(values, rowOf(strings, values)));
    const sessions = await ask("listSessions") as object[];
    assert.deepEqual(sessions.map((one) => Object.keys(one).sort()), [SESSION.split(" ")]);
    const ended = await ask("revokeSessions") as object[];
    assert.deepEqual(ended.map((one) => Object.keys(one).sort()), [REVOKED.split(" ")]);
    assert.deepEqual(await ask("sweepSessions"), { swept: 2 });
  });
});

describe("a failing client", () => {
  const unavailable = (received: string) => `ask: the database is unreachable (${received})`;
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
    // Five characters of a client's own, which are no class of PostgreSQL's: Prisma's, Oracle's, ODBC's.
    ...["P1001", "P2010", "P2024", "P2028", "P3009"].map((code) => ({
      name: `Prisma's code ${code}, which is no SQLSTATE`,
      error: Object.assign(new Error("SECRET"), { code, clientVersion: "7.10.0", meta: {} }),
      code: "STORE_UNAVAILABLE" as const,
      message: unavailable(code),
    })),
    ...["HY000", "77777", "S1T00", "1A2B3"].map((code) => ({
      name: `the code ${code}, of no class of PostgreSQL's`,
      error: Object.assign(new Error("SECRET"), { code }),
      code: "STORE_UNAVAILABLE" as const,
      message: unavailable("an instance of Error"),
    })),
    {
      name: "five letters of no class, in errno without a severity",
      error: Object.assign(new Error("SECRET"), { code: "ERR_OTHER", errno: "QUOTA" }),
      code: "STORE_UNAVAILABLE",
      message: unavailable("ERR_OTHER"),
    },
    // @prisma/adapter-pg 7: some errors are told by their kind, the others with all that pg's error has.
    ...([
      {
        cause: { originalCode: "42P01", originalMessage: "SECRET", kind: "TableDoesNotExist" },
        code: "SCHEMA_MISSING",
      },
      {
        cause: {
          originalCode: "40001",
          originalMessage: "SECRET",
          kind: "TransactionWriteConflict",
        },
        code: "STORE_UNAVAILABLE",
      },
      {
        cause: {
          originalCode: "QUOTA",
          originalMessage: "SECRET",
          kind: "postgres",
          code: "QUOTA",
          severity: "ERROR",
          message: "SECRET",
          detail: "SECRET",
        },
        code: "STORE_REJECTED",
      },
    ] as const).map(({ cause, code }) => ({
      name: `Prisma's P2010 with ${cause.originalCode} of the driver adapter`,
      error: Object.assign(new Error("SECRET"), {
        code: "P2010",
        meta: { driverAdapterError: Object.assign(new Error("SECRET"), { cause }) },
      }),
      code,
      sqlstate: cause.originalCode,
      message: code === "SCHEMA_MISSING"
        ? "ask: the schema coatcheck is missing or incomplete (SQLSTATE 42P01); run migrate(sql)"
        : `ask: the database rejected the statement (SQLSTATE ${cause.originalCode})`,
    })),
    {
      name: "Prisma's P2010 with a driver adapter that reaches no server",
      error: Object.assign(new Error("SECRET"), {
        code: "P2010",
        meta: {
          driverAdapterError: Object.assign(new Error("SECRET"), {
            cause: { kind: "DatabaseNotReachable", host: "SECRET", port: 5432 },
          }),
        },
      }),
      code: "STORE_UNAVAILABLE",
      message: unavailable("P2010"),
    },
    {
      name: "Prisma's P2010 with a code of its engine, before version 7",
      error: Object.assign(new Error("SECRET"), {
        code: "P2010",
        meta: { code: "42501", message: "ERROR: SECRET" },
      }),
      code: "STORE_REJECTED",
      sqlstate: "42501",
      message: "ask: the database rejected the statement (SQLSTATE 42501)",
    },
    ...[
      { code: "QUOTA", severity: "ERROR" },
      { code: "ERR_POSTGRES_SERVER_ERROR", errno: "QUOTA", severity: "ERROR" },
    ].map((fields) => ({
      name: `an app's own SQLSTATE of five letters, with ${Object.keys(fields)}`,
      error: Object.assign(new Error("SECRET"), fields),
      code: "STORE_REJECTED" as const,
      sqlstate: "QUOTA",
      message: "ask: the database rejected the statement (SQLSTATE QUOTA)",
    })),
    ...([
      { name: "no schema", sqlstate: "3F000", code: "SCHEMA_MISSING" },
      { name: "no table", sqlstate: "42P01", code: "SCHEMA_MISSING" },
      { name: "no column", sqlstate: "42703", code: "SCHEMA_MISSING" },
      { name: "no view of users", sqlstate: "42704", code: "SCHEMA_MISSING" },
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
      { name: "a disk that fails", sqlstate: "58030", code: "STORE_UNAVAILABLE" },
      { name: "an internal error", sqlstate: "XX000", code: "STORE_UNAVAILABLE" },
    ] as const).flatMap(({ name, sqlstate, code }) => {
      const message = code === "SCHEMA_MISSING"
        ? `ask: the schema coatcheck is missing or incomplete (SQLSTATE ${sqlstate}); run migrate(sql)`
        : `ask: the database rejected the statement (SQLSTATE ${sqlstate})`;
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

  test("knows the SQLSTATE of every class of PostgreSQL 18, and of its own migrations", async () => {
    const classes =
      "00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B " +
      "3D 3F 40 42 44 53 54 55 57 58 F0 HV P0 XX CC";
    // 10 and 20 have one code each, and 10054 is an error of Windows' sockets.
    for (const code of ["10608", "20000", ...classes.split(" ").map((it) => `${it}00A`)]) {
      await assert.rejects(ask(() => Promise.reject(Object.assign(new Error(), { code }))), {
        name: "SessionError",
        sqlstate: code,
      });
    }
  });

  test("tells the refusal of a statement, and not the aborted transaction after it", async () => {
    const aborted = Object.assign(new Error(), { code: "25P02" });
    const client = after([() => notSupported, () => aborted], () => assert.fail("sent more"));
    await assert.rejects(revokeSessions({ userId }, client), {
      code: "STORE_REJECTED",
      sqlstate: "0A000",
    });
    unsupported.delete(module.REVOKE_MANY);
  });

  test("takes no number of another system for an SQLSTATE", async () => {
    for (const code of ["10054", "10060", "11001", "20001"]) {
      await assert.rejects(ask(() => Promise.reject(Object.assign(new Error(), { code }))), {
        code: "STORE_UNAVAILABLE",
      });
    }
  });

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
      for (const { name: function_, call } of [...asking, discarding]) {
        const sent: string[] = [];
        const failing: Sql = (strings, ...values) => {
          const all = [...values, ...callsOf(strings, values).flat()];
          // Small numbers stand in every stack.
          sent.push(...all.filter((it): it is string => typeof it === "string" && it.length > 4));
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
        showsNone(thrown, secrets, function_);
      }
    });
  }

  test("has no property sqlstate where the database sent none, which a log would show as undefined", async () => {
    await assert.rejects(ask(() => Promise.reject(new Error())), (error: SessionError) => {
      assert.ok(!("sqlstate" in error));
      return true;
    });
  });

  test("throws UNEXPECTED_RESULT if a look-up of one row finds two, whatever it was for", async () => {
    const failing: Sql = () => Promise.reject(Object.assign(new Error(), { code: "21000" }));
    for (const { name, call } of asking) {
      await assert.rejects(call(failing), {
        name: "SessionError",
        code: "UNEXPECTED_RESULT",
        message: `${callerOf(name)}: coatcheck.users has more than one row for the user; ` +
          "make id and username unique in it",
      }, name);
    }
  });

  test("is told without a code if its code cannot be read", async () => {
    const error = new Error("SECRET");
    Object.defineProperty(error, "code", {
      get: () => {
        throw new Error("SECRET");
      },
    });
    const failing: Sql = () => Promise.reject(error);
    for (const { name, call } of asking) {
      await assert.rejects(call(failing), {
        code: "STORE_UNAVAILABLE",
        message: `${callerOf(name)}: the database is unreachable (an instance of Error)`,
      }, name);
    }
  });

  test("throws USER_NOT_FOUND for what no user can be, and only if one was asked for", async () => {
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
        const needsUser = name === "createGuestSession" && sqlstate === "23502";
        const expected = needsUser
          ? "SCHEMA_MISSING"
          : about === "a user"
          ? code
          : "STORE_REJECTED";
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
    const message = (name: string) =>
      `${callerOf(name)}: the database did not answer within queryTimeout, 1 s`;
    await Promise.all(
      asking.map(({ name, call }) =>
        assert.rejects(call(never, { queryTimeout: 1 }), {
          name: "SessionError",
          code: "STORE_TIMEOUT",
          message: message(name),
        })
      ),
    );
    const seconds = (performance.now() - start) / 1000;
    assert.ok(seconds > 0.9 && seconds < 30, `${seconds} s`);

    // A sign-in whose second statement fails discards the new session.
    const discards = later.filter(({ name, about }) =>
      callerOf(name) === "createSession" && about !== "a user"
    );
    assert.equal(late.length, asking.length + discards.length);
    for (const [i, { resolve, reject }] of late.entries()) {
      if (i % 2 === 0) reject(new Error("late"));
      else resolve([{ call: "q0" }]);
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
      setTimeout: (run: () => void, ms?: number) => {
        const timer = setTimeout(() => {
          running.delete(timer);
          run();
        }, ms);
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
    // Four deadlines, and two turns of the event loop after a lost connection.
    assert.equal(started, 6);
    assert.equal(running.size, 0);
  });
});
