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

/** A client to be tested. */
export interface Client {
  /** The client, as the verbs get it. */
  readonly sql: Sql;
  /**
   * Runs a function in a transaction, with the client of that transaction; what the function throws
   * rolls it back. Unset: the client has none, and no test asks for one.
   */
  readonly begin?: (run: (sql: Sql) => Promise<void>) => PromiseLike<unknown>;
  /** Closes it, after the last test. */
  readonly close?: () => unknown;
}

/** What {@linkcode conformance} needs: a test framework, and a client. */
export interface ConformanceOptions {
  /** Registers a test. The tests run one after the other. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
  /** Registers what runs after them. */
  readonly afterAll: (run: () => Promise<void>) => unknown;
  /**
   * Makes the client, once. Its database is an empty one, and its role may create schemas in there: the
   * tests make two, `coatcheck` and `coatcheck_conformance`, and delete them in the end.
   */
  readonly open: () => Client | Promise<Client>;
}

/**
 * Registers the tests of a client: what it makes of parameters, rows, errors and transactions, and
 * whether every verb does through it what it does through all others.
 *
 * A client that passes works with coatcheck. It takes a second or two, one of them to wait for a deadline.
 *
 * @param options A test framework's two functions, and how to make the client.
 */
export function conformance({ test, afterAll, open }: ConformanceOptions): void {
  let opened: Promise<Client> | undefined;
  const ready = (): Promise<Client> => opened ??= prepare(open);
  for (const [name, run] of Object.entries({ ...CLIENT, ...VERBS })) {
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

/** 240 KB, in which no power of two is a good place to cut: an answer may be of 128 KB, a batch of more. */
const LONG = "ÅØ𝒳 \\ \" ' ".repeat(16_384);

/** Parameters, the type that the statement gives them, and the text that they are in PostgreSQL. */
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

/** What PostgreSQL refuses, and how all clients must tell it. */
const REFUSALS = [
  { sqlstate: "21000", code: "STORE_REJECTED" },
  { sqlstate: "22001", code: "STORE_REJECTED" },
  { sqlstate: "22012", code: "STORE_REJECTED" },
  { sqlstate: "23503", code: "STORE_REJECTED" },
  { sqlstate: "23505", code: "STORE_REJECTED" },
  { sqlstate: "23514", code: "STORE_REJECTED" },
  { sqlstate: "42501", code: "STORE_REJECTED" },
  { sqlstate: "P0001", code: "STORE_REJECTED" },
  { sqlstate: "QUOTA", code: "STORE_REJECTED" },
  { sqlstate: "XX000", code: "STORE_REJECTED" },
  { sqlstate: "3F000", code: "SCHEMA_MISSING", hint: "; run migrate(sql)" },
  { sqlstate: "42P01", code: "SCHEMA_MISSING", hint: "; run migrate(sql)" },
  { sqlstate: "42703", code: "SCHEMA_MISSING", hint: "; run migrate(sql)" },
  { sqlstate: "57014", code: "STORE_TIMEOUT" },
  { sqlstate: "55P03", code: "STORE_TIMEOUT" },
  { sqlstate: "08006", code: "STORE_UNAVAILABLE" },
  { sqlstate: "40001", code: "STORE_UNAVAILABLE" },
  { sqlstate: "40P01", code: "STORE_UNAVAILABLE" },
  { sqlstate: "53300", code: "STORE_UNAVAILABLE" },
  { sqlstate: "57P01", code: "STORE_UNAVAILABLE" },
  { sqlstate: "25006", code: "STORE_UNAVAILABLE" },
] as const;

const CLIENT: Claims = {
  "hands over rows of one column of text": async ({ sql }) => {
    const rows = await all(sql`select 'one'::text as json union all select 'two' order by 1`);
    same("the rows", rows, ["one", "two"]);
    same("the rows", await all(sql`select 'one'::text as json where false`), []);
  },

  "hands over a thousand rows in their order": async ({ sql }) => {
    const rows = await all(sql`select n::text as json from generate_series(1, 1000) n order by n`);
    same("the rows", rows, Array.from({ length: 1000 }, (_, n) => String(n + 1)));
  },

  "hands over JSON as the text that it is": async ({ sql }) => {
    const text = JSON.stringify({ a: 1, b: [null, true, "ä\\\"'"], c: 1e21 });
    same("JSON", await all(sql`select ${text}::text as json`), [text]);
  },

  "takes parameters as they are, and makes no text of them": async ({ sql }) => {
    for (const [value, type, text] of PARAMETERS) {
      same(`${type} ${spell(value).slice(0, 60)}`, await all(tag(sql, type, value)), [text]);
    }
    // Read and written in the same wrong encoding, text comes back as it went.
    const point = tag(sql, "text", "🔐", "select ascii(", ")::text as json");
    same("the code point of 🔐", await all(point), ["128272"]);
    const [users] = await all(sql`select count(*)::text from coatcheck_conformance.users`);
    same("the users", users, "4");
  },

  "takes a dozen parameters in their order, and one twice": async ({ sql }) => {
    const rows = await all(
      sql`select concat_ws(',', ${1}::integer, ${"b"}::text, ${true}::boolean, ${null}::text, ${5}::integer,
        ${"f"}::text, ${7}::integer, ${"b"}::text, ${9}::integer, ${10}::integer, ${11}::integer,
        ${"l"}::text) as json`,
    );
    same("the parameters", rows, ["1,b,t,5,f,7,b,9,10,11,l"]);
  },

  "takes the same statement many times, with another parameter each time": async ({ sql }) => {
    for (let n = 0; n < 50; n++) {
      same("the answer", await all(tag(sql, "text", `n${n}`)), [`n${n}`]);
    }
  },

  "gives concurrent calls each its own answer": async ({ sql }) => {
    const values = Array.from({ length: 200 }, (_, n) => n);
    const answers = await Promise.all(
      values.map(async (n) => await all(n % 2 ? tag(sql, "integer", n) : tag(sql, "text", `${n}`))),
    );
    same("the answers", answers, values.map((n) => [`${n}`]));
  },

  "rejects with what PostgreSQL refuses, told in the same class, code and words": async (
    { sql },
  ) => {
    for (const { sqlstate, code, ...rest } of REFUSALS) {
      // The block's text is constant, as a block takes no parameters: the code goes in as a setting.
      const refused = once(
        sql,
        `do $$ begin raise exception using errcode = '${sqlstate}'; end $$`,
      );
      const hint = "hint" in rest ? rest.hint : "";
      await rejects(() => validateSession(anybody(), refused), {
        code,
        sqlstate,
        message: "Cannot validate the session as the database must accept the statement: " +
          `received SQLSTATE ${sqlstate}${hint}`,
      });
    }
    const texts = {
      "selekt 1": "42601",
      "select nothing": "42703",
      "select 1 / 0": "22012",
      "select (1 / (3 - n))::text as json from generate_series(1, 5) n": "22012",
      // It is found at the commit, after the statement itself.
      "insert into coatcheck_conformance.deferred values (1), (1)": "23505",
    };
    for (const [text, sqlstate] of Object.entries(texts)) {
      const code = sqlstate === "42703" ? "SCHEMA_MISSING" : "STORE_REJECTED";
      await rejects(() => validateSession(anybody(), once(sql, text)), { code, sqlstate });
    }
  },

  "answers the next call after an error, and those beside it": async ({ sql }) => {
    const calls = Array.from({ length: 40 }, async (_, n) => {
      if (n % 4) return await all(tag(sql, "integer", n));
      return await all(tag(sql, "integer", `not ${n}`)).catch(() => ["refused"]);
    });
    const expected = calls.map((_, n) => [n % 4 ? `${n}` : "refused"]);
    same("the answers", await Promise.all(calls), expected);
  },

  "keeps what is written beside a call that fails": async ({ sql }) => {
    const visitors = await Promise.all(Array.from({ length: 8 }, () => ada(sql)));
    await Promise.all(visitors.flatMap((visitor) => [
      revokeSession(visitor, sql),
      rejects(() => listSessions("no number", sql), { code: "USER_NOT_FOUND" }),
    ]));
    const visits = await Promise.all(visitors.map((visitor) => validateSession(visitor, sql)));
    same("the reasons", visits.map(({ reason }) => reason), visitors.map(() => "revoked"));
  },

  "commits a transaction, if it has any": async ({ sql, begin }) => {
    if (!begin) return;
    const visitors: Headers[] = [];
    await begin(async (transaction) => {
      const { session, headers } = await createSession("ada", transaction);
      visitors.push(presenting(headers));
      same("the session", (await validateSession(visitors[0]!, transaction)).session, session);
      await updateSession(visitors[0]!, { seen: true }, transaction);
    });
    const { session } = await validateSession(visitors[0]!, sql);
    same("its data", session?.data, { seen: true });
  },

  "rolls a transaction back with what the function throws": async ({ sql, begin }) => {
    if (!begin) return;
    const before = await ada(sql);
    const visitors: Headers[] = [];
    await rollBack(begin, async (transaction) => {
      visitors.push(await ada(transaction));
      await revokeSession(before, transaction);
      same("the reason", (await validateSession(before, transaction)).reason, "revoked");
    });
    same("the reason", (await validateSession(visitors[0]!, sql)).reason, "unknown");
    same("the user", (await validateSession(before, sql)).session?.username, "ada");
  },

  "rejects a transaction that fails at its commit": async ({ begin }) => {
    if (!begin) return;
    const outcome = await begin(async (transaction) => {
      await all(transaction`insert into coatcheck_conformance.deferred values (1), (1)`);
    }).then(() => "resolved", () => "rejected");
    same("the transaction", outcome, "rejected");
  },

  "refuses every call in a transaction that has failed, and serves the next one": async (
    { sql, begin },
  ) => {
    if (!begin) return;
    const visitor = await ada(sql);
    await rollBack(begin, async (transaction) => {
      await all(transaction`select 1 / 0`).catch(() => {});
      await rejects(() => validateSession(visitor, transaction), {
        code: "STORE_REJECTED",
        sqlstate: "25P02",
      });
    });
    await begin(async (transaction) => {
      same("the user", (await validateSession(visitor, transaction)).session?.username, "ada");
    });
  },

  "serves several calls at once in a transaction": async ({ begin }) => {
    if (!begin) return;
    await begin(async (transaction) => {
      const names = ["ada", "grace", "ada", "grace"];
      const calls = await Promise.all(names.map((name) => createSession(name, transaction)));
      same("the users", calls.map(({ session }) => session.username), names);
    });
  },

  "keeps what is written outside of a transaction that is rolled back": async (
    { sql, begin },
  ) => {
    if (!begin) return;
    const visitor = await ada(sql);
    const begun = signal();
    const done = signal();
    const transaction = rollBack(begin, async (transaction) => {
      await ada(transaction);
      begun.give();
      await done.given;
    });
    await Promise.race([begun.given, transaction]);
    const outside = Promise.all([createSession("grace", sql), revokeSession(visitor, sql)]);
    // A database with one connection serves them afterwards.
    await Promise.race([outside, new Promise((resolve) => setTimeout(resolve, 200))]);
    done.give();
    await transaction;
    const [{ headers }] = await outside;
    const { session } = await validateSession(presenting(headers), sql);
    same("the user", session?.username, "grace");
    same("the reason", (await validateSession(visitor, sql)).reason, "revoked");
  },

  "has its connections back from 30 transactions that were rolled back": async (
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

  "is given up at the deadline, and answers again later": async ({ sql }) => {
    // A database in this very process holds everything up while it works: no timer can ring.
    let rang = false;
    const timer = setTimeout(() => rang = true, 500);
    await show(sql, "username <> 'grace' or pg_sleep(1.5) is not null");
    const late = await getUserId("grace", sql, { queryTimeout: 1 }).catch((error) => error);
    clearTimeout(timer);
    if (rang) {
      same("the error", late instanceof SessionError && [late.code, late.message], [
        "STORE_TIMEOUT",
        "Cannot find the user as the database must answer within queryTimeout: " +
        "received nothing for 1 s",
      ]);
    }
    await show(sql, "true");
    same("the key", await getUserId("grace", sql), 2);
  },
};

// ── The verbs ────────────────────────────────────────────────────────────────────────────────────

const DAY = 86_400_000;

const DATA = {
  text: "Å 🔐 ' \" \\ \\n \n $1 ? :name \u2028",
  "a key with ' and \" and ü": [],
  numbers: [0, -1, 0.1, 1e21, 9_007_199_254_740_991, 1e-7],
  nested: { nothing: null, yes: true, no: false, list: [[], {}, ""] },
  date: "2026-01-31T12:00:00.000Z",
  long: LONG.slice(0, 20_000),
};

const VERBS: Claims = {
  "migrates, and a second time nothing": async ({ sql }) => {
    await all(sql`drop schema if exists coatcheck cascade`);
    same("what was applied", await migrate(sql, { users: USERS }), {
      applied: ["001_users", "002_sessions", "003_unique_users"],
    });
    same("what was applied", await migrate(sql), { applied: [] });
  },

  "creates a session, and validates the cookie that it hands out": async ({ sql }) => {
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
    same("the instants", [+session.authenticatedAt, +session.lastSeenAt], [
      +session.createdAt,
      +session.createdAt,
    ]);
    same("a date", session.createdAt instanceof Date, true);
    near("the clock", +session.createdAt, Date.now(), DAY);
    same("the visit", await validateSession(presenting(headers), sql), {
      session,
      headers: new Headers(),
    });
    for (const [userId, username] of Object.entries(NAMES)) {
      same("the key", await getUserId(username, sql), Number(userId));
      const { session } = await createSession({ userId: Number(userId) }, sql);
      same("the user", [session.userId, session.username], [Number(userId), username]);
    }
  },

  "replaces the session that a sign-in presents, and keeps the limit": async ({ sql }) => {
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

  "touches when due": async ({ sql }) => {
    const visitor = await ada(sql);
    await age(sql, visitor, "last_seen_at", 3600);
    const before = await validateSession(visitor, sql, { touchInterval: false });
    const after = await validateSession(visitor, sql);
    near("what was seen", +after.session!.lastSeenAt - +before.session!.lastSeenAt, 3.6e6, 60_000);
    const again = await validateSession(visitor, sql);
    same("what was seen", again.session, after.session);
  },

  "rotates, and heals a lost answer, and ends what is reused": async ({ sql }) => {
    const old = await ada(sql);
    const rotated = await rotateSession(old, sql);
    const again = await rotateSession(old, sql);
    const next = presenting(rotated.headers);
    same("the secret", presenting(again.headers).get("cookie"), next.get("cookie"));
    same("the visit", (await validateSession(next, sql)).session?.id, idOf(old));
    same("the old secret", (await validateSession(old, sql)).session?.id, idOf(old));
    await age(sql, old, "rotation_seen_at", 60);
    same("the old secret", (await validateSession(old, sql)).reason, "reused");
    const { reason, revokedReason } = await validateSession(next, sql);
    same("the new one", [reason, revokedReason], ["revoked", "reused"]);
  },

  "rotates by age": async ({ sql }) => {
    const verbs = configure({ rotateAfter: 3600, rotationGrace: 60 });
    const visitor = await ada(sql);
    await age(sql, visitor, "authenticated_at", 7200);
    const { headers } = await verbs.validateSession(visitor, sql);
    same(
      "the visit",
      (await verbs.validateSession(presenting(headers), sql)).session?.id,
      idOf(visitor),
    );
  },

  "reauthenticates": async ({ sql }) => {
    const old = await ada(sql);
    await age(sql, old, "authenticated_at", 3600);
    same(
      "the visit",
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

  "updates data by key, and by version": async ({ sql }) => {
    const visitor = await ada(sql, { kept: 1, removed: 2 });
    const patch = { ...DATA, removed: undefined };
    const { session } = await updateSession(visitor, patch, sql, { version: 0 });
    same("the session", [session?.version, session?.data], [1, { kept: 1, ...DATA }]);
    const late = await updateSession(visitor, { kept: 2 }, sql, { version: 0 });
    same("a late update", [late.reason, late.session?.version], ["conflict", 1]);
    same("the data", (await validateSession(visitor, sql)).session?.data, { kept: 1, ...DATA });
    const wishes = Array.from(
      { length: 10 },
      (_, n) => updateSession(visitor, { [`k${n}`]: n }, sql),
    );
    await Promise.all(wishes);
    same("the version", (await validateSession(visitor, sql)).session?.version, 11);
  },

  "lists and revokes": async ({ sql }) => {
    await revokeSessions({ userId: 2 }, sql);
    const visitors = [];
    for (let n = 0; n < 4; n++) {
      visitors.push(presenting((await createSession("grace", sql)).headers));
    }
    const ids = visitors.map(idOf);
    same("the list", (await listSessions(2, sql)).map(({ id }) => id).sort(), [...ids].sort());

    const { session, headers } = await revokeSession(visitors[0]!, sql, { reason: "it's \\ 🔐" });
    same("the revoked", [session?.id, session?.revokedReason], [ids[0], "it's \\ 🔐"]);
    same("the cookie", headers.get("set-cookie")?.includes("1970"), true);
    same("the second time", (await revokeSession(visitors[0]!, sql)).session, null);
    const one = await revokeSessions({ userId: 2, id: ids[1]! }, sql);
    same("one", one.map(({ id }) => id), [ids[1]]);
    same("somebody else's", await revokeSessions({ userId: 1, id: ids[2]! }, sql), []);
    const others = await revokeSessions({ userId: 2, except: ids[3]! }, sql);
    same("all others", others.map(({ id }) => id), [ids[2]]);
    same("the list", (await listSessions(2, sql)).map(({ id }) => id), [ids[3]]);
    const everywhere = await revokeSessions({ userIds: [1, 2, 3, 4] }, sql);
    same("the last", everywhere.some(({ id }) => id === ids[3]), true);
    same("the list", await listSessions(2, sql), []);
  },

  "inserts, once, and sweeps what is dead": async ({ sql }) => {
    const { id, digest, token } = createToken();
    const [createdAt, expiresAt] = [new Date("2026-01-31T12:00:00.007Z"), new Date("2999-12-31")];
    const record = { id, digest, userId: 2, createdAt, expiresAt, data: DATA };
    const session = await insertSession(record, sql, { absoluteTimeout: 34_560_000 });
    same("the session", [session.id, session.createdAt, session.data], [id, createdAt, DATA]);
    await rejects(() => insertSession(record, sql), {
      code: "STORE_REJECTED",
      sqlstate: "23505",
      message: "Cannot store the session as the database must accept the statement: " +
        "received SQLSTATE 23505",
    });
    const visitor = new Headers({ cookie: `__Host-session=${token}` });
    await revokeSession(visitor, sql);
    same("the reason", (await validateSession(visitor, sql)).reason, "revoked");
    const { swept } = await sweepSessions(sql, { retention: 0 });
    same("what was swept", swept > 0, true);
    same("the reason", (await validateSession(visitor, sql)).reason, "unknown");
    same("what was swept", await sweepSessions(sql, { retention: 0 }), { swept: 0 });
  },

  "gives the reasons": async ({ sql }) => {
    const reasonOf = async (visitor: Headers) => (await validateSession(visitor, sql)).reason;
    same("no cookie", await reasonOf(new Headers()), "absent");
    same("no token", await reasonOf(new Headers({ cookie: "__Host-session=x" })), "malformed");
    same("no row", await reasonOf(anybody()), "unknown");
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

  "says that nobody is there, in the same class, code and words": async ({ sql }) => {
    const message =
      "Cannot find the user as coatcheck.users must have one row for them: received none";
    const nobody = { code: "USER_NOT_FOUND", message };
    await rejects(() => createSession("nobody", sql), nobody);
    await rejects(() => getUserId("Ada", sql), nobody);
    await rejects(() => createSession({ userId: 99 }, sql), nobody);
    await rejects(() => createSession({ userId: "no number" }, sql), nobody);
    await rejects(() => createSession({ userId: 2 ** 40 }, sql), nobody);
    await rejects(() => listSessions("no number", sql), nobody);
    const many = [
      createSession("nobody", sql),
      createSession("ada", sql),
      getUserId("nobody", sql),
    ];
    const states = (await Promise.allSettled(many)).map(({ status }) => status);
    same("three at once", states, ["rejected", "fulfilled", "rejected"]);
  },

  "tells a rule of the app's own from a user who is not there": async ({ sql }) => {
    // Both are SQLSTATE 23514; by the table in the error it is told that this is about no user.
    await all(sql`alter table coatcheck.sessions add constraint small check (data <> '{"a": 1}')`);
    const broken = createSession("ada", sql, { data: { a: 1 } });
    await rejects(() => broken, { code: "STORE_REJECTED", sqlstate: "23514" });
    await all(sql`alter table coatcheck.sessions drop constraint small`);
  },

  "sends concurrent calls as one, and answers each": async ({ sql }) => {
    const together = batched(sql);
    const names = Array.from({ length: 40 }, (_, n) => n % 4 ? NAMES[n % 4 + 1]! : "nobody");
    const calls = await Promise.allSettled(
      names.map((name) => createSession(name, together, { data: DATA })),
    );
    const visitors = calls.map((call) =>
      call.status === "fulfilled" ? presenting(call.value.headers) : anybody()
    );
    const visits = await Promise.all(visitors.map((visitor) => validateSession(visitor, together)));
    const seen = visits.map(({ session, reason }) =>
      session ? [session.username, session.data] : reason
    );
    same("the visits", seen, names.map((name) => name === "nobody" ? "unknown" : [name, DATA]));
    const refused = calls.flatMap((call) => call.status === "rejected" ? [call.reason.code] : []);
    same(
      "the refused",
      refused,
      names.filter((name) => name === "nobody").map(() => "USER_NOT_FOUND"),
    );
  },

  "tells a schema that is missing": async ({ sql }) => {
    await all(sql`drop schema if exists coatcheck cascade`);
    const message = "Cannot store the session as the database must accept the statement: " +
      "received SQLSTATE 3F000; run migrate(sql)";
    await rejects(() => createSession("ada", sql), {
      code: "SCHEMA_MISSING",
      sqlstate: "3F000",
      message,
    });
    await migrate(sql, { users: USERS });
    same("the user", (await createSession("ada", sql)).session.username, "ada");
  },

  "refuses a foreign object under its names, in its own words": async ({ sql }) => {
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

  "gives keys of every type as the same type": async ({ sql }) => {
    // The text of the first two is what numbers would lose.
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
      same("the visit", (await validateSession(presenting(headers), sql)).session, session);
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
  same("the first answer", taken, "free");
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
async function age(sql: Sql, visitor: Headers, column: string, seconds: number): Promise<void> {
  const set =
    // Of functions that are immutable: Citus takes no others beside a column.
    `update coatcheck.sessions set ${column} = pg_catalog.to_timestamp(
      extract(epoch from ${column} at time zone 'utc')::double precision - ${seconds})`;
  await all(tag(sql, "uuid", idOf(visitor), `${set} where id = `, ""));
}

// ── Statements and answers ───────────────────────────────────────────────────────────────────────

/** Calls a client with a text that is no literal, and no value. */
function template(sql: Sql, ...texts: string[]): ReturnType<Sql> {
  return sql(literal(texts));
}

/** Calls a client with one value, as PostgreSQL's text of it. */
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

/** The array that a template literal would pass: constant, and with a `raw` that is not enumerable. */
function literal(texts: string[]): TemplateStringsArray {
  const key = texts.join("\0");
  const known = literals.get(key);
  if (known) return known;
  Object.defineProperty(texts, "raw", { value: Object.freeze([...texts]) });
  const made = Object.freeze(texts) as unknown as TemplateStringsArray;
  literals.set(key, made);
  return made;
}

/** A client that sends this text, whatever it is asked. */
function once(sql: Sql, text: string): Sql {
  return () => template(sql, text);
}

/** The only column of each row. */
async function all(answer: ReturnType<Sql>): Promise<unknown[]> {
  const result = await inTime(answer);
  const rows = Array.isArray(result) ? result : (result as { rows?: unknown } | undefined)?.rows;
  if (!Array.isArray(rows)) {
    throw nonconformity("the answer", "be an array of rows, or { rows }", spell(result));
  }
  // As coatcheck does, it passes over holes (porsager/postgres #1181).
  return rows.flatMap((row) => [Object.values(row as object)[0]]);
}

/** What a client promises, if it comes within ten seconds. */
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

/** Runs a function in a transaction, and has it rolled back. */
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

/** Something to wait for, and how to give it. */
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

/** A visitor with a token that no row has. */
const anybody = (): Headers => new Headers({ cookie: `__Host-session=${createToken().token}` });

const idOf = (visitor: Headers): string => visitor.get("cookie")!.split(/[=.]/)[1]!;

const noInstants = { createdAt: null, authenticatedAt: null, lastSeenAt: null, expiresAt: null };

// ── What was expected ────────────────────────────────────────────────────────────────────────────

function nonconformity(what: string, desired: string, actual: string): Error {
  const error = new Error(`Cannot conform as ${what} must ${desired}: received ${actual}`);
  error.name = "Nonconformity";
  return error;
}

function same(what: string, actual: unknown, expected: unknown): void {
  const [received, desired] = [spell(actual), spell(expected)];
  if (received === desired) return;
  // Of what is long, the part where the two part.
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

/** Spells a value, so that equal ones are spelt equally: keys in their order, and types that JSON has not. */
function spell(value: unknown): string {
  return JSON.stringify(value, (_, it) => {
    if (it instanceof Headers) return [...it];
    if (typeof it === "bigint" || typeof it === "undefined") return `${typeof it} ${it}`;
    if (typeof it !== "object" || it === null || Array.isArray(it)) return it;
    return Object.fromEntries(Object.entries(it).sort(([a], [b]) => a < b ? -1 : 1));
  }) ?? String(value);
}
