/**
 * The conformance suite: tests that check whether coatcheck works with your SQL client.
 *
 * Run it if you write an adapter, or if your client is not among those that coatcheck is tested with.
 *
 * @example With bun:test. Vitest and Jest have the same two functions; node:test calls the second one `after`
 * ```ts ignore
 * import { afterAll, test } from "bun:test";
 * import { conformance } from "coatcheck/conformance";
 * import postgres from "postgres";
 *
 * conformance({
 *   test,
 *   afterAll,
 *   open() {
 *     const sql = postgres(process.env.EMPTY_DATABASE_URL!);
 *     return { sql, begin: (run) => sql.begin(run), close: () => sql.end() };
 *   },
 * });
 * ```
 *
 * @module
 */

import {
  batched,
  configure,
  createGuestSession,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  migrate,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  SessionError,
  type Sql,
  type SqlValue,
  sweepSessions,
  updateSession,
  validateSession,
} from "./mod.ts";

/** A SQL client to test. */
export interface Client {
  /** The client, as the functions get it. */
  readonly sql: Sql;
  /**
   * Runs a function in a transaction, with the client of that transaction, and rolls back what throws.
   * Unset: the client has no transactions, and their tests are skipped.
   */
  readonly begin?: (run: (sql: Sql) => Promise<void>) => PromiseLike<unknown>;
  /** Closes the client, after the last test. */
  readonly close?: () => unknown;
}

/** Options of {@linkcode conformance}: a test framework, and a client. */
export interface ConformanceOptions {
  /** Registers a test. The tests run one after the other. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
  /** Registers a function that runs after them. */
  readonly afterAll: (run: () => Promise<void>) => unknown;
  /**
   * Creates the client, once. Its database must be empty, and its role must be allowed to create schemas: the
   * tests create `coatcheck` and `coatcheck_conformance`, and drop both at the end.
   */
  readonly open: () => Client | Promise<Client>;
}

/**
 * Registers the tests of a client: its parameters, rows, errors and transactions, and every function of
 * coatcheck through it.
 *
 * A client that passes works with coatcheck. The tests take about two seconds, one of them for a timeout.
 *
 * @param options The two functions of a test framework, and the function that creates the client.
 */
export function conformance({ test, afterAll, open }: ConformanceOptions): void {
  let opened: Promise<Client> | undefined;
  const ready = (): Promise<Client> => opened ??= prepare(open);
  for (const [name, run] of Object.entries({ ...CLIENT, ...FUNCTIONS })) {
    test(name, async () => await run(await ready()));
  }
  afterAll(async () => {
    const client = await opened?.catch(() => undefined);
    if (!client) return;
    try {
      await drop(client.sql);
    } finally {
      await client.close?.();
    }
  });
}

type Claims = Readonly<Record<string, (client: Client) => Promise<void>>>;

// ── The client ───────────────────────────────────────────────────────────────────────────────────

/** 240 KB that no cut at a power of two leaves intact: data takes up to 128 KB, a batch more. */
const LONG = "ÅØ𝒳 \\ \" ' ".repeat(16_384);

/** Parameters, the type that the statement casts them to, and their text in PostgreSQL. */
const PARAMETERS: readonly (readonly [value: SqlValue, type: string, text: string | null])[] = [
  ...[
    "",
    "ada",
    "Å ø 漢字 🔐 e\u0301 \u2028 \ufeff \uffff",
    `' '' " \\ \\' \\\\ \\n \\x41 E'\\x41' $$ $body$`,
    "? ?? ?1 $1 $2 ${3} :name ::text @p %s %1$s {0} #{x} {{y}}",
    "'; drop schema coatcheck_conformance cascade; --",
    "-- /* */ select 1; begin; commit;",
    "a\tb\nc\r\nd\u0001\u007f",
    " a  b ",
    "\u00a0a\u00a0",
    "a%62+c &amp; <b>",
    "007",
    "1e3",
    "true",
    "null",
    "NULL",
    "NaN",
    "2026-01-31T12:00:00.000Z",
    "{a,b}",
    "[1,2]",
    `{"a":[1,"b",null]}`,
    "(0,0)",
    LONG,
  ].map((text) => [text, "text", text] as const),
  [0, "integer", "0"],
  [-1, "integer", "-1"],
  [2_147_483_647, "integer", "2147483647"],
  [2_592_000, "double precision", "2592000"],
  [0.1, "double precision", "0.1"],
  [-1e-7, "double precision", "-1e-07"],
  [9_007_199_254_740_991, "bigint", "9007199254740991"],
  [true, "boolean", "true"],
  [false, "boolean", "false"],
  [null, "text", null],
  [null, "integer", null],
  [null, "boolean", null],
  ["00000000-0000-4000-8000-00000000000a", "uuid", "00000000-0000-4000-8000-00000000000a"],
];

/** Errors of PostgreSQL, and the code that they must have through every client. */
const REFUSALS = [
  { sqlstate: "21000", code: "UNEXPECTED_RESULT" },
  { sqlstate: "22001", code: "STORE_REJECTED" },
  { sqlstate: "22012", code: "STORE_REJECTED" },
  { sqlstate: "23503", code: "STORE_REJECTED" },
  { sqlstate: "23505", code: "STORE_REJECTED" },
  { sqlstate: "23514", code: "STORE_REJECTED" },
  { sqlstate: "42501", code: "STORE_REJECTED" },
  { sqlstate: "P0001", code: "STORE_REJECTED" },
  { sqlstate: "QUOTA", code: "STORE_REJECTED" },
  { sqlstate: "3F000", code: "SCHEMA_MISSING" },
  { sqlstate: "42P01", code: "SCHEMA_MISSING" },
  { sqlstate: "42703", code: "SCHEMA_MISSING" },
  { sqlstate: "57014", code: "STORE_TIMEOUT" },
  { sqlstate: "55P03", code: "STORE_TIMEOUT" },
  { sqlstate: "08006", code: "STORE_UNAVAILABLE" },
  { sqlstate: "40001", code: "STORE_UNAVAILABLE" },
  { sqlstate: "40P01", code: "STORE_UNAVAILABLE" },
  { sqlstate: "53300", code: "STORE_UNAVAILABLE" },
  { sqlstate: "57P01", code: "STORE_UNAVAILABLE" },
  { sqlstate: "25006", code: "STORE_UNAVAILABLE" },
  { sqlstate: "58030", code: "STORE_UNAVAILABLE" },
  { sqlstate: "XX000", code: "STORE_UNAVAILABLE" },
] as const;

/** The message of an error of PostgreSQL, as validateSession throws it. */
function messageOf(code: string, sqlstate: string): string {
  if (code === "UNEXPECTED_RESULT") {
    return "validateSession: coatcheck.users has more than one row for the user; " +
      "make id and username unique in it";
  }
  return code === "SCHEMA_MISSING"
    ? `validateSession: the schema coatcheck is missing or incomplete (SQLSTATE ${sqlstate}); run migrate(sql)`
    : `validateSession: the database rejected the statement (SQLSTATE ${sqlstate})`;
}

const CLIENT: Claims = {
  "returns rows of text and null, with their columns in order": async ({ sql }) => {
    const rows = await inTime(
      sql`select n.call, n.id, n.reason, n.call as last_seen_at, null::text as "userId"
        from (values ('one', 'a', null), ('two', null, '')) n (call, id, reason) order by n.call`,
    );
    same("the rows", cellsOf(rows), [["one", "a", null, "one", null], [
      "two",
      null,
      "",
      "two",
      null,
    ]]);
    same("the rows", await all(sql`select 'one'::text as json where false`), []);
  },

  "returns a thousand rows in their order": async ({ sql }) => {
    const rows = await all(sql`select n::text as json from generate_series(1, 1000) n order by n`);
    same("the rows", rows, Array.from({ length: 1000 }, (_, n) => String(n + 1)));
  },

  "returns JSON as text, and does not parse it": async ({ sql }) => {
    const text = JSON.stringify({ a: 1, b: [null, true, "ä\\\"'"], c: 1e21 });
    same("JSON", await all(sql`select ${text}::text as json`), [text]);
  },

  "sends parameters as values, and never as SQL text": async ({ sql }) => {
    for (const [value, type, text] of PARAMETERS) {
      same(`${type} ${spell(value).slice(0, 60)}`, await all(tag(sql, type, value)), [text]);
    }
    // Read and written in the same wrong encoding, text comes back as it went.
    const point = tag(sql, "text", "🔐", "select ascii(", ")::text as json");
    same("the code point of 🔐", await all(point), ["128272"]);
    const [users] = await all(sql`select count(*)::text from coatcheck_conformance.users`);
    same("the users", users, "4");
  },

  "sends twelve parameters in their order, two of them equal": async ({ sql }) => {
    const rows = await all(
      sql`select concat_ws(',', ${1}::integer, ${"b"}::text, ${true}::boolean, ${null}::text, ${5}::integer,
        ${"f"}::text, ${7}::integer, ${"b"}::text, ${9}::integer, ${10}::integer, ${11}::integer,
        ${"l"}::text) as json`,
    );
    same("the parameters", rows, ["1,b,t,5,f,7,b,9,10,11,l"]);
  },

  "sends the same statement 50 times, each time with another parameter": async ({ sql }) => {
    for (let n = 0; n < 50; n++) {
      same("the rows", await all(tag(sql, "text", `n${n}`)), [`n${n}`]);
    }
  },

  "returns to each of 200 concurrent calls its own rows": async ({ sql }) => {
    const values = Array.from({ length: 200 }, (_, n) => n);
    const answers = await Promise.all(
      values.map(async (n) => await all(n % 2 ? tag(sql, "integer", n) : tag(sql, "text", `${n}`))),
    );
    same("the rows", answers, values.map((n) => [`${n}`]));
  },

  "rejects with PostgreSQL's errors, as the same class, code and message": async (
    { sql },
  ) => {
    for (const { sqlstate, code } of REFUSALS) {
      // A block takes no parameters, so the code is part of its text.
      const refused = once(
        sql,
        `do $$ begin raise exception using errcode = '${sqlstate}'; end $$`,
      );
      await rejects(() => validateSession(stranger(), refused), {
        code,
        ...(code !== "UNEXPECTED_RESULT" && { sqlstate }),
        message: messageOf(code, sqlstate),
      });
    }
    const texts = {
      "selekt 1": "42601",
      "select nothing": "42703",
      "select 1 / 0": "22012",
      "select (1 / (3 - n))::text as json from generate_series(1, 5) n": "22012",
      // The error comes at the commit, after the statement.
      "insert into coatcheck_conformance.deferred values (1), (1)": "23505",
    };
    for (const [text, sqlstate] of Object.entries(texts)) {
      const code = sqlstate === "42703" ? "SCHEMA_MISSING" : "STORE_REJECTED";
      await rejects(() => validateSession(stranger(), once(sql, text)), { code, sqlstate });
    }
  },

  "returns rows to the calls after and beside one that fails": async ({ sql }) => {
    const calls = Array.from({ length: 40 }, async (_, n) => {
      if (n % 4) return await all(tag(sql, "integer", n));
      return await all(tag(sql, "integer", `not ${n}`)).catch(() => ["rejected"]);
    });
    const expected = calls.map((_, n) => [n % 4 ? `${n}` : "rejected"]);
    same("the rows", await Promise.all(calls), expected);
  },

  "keeps what calls beside one that fails have written": async ({ sql }) => {
    const requests = await Promise.all(Array.from({ length: 8 }, () => ada(sql)));
    await Promise.all(requests.flatMap((request) => [
      revokeSession(request, sql),
      rejects(() => listSessions("no number", sql), { code: "USER_NOT_FOUND" }),
    ]));
    const results = await Promise.all(requests.map((request) => validateSession(request, sql)));
    same("the reasons", results.map(({ reason }) => reason), requests.map(() => "revoked"));
  },

  "commits a transaction": async ({ sql, begin }) => {
    if (!begin) return;
    const requests: Headers[] = [];
    await begin(async (transaction) => {
      const { session, headers } = await createSession("ada", transaction);
      requests.push(presenting(headers));
      same("the session", (await validateSession(requests[0]!, transaction)).session, session);
      await updateSession(requests[0]!, { seen: true }, transaction);
    });
    const { session } = await validateSession(requests[0]!, sql);
    same("its data", session?.data, { seen: true });
  },

  "rolls back a transaction, and throws what its function threw": async ({ sql, begin }) => {
    if (!begin) return;
    const before = await ada(sql);
    const requests: Headers[] = [];
    await rollBack(begin, async (transaction) => {
      requests.push(await ada(transaction));
      await revokeSession(before, transaction);
      same("the reason", (await validateSession(before, transaction)).reason, "revoked");
    });
    same("the reason", (await validateSession(requests[0]!, sql)).reason, "unknown");
    same("the user", (await validateSession(before, sql)).session?.username, "ada");
  },

  "rejects a transaction that fails at its commit": async ({ begin }) => {
    if (!begin) return;
    const outcome = await begin(async (transaction) => {
      await all(transaction`insert into coatcheck_conformance.deferred values (1), (1)`);
    }).then(() => "resolved", () => "rejected");
    same("the transaction", outcome, "rejected");
  },

  "rejects every call in a failed transaction, and runs the next transaction": async (
    { sql, begin },
  ) => {
    if (!begin) return;
    const request = await ada(sql);
    await rollBack(begin, async (transaction) => {
      await all(transaction`select 1 / 0`).catch(() => {});
      await rejects(() => validateSession(request, transaction), {
        code: "STORE_REJECTED",
        sqlstate: "25P02",
      });
    });
    await begin(async (transaction) => {
      same("the user", (await validateSession(request, transaction)).session?.username, "ada");
    });
  },

  "runs concurrent calls in a transaction": async ({ begin }) => {
    if (!begin) return;
    await begin(async (transaction) => {
      const names = ["ada", "grace", "ada", "grace"];
      const calls = await Promise.all(names.map((name) => createSession(name, transaction)));
      same("the users", calls.map(({ session }) => session.username), names);
    });
  },

  "keeps what was written outside a transaction that is rolled back": async (
    { sql, begin },
  ) => {
    if (!begin) return;
    const request = await ada(sql);
    const begun = signal();
    const done = signal();
    const transaction = rollBack(begin, async (transaction) => {
      await ada(transaction);
      begun.give();
      await done.given;
    });
    await Promise.race([begun.given, transaction]);
    const outside = Promise.all([createSession("grace", sql), revokeSession(request, sql)]);
    // A database with one connection runs them afterwards.
    await Promise.race([outside, new Promise((resolve) => setTimeout(resolve, 200))]);
    done.give();
    await transaction;
    const [{ headers }] = await outside;
    const { session } = await validateSession(presenting(headers), sql);
    same("the user", session?.username, "grace");
    same("the reason", (await validateSession(request, sql)).reason, "revoked");
  },

  "releases its connections after 30 transactions that are rolled back": async (
    { sql, begin },
  ) => {
    if (!begin) return;
    for (let n = 0; n < 30; n++) {
      await rollBack(begin, async (transaction) => {
        await getUserId("ada", transaction);
      });
    }
    same("the key", await getUserId("ada", sql), 1);
  },

  "is abandoned at queryTimeout, and returns rows again later": async ({ sql }) => {
    // A database in this process blocks it while it works, so that no timer can fire.
    let hasFired = false;
    const timer = setTimeout(() => hasFired = true, 500);
    await show(sql, "username <> 'grace' or pg_sleep(1.5) is not null");
    const late = await getUserId("grace", sql, { queryTimeout: 1 }).catch((error) => error);
    clearTimeout(timer);
    if (hasFired) {
      same("the error", late instanceof SessionError && [late.code, late.message], [
        "STORE_TIMEOUT",
        "getUserId: the database did not answer within queryTimeout, 1 s",
      ]);
    }
    await show(sql, "true");
    same("the key", await getUserId("grace", sql), 2);
  },
};

// ── The functions ────────────────────────────────────────────────────────────────────────────────

const DAY = 86_400_000;

const DATA = {
  text: "Å 🔐 ' \" \\ \\n \n $1 ? :name \u2028",
  "a key with ' and \" and ü": [],
  numbers: [0, -1, 0.1, 1e21, 9_007_199_254_740_991, 1e-7],
  nested: { nothing: null, yes: true, no: false, list: [[], {}, ""] },
  date: "2026-01-31T12:00:00.000Z",
  long: LONG.slice(0, 20_000),
};

const FUNCTIONS: Claims = {
  "migrates, and applies nothing the second time": async ({ sql }) => {
    await all(sql`drop schema if exists coatcheck cascade`);
    same("what was applied", await migrate(sql, { users: USERS }), {
      applied: ["001_users", "002_sessions", "003_unique_users", "004_guests"],
      foreignKey: true,
    });
    same("what was applied", await migrate(sql), { applied: [], foreignKey: true });
  },

  "creates a session, and validates its cookie": async ({ sql }) => {
    const { session, headers } = await createSession("ada", sql, { data: DATA });
    same("the session", { ...session, id: null, ...noInstants }, {
      id: null,
      userId: 1,
      username: "ada",
      ...noInstants,
      persistent: true,
      version: 0,
      data: DATA,
    });
    same("the deadline", +session.expiresAt - +session.createdAt, 30 * DAY);
    same("the idle deadline", +session.idleExpiresAt - +session.lastSeenAt, 7 * DAY);
    same("the instants", [+session.authenticatedAt, +session.lastSeenAt], [
      +session.createdAt,
      +session.createdAt,
    ]);
    same("a date", session.createdAt instanceof Date, true);
    near("the clock", +session.createdAt, Date.now(), DAY);
    same("the result", await validateSession(presenting(headers), sql), {
      session,
      headers: new Headers(),
    });
    for (const [userId, username] of Object.entries(NAMES)) {
      same("the key", await getUserId(username, sql), Number(userId));
      const { session } = await createSession({ userId: Number(userId) }, sql);
      same("the user", [session.userId, session.username], [Number(userId), username]);
    }
  },

  "creates a guest, whose data a sign-in keeps": async ({ sql }) => {
    const { guest, headers } = await createGuestSession(sql, { data: DATA });
    const request = new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
    const visit = await validateSession(request, sql);
    same("the guest", [visit.session, visit.reason, visit.guest], [null, "guest", guest]);
    await updateSession(request, { more: 1 }, sql);
    const keep = [...Object.keys(DATA), "more"];
    for (const user of ["ada", { userId: 1 }]) {
      const { session } = await createSession(user, sql, { replaces: request, keep });
      same("the data", session.data, user === "ada" ? { ...DATA, more: 1 } : {});
    }
    same("the reason", (await validateSession(request, sql)).revokedReason, "replaced");
  },

  "revokes the session that replaces presents, and those beyond maxSessions": async ({ sql }) => {
    const first = await ada(sql);
    const { headers } = await createSession("grace", sql, { replaces: first });
    const { session, reason, revokedReason } = await validateSession(first, sql);
    same("the first", { session, reason, revokedReason }, {
      session: null,
      reason: "revoked",
      revokedReason: "replaced",
    });
    await createSession("grace", sql, { maxSessions: 1 });
    same("the second", (await validateSession(presenting(headers), sql)).revokedReason, "limit");
  },

  "touches a session when due": async ({ sql }) => {
    const request = await ada(sql);
    await age(sql, request, "last_seen_at", 3600);
    const before = await validateSession(request, sql, { touchInterval: false });
    const after = await validateSession(request, sql);
    near("the last use", +after.session!.lastSeenAt - +before.session!.lastSeenAt, 3.6e6, 60_000);
    const again = await validateSession(request, sql);
    same("the session", again.session, after.session);
  },

  "rotates, returns the same secret again after a lost answer, and revokes a reused one": async (
    { sql },
  ) => {
    const old = await ada(sql);
    const rotated = await rotateSession(old, sql);
    const again = await rotateSession(old, sql);
    const next = presenting(rotated.headers);
    same("the secret", presenting(again.headers).get("cookie"), next.get("cookie"));
    same("the result", (await validateSession(next, sql)).session?.id, idOf(old));
    same("the old secret", (await validateSession(old, sql)).session?.id, idOf(old));
    await age(sql, old, "rotation_seen_at", 60);
    same("the old secret", (await validateSession(old, sql)).reason, "reused");
    const { reason, revokedReason } = await validateSession(next, sql);
    same("the new one", [reason, revokedReason], ["revoked", "reused"]);
  },

  "rotates after rotateAfter": async ({ sql }) => {
    const functions = configure({ rotateAfter: 3600, rotationGrace: 60 });
    const request = await ada(sql);
    await age(sql, request, "authenticated_at", 7200);
    const { headers } = await functions.validateSession(request, sql);
    same(
      "the result",
      (await functions.validateSession(presenting(headers), sql)).session?.id,
      idOf(request),
    );
  },

  "reauthenticates": async ({ sql }) => {
    const old = await ada(sql);
    await age(sql, old, "authenticated_at", 3600);
    same(
      "the result",
      (await validateSession(old, sql, { authenticatedWithin: 60 })).reason,
      "stale",
    );
    const { headers } = await reauthenticateSession(old, sql);
    const { session } = await validateSession(presenting(headers), sql, {
      authenticatedWithin: 60,
    });
    same("the session", session?.id, idOf(old));
    same("the old secret", (await validateSession(old, sql)).reason, "unknown");
  },

  "updates data by key and by version": async ({ sql }) => {
    const request = await ada(sql, { kept: 1, removed: 2 });
    const patch = { ...DATA, removed: undefined };
    const { session } = await updateSession(request, patch, sql, { version: 0 });
    same("the session", [session?.version, session?.data], [1, { kept: 1, ...DATA }]);
    const late = await updateSession(request, { kept: 2 }, sql, { version: 0 });
    same("a late update", [late.reason, late.session?.version], ["conflict", 1]);
    same("the data", (await validateSession(request, sql)).session?.data, { kept: 1, ...DATA });
    const wishes = Array.from(
      { length: 10 },
      (_, n) => updateSession(request, { [`k${n}`]: n }, sql),
    );
    await Promise.all(wishes);
    same("the version", (await validateSession(request, sql)).session?.version, 11);
  },

  "lists sessions, by pages too, and revokes them": async ({ sql }) => {
    await revokeSessions({ userId: 2 }, sql);
    const requests = [];
    for (let n = 0; n < 4; n++) {
      requests.push(presenting((await createSession("grace", sql)).headers));
    }
    const ids = requests.map(idOf);
    const listed = (await listSessions(2, sql)).map(({ id }) => id);
    same("the list", listed.toSorted(), ids.toSorted());
    const page = await listSessions(2, sql, { limit: 2, after: listed[0]! });
    same("the page", page.map(({ id }) => id), listed.slice(1, 3));

    const { session, headers } = await revokeSession(requests[0]!, sql, { reason: "it's \\ 🔐" });
    same("the revoked", [session?.id, session?.revokedReason], [ids[0], "it's \\ 🔐"]);
    same("the cookie", headers.get("set-cookie")?.includes("1970"), true);
    same("the second time", (await revokeSession(requests[0]!, sql)).session, null);
    const one = await revokeSessions({ userId: 2, id: ids[1]! }, sql);
    same("one", one.map(({ id }) => id), [ids[1]]);
    same("another user's", await revokeSessions({ userId: 1, id: ids[2]! }, sql), []);
    const others = await revokeSessions({ userId: 2, except: ids[3]! }, sql);
    same("all others", others.map(({ id }) => id), [ids[2]]);
    same("the list", (await listSessions(2, sql)).map(({ id }) => id), [ids[3]]);
    const everywhere = await revokeSessions({ userIds: [1, 2, 3, 4] }, sql);
    same("the last", everywhere.some(({ id }) => id === ids[3]), true);
    same("the list", await listSessions(2, sql), []);
  },

  "inserts a session once, and sweeps it when it is dead": async ({ sql }) => {
    const { id, digest, token } = createToken();
    const [createdAt, expiresAt] = [new Date("2026-01-31T12:00:00.007Z"), new Date("2999-12-31")];
    const record = { id, digest, userId: 2, createdAt, expiresAt, data: DATA };
    const session = await insertSession(record, sql, { absoluteTimeout: 34_560_000 });
    same("the session", [session.id, session.createdAt, session.data], [id, createdAt, DATA]);
    await rejects(() => insertSession(record, sql), {
      code: "STORE_REJECTED",
      sqlstate: "23505",
      message: "insertSession: the database rejected the statement (SQLSTATE 23505)",
    });
    const request = new Headers({ cookie: `__Host-session=${token}` });
    await revokeSession(request, sql);
    same("the reason", (await validateSession(request, sql)).reason, "revoked");
    const { swept } = await sweepSessions(sql, { retention: 0 });
    same("what was swept", swept > 0, true);
    same("the reason", (await validateSession(request, sql)).reason, "unknown");
    same("what was swept", await sweepSessions(sql, { retention: 0 }), { swept: 0 });
  },

  "returns every reason": async ({ sql }) => {
    const reasonOf = async (request: Headers) => (await validateSession(request, sql)).reason;
    same("no cookie", await reasonOf(new Headers()), "absent");
    same("no token", await reasonOf(new Headers({ cookie: "__Host-session=x" })), "malformed");
    same("no row", await reasonOf(stranger()), "unknown");
    const [idle, expired, hidden] = [await ada(sql), await ada(sql), await ada(sql)];
    await age(sql, idle, "last_seen_at", 8 * 86_400);
    await age(sql, expired, "expires_at", 31 * 86_400);
    same("without use", await reasonOf(idle), "idle");
    same("past its deadline", await reasonOf(expired), "expired");
    await show(sql, "username <> 'ada'");
    same("out of the view", await reasonOf(hidden), "user");
    await show(sql, "true");
    same("in the view again", await reasonOf(hidden), undefined);
  },

  "rejects an unknown user with the same class, code and message": async ({ sql }) => {
    const unknown = (caller: string) => ({
      code: "USER_NOT_FOUND",
      message: `${caller}: user not found in coatcheck.users`,
    });
    await rejects(() => createSession("nobody", sql), unknown("createSession"));
    await rejects(() => getUserId("Ada", sql), unknown("getUserId"));
    await rejects(() => createSession({ userId: 99 }, sql), unknown("createSession"));
    await rejects(() => createSession({ userId: "no number" }, sql), unknown("createSession"));
    await rejects(() => createSession({ userId: 2 ** 40 }, sql), unknown("createSession"));
    await rejects(() => listSessions("no number", sql), unknown("listSessions"));
    const many = [
      createSession("nobody", sql),
      createSession("ada", sql),
      getUserId("nobody", sql),
    ];
    const states = (await Promise.allSettled(many)).map(({ status }) => status);
    same("three at once", states, ["rejected", "fulfilled", "rejected"]);
  },

  "distinguishes a check constraint of the app from an unknown user": async ({ sql }) => {
    // A username against the rule of its domain is SQLSTATE 23514 too, and the error names no table.
    await all(sql`alter table coatcheck.sessions add constraint small check (data <> '{"a": 1}')`);
    const broken = createSession("ada", sql, { data: { a: 1 } });
    await rejects(() => broken, { code: "STORE_REJECTED", sqlstate: "23514" });
    await all(sql`alter table coatcheck.sessions drop constraint small`);
  },

  "batches concurrent calls, and returns to each its own result": async ({ sql }) => {
    const batch = batched(sql);
    const names = Array.from({ length: 40 }, (_, n) => n % 4 ? NAMES[n % 4 + 1]! : "nobody");
    const calls = await Promise.allSettled(
      names.map((name) => createSession(name, batch, { data: DATA })),
    );
    const requests = calls.map((call) =>
      call.status === "fulfilled" ? presenting(call.value.headers) : stranger()
    );
    const results = await Promise.all(requests.map((request) => validateSession(request, batch)));
    const seen = results.map(({ session, reason }) =>
      session ? [session.username, session.data] : reason
    );
    same("the results", seen, names.map((name) => name === "nobody" ? "unknown" : [name, DATA]));
    const rejected = calls.flatMap((call) => call.status === "rejected" ? [call.reason.code] : []);
    same(
      "the rejected",
      rejected,
      names.filter((name) => name === "nobody").map(() => "USER_NOT_FOUND"),
    );
  },

  "rejects if the schema is missing, and says what to do": async ({ sql }) => {
    await all(sql`drop schema if exists coatcheck cascade`);
    const missing = (caller: string, sqlstate: string) => ({
      code: "SCHEMA_MISSING",
      sqlstate,
      message: `${caller}: the schema coatcheck is missing or incomplete (SQLSTATE ${sqlstate}); ` +
        "run migrate(sql)",
    });
    await rejects(() => createSession("ada", sql), missing("createSession", "42P01"));
    await rejects(() => validateSession(stranger(), sql), missing("validateSession", "42P01"));
    await rejects(() => getUserId("ada", sql), missing("getUserId", "42P01"));
    await migrate(sql, { users: USERS });
    same("the user", (await createSession("ada", sql)).session.username, "ada");
  },

  "rejects a foreign object with the message of the migration": async ({ sql }) => {
    await all(sql`drop schema if exists coatcheck cascade`);
    await all(sql`create schema coatcheck`);
    await all(sql`create table coatcheck.sessions (sid text)`);
    await rejects(() => migrate(sql, { users: USERS }), {
      code: "STORE_REJECTED",
      sqlstate: "CC001",
      message:
        "migrate: coatcheck.sessions exists and was not created by coatcheck; rename or drop it",
    });
    await all(sql`drop schema if exists coatcheck cascade`);
    await migrate(sql, { users: USERS });
  },

  "returns keys of every type as the same type": async ({ sql }) => {
    // A number would lose digits of the second.
    const keys = {
      smallint: 7,
      bigint: "9007199254740993",
      uuid: "00000000-0000-4000-8000-00000000000a",
      text: "007 ' \\ 🔐",
    };
    for (const [type, key] of Object.entries(keys)) {
      await all(sql`drop schema if exists coatcheck cascade`);
      await all(sql`drop table if exists coatcheck_conformance.members`);
      await all(
        template(
          sql,
          `create table coatcheck_conformance.members (id ${type} primary key, name text)`,
        ),
      );
      await all(
        tag(sql, type, key, "insert into coatcheck_conformance.members values (", ", 'ada')"),
      );
      const users = { table: "coatcheck_conformance.members", id: "id", username: "name" };
      await migrate(sql, { users });
      const { session, headers } = await createSession({ userId: key }, sql);
      same(`a key of type ${type}`, session.userId, key);
      same("the key", await getUserId("ada", sql), key);
      same("the result", (await validateSession(presenting(headers), sql)).session, session);
      same("the list", (await listSessions(key, sql)).map(({ userId }) => userId), [key]);
      same(
        "the revoked",
        (await revokeSessions({ userIds: [key] }, sql)).map(({ userId }) => userId),
        [key],
      );
    }
  },
};

// ── The database ─────────────────────────────────────────────────────────────────────────────────

const USERS = { table: "coatcheck_conformance.users", id: "id", username: "username" };

/** The users, by their key. */
const NAMES: Readonly<Record<number, string>> = {
  1: "ada",
  2: "grace",
  3: 'O\'Neil \\ "$1" ?',
  4: "Åsa 🔐",
};

async function prepare(open: ConformanceOptions["open"]): Promise<Client> {
  const client = await open();
  try {
    await fill(client.sql);
  } catch (error) {
    await client.close?.();
    throw error;
  }
  const begin: Client["begin"] = (run) => inTime(client.begin!(run));
  return { sql: client.sql, close: () => client.close?.(), ...(client.begin && { begin }) };
}

async function fill(sql: Sql): Promise<void> {
  const [taken] = await all(
    sql`select case when to_regnamespace('coatcheck') is not null
      and to_regnamespace('coatcheck_conformance') is null then 'taken' else 'free' end as json`,
  );
  if (taken === "taken") {
    throw nonconformity("the database", "be empty", "one with a schema coatcheck");
  }
  same("the first row", taken, "free");
  await drop(sql);
  await all(sql`create schema coatcheck_conformance`);
  await all(
    sql`create table coatcheck_conformance.users (id integer primary key, username text unique)`,
  );
  for (const [id, username] of Object.entries(NAMES)) {
    await all(sql`insert into coatcheck_conformance.users values (${Number(id)}, ${username})`);
  }
  await all(
    sql`create table coatcheck_conformance.deferred (id integer unique deferrable initially deferred)`,
  );
  await migrate(sql, { users: USERS });
}

async function drop(sql: Sql): Promise<void> {
  await all(sql`drop schema if exists coatcheck cascade`);
  await all(sql`drop schema if exists coatcheck_conformance cascade`);
}

/** Narrows the view `coatcheck.users`. */
async function show(sql: Sql, condition: string): Promise<void> {
  await all(template(
    sql,
    `create or replace view coatcheck.users as
      select id, username from coatcheck_conformance.users where ${condition}`,
  ));
}

/** Time passes by ageing the row. */
async function age(sql: Sql, request: Headers, column: string, seconds: number): Promise<void> {
  const set =
    // With immutable functions only: Citus accepts no others beside a column.
    `update coatcheck.sessions set ${column} = pg_catalog.to_timestamp(
      extract(epoch from ${column} at time zone 'utc')::double precision - ${seconds})`;
  await all(tag(sql, "uuid", idOf(request), `${set} where id = `, ""));
}

// ── Statements and rows ──────────────────────────────────────────────────────────────────────────

/** Calls a client with a text that is not a literal, and no value. */
function template(sql: Sql, ...texts: string[]): ReturnType<Sql> {
  return sql(literal(texts));
}

/** Calls a client with one value, and selects its text in PostgreSQL. */
function tag(
  sql: Sql,
  type: string,
  value: SqlValue,
  before = "select ",
  after = "::text as json",
): ReturnType<Sql> {
  return sql(literal([before, `::${type}${after}`]), value);
}

const literals = new Map<string, TemplateStringsArray>();

/** The array that a template literal would pass: constant, with a `raw` that is not enumerable. */
function literal(texts: string[]): TemplateStringsArray {
  const key = texts.join("\0");
  const known = literals.get(key);
  if (known) return known;
  Object.defineProperty(texts, "raw", { value: Object.freeze([...texts]) });
  const made = Object.freeze(texts) as unknown as TemplateStringsArray;
  literals.set(key, made);
  return made;
}

/** A client that sends this text instead of any statement. */
function once(sql: Sql, text: string): Sql {
  return () => template(sql, text);
}

/** The only column of each row. */
async function all(answer: ReturnType<Sql>): Promise<unknown[]> {
  return cellsOf(await inTime(answer)).map(([cell]) => cell);
}

/** The columns of each row, in their order. */
function cellsOf(result: unknown): unknown[][] {
  const rows = Array.isArray(result) ? result : (result as { rows?: unknown } | undefined)?.rows;
  if (!Array.isArray(rows)) {
    throw nonconformity("the result", "be an array of rows, or { rows }", spell(result));
  }
  // Like coatcheck, it ignores holes (porsager/postgres #1181).
  return rows.flatMap((row) => [Object.values(row as object)]);
}

/** Waits for a client, ten seconds at most. */
async function inTime<T>(promised: PromiseLike<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const deadline = new Promise<never>((_, reject) => {
    const late = nonconformity("the client", "answer within 10 s", "nothing");
    timer = setTimeout(reject, 10_000, late);
  });
  try {
    return await Promise.race([promised, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a function in a transaction, and rolls it back. */
async function rollBack(
  begin: NonNullable<Client["begin"]>,
  run: (sql: Sql) => Promise<void>,
): Promise<void> {
  const error = new Error("Rolled back");
  const thrown = await begin(async (transaction) => {
    await run(transaction);
    throw error;
  }).then(() => undefined, (thrown: unknown) => thrown);
  if (thrown instanceof Error && thrown.name === "Nonconformity") throw thrown;
  if (thrown !== error) {
    throw nonconformity("begin", "throw what the function threw", String(thrown));
  }
}

/** A promise, and the function that resolves it. */
function signal(): { given: Promise<void>; give: () => void } {
  let give = (): void => {};
  const given = new Promise<void>((resolve) => give = resolve);
  return { given, give };
}

/** The headers of a request that presents a cookie. */
function presenting(response: Headers): Headers {
  const cookie = response.get("set-cookie");
  if (!cookie) throw nonconformity("the headers", "set a cookie", "none");
  return new Headers({ cookie: cookie.split(";")[0]! });
}

async function ada(sql: Sql, data = {}): Promise<Headers> {
  return presenting((await createSession("ada", sql, { data })).headers);
}

/** A request with a token that no row has. */
const stranger = (): Headers => new Headers({ cookie: `__Host-session=${createToken().token}` });

const idOf = (request: Headers): string => request.get("cookie")!.split(/[=.]/)[1]!;

const noInstants = {
  createdAt: null,
  authenticatedAt: null,
  lastSeenAt: null,
  expiresAt: null,
  idleExpiresAt: null,
};

// ── Expectations ─────────────────────────────────────────────────────────────────────────────────

function nonconformity(what: string, desired: string, actual: string): Error {
  const error = new Error(`conformance: ${what} must ${desired}, got ${actual}`);
  error.name = "Nonconformity";
  return error;
}

function same(what: string, actual: unknown, expected: unknown): void {
  const [received, desired] = [spell(actual), spell(expected)];
  if (received === desired) return;
  // Of a long text, the part in which they differ.
  let start = 0;
  while (received[start] === desired[start]) start++;
  const shown = (text: string) =>
    text.length > 500 ? `… ${text.slice(Math.max(start - 50, 0), start + 150)} …` : text;
  throw nonconformity(what, `be ${shown(desired)}`, shown(received));
}

function near(what: string, actual: number, expected: number, most: number): void {
  if (!(Math.abs(actual - expected) <= most)) {
    throw nonconformity(what, `be about ${expected}`, `${actual}`);
  }
}

async function rejects(
  call: () => Promise<unknown>,
  expected: { code: string; sqlstate?: string; message?: string },
): Promise<void> {
  const error = await call().then(() => undefined, (error: unknown) => error);
  if (!(error instanceof SessionError)) {
    throw nonconformity("the call", "reject with a SessionError", String(error));
  }
  const { code, sqlstate, message } = error;
  same("the error", { code, sqlstate, message }, { sqlstate: undefined, message, ...expected });
}

/** Writes a value so that equal values have the same text: keys in order, and types that JSON does not have. */
function spell(value: unknown): string {
  return JSON.stringify(value, (_, it) => {
    if (it instanceof Headers) return [...it];
    if (typeof it === "bigint" || typeof it === "undefined") return `${typeof it} ${it}`;
    if (typeof it !== "object" || it === null || Array.isArray(it)) return it;
    return Object.fromEntries(Object.entries(it).sort(([a], [b]) => a < b ? -1 : 1));
  }) ?? String(value);
}
