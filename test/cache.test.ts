import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import { createSessionCache, type Listen, type SessionCache } from "../cache.ts";
import {
  batched,
  configure,
  createGuestSession,
  createSession,
  createToken,
  listSessions,
  migrate,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  SessionError,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { PROBE } from "../src/cache/statements.ts";
import { query } from "../src/sql.ts";
import { counted, type Database, openDatabase, withCookie } from "./runner/database.ts";
import { until } from "./runner/until.ts";

let db: Database;
const opened: SessionCache[] = [];

beforeAll(async () => {
  db = await openDatabase({ notify: true });
});
afterAll(async () => {
  for (const cache of opened) await cache.close();
  await db.close();
});

const listen: Listen = (channel, onMessage, onListen) =>
  db.sql.listen(channel, onMessage, onListen);

/** Another process: a cache, a client that counts its statements, and the functions. */
async function open(
  options: Partial<Parameters<typeof createSessionCache>[0]> = {},
  policy?: Policy,
) {
  const { sql, statements } = counted(options.sql ?? db.sql);
  // A machine under load may be late with the beats. What depends on them sets another bound.
  const cache = await createSessionCache({
    listen,
    maxStaleness: 60,
    queryTimeout: 60,
    ...options,
    sql,
  });
  opened.push(cache);
  const sessions = configure({ ...policy, cache });
  /** The reason, or the session's user; and whether the database was asked. */
  const validate = async (request: Headers, within?: number) => {
    const asked = statements.filter(isValidation).length;
    const options = within === undefined ? {} : { authenticatedWithin: within };
    const result = await sessions.validateSession(request, sql, options);
    const isFromMemory = statements.filter(isValidation).length === asked;
    return `${result.session?.username ?? result.reason}${isFromMemory ? ", from memory" : ""}`;
  };
  return { ...sessions, cache, sql, statements, validate };
}

const isValidation = (text: string) => text.includes("is_current") && !text.includes("for share");

/** A signed-in browser, whose session is in memory. */
async function known(process: Awaited<ReturnType<typeof open>>, user = "ada") {
  const { session, headers } = await createSession(user, db.sql);
  const request = withCookie(headers);
  assert.equal(await process.validate(request), user);
  assert.equal(await process.validate(request), `${user}, from memory`);
  return { session, request };
}

describe("a session in memory", () => {
  test("is what the database said, in objects of its own for each call", async () => {
    const { cache, sql, validateSession } = await open();
    const data = { theme: "dark", list: [1, { a: null }], text: "ü\u2028" };
    const { headers } = await createSession("ada", db.sql, { data });
    const request = withCookie(headers);
    const first = await validateSession(request, sql);
    const second = await validateSession(request, sql);
    const third = await validateSession(request, sql);
    assert.equal(cache.stats().hits, 2);
    assert.deepEqual(second, first);
    assert.deepEqual(second.session?.data, data);
    assert.notEqual(second.session, third.session);
    assert.notEqual(second.session?.data, third.session?.data);
    assert.notEqual(second.session?.expiresAt, third.session?.expiresAt);
    assert.notEqual(second.headers, third.headers);
    Object.assign(second.session!.data, { theme: "light" });
    second.session!.expiresAt.setTime(0);
    assert.deepEqual((await validateSession(request, sql)).session, first.session);
  });

  test("is a guest's, too", async () => {
    const { sql, validateSession, cache } = await open();
    const { headers } = await createGuestSession(db.sql, { data: { cart: 1 } });
    const request = withCookie(headers);
    const asked = await validateSession(request, sql);
    const remembered = await validateSession(request, sql);
    assert.equal(cache.stats().hits, 1);
    assert.deepEqual(remembered, asked);
    assert.deepEqual(remembered.guest?.data, { cart: 1 });
  });

  test("is answered to its own client alone: a transaction asks the database", async () => {
    const process = await open();
    const { request } = await known(process);
    const { validateSession } = process;
    await db.sql.begin(async (transaction) => {
      await revokeSession(request, transaction as unknown as Sql);
      assert.equal(
        (await validateSession(request, transaction as unknown as Sql)).reason,
        "revoked",
      );
    });
    const other = counted(db.sql);
    await validateSession(request, other.sql);
    assert.equal(other.statements.length, 1);
  });

  test("is kept of the answers of a batch as well", async () => {
    const sql = batched(db.sql);
    const cache = await createSessionCache({ sql, listen, maxStaleness: 60 });
    opened.push(cache);
    const { validateSession } = configure({ cache });
    const requests = await Promise.all(Array.from({ length: 20 }, async () => {
      return withCookie((await createSession("ada", db.sql)).headers);
    }));
    for (let round = 0; round < 2; round++) {
      const results = await Promise.all(requests.map((it) => validateSession(it, sql)));
      assert.ok(results.every(({ session }) => session?.username === "ada"));
    }
    assert.equal(cache.stats().hits, 20);
    assert.equal(cache.stats().sessions, 20);
  });

  test("is compared by its digest: another secret of its id is the database's to judge", async () => {
    const process = await open();
    const { session, request } = await known(process);
    const forged = new Headers({ cookie: `__Host-session=${session.id}.${createToken().secret}` });
    assert.equal(await process.validate(forged), "unknown");
    assert.equal(await process.validate(request), "ada, from memory");
  });

  test("is no secret, and no token: what an inspector shows of the cache has none", async () => {
    const process = await open();
    const { request } = await known(process);
    const secret = request.get("cookie")!.split(".")[1]!;
    const shown = JSON.stringify([process.cache, process.cache.stats()]) + String(process.cache);
    assert.ok(!shown.includes(secret));
  });
});

describe("the database is asked", () => {
  test("about what is unknown, absent or malformed, and nothing is kept of it", async () => {
    const { validate, cache } = await open();
    const unknown = new Headers({ cookie: `__Host-session=${createToken().token}` });
    for (let round = 0; round < 3; round++) assert.equal(await validate(unknown), "unknown");
    assert.equal(await validate(new Headers()), "absent, from memory");
    assert.equal(
      await validate(new Headers({ cookie: "__Host-session=x" })),
      "malformed, from memory",
    );
    assert.equal(cache.stats().sessions, 0);
  });

  test("before each refusal: idle, expired and stale are its words", async () => {
    const process = await open({}, { idleTimeout: 60, touchInterval: 59 });
    const { request, session } = await known(process);
    const start = Date.now();
    assert.equal(await process.validate(request, 30), "ada, from memory");
    // An hour has passed for this process, and none for the database.
    await jumping(3600_000, async () => {
      assert.equal(await process.validate(request), "ada");
    });
    assert.ok(Date.now() - start < 60_000);
    await db.sql`update coatcheck.sessions set authenticated_at = authenticated_at - interval '31 s'
      where id = ${session.id}`;
    await until("stale", async () => await process.validate(request, 30) === "stale");
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '61 s'
      where id = ${session.id}`;
    await until("idle", async () => await process.validate(request) === "idle");
  });

  test("about a session that it will have to write: a use, and a rotation", async () => {
    const process = await open({}, { touchInterval: 0 });
    const { headers } = await createSession("ada", db.sql);
    const request = withCookie(headers);
    for (let round = 0; round < 3; round++) assert.equal(await process.validate(request), "ada");
    const rotating = await open({}, { rotateAfter: 60 });
    const { request: other, session } = await known(rotating);
    await db.sql`update coatcheck.sessions set authenticated_at = authenticated_at - interval '61 s'
      where id = ${session.id}`;
    await until("asked again", async () => await rotating.validate(other) === "ada");
    const [row] = await db.sql`select rotated_at from coatcheck.sessions where id = ${session.id}`;
    assert.ok(row?.rotated_at);
  });

  test("while a rotation is not settled, so that the first sight of the new secret is noted", async () => {
    const process = await open();
    const { session, request } = await known(process);
    const rotated = withCookie((await rotateSession(request, db.sql)).headers);
    await until("asked again", async () => await process.validate(request) === "ada");
    for (const it of [request, rotated, rotated, request]) {
      assert.equal(await process.validate(it), "ada");
    }
    await db
      .sql`update coatcheck.sessions set rotation_seen_at = rotation_seen_at - interval '1 hour'
      where id = ${session.id}`;
    assert.equal(await process.validate(rotated), "ada");
    assert.equal(await process.validate(rotated), "ada, from memory");
    assert.equal(await process.validate(request), "reused");
    assert.equal(await process.validate(rotated), "revoked");
  });

  test("after maxAge, when a change of the user is seen", async () => {
    const process = await open({ maxAge: 30 });
    await db.sql`insert into users values (3, 'alan')`;
    const { request } = await known(process, "alan");
    await db.sql`update users set username = 'turing' where id = 3`;
    await jumping(20_000, async () => {
      assert.equal(await process.validate(request), "alan, from memory");
    });
    await jumping(31_000, async () => assert.equal(await process.validate(request), "turing"));
  });

  test("if the proof is older than maxStaleness, by the clock on which more time has passed", async () => {
    const process = await open();
    const { request } = await known(process);
    await jumping(58_000, async () => {
      assert.equal(await process.validate(request), "ada, from memory");
    });
    await jumping(61_000, async () => assert.equal(await process.validate(request), "ada"));
    // A clock that was set back proves nothing new.
    await jumping(-3600_000, async () => {
      assert.equal(await process.validate(request), "ada, from memory");
    });
  });

  test("if the cache was closed", async () => {
    const process = await open();
    const { request } = await known(process);
    await process.cache.close();
    assert.equal(await process.validate(request), "ada");
    assert.equal(await process.validate(request), "ada");
    assert.deepEqual({ ...process.cache.stats(), hits: 0, misses: 0 }, {
      hits: 0,
      misses: 0,
      sessions: 0,
      watched: 0,
      staleness: Infinity,
      queueUsage: 0,
    });
  });
});

/** Sets the wall clock of this process while a test runs. */
async function jumping(milliseconds: number, run: () => Promise<void>): Promise<void> {
  const { now } = Date;
  Date.now = () => now() + milliseconds;
  try {
    await run();
  } finally {
    Date.now = now;
  }
}

type Process = Awaited<ReturnType<typeof open>>;
type Known = Awaited<ReturnType<typeof known>>;

/** What ends a session, by another process or by SQL. */
const ends: { name: string; reason: string; end: (it: Known) => Promise<unknown> }[] = [
  {
    name: "revokeSession",
    reason: "revoked",
    end: ({ request }) => revokeSession(request, db.sql),
  },
  {
    name: "revokeSessions by id",
    reason: "revoked",
    end: ({ session }) => revokeSessions({ userId: 1, id: session.id }, db.sql),
  },
  {
    name: "revokeSessions of the user",
    reason: "revoked",
    end: () => revokeSessions({ userId: 1 }, db.sql),
  },
  {
    name: "a sign-in that replaces it",
    reason: "revoked",
    end: ({ request }) => createSession("ada", db.sql, { replaces: request }),
  },
  {
    name: "a sign-in above maxSessions",
    reason: "revoked",
    end: () => createSession("ada", db.sql, { maxSessions: 1 }),
  },
  {
    name: "a reauthentication, of its old secret",
    reason: "unknown",
    end: ({ request }) => reauthenticateSession(request, db.sql),
  },
  {
    name: "psql",
    reason: "revoked",
    end: ({ session }) =>
      db.sql`update coatcheck.sessions set revoked_at = now() where id = ${session.id}`,
  },
  {
    name: "an operator's DELETE",
    reason: "unknown",
    end: ({ session }) => db.sql`delete from coatcheck.sessions where id = ${session.id}`,
  },
  { name: "TRUNCATE", reason: "unknown", end: () => db.sql`truncate coatcheck.sessions` },
  {
    name: "a deadline that was lowered",
    reason: "expired",
    end: ({ session }) =>
      db.sql`update coatcheck.sessions set expires_at = now() where id = ${session.id}`,
  },
  {
    name: "a restore that silences triggers",
    reason: "revoked",
    end: ({ session }) =>
      db.sql.begin(async (sql) => {
        await sql`set local session_replication_role = replica`;
        await sql`update coatcheck.sessions set revoked_at = now() where id = ${session.id}`;
      }),
  },
];

describe("the end of a session in another process", () => {
  for (const { name, reason, end } of ends) {
    test(`by ${name} is seen by the notification, without a question`, async () => {
      const process = await open();
      const it = await known(process);
      await end(it);
      await until("the notification", () => process.cache.stats().sessions === 0);
      assert.equal(await process.validate(it.request), reason);
    });
  }

  test("by the deletion of its user is seen by the notification", async () => {
    const process = await open();
    await db.sql`insert into users values (4, 'barbara')`;
    const it = await known(process, "barbara");
    await db.sql`delete from users where id = 4`;
    await until("the notification", () => process.cache.stats().sessions === 0);
    assert.equal(await process.validate(it.request), "unknown");
  });

  test("by a use is none: a touch makes no process forget", async () => {
    const process = await open();
    const { request, session } = await known(process);
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour'
      where id = ${session.id}`;
    await until("the notification", () => process.cache.stats().sessions === 0);
    assert.equal(await process.validate(request), "ada");
    assert.equal(await process.validate(request), "ada");
    assert.equal(await process.validate(request), "ada, from memory");
    await validateSession(request, db.sql, { touchInterval: 0 });
    await sweepSessions(db.sql);
    // After a notification of its own, everything before it has arrived.
    await barrier(process);
    assert.equal(await process.validate(request), "ada, from memory");
  });

  test("is none if it was rolled back", async () => {
    const process = await open();
    const { request } = await known(process);
    await assert.rejects(
      db.sql.begin(async (sql) => {
        await revokeSession(request, sql as unknown as Sql);
        throw new Error("rolled back");
      }),
      { message: "rolled back" },
    );
    await barrier(process);
    assert.equal(await process.validate(request), "ada, from memory");
  });
});

/** Resolves when every notification of what was committed before has arrived. */
async function barrier(process: Process): Promise<void> {
  const other = await known(process, "grace");
  const { sessions } = process.cache.stats();
  await revokeSession(other.request, db.sql);
  await until("the notification", () => process.cache.stats().sessions < sessions);
}

describe("the same process", () => {
  const changes: { name: string; change: (process: Process, it: Known) => Promise<unknown> }[] = [
    {
      name: "revokeSession",
      change: ({ revokeSession, sql }, { request }) => revokeSession(request, sql),
    },
    {
      name: "revokeSessions",
      change: ({ revokeSessions, sql }) => revokeSessions({ userId: 1 }, sql),
    },
    {
      name: "rotateSession",
      change: ({ rotateSession, sql }, { request }) => rotateSession(request, sql),
    },
    {
      name: "reauthenticateSession",
      change: ({ reauthenticateSession, sql }, { request }) => reauthenticateSession(request, sql),
    },
    {
      name: "updateSession",
      change: ({ updateSession, sql }, { request }) => updateSession(request, { a: 1 }, sql),
    },
    {
      name: "createSession that replaces",
      change: ({ createSession, sql }, { request }) =>
        createSession("ada", sql, { replaces: request }),
    },
  ];
  for (const { name, change } of changes) {
    test(`forgets at once what ${name} has changed, whatever the notifications do`, async () => {
      // A listener that hears its beats, and nothing else.
      const deaf: Listen = (channel, onMessage, onListen) =>
        db.sql.listen(channel, (payload) => {
          if (payload.startsWith("beat:")) onMessage(payload);
        }, onListen);
      const process = await open({ listen: deaf });
      const it = await known(process);
      await change(process, it);
      assert.equal(process.cache.stats().sessions, 0);
    });
  }

  test("tells the event listener of the policy as well", async () => {
    const events: string[] = [];
    const process = await open({}, {
      onEvent: ({ type }) => {
        events.push(type);
        throw new Error("a listener that fails");
      },
    });
    const { request } = await known(process);
    await process.revokeSession(request, process.sql);
    await process.validate(request);
    assert.deepEqual(events, ["revoked", "refused"]);
  });
});

describe("createSessionCache", () => {
  test("keeps as many sessions as it may, and the data of as many", async () => {
    const { validateSession, sql, cache } = await open({ maxSessions: 5 });
    for (let made = 0; made < 20; made++) {
      const { headers } = await createSession("ada", db.sql, {
        data: made % 2 ? { text: "x".repeat(1500) } : {},
      });
      await validateSession(withCookie(headers), sql);
      assert.ok(cache.stats().sessions <= 5);
    }
    assert.equal(cache.stats().sessions, 5);
    const { headers } = await createSession("ada", db.sql, { data: { text: "x".repeat(6000) } });
    await validateSession(withCookie(headers), sql);
    assert.ok(cache.stats().sessions < 5);
  });

  test("says that the triggers are missing, or switched off", async () => {
    const other = await openDatabase();
    try {
      const options = {
        sql: other.sql as unknown as Sql,
        listen: ((channel, onMessage, onListen) =>
          other.sql.listen(channel, onMessage, onListen)) as Listen,
      };
      const missing = {
        name: "SessionError",
        code: "SCHEMA_MISSING",
        message:
          "createSessionCache: the triggers of coatcheck.sessions are missing or disabled; " +
          "run migrate(sql, { notify: true })",
      };
      await assert.rejects(createSessionCache(options), missing);
      await migrate(other.sql, { notify: true });
      await (await createSessionCache(options)).close();
      for (const state of ["disable trigger all", "enable trigger all"]) {
        await other.sql.unsafe(`alter table coatcheck.sessions ${state}`);
        await assert.rejects(createSessionCache(options), missing, state);
      }
    } finally {
      await other.close();
    }
  });

  test("refuses a listener that hears nothing, as behind a pooler in transaction mode", async () => {
    const silent: Listen = () => Promise.resolve(() => {});
    await assert.rejects(createSessionCache({ sql: db.sql, listen: silent, queryTimeout: 1 }), {
      name: "SessionError",
      code: "STORE_TIMEOUT",
      message: "createSessionCache: no notification came back within queryTimeout, 1 s; " +
        "listen needs a connection of its own to the same database, without a pooler in transaction mode",
    });
  });

  test("refuses a connection that both listens and sends", async () => {
    const one = await db.sql.reserve();
    try {
      await one`listen coatcheck`;
      const heard: Listen = () => Promise.resolve(() => {});
      await assert.rejects(createSessionCache({ sql: one, listen: heard }), {
        name: "SessionError",
        code: "UNEXPECTED_RESULT",
        message: "createSessionCache: sql sends its statements on the connection that listens; " +
          "listen needs one of its own",
      });
      await one`unlisten coatcheck`;
    } finally {
      one.release();
    }
  });

  test("passes on that the listener cannot connect, without what the driver says", async () => {
    const gone = postgres("postgres://user:hunter2@127.0.0.1:1/none", { max: 1 });
    const failing: Listen = (channel, onMessage) => gone.listen(channel, onMessage);
    await assert.rejects(createSessionCache({ sql: db.sql, listen: failing }), (error) => {
      assert.ok(error instanceof SessionError);
      assert.equal(error.code, "STORE_UNAVAILABLE");
      assert.ok(!`${error.stack}`.includes("hunter2"));
      return true;
    });
    await gone.end({ timeout: 0 });
  });

  const bad: { name: string; options: object; error: RegExp }[] = [
    {
      name: "no client",
      options: { sql: undefined },
      error: /^TypeError: createSessionCache: sql must/,
    },
    {
      name: "a client that cannot listen",
      options: { listen: undefined },
      error: /^TypeError: createSessionCache: listen must be a function that listens/,
    },
    {
      name: "an unknown option",
      options: { maxAges: 1 },
      error:
        /^TypeError: createSessionCache: options must have no keys but sql, listen, maxStaleness/,
    },
    ...["maxStaleness", "maxAge", "maxSessions", "queryTimeout"].flatMap((key) =>
      [0, -1, 1.5, NaN, Infinity, 1e9].map((value) => ({
        name: `${key} of ${value}`,
        options: { [key]: value },
        error: new RegExp(`^RangeError: createSessionCache: ${key} must be `),
      }))
    ),
  ];
  for (const { name, options, error } of bad) {
    test(`refuses ${name}`, async () => {
      const sql = counted(db.sql);
      await assert.rejects(
        createSessionCache({ sql: sql.sql, listen, ...options } as never),
        error,
      );
      assert.deepEqual(sql.statements, []);
    });
  }

  test("is what a policy takes as a cache, and nothing else is", () => {
    for (const cache of [null, {}, new Map(), "cache", 1]) {
      assert.throws(() => configure({ cache } as never), {
        name: "TypeError",
        message: /^configure: cache must be made by createSessionCache, got /,
      });
    }
  });
});

describe("the proof", () => {
  test("rests on what PostgreSQL does: before a beat that a probe waits for come all changes that it must", async () => {
    const clients = Array.from({ length: 10 }, () => postgres(db.url, { max: 1 }));
    const [prober, beater, ...writers] = clients.map((sql) => ({
      sql,
      ask: async (beat: "beat" | null) => {
        const [row] = await query(
          { caller: "test", sql: sql as unknown as Sql, queryTimeout: 60 },
          PROBE,
          [
            beat,
          ],
        );
        return { xmax: Number(row![0]), server: row![1] };
      },
    }));
    const committed: number[] = [];
    const heard = new Set<number>();
    /** Probes that wait; those of the changes before them that had not come when a beat did. */
    const waiting = new Set<{ xmax?: number; until: number; beats: Map<number, number> }>();
    let reached = 0;
    const missing: number[] = [];
    const settle = () => {
      for (const probe of waiting) {
        const { xmax, beats } = probe;
        const own = [...beats].find(([transaction]) => xmax !== undefined && transaction >= xmax);
        if (!own) continue;
        waiting.delete(probe);
        reached++;
        if (own[1] > 0) missing.push(own[1]);
      }
    };
    const { unlisten } = await db.sql.listen("coatcheck", (payload) => {
      const [, change] = /^change (\d+)$/.exec(payload) ?? [];
      if (change !== undefined) heard.add(Number(change));
      const [, transaction] = /^beat:(\d+) /.exec(payload) ?? [];
      if (transaction === undefined) return;
      for (const { until, beats } of waiting) {
        beats.set(
          Number(transaction),
          committed.slice(0, until).filter((it) => !heard.has(it)).length,
        );
      }
      settle();
    });
    const end = performance.now() + 60_000;
    const during = async (step: () => Promise<unknown>) => {
      while ((reached < 200 || committed.length < 1000) && performance.now() < end) await step();
    };
    let next = 0;
    await Promise.all([
      during(async () => {
        const probe: Parameters<typeof waiting.add>[0] = {
          until: committed.length,
          beats: new Map(),
        };
        waiting.add(probe);
        probe.xmax = (await prober!.ask(null)).xmax;
        settle();
      }),
      during(() => beater!.ask("beat")),
      ...writers.map(({ sql }, index) =>
        during(async () => {
          const change = next++;
          await sql.begin(async (tx) => {
            await tx`set local synchronous_commit = off`;
            await tx`select pg_notify('coatcheck', ${`change ${change}`}), pg_current_xact_id()::text`;
            // Others begin later, and are committed before.
            await tx`select pg_sleep(${(change * 7 + index) % 5 / 1000})`;
          });
          committed.push(change);
        })
      ),
    ]);
    await unlisten();
    await Promise.all(clients.map((sql) => sql.end()));
    assert.deepEqual(missing, []);
    assert.ok(reached >= 200 && committed.length >= 1000, `${reached} of ${committed.length}`);
  });

  test("of ten processes takes the beats of one or two", async () => {
    const clients = Array.from({ length: 10 }, () => postgres(db.url, { max: 1 }));
    const processes: Awaited<ReturnType<typeof open>>[] = [];
    // A second between two probes, in which a machine under load answers.
    const maxStaleness = 8;
    for (const sql of clients) {
      processes.push(await open({ sql: sql as unknown as Sql, maxStaleness }));
    }
    let beats = 0;
    const { unlisten } = await db.sql.listen("coatcheck", () => beats++);
    await new Promise((resolve) => setTimeout(resolve, maxStaleness * 1000));
    await unlisten();
    for (const { cache } of processes) {
      assert.ok(cache.stats().staleness < maxStaleness);
      await cache.close();
    }
    await Promise.all(clients.map((sql) => sql.end()));
    // Each by itself would send four.
    assert.ok(beats >= 3 && beats <= 20, `${beats}`);
  });
});

describe("watch", () => {
  test("calls once the session has ended, by another process or by SQL", async () => {
    const { cache } = await open();
    for (const { name, end } of ends) {
      const { session, headers } = await createSession("ada", db.sql);
      let calls = 0;
      cache.watch(session, () => calls++);
      await end({ session, request: withCookie(headers) });
      if (name.startsWith("a reauthentication")) {
        assert.equal((await listSessions(1, db.sql)).some(({ id }) => id === session.id), true);
        await revokeSessions({ userId: 1 }, db.sql);
      }
      await until("called", () => calls === 1);
    }
    assert.equal(cache.stats().watched, 0);
  });

  test("calls if the session had ended before it was watched", async () => {
    const { cache } = await open({ maxStaleness: 1 });
    const { session, headers } = await createSession("ada", db.sql);
    await revokeSession(withCookie(headers), db.sql);
    let calls = 0;
    cache.watch(session, () => calls++);
    await until("called", () => calls === 1);
  });

  test("takes an id in any letter case, as the other functions do", async () => {
    const { cache } = await open({ maxStaleness: 1 });
    const { session } = await createSession("ada", db.sql);
    let calls = 0;
    cache.watch({ ...session, id: session.id.toUpperCase() }, () => calls++);
    const { session: ended, headers } = await createSession("ada", db.sql);
    await revokeSession(withCookie(headers), db.sql);
    let checks = 0;
    cache.watch(ended, () => checks++);
    await until("called", () => checks === 1);
    assert.equal(calls, 0);
    await revokeSessions({ userId: 1, id: session.id }, db.sql);
    await until("called", () => calls === 1);
  });

  test("calls if the session is past its deadline", async () => {
    const { cache } = await open({ maxStaleness: 1 });
    const { session } = await createSession("ada", db.sql);
    let calls = 0;
    cache.watch({ ...session, expiresAt: new Date(Date.now() + 300) }, () => calls++);
    await until("called", () => calls === 1);
    assert.equal(cache.stats().watched, 0);
  });

  for (
    const { name, stored } of [
      { name: "the deadline of its row", stored: 2 },
      { name: "the deadline of a policy", stored: 3600 },
    ]
  ) {
    test(`calls at ${name}, which a re-authentication moves, and each at its own`, async () => {
      const { cache, validateSession, reauthenticateSession } = await open({ maxStaleness: 1 }, {
        absoluteTimeout: 2,
      });
      const { headers } = await createSession("ada", db.sql, { absoluteTimeout: stored });
      const { session } = await validateSession(withCookie(headers), db.sql);
      assert.ok(session);
      const calls: string[] = [];
      cache.watch(session, () => calls.push("moved"));
      cache.watch({ ...session, expiresAt: new Date(Date.now() + 300) }, () => calls.push("own"));
      await until("called", () => calls.length === 1);
      assert.deepEqual([calls, cache.stats().watched], [["own"], 1]);
      await new Promise((resolve) => setTimeout(resolve, 700));
      const renewed = await reauthenticateSession(withCookie(headers), db.sql);
      assert.ok(renewed.session);
      await new Promise((resolve) =>
        setTimeout(resolve, session.expiresAt.getTime() - Date.now() + 300)
      );
      assert.deepEqual(calls, ["own"]);
      await until("called", () => calls.length === 2);
      assert.ok(Date.now() >= renewed.session.expiresAt.getTime() - 50);
      assert.deepEqual([calls, cache.stats().watched], [["own", "moved"], 0]);
    });
  }

  test("calls at a deadline that a re-authentication has lowered", async () => {
    const { cache } = await open({ maxStaleness: 1 });
    const { session, headers } = await createSession("ada", db.sql);
    let endedAt = 0;
    cache.watch(session, () => endedAt = Date.now());
    const policy = { absoluteTimeout: 1 };
    const renewed = await reauthenticateSession(withCookie(headers), db.sql, policy);
    await until("called", () => endedAt > 0);
    assert.ok(endedAt >= renewed.session!.expiresAt.getTime() - 50);
  });

  test("calls if the database can be asked, and nothing is heard any more", async () => {
    let isDeaf = false;
    const { cache } = await open({
      maxStaleness: 1,
      listen: (channel, onMessage, onListen) =>
        listen(channel, (payload) => isDeaf || onMessage(payload), onListen),
    });
    const { session, headers } = await createSession("ada", db.sql);
    const { session: kept } = await createSession("ada", db.sql);
    const calls: string[] = [];
    cache.watch(session, () => calls.push("ended"));
    cache.watch(kept, () => calls.push("kept"));
    isDeaf = true;
    await revokeSession(withCookie(headers), db.sql);
    await until("called", () => calls.length > 0);
    assert.deepEqual(calls, ["ended"]);
  });

  test("does not call if the clock of this process is ahead", async () => {
    const { cache } = await open({ maxStaleness: 1 });
    const { session } = await createSession("ada", db.sql, { absoluteTimeout: 600 });
    const { session: ended, headers } = await createSession("ada", db.sql);
    const calls: string[] = [];
    await jumping(3600_000, async () => {
      cache.watch(session, () => calls.push("live"));
      cache.watch(ended, () => calls.push("ended"));
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.deepEqual(calls, []);
      await revokeSession(withCookie(headers), db.sql);
      await until("called", () => calls.length > 0);
    });
    assert.deepEqual(calls, ["ended"]);
  });

  test("calls at the deadline that a re-authentication has moved before the database was asked", async () => {
    const { cache } = await open({ maxStaleness: 1 });
    const { session, headers } = await createSession("ada", db.sql, { absoluteTimeout: 1 });
    await new Promise((resolve) => setTimeout(resolve, 700));
    const policy = { absoluteTimeout: 2 };
    const renewed = await reauthenticateSession(withCookie(headers), db.sql, policy);
    assert.ok(renewed.session);
    let endedAt = 0;
    cache.watch(session, () => endedAt = Date.now());
    await until("called", () => endedAt > 0);
    const later = renewed.session.authenticatedAt.getTime() - session.authenticatedAt.getTime();
    assert.ok(endedAt >= session.expiresAt.getTime() + later - 50);
  });

  test("leaves a deadline alone that is newer than the answer", async () => {
    let release = () => {};
    const held = new Promise<void>((resolve) => release = resolve);
    let isAnswered = false;
    const answersLate: Sql = (strings, ...values) => {
      const pending = db.sql(strings, ...values as never[]);
      if (isAnswered || !strings.join().includes("concat_ws")) return pending;
      return pending.then(async (rows) => {
        isAnswered = true;
        await held;
        return rows;
      });
    };
    const { cache } = await open({ sql: answersLate, maxStaleness: 1 });
    const { session, headers } = await createSession("ada", db.sql);
    cache.watch(session, () => {});
    await until("answered", () => isAnswered);
    await new Promise((resolve) => setTimeout(resolve, 900));
    const renewed = await reauthenticateSession(withCookie(headers), db.sql);
    assert.ok(renewed.session);
    let calls = 0;
    // The policy of this watch ends it a second after the proof.
    const expiresAt = new Date(renewed.session.authenticatedAt.getTime() + 1000);
    const stop = cache.watch({ ...renewed.session, expiresAt }, () => calls++);
    await new Promise((resolve) => setTimeout(resolve, 200));
    release();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(calls, 0);
    stop();
  });

  test("calls all that watch, also if one throws; and none that has stopped, or whose session is changed", async () => {
    const { cache } = await open({ maxStaleness: 1 });
    const { session, headers } = await createSession("ada", db.sql);
    const request = withCookie(headers);
    const calls: string[] = [];
    cache.watch(session, () => {
      calls.push("throws");
      throw new Error("a watcher that fails");
    });
    cache.watch(session, () => {
      calls.push("rejects");
      return Promise.reject(new Error("a watcher that fails"));
    });
    const stop = cache.watch(session, () => calls.push("stopped"));
    cache.watch(session, () => calls.push("last"));
    stop();
    stop();
    await updateSession(request, { a: 1 }, db.sql);
    await rotateSession(request, db.sql);
    assert.deepEqual(calls, []);
    await revokeSession(request, db.sql);
    await until("called", () => calls.length === 3);
    assert.deepEqual(calls, ["throws", "rejects", "last"]);
    assert.equal(cache.stats().watched, 0);
  });

  test("refuses what is no session, and what is no function", async () => {
    const { cache } = await open();
    const { session } = await createSession("ada", db.sql);
    assert.throws(() => cache.watch({ ...session, id: "x" }, () => {}), RangeError);
    assert.throws(() => cache.watch({ id: session.id } as never, () => {}), TypeError);
    assert.throws(
      () => cache.watch({ ...session, authenticatedAt: 1 as never }, () => {}),
      TypeError,
    );
    assert.throws(() => cache.watch(session, undefined as never), TypeError);
  });
});
