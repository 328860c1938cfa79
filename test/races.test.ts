import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  createSession,
  listSessions,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Session,
  type SessionEvent,
  type SessionResult,
  type Sql,
  sweepSessions,
  updateSession,
  type UpdateSessionResult,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

type Kind = "touch" | "rotate" | "reauthenticate" | "update" | "revoke" | "sweep" | "create";

/** What a call returned, in a word, and the cookie that it issued. */
interface Outcome {
  readonly word: string;
  readonly session?: Session;
  readonly cookie?: Headers;
}

function outcomeOf(result: SessionResult | UpdateSessionResult): Outcome {
  const { session, headers } = result;
  if (session === null) return { word: result.revokedReason ?? result.reason ?? "updated" };
  if (!headers.has("set-cookie")) return { word: "session", session };
  return { word: "cookie", session, cookie: withCookie(headers) };
}

// `role` is the key that an update sets, so that the row shows which update was kept.
const calls: Record<Kind, (old: Headers, sql: Sql, role: string) => Promise<Outcome>> = {
  touch: async (old, sql) => outcomeOf(await validateSession(old, sql)),
  rotate: async (old, sql) => outcomeOf(await rotateSession(old, sql)),
  reauthenticate: async (old, sql) => outcomeOf(await reauthenticateSession(old, sql)),
  update: async (old, sql, role) => outcomeOf(await updateSession(old, { [role]: true }, sql)),
  revoke: async (old, sql) => {
    const { session } = await revokeSession(old, sql);
    return { word: session ? "revoked" : "nothing" };
  },
  sweep: async (_old, sql) => ({ word: `swept ${(await sweepSessions(sql, sweeper)).swept}` }),
  create: async (old, sql) => {
    const types: string[] = [];
    const onEvent = ({ type }: SessionEvent) => types.push(type);
    const { session, headers } = await createSession("ada", sql, { replaces: old, onEvent });
    const word = types.includes("revoked") ? "replaces" : "creates";
    return { word, session, cookie: withCookie(headers) };
  },
};

// The session was not used for two hours: dead under this timeout, and live under the 7 days of all other
// calls, so that a sweep conflicts with each of them.
const sweeper = { retention: 0, idleTimeout: 3600 };

const waits = (kind: Kind) => kind !== "touch" && kind !== "sweep";

/** The only session there is: created some hours ago, and not used since. */
async function prepare(hours: number) {
  await db.sql`delete from coatcheck.sessions`;
  const { session: { id }, headers } = await createSession("ada", db.sql);
  await db.sql`update coatcheck.sessions
    set created_at = created_at - a.span, authenticated_at = authenticated_at - a.span,
      last_seen_at = last_seen_at - a.span, expires_at = expires_at - a.span
    from (select make_interval(hours => ${hours}) as span) a`;
  return { id, old: withCookie(headers) };
}

/** What was changed in a row: `first` and `second` are keys of `data`, and the last is a reason. */
async function rowOf(id: string): Promise<string> {
  const [row] = await db.sql`select concat_ws(' ',
      case when last_seen_at > now() - interval '1 hour' then 'touched' end,
      case when previous_digest is not null then 'rotated' end,
      case when authenticated_at > now() - interval '1 hour' then 'reauthenticated' end,
      (select string_agg(key, ' ' order by key) from jsonb_object_keys(data) key),
      revoked_reason
    ) as changes
    from coatcheck.sessions where id = ${id}`;
  return row ? row.changes || "as it was" : "gone";
}

/** The session that a cookie opens, or the reason; without a write. */
async function look(cookie: Headers): Promise<Session | string> {
  const result = await validateSession(cookie, db.sql, { touchInterval: false });
  return result.session ?? result.revokedReason ?? result.reason;
}

async function opens(cookie: Headers | undefined): Promise<string> {
  if (cookie === undefined) return "-";
  const found = await look(cookie);
  return typeof found === "string" ? found : "opens";
}

/**
 * Runs one call in a transaction that keeps its locks, starts another call, and ends the transaction as
 * soon as the other one waits for it or, if it must not wait, has returned.
 */
async function race(first: Kind, second: Kind, end: "commit" | "rollback", hours = 2) {
  const { id, old } = await prepare(hours);
  const before = await look(old);
  const connection = await db.sql.reserve();
  try {
    await connection`begin`;
    const one = await calls[first](old, connection, "first");
    const started = calls[second](old, db.sql, "second");
    await (waits(second) ? db.waiting() : started);
    await connection.unsafe(end);
    const two = await started;
    if (two.session) {
      const now = waits(second) ? await look(two.cookie ?? old) : before;
      assert.deepEqual(two.session, now, "the session that the second returned");
    }
    return { id, old, one, two };
  } finally {
    await connection`rollback`;
    connection.release();
  }
}

const noun: Record<Kind, string> = {
  touch: "a touch",
  rotate: "a rotation",
  reauthenticate: "a reauthentication",
  update: "an update",
  revoke: "a revocation",
  sweep: "a sweep",
  create: "a sign-in",
};

const cookieText = ({ cookie }: Outcome) => cookie?.get("cookie");

// What each call returns, what it leaves of the row, and what the old cookie and its own open then.
// deno-fmt-ignore: a table is read down its columns.
const alone: Record<Kind, readonly [word: string, row: string, old: string, own: string]> = {
  touch:          ["session",  "touched",                 "opens",      "-"    ],
  rotate:         ["cookie",   "touched rotated",         "opens",      "opens"],
  reauthenticate: ["cookie",   "touched reauthenticated", "unknown",    "opens"],
  update:         ["session",  "touched second",          "opens",      "-"    ],
  revoke:         ["revoked",  "signed-out",              "signed-out", "-"    ],
  sweep:          ["swept 1",  "gone",                    "unknown",    "-"    ],
  create:         ["replaces", "replaced",                "replaced",   "opens"],
};

type Pair = readonly [
  first: Kind,
  second: Kind,
  word: string,
  row: string,
  old: string,
  ofFirst: string,
  ofSecond: string,
  rule: string,
];

// What the second call returns, what the two leave of the row, and what the three cookies open then: the
// old one, that of the first and that of the second call, which may be the `same` as that of the first.
// deno-fmt-ignore: a table is read down its columns.
const pairs: readonly Pair[] = [
  ["touch", "touch", "session", "touched", "opens", "-", "-",
    "a validation beside a touch returns at once, and leaves the touch to it"],
  ["touch", "rotate", "cookie", "touched rotated", "opens", "-", "opens",
    "a rotation that waits for a touch succeeds, and both secrets open the session"],
  ["touch", "reauthenticate", "cookie", "touched reauthenticated", "unknown", "-", "opens",
    "a reauthentication that waits for a touch succeeds, and only its secret is left"],
  ["touch", "update", "session", "touched second", "opens", "-", "-",
    "an update that waits for a touch is kept"],
  ["touch", "revoke", "revoked", "touched signed-out", "signed-out", "-", "-",
    "a revocation that waits for a touch revokes the session that is in use"],
  ["touch", "sweep", "swept 0, later 0", "touched", "opens", "-", "-",
    "a sweep beside a touch leaves the session, and finds it in use later"],
  ["touch", "create", "replaces", "touched replaced", "replaced", "-", "opens",
    "a sign-in that waits for a touch revokes the session that it replaces"],

  ["rotate", "touch", "session", "touched rotated", "opens", "opens", "-",
    "a validation beside a rotation returns at once, with the old secret"],
  ["rotate", "rotate", "cookie", "touched rotated", "opens", "opens", "same",
    "a rotation that waits for another of the same secret gets the same new secret"],
  ["rotate", "reauthenticate", "cookie", "touched reauthenticated", "unknown", "unknown", "opens",
    "a reauthentication that waits for a rotation locks out the old and the rotated secret"],
  ["rotate", "update", "session", "touched rotated second", "opens", "opens", "-",
    "an update that waits for a rotation is kept, although its secret is the previous one by then"],
  ["rotate", "revoke", "revoked", "touched rotated signed-out", "signed-out", "signed-out", "-",
    "a revocation that waits for a rotation revokes the session under both secrets"],
  ["rotate", "sweep", "swept 0, later 0", "touched rotated", "opens", "opens", "-",
    "a sweep beside a rotation leaves the session, and finds it in use later"],
  ["rotate", "create", "replaces", "touched rotated replaced", "replaced", "replaced", "opens",
    "a sign-in that waits for a rotation revokes the session that it replaces under both secrets"],

  ["reauthenticate", "touch", "session", "touched reauthenticated", "unknown", "opens", "-",
    "a validation beside a reauthentication returns at once, and is the last one of its secret"],
  ["reauthenticate", "rotate", "unknown", "touched reauthenticated", "unknown", "opens", "-",
    "a rotation that waits for a reauthentication gets no secret"],
  ["reauthenticate", "reauthenticate", "unknown", "touched reauthenticated",
    "unknown", "opens", "-",
    "a reauthentication that waits for another one leaves the session to the secret of that one"],
  ["reauthenticate", "update", "unknown", "touched reauthenticated", "unknown", "opens", "-",
    "an update that waits for a reauthentication writes nothing with the old secret"],
  ["reauthenticate", "revoke", "nothing", "touched reauthenticated", "unknown", "opens", "-",
    "a revocation that waits for a reauthentication revokes nothing with the old secret"],
  ["reauthenticate", "sweep", "swept 0, later 0", "touched reauthenticated",
    "unknown", "opens", "-",
    "a sweep beside a reauthentication leaves the session, and finds it in use later"],
  ["reauthenticate", "create", "creates", "touched reauthenticated", "unknown", "opens", "opens",
    "a sign-in that waits for a reauthentication replaces nothing with the old secret"],

  ["update", "touch", "session", "touched first", "opens", "-", "-",
    "a validation beside an update returns at once, with the data of before"],
  ["update", "rotate", "cookie", "touched rotated first", "opens", "-", "opens",
    "a rotation that waits for an update keeps its data"],
  ["update", "reauthenticate", "cookie", "touched reauthenticated first", "unknown", "-", "opens",
    "a reauthentication that waits for an update keeps its data"],
  ["update", "update", "session", "touched first second", "opens", "-", "-",
    "an update that waits for an update of another key keeps both"],
  ["update", "revoke", "revoked", "touched first signed-out", "signed-out", "-", "-",
    "a revocation that waits for an update revokes the session, with its data"],
  ["update", "sweep", "swept 0, later 0", "touched first", "opens", "-", "-",
    "a sweep beside an update leaves the session, and finds it in use later"],
  ["update", "create", "replaces", "touched first replaced", "replaced", "-", "opens",
    "a sign-in that waits for an update revokes the session that it replaces"],

  ["revoke", "touch", "session", "signed-out", "signed-out", "-", "-",
    "a validation beside a revocation returns at once, and its touch revives nothing"],
  ["revoke", "rotate", "signed-out", "signed-out", "signed-out", "-", "-",
    "a rotation that waits for a revocation is refused, and revives nothing"],
  ["revoke", "reauthenticate", "signed-out", "signed-out", "signed-out", "-", "-",
    "a reauthentication that waits for a revocation is refused, and revives nothing"],
  ["revoke", "update", "signed-out", "signed-out", "signed-out", "-", "-",
    "an update that waits for a revocation is refused, and writes nothing"],
  ["revoke", "revoke", "nothing", "signed-out", "signed-out", "-", "-",
    "a revocation that waits for a revocation returns no session"],
  ["revoke", "sweep", "swept 0, later 1", "signed-out", "signed-out", "-", "-",
    "a sweep beside a revocation leaves the session, and deletes it later"],
  ["revoke", "create", "creates", "signed-out", "signed-out", "-", "opens",
    "a sign-in that waits for a revocation keeps its reason, and succeeds"],

  ["sweep", "touch", "session", "gone", "unknown", "-", "-",
    "a validation beside a sweep returns at once, and its touch revives nothing"],
  ["sweep", "rotate", "unknown", "gone", "unknown", "-", "-",
    "a rotation that waits for a sweep finds nothing, and revives nothing"],
  ["sweep", "reauthenticate", "unknown", "gone", "unknown", "-", "-",
    "a reauthentication that waits for a sweep finds nothing, and revives nothing"],
  ["sweep", "update", "unknown", "gone", "unknown", "-", "-",
    "an update that waits for a sweep finds nothing, and revives nothing"],
  ["sweep", "revoke", "nothing", "gone", "unknown", "-", "-",
    "a revocation that waits for a sweep finds nothing to revoke"],
  ["sweep", "sweep", "swept 0, later 0", "gone", "unknown", "-", "-",
    "a sweep beside a sweep skips what that deletes, and counts nothing twice"],
  ["sweep", "create", "creates", "gone", "unknown", "-", "opens",
    "a sign-in that waits for a sweep has nothing to replace, and succeeds"],

  ["create", "touch", "session", "replaced", "replaced", "opens", "-",
    "a validation beside a sign-in returns at once, and its touch revives nothing"],
  ["create", "rotate", "replaced", "replaced", "replaced", "opens", "-",
    "a rotation that waits for a sign-in is refused, and revives nothing"],
  ["create", "reauthenticate", "replaced", "replaced", "replaced", "opens", "-",
    "a reauthentication that waits for a sign-in is refused, and revives nothing"],
  ["create", "update", "replaced", "replaced", "replaced", "opens", "-",
    "an update that waits for a sign-in is refused, and writes nothing"],
  ["create", "revoke", "nothing", "replaced", "replaced", "opens", "-",
    "a revocation that waits for a sign-in keeps the new session"],
  ["create", "sweep", "swept 0, later 1", "replaced", "replaced", "opens", "-",
    "a sweep beside a sign-in leaves the session that it replaces, and deletes it later"],
  ["create", "create", "creates", "replaced", "replaced", "opens", "opens",
    "a sign-in that waits for a sign-in replaces nothing twice, and both new sessions are live"],
];

describe("two calls at once", () => {
  test("are 49 pairs, each with a rule of its own", () => {
    const names = Object.keys(calls);
    assert.deepEqual(
      pairs.map(([first, second]) => `${first} ${second}`),
      names.flatMap((first) => names.map((second) => `${first} ${second}`)),
    );
    assert.equal(new Set(pairs.map((pair) => pair.at(-1))).size, 49);
  });

  test("are compared with what each does alone", async () => {
    for (const [kind, expected] of Object.entries(alone)) {
      const { id, old } = await prepare(2);
      const { word, cookie } = await calls[kind as Kind](old, db.sql, "second");
      const seen = [word, await rowOf(id), await opens(old), await opens(cookie)];
      assert.deepEqual(seen, expected, kind);
    }
  });

  for (const [first, second, word, row, old, ofFirst, ofSecond, rule] of pairs) {
    test(rule, async () => {
      const { id, old: cookie, one, two } = await race(first, second, "commit");
      const same = two.cookie !== undefined && cookieText(one) === cookieText(two);
      const seen = {
        first: one.word,
        second: two.word,
        row: await rowOf(id),
        old: await opens(cookie),
        ofFirst: await opens(one.cookie),
        ofSecond: same ? "same" : await opens(two.cookie),
      };
      if (second === "sweep") {
        seen.second += `, later ${(await sweepSessions(db.sql, sweeper)).swept}`;
      }
      assert.deepEqual(seen, { first: alone[first][0], second: word, row, old, ofFirst, ofSecond });
    });
  }

  for (const [first, second] of pairs) {
    if (!waits(second)) continue;
    const waited = `${noun[second]} that waited for ${noun[first]}`;
    const rule = `${waited} that was rolled back does what it does alone`;
    test(rule, async () => {
      const { id, old, one, two } = await race(first, second, "rollback");
      const seen = [two.word, await rowOf(id), await opens(old), await opens(two.cookie)];
      assert.deepEqual(seen, alone[second]);
      assert.equal(one.word, alone[first][0]);
      // A cookie of a transaction that was rolled back opens nothing.
      assert.equal(await opens(one.cookie), one.cookie ? "unknown" : "-");
    });
  }

  for (const first of Object.keys(calls) as Kind[]) {
    test(`a validation due for rotation returns at once beside ${noun[first]}`, async () => {
      const { id, old } = await prepare(2);
      const before = await look(old);
      const connection = await db.sql.reserve();
      try {
        await connection`begin`;
        await calls[first](old, connection, "first");
        const { session, headers } = await validateSession(old, db.sql, { rotateAfter: 3600 });
        assert.deepEqual(session, before);
        assert.ok(!headers.has("set-cookie"));
      } finally {
        await connection`rollback`;
        connection.release();
      }
      assert.equal(await rowOf(id), "as it was");
      const { headers } = await validateSession(old, db.sql, { rotateAfter: 3600 });
      assert.ok(headers.has("set-cookie"), "the next validation rotates");
    });
  }

  // What is committed between the two statements of a validation: what that returns, and the row.
  const between = [
    { due: "touch", first: "revoke", word: "session", row: "signed-out" },
    { due: "touch", first: "create", word: "session", row: "replaced" },
    { due: "touch", first: "sweep", word: "session", row: "gone" },
    { due: "touch", first: "reauthenticate", word: "session", row: "touched reauthenticated" },
    { due: "rotation", first: "revoke", word: "signed-out", row: "signed-out" },
    { due: "rotation", first: "create", word: "replaced", row: "replaced" },
    { due: "rotation", first: "sweep", word: "session", row: "gone" },
    { due: "rotation", first: "reauthenticate", word: "session", row: "touched reauthenticated" },
  ] as const;
  for (const { due, first, word, row } of between) {
    test(`a ${due} that is overtaken by ${noun[first]} writes nothing`, async () => {
      const { id, old } = await prepare(2);
      let statements = 0;
      let one: Outcome | undefined;
      const paused: Sql = async (strings, ...values) => {
        if (++statements === 2) one = await calls[first](old, db.sql, "first");
        return await db.sql(strings, ...values);
      };
      const rotateAfter = due === "rotation" && 3600;
      const two = outcomeOf(await validateSession(old, paused, { rotateAfter }));
      assert.deepEqual([one?.word, two.word, await rowOf(id)], [alone[first][0], word, row]);
      assert.deepEqual([await opens(old), await opens(one?.cookie)], alone[first].slice(2));
      assert.equal(two.cookie, undefined);
    });
  }

  test("never revive a session that was swept at its deadline", async () => {
    const words = { touch: "expired", revoke: "nothing", create: "creates", sweep: "swept 0" };
    for (const second of Object.keys(calls) as Kind[]) {
      const { id, old, one, two } = await race("sweep", second, "commit", 31 * 24);
      assert.equal(one.word, "swept 1", second);
      const expected = second in words ? words[second as "touch"] : "unknown";
      assert.equal(two.word, expected, second);
      assert.deepEqual([await rowOf(id), await opens(old)], ["gone", "unknown"], second);
    }
  });
});

const times = <T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

const ALL_USERS = { userIds: [1, 2] };

async function signIn(): Promise<Headers> {
  return withCookie((await createSession("ada", db.sql)).headers);
}

/** The sessions that are live under the default policy. */
async function live(): Promise<string[]> {
  return (await listSessions(1, db.sql)).map(({ id }) => id);
}

describe("many calls at once", () => {
  test("20 rotations of one secret make one UPDATE, and all get its new secret", async () => {
    for (let burst = 0; burst < 10; burst++) {
      const old = await signIn();
      let updated = 0;
      const counting: Sql = async (strings, ...values) => {
        const rows = await db.sql(strings, ...values);
        if (/set previous_digest = s\.digest/.test(strings.join("?"))) updated += rows.length;
        return rows;
      };
      const results = await times(20, () => rotateSession(old, counting));
      assert.equal(updated, 1);
      const secrets = new Set(results.map(({ headers }) => secretOf(headers)));
      assert.equal(secrets.size, 1);
      const seen = await times(20, (i) => validateSession(withCookie(results[i]!.headers), db.sql));
      assert.ok(seen.every(({ session }) => session?.id === results[0]!.session!.id));
      assert.equal(await opens(old), "opens");
    }
  });

  test("20 rotations among validations with the old and the new secret keep the session", async () => {
    for (let burst = 0; burst < 10; burst++) {
      const old = await signIn();
      const results = await times(20, async () => {
        const [rotated, beside] = await Promise.all([
          rotateSession(old, db.sql),
          validateSession(old, db.sql),
        ]);
        return [rotated, beside, await validateSession(withCookie(rotated.headers), db.sql)];
      });
      assert.ok(results.flat().every(({ session }) => session));
      const issued = results.flat().filter(({ headers }) => headers.has("set-cookie"));
      assert.equal(new Set(issued.map(({ headers }) => secretOf(headers))).size, 1);
      assert.equal(await opens(withCookie(issued[0]!.headers)), "opens");
    }
  });

  test("a reauthentication among 20 rotations of its secret leaves only its own", async () => {
    for (let burst = 0; burst < 10; burst++) {
      const old = await signIn();
      const results = await times(
        21,
        (i) => (i === 2 * burst ? reauthenticateSession : rotateSession)(old, db.sql),
      );
      const [own] = results.splice(2 * burst, 1);
      assert.equal(await opens(withCookie(own!.headers)), "opens");
      for (const { session, reason, headers } of results) {
        assert.equal(reason, session ? undefined : "unknown");
        if (session) assert.equal(await opens(withCookie(headers)), "unknown");
      }
      assert.equal(await opens(old), "unknown");
    }
  });

  test("60 revocations of the same users in opposite orders revoke each session once", async () => {
    await db.sql`delete from coatcheck.sessions`;
    const userIds = Array.from({ length: 20 }, (_, index) => 100 + index);
    await db.sql`insert into users select id, 'user ' || id from generate_series(100, 119) id`;
    for (let burst = 0; burst < 3; burst++) {
      const created = await times(60, (i) => createSession({ userId: 100 + i % 20 }, db.sql));
      const revoked = await times(60, (i) => {
        const some = [...userIds.slice(i % 7), ...userIds.slice(0, i % 5)];
        return revokeSessions({ userIds: i % 2 ? some : some.toReversed() }, db.sql);
      });
      assert.deepEqual(
        revoked.flat().map(({ id }) => id).sort(),
        created.map(({ session }) => session.id).sort(),
      );
      for (const { headers } of created) assert.equal(await opens(withCookie(headers)), "revoked");
    }
  });

  for (const [maxSessions, bursts] of [[5, 30], [1, 10]] as const) {
    test(`20 sign-ins leave ${maxSessions} live sessions with maxSessions: ${maxSessions}`, async () => {
      await revokeSessions(ALL_USERS, db.sql);
      for (let burst = 0; burst < bursts; burst++) {
        const created = await times(20, () => createSession("ada", db.sql, { maxSessions }));
        const left = await live();
        assert.equal(left.length, maxSessions);
        const ids = created.map(({ session }) => session.id);
        assert.ok(left.every((id) => ids.includes(id)));
      }
    });
  }

  test("a sign-in is never revoked by its own limit, even if all others were used after it", async () => {
    await revokeSessions(ALL_USERS, db.sql);
    await times(3, signIn);
    // Between the two statements of the sign-in, all others are used.
    const paused: Sql = async (strings, ...values) => {
      if (strings.join("").includes("'limit'")) {
        await db.sql`update coatcheck.sessions set last_seen_at = clock_timestamp() + interval '1 s'
          where id not in (select id from coatcheck.sessions order by created_at desc limit 1)`;
      }
      return await db.sql(strings, ...values);
    };
    for (const maxSessions of [2, 1]) {
      const { session } = await createSession("ada", paused, { maxSessions });
      const left = await live();
      assert.equal(left.length, maxSessions);
      assert.ok(left.includes(session.id));
      // By its last use alone it would be revoked first.
      assert.equal(left.at(-1), session.id);
    }
  });

  test("four sweepers beside traffic delete all dead rows, and nothing else", async () => {
    await db.sql`delete from coatcheck.sessions`;
    await times(100, signIn);
    await db.sql`update coatcheck.sessions set expires_at = now() - interval '1 s'`;
    let dead = 100;
    let swept = 0;
    let busy = true;
    const sweep = async () => {
      const done = await sweepSessions(db.sql, { retention: 0 });
      swept += done.swept;
    };
    const kept: Headers[] = [];
    const traffic = times(6, async () => {
      for (let round = 0; round < 10; round++) {
        const { session, headers } = await createSession("ada", db.sql);
        await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour'
          where id = ${session.id}`;
        assert.equal((await validateSession(withCookie(headers), db.sql)).session?.id, session.id);
        const rotated = await rotateSession(withCookie(headers), db.sql);
        const cookie = withCookie(rotated.headers);
        assert.equal((await validateSession(cookie, db.sql)).session?.id, session.id);
        if (round % 2) {
          kept.push(cookie);
        } else {
          assert.ok((await revokeSession(cookie, db.sql)).session);
          dead++;
        }
      }
    }).finally(() => busy = false);
    const sweepers = times(4, async () => {
      while (busy) await sweep();
    });
    await Promise.all([traffic, sweepers]);
    await sweep();
    assert.equal(swept, dead);
    assert.equal(kept.length, 30);
    for (const cookie of kept) assert.equal(await opens(cookie), "opens");
    const [left] = await db.sql`select count(*)::integer as rows from coatcheck.sessions`;
    assert.equal(left!.rows, kept.length);
  });

  test("20 updates of different keys lose none", async () => {
    const old = await signIn();
    await times(20, (i) => updateSession(old, { [`key${i}`]: i }, db.sql));
    const { session } = await validateSession(old, db.sql);
    const expected = Array.from({ length: 20 }, (_, i) => [`key${i}`, i]);
    assert.deepEqual(session!.data, Object.fromEntries(expected));
    assert.equal(session!.version, 20);
  });

  test("20 updates of the same version have one winner and 19 conflicts", async () => {
    const old = await signIn();
    for (let version = 0; version < 5; version++) {
      const updates = await times(20, (i) => updateSession(old, { by: i }, db.sql, { version }));
      const winners = updates.filter(({ reason }) => reason === undefined);
      assert.equal(winners.length, 1);
      assert.equal(updates.filter(({ reason }) => reason === "conflict").length, 19);
      const { session } = await validateSession(old, db.sql);
      assert.deepEqual(session, winners[0]!.session);
      // A conflict returns the data of the winner.
      for (const update of updates) assert.deepEqual(update.session, session);
    }
  });

  test("20 validations of a secret that is due for rotation issue one new secret", async () => {
    for (let burst = 0; burst < 10; burst++) {
      const { old } = await prepare(2);
      const rotateAfter = { rotateAfter: 3600 };
      const results = await times(20, () => validateSession(old, db.sql, rotateAfter));
      assert.ok(results.every(({ session }) => session));
      const issued = results.filter(({ headers }) => headers.has("set-cookie"));
      assert.equal(new Set(issued.map(({ headers }) => secretOf(headers))).size, 1);
      assert.equal(await opens(withCookie(issued[0]!.headers)), "opens");
      // A validation without a cookie returned during the rotation: its secret still opens the session.
      assert.equal(await opens(old), "opens");
    }
  });
});

describe("a write that changes no row", () => {
  type Write = (headers: Headers, sql: Sql, policy?: Policy) => Promise<SessionResult>;
  const writes: { name: string; write: Write; update: RegExp }[] = [
    { name: "rotateSession", write: rotateSession, update: /set previous_digest = s\.digest/ },
    {
      name: "reauthenticateSession",
      write: reauthenticateSession,
      update: /authenticated_at = statement_timestamp/,
    },
    {
      name: "updateSession",
      write: (headers, sql, policy) =>
        updateSession(headers, { a: 1 }, sql, policy) as Promise<SessionResult>,
      update: /version = s\.version \+ 1/,
    },
  ];
  const tableOf = async (id: string) => {
    const [row] = await db.sql`select * from coatcheck.sessions where id = ${id}`;
    return { ...row };
  };

  /** A client for which the session is idle in the first updates, and live in every other statement. */
  function flickering(id: string, update: RegExp, misses: number) {
    const sent: ("update" | "read")[] = [];
    const sql: Sql = async (strings, ...values) => {
      const kind = update.test(strings.join("?")) ? "update" : "read";
      sent.push(kind);
      const isIdle = kind === "update" && misses-- > 0;
      const hide = (sign: number) =>
        db.sql`update coatcheck.sessions
          set last_seen_at = last_seen_at + ${sign}::integer * interval '8 days' where id = ${id}`;
      if (isIdle) await hide(-1);
      const rows = await db.sql(strings, ...values);
      if (isIdle) await hide(1);
      return rows;
    };
    return { sql, sent };
  }

  for (const { name, write, update } of writes) {
    test(`is tried once more by ${name} if the session is live by then`, async () => {
      const { session, headers } = await createSession("ada", db.sql);
      const { sql, sent } = flickering(session.id, update, 1);
      const events: string[] = [];
      const onEvent = ({ type }: SessionEvent) => events.push(type);
      const result = await write(withCookie(headers), sql, { onEvent });
      assert.deepEqual(sent, ["update", "read", "update"]);
      assert.equal(result.session?.id, session.id);
      assert.equal(events.length, 1);
      assert.notEqual(events[0], "refused");
    });

    test(`is tried no third time by ${name}, which is unavailable then`, async () => {
      const { session, headers } = await createSession("ada", db.sql);
      const before = await tableOf(session.id);
      const { sql, sent } = flickering(session.id, update, Infinity);
      const events: string[] = [];
      const onEvent = ({ type }: SessionEvent) => events.push(type);
      await assert.rejects(write(withCookie(headers), sql, { onEvent }), {
        name: "SessionError",
        code: "STORE_UNAVAILABLE",
        message: `${name}: other requests changed the session at the same time; try again`,
      });
      assert.deepEqual(sent, ["update", "read", "update", "read"]);
      assert.deepEqual(await tableOf(session.id), before);
      assert.deepEqual(events, []);
      assert.equal(await opens(withCookie(headers)), "opens");
    });
  }
});
