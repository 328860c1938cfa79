// The chapter docs/operations.md: each SQL block runs as it stands, and what the text says about it holds.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import postgres from "postgres";
import {
  configure,
  createGuestSession,
  createSession,
  migrate,
  revokeSession,
  revokeSessions,
  rotateSession,
  type SessionError,
  sweepSessions,
  validateSession,
} from "../mod.ts";
import { age, keepCookies, signIn } from "../testing.ts";
import { type Database, openDatabase } from "./runner/database.ts";

const run = promisify(execFile);
const root = new URL("..", import.meta.url);
const read = (path: string) => readFile(new URL(path, root), "utf8");
const DAY = 86_400;
const USERS = { table: "users", id: "id", username: "username" };
const page = await read("docs/operations.md");
/** The SQL blocks of the chapter, by the heading above them. */
const blocks = new Map(
  page.split(/^##+ /m).slice(1).map((section) => [
    section.split("\n", 1)[0]!,
    Array.from(section.matchAll(/^```sql\n([^]*?)^```$/gm), ([, code]) => code!),
  ]),
);
const ran = new Set<string>();

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

/** A SQL block of a section. */
function block(heading: string, index = 0): string {
  const code = blocks.get(heading)?.[index];
  assert.ok(code, `docs/operations.md has no block ${index} under ${heading}`);
  ran.add(code);
  return code;
}

/** A client with one connection of its own. */
async function withClient<Result>(
  options: postgres.Options<Record<string, never>>,
  call: (sql: postgres.Sql) => Promise<Result>,
): Promise<Result> {
  const sql = postgres(db.url, { max: 1, onnotice: () => {}, ...options });
  try {
    return await call(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const runSql = (code: string) => withClient({}, (sql) => sql.unsafe(code));
const reasonOf = async (headers: Headers) =>
  (await validateSession(headers, db.sql)).reason ?? null;
const empty = () => db.sql`truncate coatcheck.sessions`;

/** Rows of ada, as a month of traffic leaves them, without a call for each. */
async function fill(rows: number, expiresIn = "30 days"): Promise<void> {
  await db.sql`insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at,
      last_seen_at, expires_at, persistent, data)
    select gen_random_uuid(), 1, decode(md5(i::text) || md5(i::text), 'hex'), now(), now(), now(),
      now() + ${expiresIn}::text::interval, true, '{}' from generate_series(1, ${rows}::integer) i`;
}

describe("docs/operations.md: migrating under traffic", () => {
  test("a step gives up at lock_timeout, changes nothing, and runs later", async () => {
    const headers = await signIn("ada", db.sql);
    // The schema as it was before the last step.
    await db.sql`alter table coatcheck.sessions alter user_id set not null`;
    await db.sql`delete from coatcheck.migrations where name = '004_guests'`;
    const isNullable = async () => {
      const [row] = await db.sql`select attnotnull from pg_attribute
        where attrelid = 'coatcheck.sessions'::regclass and attname = 'user_id'`;
      return !row!.attnotnull;
    };
    const migrating = () =>
      withClient(
        { connection: { lock_timeout: 500 } },
        (sql) => migrate(sql, { users: USERS }),
      );
    const reader = await db.sql.reserve();
    await reader`begin`;
    await reader`select from coatcheck.sessions limit 1`;
    try {
      const attempt = migrating().then(
        () => assert.fail("It must wait"),
        ({ code, sqlstate }: SessionError) => [code, sqlstate],
      );
      await db.waiting();
      // It waits behind the step, and then goes on, while the reader still has its lock.
      assert.equal(await reasonOf(headers), null);
      assert.deepEqual(await attempt, ["STORE_TIMEOUT", "55P03"]);
      assert.equal(await isNullable(), false);
    } finally {
      await reader`rollback`;
      reader.release();
    }
    assert.deepEqual((await migrating()).applied, ["004_guests"]);
    assert.equal(await isNullable(), true);
    assert.equal(await reasonOf(headers), null);
  });

  test("migrate takes no lock on the sessions if there is nothing to do", async () => {
    const other = await db.sql.reserve();
    await other`begin`;
    await other`lock table coatcheck.sessions in access exclusive mode`;
    try {
      const sql = { connection: { lock_timeout: 200 } };
      const { applied } = await withClient(sql, (sql) => migrate(sql, { users: USERS }));
      assert.deepEqual(applied, []);
    } finally {
      await other`rollback`;
      other.release();
    }
  });
});

describe("docs/operations.md: sweeping on a schedule", () => {
  const runtime = "Bun" in globalThis ? "Bun" : "Deno" in globalThis ? "Deno" : "Node";
  const line = page.match(new RegExp(`^\\| ${runtime}\\b.* \\| \`(.*)\` \\|$`, "m"))?.[1];

  test(`the line for ${runtime} makes a timer whose call sweeps`, async () => {
    assert.ok(line);
    await empty();
    await fill(3, "-1 minute");
    // The line with the runtime's own function, which is asked what it was given. Deno has it with a flag only.
    const given: unknown[][] = [];
    const make = new Function("sweepSessions", "sql", "report", "Bun", "Deno", "setInterval", line);
    const cron = (...args: unknown[]) => void given.push(args);
    const timer = (...args: unknown[]) => {
      given.push(args);
      return { unref: () => {} };
    };
    make(sweepSessions, db.sql, assert.fail, { cron }, { cron }, timer);
    const [args = []] = given;
    const callback = args.find((it) => typeof it === "function") as () => Promise<unknown>;
    assert.deepEqual(await callback(), { swept: 3 });
    const others = args.filter((it) => it !== callback);
    const own = globalThis as unknown as { Bun: { cron: (...args: unknown[]) => unknown } };
    if (runtime === "Node") return assert.deepEqual(others, [3_600_000]);
    if (runtime === "Bun") {
      const job = own.Bun.cron(...args) as { cron: string; stop: () => void };
      job.stop();
      return assert.deepEqual(others, [job.cron]);
    }
    assert.deepEqual(others, ["sweep", "17 * * * *"]);
    const program = `Deno.cron(${others.map((it) => JSON.stringify(it))}, () => {});
      console.log("accepted");
      Deno.exit();`;
    const args2 = ["eval", "--unstable-cron", program];
    const deno = fileURLToPath(new URL("node_modules/.bin/deno", root));
    assert.match((await run(deno, args2)).stdout, /accepted/);
  });

  test("the DELETE for pg_cron deletes what a sweep deletes, and waits for no lock", async () => {
    const [, schedule, text = ""] = block("Sweep on a schedule").match(
      /^select cron\.schedule\('[^']+', '([^']+)', \$\$([^]*)\$\$\);\n$/,
    ) ?? [];
    assert.equal(schedule?.split(" ").length, 5);
    const make = async () => {
      await empty();
      for (const [days, revoked] of [[0, false], [8, false], [31, false], [0, true], [31, true]]) {
        const { session, headers } = await createSession("ada", db.sql);
        if (revoked) await revokeSession(keepCookies({ headers }), db.sql);
        await age(session, days as number * DAY, db.sql);
      }
      for (const days of [6, 8]) {
        await age(keepCookies(await createGuestSession(db.sql)), days * DAY, db.sql);
      }
    };
    const left = async () =>
      (await db.sql`select expires_at - now() > interval '15 days' as is_fresh,
        revoked_at is not null as is_revoked, last_seen_at < now() - interval '7 days' as is_idle,
        user_id is null as is_guest
        from coatcheck.sessions order by 1, 2, 3, 4`).map((row) => ({ ...row }));
    await make();
    await sweepSessions(db.sql);
    const swept = await left();
    assert.equal(swept.length, 4);
    await make();
    await runSql(text);
    assert.deepEqual(await left(), swept);

    await empty();
    await fill(2, "-1 minute");
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions limit 1 for key share`;
    await runSql(`set lock_timeout = '1s'; ${text}`);
    await other`rollback`;
    other.release();
    assert.equal((await left()).length, 1);
  });
});

describe("docs/operations.md: backups and leaks", () => {
  test("a restored backup revives sessions and secrets, until every session is revoked", async () => {
    await empty();
    const revoked = await signIn("ada", db.sql);
    const old = await signIn("grace", db.sql);
    await db.sql`create table backup as select * from coatcheck.sessions`;
    await revokeSession(revoked, db.sql);
    const rotated = keepCookies(await rotateSession(old, db.sql), old);
    assert.equal(await reasonOf(rotated), null);
    await age(rotated, 31, db.sql);
    assert.deepEqual([await reasonOf(revoked), await reasonOf(old)], ["revoked", "reused"]);

    await empty();
    await db.sql`insert into coatcheck.sessions select * from backup`;
    await db.sql`drop table backup`;
    assert.deepEqual([await reasonOf(revoked), await reasonOf(old)], [null, null]);
    await runSql(block("Revoke every session"));
    for (const headers of [revoked, old]) {
      const { reason, revokedReason } = await validateSession(headers, db.sql);
      assert.deepEqual([reason, revokedReason], ["revoked", "restored"]);
    }
    assert.equal(await reasonOf(rotated), "unknown");
    assert.equal(await reasonOf(await signIn("ada", db.sql)), null);
  });

  test("an emptied table signs every user out", async () => {
    const headers = await signIn("ada", db.sql);
    await runSql(block("Revoke every session", 1));
    assert.equal(await reasonOf(headers), "unknown");
  });

  test("what a row holds opens no session", async () => {
    await empty();
    const headers = await signIn("ada", db.sql);
    keepCookies(await rotateSession(headers, db.sql), headers);
    const [row] = await db.sql`select * from coatcheck.sessions`;
    const bytes = Object.values(row!).filter((it) => it instanceof Uint8Array);
    assert.equal(bytes.length, 3);
    for (const it of bytes) {
      const secret = Buffer.from(it).toString("base64url");
      const cookie = `__Host-session=${row!.id}.${secret}`;
      const { reason } = await validateSession(new Headers({ cookie }), db.sql);
      assert.equal(reason, it.length === 32 ? "unknown" : "malformed");
    }
  });

  test("the sessions of named users, or one of them, are revoked", async () => {
    assert.match(page, /revokeSessions\(\{ userIds \}, sql, \{ reason: "leaked" \}\)/);
    const [ada, grace] = [await signIn("ada", db.sql), await signIn("grace", db.sql)];
    const id = grace.get("cookie")!.split("=")[1]!.split(".")[0]!;
    await revokeSessions({ userIds: [1] }, db.sql, { reason: "leaked" });
    assert.deepEqual([await reasonOf(ada), await reasonOf(grace)], ["revoked", null]);
    await revokeSessions({ userId: 2, id }, db.sql, { reason: "leaked" });
    assert.equal(await reasonOf(grace), "revoked");
  });

  test("every secret is rotated, and whoever comes second with a copy ends the session", async () => {
    await empty();
    const { validateSession } = configure({ rotateAfter: 30 * DAY });
    const validate = async (headers: Headers) => {
      const result = await validateSession(headers, db.sql);
      return { reason: result.reason ?? null, headers: keepCookies(result, headers) };
    };
    const leaked = await signIn("ada", db.sql);
    const bystander = await signIn("grace", db.sql);
    const before = await validate(leaked);
    assert.equal(before.headers.get("cookie"), leaked.get("cookie"));

    await runSql(block("Rotate every secret"));
    const first = await validate(leaked);
    assert.equal(first.reason, null);
    assert.notEqual(first.headers.get("cookie"), leaked.get("cookie"));
    assert.equal((await validate(first.headers)).reason, null);
    await age(first.headers, 31, db.sql);
    assert.equal((await validate(leaked)).reason, "reused");
    assert.equal((await validate(first.headers)).reason, "revoked");
    const other = await validate(bystander);
    assert.equal(other.reason, null);
    assert.notEqual(other.headers.get("cookie"), bystander.get("cookie"));
    assert.equal((await validate(other.headers)).reason, null);
  });

  test("secrets in the middle of a rotation stay valid", async () => {
    await empty();
    const { validateSession } = configure({ rotateAfter: 30 * DAY });
    const old = await signIn("ada", db.sql);
    const rotated = keepCookies(await rotateSession(old, db.sql), old);
    await runSql(block("Rotate every secret"));
    for (const headers of [old, rotated, old, rotated]) {
      assert.ok((await validateSession(headers, db.sql)).session);
    }
    await age(rotated, 31, db.sql);
    const next = await validateSession(rotated, db.sql);
    assert.notEqual(keepCookies(next, rotated).get("cookie"), rotated.get("cookie"));
  });
});

describe("docs/operations.md: monitoring", () => {
  const role = `coatcheck_monitor_${crypto.randomUUID().slice(0, 8)}`;
  beforeAll(async () => {
    await runSql(block("Monitoring").replaceAll("coatcheck_monitor", role));
    await db.sql`alter table coatcheck.sessions set (autovacuum_enabled = off)`;
  });
  afterAll(async () => {
    await db.sql.unsafe(`drop owned by ${role}`);
    await db.sql.unsafe(`drop role ${role}`);
  });

  /** Whether a query of the chapter raises its alarm, asked as the role. */
  async function alarm(index: number, edit = (code: string) => code): Promise<boolean> {
    const code = edit(block("Monitoring", index));
    const rows = await withClient({}, async (sql) => {
      await sql.unsafe(`set role ${role}`);
      return await sql.unsafe(code);
    });
    assert.equal(rows.length, 1);
    assert.equal(Object.keys(rows[0]!).at(-1), "alarm");
    assert.equal(typeof rows[0]!.alarm, "boolean", code);
    return rows[0]!.alarm;
  }

  /** Runs statements that the statistics have counted when it resolves. */
  const counting = (...statements: string[]) =>
    withClient({}, async (sql) => {
      for (const it of statements) await sql.unsafe(it);
      await sql`select pg_stat_force_next_flush()`;
    });

  const sick: { name: string; index: number; make: () => Promise<unknown> }[] = [
    { name: "rows are overdue for a sweep", index: 1, make: () => fill(1, "-25 hours") },
    {
      name: "revoked rows are overdue for a sweep",
      index: 1,
      make: async () => {
        const { session, headers } = await createSession("ada", db.sql);
        await revokeSession(keepCookies({ headers }), db.sql);
        await age(session, 32 * DAY, db.sql);
      },
    },
    {
      name: "autovacuum does not keep up",
      index: 2,
      make: async () => {
        await fill(12_000);
        await counting("delete from coatcheck.sessions");
      },
    },
    {
      name: "an index keeps updates from being heap-only",
      index: 3,
      make: async () => {
        await fill(2000);
        await counting(
          "create index monitored on coatcheck.sessions (last_seen_at)",
          "update coatcheck.sessions set last_seen_at = last_seen_at + interval '1 second'",
          "drop index coatcheck.monitored",
        );
      },
    },
    {
      name: "the primary key has grown",
      index: 4,
      make: async () => {
        await fill(40_000);
        await counting("delete from coatcheck.sessions", "vacuum coatcheck.sessions");
      },
    },
    { name: "a user has very many sessions", index: 6, make: () => fill(101) },
    {
      name: "many previous secrets came back",
      index: 7,
      make: async () => {
        await fill(11);
        await db.sql`update coatcheck.sessions set revoked_at = now(), revoked_reason = 'reused'`;
      },
    },
  ];
  for (const { name, index, make } of sick) {
    test(`raises the alarm if ${name}, and not before`, async () => {
      await empty();
      await db.sql`vacuum analyze coatcheck.sessions`;
      await db.sql`select pg_stat_reset_single_table_counters('coatcheck.sessions'::regclass)`;
      await signIn("ada", db.sql);
      assert.equal(await alarm(index), false);
      await make();
      assert.equal(await alarm(index), true);
    });
  }

  test("raises no alarm after touches, which are heap-only", async () => {
    await empty();
    await db.sql`select pg_stat_reset_single_table_counters('coatcheck.sessions'::regclass)`;
    await fill(20_000);
    // A sixteenth, which fits on the pages also while transactions elsewhere keep the old versions there.
    await counting("update coatcheck.sessions set last_seen_at = now() where id::text like '0%'");
    const [row] = await db.sql`select n_tup_upd > 1000 as enough from pg_stat_user_tables
      where relid = 'coatcheck.sessions'::regclass`;
    assert.equal(row!.enough, true);
    assert.equal(await alarm(3), false);
  });

  test("the primary key shrinks by a reindex that blocks no call", async () => {
    await empty();
    await fill(40_000);
    await counting("delete from coatcheck.sessions", "vacuum coatcheck.sessions");
    assert.equal(await alarm(4), true);
    const headers = await signIn("ada", db.sql);
    const [reindex] = page.match(/reindex index concurrently [\w.]+/)!;
    const [, reason] = await Promise.all([runSql(reindex), reasonOf(headers)]);
    assert.equal(reason, null);
    assert.equal(await alarm(4), false);
  });

  test("raises the alarm if a transaction stays open", async () => {
    assert.equal(await alarm(5), false);
    const other = await db.sql.reserve();
    await other`begin`;
    await other`select from coatcheck.sessions limit 1`;
    try {
      assert.equal(await alarm(5), false);
      assert.equal(await alarm(5, (code) => code.replace("1 minute", "0 minutes")), true);
    } finally {
      await other`rollback`;
      other.release();
    }
  });

  test("the sample of a large table is read", async () => {
    assert.match(page, /`coatcheck\.sessions tablesample system \(1\)`/);
    const sampled = (code: string) =>
      code.replace("from coatcheck.sessions", "from coatcheck.sessions tablesample system (1)");
    assert.equal(typeof await alarm(1, sampled), "boolean");
  });

  test("the role reads no digest, and writes nothing", async () => {
    for (
      const code of [
        "select digest from coatcheck.sessions",
        "select * from coatcheck.sessions",
        "select data from coatcheck.sessions",
        "delete from coatcheck.sessions",
        "select * from coatcheck.users",
      ]
    ) {
      const asRole = withClient({}, async (sql) => {
        await sql.unsafe(`set role ${role}`);
        await sql.unsafe(code);
      });
      await assert.rejects(asRole, { code: "42501" }, code);
    }
  });
});

describe("docs/operations.md", () => {
  test("limits the time of a role's statements, locks and idle transactions", async () => {
    const role = `coatcheck_web_${crypto.randomUUID().slice(0, 8)}`;
    await db.sql.unsafe(`create role ${role} login password 'test'`);
    try {
      await runSql(block("Timeouts").replaceAll(/\bweb\b/g, role));
      const url = Object.assign(new URL(db.url), { username: role, password: "test" }).href;
      const app = postgres(url, { max: 1 });
      const names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
      const [row] = await app`select ${
        app.unsafe(names.map((it) => `current_setting('${it}') as ${it}`).join())
      }`;
      await app.end();
      assert.deepEqual(Object.values(row!), ["4s", "2s", "10s"]);
    } finally {
      await db.sql.unsafe(`drop role ${role}`);
    }
  });

  test("names what the examples export", async () => {
    const names = {
      "opentelemetry.ts": ["observeSessions", "inSpan"],
      "pino.ts": ["logSessions", "redact"],
      "audit.ts": ["audited", "auditSessions"],
    };
    for (const [file, exported] of Object.entries(names)) {
      const code = await read(`examples/observability/${file}`);
      for (const name of exported) {
        assert.match(code, new RegExp(`^export (async function|function|const) ${name}\\b`, "m"));
        assert.ok(page.includes(`\`${name}`), name);
      }
    }
  });

  test("has figures that docs/performance.md has", async () => {
    const performance = await read("docs/performance.md");
    const figure = (pattern: RegExp) => Number(performance.match(pattern)![1]!.replace(",", ""));
    const found = {
      fresh: figure(/^\| fresh \|.* (\d+) \|$/m),
      used: figure(/^\| after 13 .* (\d+) \|$/m),
      touches: figure(/^\| coatcheck, a touch each time(?:.*?\|){3} ([\d,]+) /m),
      sweep: figure(/beside a sweep .*\(([\d,]+) a second\)/),
    };
    const said = { fresh: 200, used: 310, touches: 4600, sweep: 80_000 };
    assert.match(page, /200 bytes; 310 after/);
    assert.match(page, /4,600 a second/);
    assert.match(page, /80,000 dead rows/);
    for (const [name, value] of Object.entries(said)) {
      const ratio = value / found[name as keyof typeof found];
      assert.ok(ratio > 0.8 && ratio < 1.25, `${name}: ${ratio}`);
    }
  });

  test("every SQL block of these chapters has run", () => {
    const all = [...blocks.values()].flat();
    assert.ok(all.length > 10);
    assert.deepEqual(all.filter((code) => !ran.has(code)), []);
  });
});
