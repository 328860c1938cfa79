import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  createSession,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Session,
  type SessionEvent,
  type Sql,
  sweepSessions,
  type UpdateSessionResult,
  updateSession,
  validateSession,
  type SessionResult,
} from "../mod.ts";
import { type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

type Verb = "touch" | "rotate" | "reauthenticate" | "update" | "revoke" | "sweep" | "create";

/** What a verb has told its caller, in a word, and what it has handed out. */
interface Answer {
  readonly told: string;
  readonly session?: Session;
  readonly cookie?: Headers;
}

function answerOf(visit: SessionResult | Update): Answer {
  const { session, headers } = visit;
  if (session === null) return { told: visit.revokedReason ?? visit.reason };
  if (!headers.has("set-cookie")) return { told: "session", session };
  return { told: "cookie", session, cookie: withCookie(headers) };
}

// `role` is the key that an update sets, so that the row shows whose update is kept.
const verbs: Record<Verb, (old: Headers, sql: Sql, role: string) => Promise<Answer>> = {
  touch: async (old, sql) => answerOf(await validateSession(old, sql)),
  rotate: async (old, sql) => answerOf(await rotateSession(old, sql)),
  reauthenticate: async (old, sql) => answerOf(await reauthenticateSession(old, sql)),
  update: async (old, sql, role) => answerOf(await updateSession(old, { [role]: true }, sql)),
  revoke: async (old, sql) => {
    const { session } = await revokeSession(old, sql);
    return { told: session ? "ended" : "nothing" };
  },
  sweep: async (_old, sql) => ({ told: `swept ${(await sweepSessions(sql, sweeper)).swept}` }),
  create: async (old, sql) => {
    const types: string[] = [];
    const onEvent = ({ type }: SessionEvent) => types.push(type);
    const { session, headers } = await createSession("ada", sql, { replaces: old, onEvent });
    const told = types.includes("revoked") ? "replaces" : "creates";
    return { told, session, cookie: withCookie(headers) };
  },
};

// The row was not used for two hours: dead by this timeout, and live by the 7 days of all others.
// So a sweep is at odds with everybody who is using the session.
const sweeper = { retention: 0, idleTimeout: 3600 };

const waits = (verb: Verb) => verb !== "touch" && verb !== "sweep";

/** A session that began some hours ago and was not used since: the only one there is. */
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

/** The session that a cookie opens, or why none, without leaving a trace in the row. */
async function look(cookie: Headers): Promise<Session | string> {
  const visit = await validateSession(cookie, db.sql, { touchInterval: false });
  return visit.session ?? visit.revokedReason ?? visit.reason;
}

async function opens(cookie: Headers | undefined): Promise<string> {
  if (cookie === undefined) return "-";
  const found = await look(cookie);
  return typeof found === "string" ? found : "opens";
}

/**
 * Runs one verb in a transaction that holds what it has locked, starts another beside it, and ends
 * the transaction once the other one waits for it or, where it must not wait, has given its answer.
 */
async function race(first: Verb, second: Verb, end: "commit" | "rollback", hours = 2) {
  const { id, old } = await prepare(hours);
  const before = await look(old);
  const connection = await db.sql.reserve();
  try {
    await connection`begin`;
    const one = await verbs[first](old, connection, "first");
    const started = verbs[second](old, db.sql, "second");
    await (waits(second) ? db.waiting() : started);
    await connection.unsafe(end);
    const two = await started;
    if (two.session) {
      const now = waits(second) ? await look(two.cookie ?? old) : before;
      assert.deepEqual(two.session, now, "the session that the second was told");
    }
    return { id, old, one, two };
  } finally {
    await connection`rollback`;
    connection.release();
  }
}

const noun: Record<Verb, string> = {
  touch: "a touch",
  rotate: "a rotation",
  reauthenticate: "a reauthentication",
  update: "an update",
  revoke: "a revocation",
  sweep: "a sweep",
  create: "a sign-in",
};

const cookieText = ({ cookie }: Answer) => cookie?.get("cookie");

// What each verb is told, what it leaves of the row, and what the old cookie and its own open then.
// deno-fmt-ignore: a table is read down its columns.
const alone: Record<Verb, readonly [told: string, row: string, old: string, own: string]> = {
  touch:          ["session",  "touched",                 "opens",      "-"    ],
  rotate:         ["cookie",   "touched rotated",         "opens",      "opens"],
  reauthenticate: ["cookie",   "touched reauthenticated", "unknown",    "opens"],
  update:         ["session",  "touched second",          "opens",      "-"    ],
  revoke:         ["ended",    "signed-out",              "signed-out", "-"    ],
  sweep:          ["swept 1",  "gone",                    "unknown",    "-"    ],
  create:         ["replaces", "replaced",                "replaced",   "opens"],
};

type Pair = readonly [
  first: Verb,
  second: Verb,
  told: string,
  row: string,
  old: string,
  ofFirst: string,
  ofSecond: string,
  rule: string,
];

// What the second is told, what the two leave of the row, and what the three cookies open then: the
// old one, that of the first and that of the second, which may be `same` as that of the first.
// deno-fmt-ignore: a table is read down its columns.
const pairs: readonly Pair[] = [
  ["touch", "touch", "session", "touched", "opens", "-", "-",
    "a validation beside a touch is answered at once, and leaves the touch to it"],
  ["touch", "rotate", "cookie", "touched rotated", "opens", "-", "opens",
    "a rotation that waits for a touch goes through, and both secrets open the session"],
  ["touch", "reauthenticate", "cookie", "touched reauthenticated", "unknown", "-", "opens",
    "a reauthentication that waits for a touch goes through, and only its secret is left"],
  ["touch", "update", "session", "touched second", "opens", "-", "-",
    "an update that waits for a touch is kept"],
  ["touch", "revoke", "ended", "touched signed-out", "signed-out", "-", "-",
    "a revocation that waits for a touch ends the session that is in use"],
  ["touch", "sweep", "swept 0, later 0", "touched", "opens", "-", "-",
    "a sweep beside a touch leaves the session, and finds it in use later"],
  ["touch", "create", "replaces", "touched replaced", "replaced", "-", "opens",
    "a sign-in that waits for a touch ends the session that it replaces"],

  ["rotate", "touch", "session", "touched rotated", "opens", "opens", "-",
    "a validation beside a rotation is answered at once, by the old secret"],
  ["rotate", "rotate", "cookie", "touched rotated", "opens", "opens", "same",
    "a rotation that waits for another of the same secret is given the same new secret"],
  ["rotate", "reauthenticate", "cookie", "touched reauthenticated", "unknown", "unknown", "opens",
    "a reauthentication that waits for a rotation shuts out the old and the rotated secret"],
  ["rotate", "update", "session", "touched rotated second", "opens", "opens", "-",
    "an update that waits for a rotation is kept, although its secret is the old one by then"],
  ["rotate", "revoke", "ended", "touched rotated signed-out", "signed-out", "signed-out", "-",
    "a revocation that waits for a rotation ends the session under both secrets"],
  ["rotate", "sweep", "swept 0, later 0", "touched rotated", "opens", "opens", "-",
    "a sweep beside a rotation leaves the session, and finds it in use later"],
  ["rotate", "create", "replaces", "touched rotated replaced", "replaced", "replaced", "opens",
    "a sign-in that waits for a rotation ends the session that it replaces under both secrets"],

  ["reauthenticate", "touch", "session", "touched reauthenticated", "unknown", "opens", "-",
    "a validation beside a reauthentication is answered at once, and is the last of its secret"],
  ["reauthenticate", "rotate", "unknown", "touched reauthenticated", "unknown", "opens", "-",
    "a rotation that waits for a reauthentication inherits nothing"],
  ["reauthenticate", "reauthenticate", "unknown", "touched reauthenticated",
    "unknown", "opens", "-",
    "a reauthentication that waits for another one leaves the session to that one's secret"],
  ["reauthenticate", "update", "unknown", "touched reauthenticated", "unknown", "opens", "-",
    "an update that waits for a reauthentication writes nothing by the old secret"],
  ["reauthenticate", "revoke", "nothing", "touched reauthenticated", "unknown", "opens", "-",
    "a revocation that waits for a reauthentication ends nothing by the old secret"],
  ["reauthenticate", "sweep", "swept 0, later 0", "touched reauthenticated",
    "unknown", "opens", "-",
    "a sweep beside a reauthentication leaves the session, and finds it in use later"],
  ["reauthenticate", "create", "creates", "touched reauthenticated", "unknown", "opens", "opens",
    "a sign-in that waits for a reauthentication replaces nothing by the old secret"],

  ["update", "touch", "session", "touched first", "opens", "-", "-",
    "a validation beside an update is answered at once, with the data of before"],
  ["update", "rotate", "cookie", "touched rotated first", "opens", "-", "opens",
    "a rotation that waits for an update keeps what that has written"],
  ["update", "reauthenticate", "cookie", "touched reauthenticated first", "unknown", "-", "opens",
    "a reauthentication that waits for an update keeps what that has written"],
  ["update", "update", "session", "touched first second", "opens", "-", "-",
    "an update that waits for an update of another key keeps both"],
  ["update", "revoke", "ended", "touched first signed-out", "signed-out", "-", "-",
    "a revocation that waits for an update ends the session, with what that has written"],
  ["update", "sweep", "swept 0, later 0", "touched first", "opens", "-", "-",
    "a sweep beside an update leaves the session, and finds it in use later"],
  ["update", "create", "replaces", "touched first replaced", "replaced", "-", "opens",
    "a sign-in that waits for an update ends the session that it replaces"],

  ["revoke", "touch", "session", "signed-out", "signed-out", "-", "-",
    "a validation beside a revocation is answered at once, and its touch brings nothing back"],
  ["revoke", "rotate", "signed-out", "signed-out", "signed-out", "-", "-",
    "a rotation that waits for a revocation is refused, and brings nothing back"],
  ["revoke", "reauthenticate", "signed-out", "signed-out", "signed-out", "-", "-",
    "a reauthentication that waits for a revocation is refused, and brings nothing back"],
  ["revoke", "update", "signed-out", "signed-out", "signed-out", "-", "-",
    "an update that waits for a revocation is refused, and writes nothing"],
  ["revoke", "revoke", "nothing", "signed-out", "signed-out", "-", "-",
    "a revocation that waits for a revocation has ended nothing itself"],
  ["revoke", "sweep", "swept 0, later 1", "signed-out", "signed-out", "-", "-",
    "a sweep beside a revocation leaves the session, and deletes it later"],
  ["revoke", "create", "creates", "signed-out", "signed-out", "-", "opens",
    "a sign-in that waits for a revocation leaves the reason that was given, and goes through"],

  ["sweep", "touch", "session", "gone", "unknown", "-", "-",
    "a validation beside a sweep is answered at once, and its touch brings nothing back"],
  ["sweep", "rotate", "unknown", "gone", "unknown", "-", "-",
    "a rotation that waits for a sweep finds nothing, and brings nothing back"],
  ["sweep", "reauthenticate", "unknown", "gone", "unknown", "-", "-",
    "a reauthentication that waits for a sweep finds nothing, and brings nothing back"],
  ["sweep", "update", "unknown", "gone", "unknown", "-", "-",
    "an update that waits for a sweep finds nothing, and brings nothing back"],
  ["sweep", "revoke", "nothing", "gone", "unknown", "-", "-",
    "a revocation that waits for a sweep finds nothing to end"],
  ["sweep", "sweep", "swept 0, later 0", "gone", "unknown", "-", "-",
    "a sweep beside a sweep leaves to it what it has deleted, and counts nothing twice"],
  ["sweep", "create", "creates", "gone", "unknown", "-", "opens",
    "a sign-in that waits for a sweep has nothing to replace, and goes through"],

  ["create", "touch", "session", "replaced", "replaced", "opens", "-",
    "a validation beside a sign-in is answered at once, and its touch brings nothing back"],
  ["create", "rotate", "replaced", "replaced", "replaced", "opens", "-",
    "a rotation that waits for a sign-in is refused, and brings nothing back"],
  ["create", "reauthenticate", "replaced", "replaced", "replaced", "opens", "-",
    "a reauthentication that waits for a sign-in is refused, and brings nothing back"],
  ["create", "update", "replaced", "replaced", "replaced", "opens", "-",
    "an update that waits for a sign-in is refused, and writes nothing"],
  ["create", "revoke", "nothing", "replaced", "replaced", "opens", "-",
    "a revocation that waits for a sign-in leaves the new session alone"],
  ["create", "sweep", "swept 0, later 1", "replaced", "replaced", "opens", "-",
    "a sweep beside a sign-in leaves the session that it replaces, and deletes it later"],
  ["create", "create", "creates", "replaced", "replaced", "opens", "opens",
    "a sign-in that waits for a sign-in replaces nothing twice, and both new sessions live"],
];

describe("two verbs at once", () => {
  test("make 49 pairs, each of which is named", () => {
    const names = Object.keys(verbs);
    assert.deepEqual(
      pairs.map(([first, second]) => `${first} ${second}`),
      names.flatMap((first) => names.map((second) => `${first} ${second}`)),
    );
    assert.equal(new Set(pairs.map((pair) => pair.at(-1))).size, 49);
  });

  test("are compared with what each does alone", async () => {
    for (const [verb, expected] of Object.entries(alone)) {
      const { id, old } = await prepare(2);
      const { told, cookie } = await verbs[verb as Verb](old, db.sql, "second");
      const seen = [told, await rowOf(id), await opens(old), await opens(cookie)];
      assert.deepEqual(seen, expected, verb);
    }
  });

  for (const [first, second, told, row, old, ofFirst, ofSecond, rule] of pairs) {
    test(rule, async () => {
      const ended = await race(first, second, "commit");
      const { one, two } = ended;
      const same = two.cookie !== undefined && cookieText(one) === cookieText(two);
      const seen = {
        first: one.told,
        second: two.told,
        row: await rowOf(ended.id),
        old: await opens(ended.old),
        ofFirst: await opens(one.cookie),
        ofSecond: same ? "same" : await opens(two.cookie),
      };
      if (second === "sweep") {
        seen.second += `, later ${(await sweepSessions(db.sql, sweeper)).swept}`;
      }
      assert.deepEqual(seen, { first: alone[first][0], second: told, row, old, ofFirst, ofSecond });
    });
  }

  for (const [first, second] of pairs) {
    if (!waits(second)) continue;
    const rule = `${noun[second]} that waited for ${
      noun[first]
    } that was rolled back is as if alone`;
    test(rule, async () => {
      const { id, old, one, two } = await race(first, second, "rollback");
      const seen = [two.told, await rowOf(id), await opens(old), await opens(two.cookie)];
      assert.deepEqual(seen, alone[second]);
      assert.equal(one.told, alone[first][0]);
      // A cookie of a transaction that was rolled back opens nothing.
      assert.equal(await opens(one.cookie), one.cookie ? "unknown" : "-");
    });
  }

  for (const first of Object.keys(verbs) as Verb[]) {
    test(`a validation due for rotation is answered at once beside ${noun[first]}`, async () => {
      const { id, old } = await prepare(2);
      const before = await look(old);
      const connection = await db.sql.reserve();
      try {
        await connection`begin`;
        await verbs[first](old, connection, "first");
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

  // What is committed between the two statements of a validation: what that is told, and the row.
  const between = [
    { due: "touch", first: "revoke", told: "session", row: "signed-out" },
    { due: "touch", first: "create", told: "session", row: "replaced" },
    { due: "touch", first: "sweep", told: "session", row: "gone" },
    { due: "touch", first: "reauthenticate", told: "session", row: "touched reauthenticated" },
    { due: "rotation", first: "revoke", told: "signed-out", row: "signed-out" },
    { due: "rotation", first: "create", told: "replaced", row: "replaced" },
    { due: "rotation", first: "sweep", told: "session", row: "gone" },
    { due: "rotation", first: "reauthenticate", told: "session", row: "touched reauthenticated" },
  ] as const;
  for (const { due, first, told, row } of between) {
    test(`a ${due} that is overtaken by ${noun[first]} changes nothing more`, async () => {
      const { id, old } = await prepare(2);
      let statements = 0;
      let one: Answer | undefined;
      const paused: Sql = async (strings, ...values) => {
        if (++statements === 2) one = await verbs[first](old, db.sql, "first");
        return await db.sql(strings, ...values);
      };
      const rotateAfter = due === "rotation" && 3600;
      const two = answerOf(await validateSession(old, paused, { rotateAfter }));
      assert.deepEqual([one?.told, two.told, await rowOf(id)], [alone[first][0], told, row]);
      assert.deepEqual([await opens(old), await opens(one?.cookie)], alone[first].slice(2));
      assert.equal(two.cookie, undefined);
    });
  }

  test("never bring back a session that was swept at its deadline", async () => {
    const told = { touch: "expired", revoke: "nothing", create: "creates", sweep: "swept 0" };
    for (const second of Object.keys(verbs) as Verb[]) {
      const { id, old, one, two } = await race("sweep", second, "commit", 31 * 24);
      assert.equal(one.told, "swept 1", second);
      const expected = {
        told: "unknown",
        ...(second in told && { told: told[second as "touch"] }),
      };
      assert.equal(two.told, expected.told, second);
      assert.deepEqual([await rowOf(id), await opens(old)], ["gone", "unknown"], second);
    }
  });
});

const times = <T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

const EVERYBODY = { userIds: [1, 2] };

async function signIn(): Promise<Headers> {
  return withCookie((await createSession("ada", db.sql)).headers);
}

/** The sessions that can still be used, by the default policy. */
async function live(): Promise<string[]> {
  return (await listSessions(1, db.sql)).map(({ id }) => id);
}

describe("many at once", () => {
  test("20 rotations of one secret, time after time, end with one that all have", async () => {
    for (let burst = 0; burst < 30; burst++) {
      const old = await signIn();
      const visits = await times(20, () => rotateSession(old, db.sql));
      const secrets = new Set(visits.map(({ headers }) => secretOf(headers)));
      assert.equal(secrets.size, 1);
      const seen = await times(20, (i) => validateSession(withCookie(visits[i]!.headers), db.sql));
      assert.ok(seen.every(({ session }) => session?.id === visits[0]!.session!.id));
      assert.equal(await opens(old), "opens");
    }
  });

  test("20 rotations among validations by the old and the new secret lose nobody", async () => {
    for (let burst = 0; burst < 10; burst++) {
      const old = await signIn();
      const visits = await times(20, async () => {
        const [rotated, beside] = await Promise.all([
          rotateSession(old, db.sql),
          validateSession(old, db.sql),
        ]);
        return [rotated, beside, await validateSession(withCookie(rotated.headers), db.sql)];
      });
      assert.ok(visits.flat().every(({ session }) => session));
      const issued = visits.flat().filter(({ headers }) => headers.has("set-cookie"));
      assert.equal(new Set(issued.map(({ headers }) => secretOf(headers))).size, 1);
      assert.equal(await opens(withCookie(issued[0]!.headers)), "opens");
    }
  });

  test("a reauthentication among 20 rotations of its secret leaves only its own", async () => {
    for (let burst = 0; burst < 10; burst++) {
      const old = await signIn();
      const visits = await times(
        21,
        (i) => (i === 2 * burst ? reauthenticateSession : rotateSession)(old, db.sql),
      );
      const [own] = visits.splice(2 * burst, 1);
      assert.equal(await opens(withCookie(own!.headers)), "opens");
      for (const { session, reason, headers } of visits) {
        assert.equal(reason, session ? undefined : "unknown");
        if (session) assert.equal(await opens(withCookie(headers)), "unknown");
      }
      assert.equal(await opens(old), "unknown");
    }
  });

  test("60 revocations of the same users in opposite orders end all, each once", async () => {
    await db.sql`delete from coatcheck.sessions`;
    const userIds = Array.from({ length: 20 }, (_, index) => 100 + index);
    await db.sql`insert into users select id, 'user ' || id from generate_series(100, 119) id`;
    for (let burst = 0; burst < 3; burst++) {
      const created = await times(60, (i) => createSession({ userId: 100 + i % 20 }, db.sql));
      const ended = await times(60, (i) => {
        const some = [...userIds.slice(i % 7), ...userIds.slice(0, i % 5)];
        return revokeSessions({ userIds: i % 2 ? some : some.toReversed() }, db.sql);
      });
      assert.deepEqual(
        ended.flat().map(({ id }) => id).sort(),
        created.map(({ session }) => session.id).sort(),
      );
      for (const { headers } of created) assert.equal(await opens(withCookie(headers)), "revoked");
    }
  });

  for (const [maxSessions, bursts] of [[5, 30], [1, 10]] as const) {
    test(`20 sign-ins, time after time, leave maxSessions of ${maxSessions}`, async () => {
      await revokeSessions(EVERYBODY, db.sql);
      for (let burst = 0; burst < bursts; burst++) {
        const created = await times(20, () => createSession("ada", db.sql, { maxSessions }));
        const left = await live();
        assert.equal(left.length, maxSessions);
        const ids = created.map(({ session }) => session.id);
        assert.ok(left.every((id) => ids.includes(id)));
      }
    });
  }

  test("a sign-in is not ended by its own limit, whatever was touched after it", async () => {
    await revokeSessions(EVERYBODY, db.sql);
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
      // By its use alone it would have been the first to go.
      assert.equal(left.at(-1), session.id);
    }
  });

  test("four sweepers beside traffic delete all that is dead, and nothing else", async () => {
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
      for (let visit = 0; visit < 10; visit++) {
        const { session, headers } = await createSession("ada", db.sql);
        await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour'
          where id = ${session.id}`;
        assert.equal((await validateSession(withCookie(headers), db.sql)).session?.id, session.id);
        const rotated = await rotateSession(withCookie(headers), db.sql);
        const cookie = withCookie(rotated.headers);
        assert.equal((await validateSession(cookie, db.sql)).session?.id, session.id);
        if (visit % 2) {
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

  test("20 updates of the same version have one winner, and 19 who are told", async () => {
    const old = await signIn();
    for (let version = 0; version < 5; version++) {
      const updates = await times(20, (i) => updateSession(old, { by: i }, db.sql, { version }));
      const winners = updates.filter(({ reason }) => reason === undefined);
      assert.equal(winners.length, 1);
      assert.equal(updates.filter(({ reason }) => reason === "conflict").length, 19);
      const { session } = await validateSession(old, db.sql);
      assert.deepEqual(session, winners[0]!.session);
      // Whoever lost is told what has won.
      for (const update of updates) assert.deepEqual(update.session, session);
    }
  });

  test("20 validations of a secret that is due for rotation agree on one new secret", async () => {
    for (let burst = 0; burst < 10; burst++) {
      const { old } = await prepare(2);
      const rotateAfter = { rotateAfter: 3600 };
      const visits = await times(20, () => validateSession(old, db.sql, rotateAfter));
      assert.ok(visits.every(({ session }) => session));
      const issued = visits.filter(({ headers }) => headers.has("set-cookie"));
      assert.equal(new Set(issued.map(({ headers }) => secretOf(headers))).size, 1);
      assert.equal(await opens(withCookie(issued[0]!.headers)), "opens");
      // Those who were given none were answered while it was under way: their secret works too.
      assert.equal(await opens(old), "opens");
    }
  });
});
