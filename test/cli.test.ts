import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import postgres from "postgres";
import { CHECKS } from "../cli/doctor.ts";
import { HELP, OVERVIEW } from "../cli/help.ts";
import { COMMANDS } from "../cli/run.ts";
import { scaleOf } from "../cli/stats.ts";
import { count, escape, jsonOf, quote, wrap } from "../cli/text.ts";
import { VERSION } from "../cli/version.ts";
import {
  createGuestSession,
  createSession,
  migrate,
  migrations,
  revokeSession,
  revokeSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { startPostgres } from "../scripts/postgres.mjs";
import { openCluster, prepare } from "./runner/citus.ts";
import { type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";
import { runtime } from "./runner/runtime.ts";
import { pgbouncer, startPgBouncer } from "./runner/servers.ts";
import { runCommand, type TerminalOptions } from "./runner/terminal.ts";
import { until } from "./runner/until.ts";

const STEPS = migrations.filter(({ optional }) => !optional).map(({ name }) => name);

const root = fileURLToPath(new URL("..", import.meta.url));

// deno-lint-ignore no-control-regex
const STEERING = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const HOSTILE = 'ada\x1b[2J\x1b]0;x\x07\u202egpj\u2066\x9b31m\r\nError: "all is well\\\u200b\u2028';

let db: Database;
beforeAll(async () => {
  db = await openDatabase({ bare: true });
});
afterAll(() => db.close());

/** Runs a command against the database of this file. */
async function cli(command: string | readonly string[], options?: TerminalOptions) {
  return await runCommand(
    db.url,
    typeof command === "string" ? command.split(" ") : command,
    options,
  );
}

/** Makes the schema anew, and runs statements. */
async function reset(...statements: string[]) {
  await db.sql.unsafe("drop schema if exists coatcheck cascade");
  await db.sql.unsafe("drop schema if exists app cascade");
  await db.sql.unsafe("drop table if exists users cascade");
  await db.sql.unsafe("drop table if exists people cascade");
  await db.sql.unsafe("create table users (id integer primary key, username text not null unique)");
  await db.sql.unsafe("insert into users values (1, 'ada'), (2, 'grace')");
  await migrate(db.sql, { users: { table: "users", id: "id" } });
  for (const statement of statements) await db.sql.unsafe(statement);
}

interface Report {
  readonly severity: string;
  readonly counts: Record<string, number>;
  readonly findings: readonly {
    readonly check: string;
    readonly severity: string;
    readonly message: string;
    readonly mend: readonly string[];
  }[];
}

// The server of the tests runs without fsync, and what other tests do counts as its activity.
const IGNORED = ["--ignore", "durability", "--ignore", "activity"];

/** Runs the doctor with JSON. */
async function examine(args: readonly string[] = [], options?: TerminalOptions, url = db.url) {
  const { code, out } = await runCommand(
    url,
    ["doctor", "--json", ...IGNORED, ...args],
    options,
  );
  return { code, report: JSON.parse(out) as Report };
}

/** Every statement that ages all rows by some seconds. */
const age = (seconds: number) =>
  `update coatcheck.sessions set created_at = created_at - interval '${seconds} s',
    authenticated_at = authenticated_at - interval '${seconds} s',
    last_seen_at = last_seen_at - interval '${seconds} s',
    expires_at = expires_at - interval '${seconds} s',
    revoked_at = revoked_at - interval '${seconds} s'`;

describe("text for a terminal", () => {
  test("contains no character that steers the terminal, hides or reorders text", () => {
    for (const text of [escape(HOSTILE), quote(HOSTILE), quote(HOSTILE, 10)]) {
      assert.doesNotMatch(text, STEERING);
      assert.doesNotMatch(text, /\n/);
    }
    const all = Array.from({ length: 0x3000 }, (_, code) => String.fromCodePoint(code)).join("");
    assert.doesNotMatch(escape(all), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    assert.equal(escape("\ud800 \u{e0041} \u00a0"), "\\u{d800} \\u{e0041} \\u{a0}");
  });

  test("keeps the letters of every language", () => {
    for (const text of ["Ada", "Grüße", "Ивáн", "שלום", "日本語", "नमस्ते", "😀"]) {
      assert.equal(escape(text), text);
    }
  });

  test("cuts what is long, and closes the quotation marks", () => {
    assert.equal(quote("a".repeat(100), 5), '"aaaaa"…');
    assert.equal(quote("日本語", 4), '"日本"…');
    assert.equal(quote('a"b\\'), '"a\\"b\\\\"');
    assert.ok(quote("e" + "\u0301".repeat(10_000)).length < 700);
  });

  test("is valid as JSON, with what is hidden escaped, and parses back to the same", () => {
    const text = jsonOf({ name: HOSTILE, tag: "\u{e0041}" });
    assert.doesNotMatch(text, STEERING);
    assert.deepEqual(JSON.parse(text), { name: HOSTILE, tag: "\u{e0041}" });
  });

  test("breaks between words", () => {
    assert.equal(wrap("one two three", 8, "  "), "one two\n  three");
    assert.equal(wrap(`a ${"😀".repeat(5)}`, 4, "  "), `a${"\n  😀😀".repeat(2)}\n  😀`);
    assert.equal(count(1_234_567), "1,234,567");
  });
});

describe("the command line", () => {
  test("has the version of the package", async () => {
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    assert.equal(VERSION, version);
    for (const flag of ["--version", "-v"]) {
      assert.deepEqual(await cli(flag), { code: 0, out: `${version}\n`, err: "" });
    }
  });

  test("has help for each command, on one screen of 60 columns, with each of its options", async () => {
    assert.deepEqual(Object.keys(HELP).sort(), Object.keys(COMMANDS).sort());
    for (const text of [OVERVIEW, ...Object.values(HELP)]) {
      for (const line of text.split("\n")) assert.ok(line.length <= 60, line);
      assert.ok(text.split("\n").length <= 30, text);
    }
    for (const [name, { options }] of Object.entries(COMMANDS)) {
      for (const option of Object.keys(options)) assert.ok(HELP[name]!.includes(`--${option}`));
      assert.match(OVERVIEW, new RegExp(`^  ${name}\\b`, "m"));
      for (const args of [["help", name], [name, "--help"], [name, "-h"]]) {
        assert.deepEqual(await cli(args), { code: 0, out: `${HELP[name]}\n`, err: "" });
      }
    }
    for (const args of [[], ["help"], ["--help"], ["help", "nothing"]]) {
      assert.deepEqual(await cli(args), { code: 0, out: `${OVERVIEW}\n`, err: "" });
    }
  });

  test("is described in docs/cli.md: each command, option and check", async () => {
    const page = await readFile(join(root, "docs", "cli.md"), "utf8");
    for (const [name, { options }] of Object.entries(COMMANDS)) {
      const [, chapter] = page.split(`\n## ${name}\n`);
      assert.ok(chapter, name);
      for (const option of Object.keys(options)) {
        if (option === "yes") continue;
        assert.ok(chapter.split("\n## ")[0]!.includes(`\`--${option}`), `${name} --${option}`);
      }
    }
    for (const { name } of CHECKS) assert.ok(page.includes(`\n| \`${name}\` |`), name);
  });

  const mistakes: { name: string; args: string[]; says: RegExp }[] = [
    { name: "an unknown command", args: ["migrat"], says: /unknown command migrat\n/ },
    {
      name: "a URL in place of the command",
      args: ["postgres://u:hunter2@h/d"],
      says: /unknown command\n/,
    },
    { name: "an option before the command", args: ["--json", "stats"], says: /comes first/ },
    { name: "an unknown option", args: ["stats", "--fulll"], says: /unknown option --fulll\n/ },
    { name: "a flag with a value", args: ["stats", "--full=yes"], says: /takes no value/ },
    {
      name: "an option without its value",
      args: ["list", "ada", "--limit"],
      says: /needs a value/,
    },
    {
      name: "an option in place of a value",
      args: ["revoke", "ada", "--id", "--yes"],
      says: /--id needs a value/,
    },
    {
      name: "an option twice",
      args: ["list", "ada", "--limit", "1", "--limit", "2"],
      says: /given twice/,
    },
    { name: "two users", args: ["list", "ada", "grace"], says: /one argument, got 2/ },
    { name: "no user", args: ["list"], says: /name a user/ },
    { name: "a user like an option", args: ["list", "-dash"], says: /Write -- before a name/ },
    { name: "a number out of range", args: ["list", "ada", "--limit", "0"], says: /1 to 10000/ },
    { name: "a span that is none", args: ["sweep", "--retention", "1w"], says: /span such as/ },
    { name: "an id that is none", args: ["show", "1"], says: /a UUID/ },
    {
      name: "a token in place of an id",
      args: ["show", `11111111-1111-4111-8111-111111111111.${"hunter2".repeat(6)}x`],
      says: /got a token.*revoke its session/,
    },
    { name: "a revocation of nobody knows what", args: ["revoke", "ada"], says: /--all/ },
    {
      name: "two kinds of revocation",
      args: ["revoke", "ada", "--all", "--id", crypto.randomUUID()],
      says: /one of/,
    },
    { name: "four parts of --users", args: ["migrate", "--users", "a:b:c:d"], says: /table:id:u/ },
    { name: "no table in --users", args: ["migrate", "--users", ":id"], says: /table:id:u/ },
    { name: "a check that is none", args: ["doctor", "--ignore", "x"], says: /must be the name/ },
    { name: "a role that hides", args: ["grants", "web\u202e"], says: /visible/ },
    {
      name: "a retention out of range",
      args: ["sweep", "--yes", "--retention", "9999d"],
      says: /retention/,
    },
  ];
  for (const { name, args, says } of mistakes) {
    test(`refuses ${name}, with exit code 2, without a stack, and shows no value`, async () => {
      await reset();
      const { code, out, err } = await cli(args);
      assert.equal(code, 2, err);
      assert.match(err, says);
      assert.doesNotMatch(err, /hunter2|\bat \S+:\d+:\d+/);
      assert.equal(out === "" || args.includes("--json"), true);
    });
  }

  test("says what to do without a database, and with a URL that is none", async () => {
    const none = await runCommand(undefined, ["stats"]);
    assert.equal(none.code, 2);
    assert.match(none.err, /set DATABASE_URL, or give --url/);
    for (const url of ["mysql://u:hunter2@h/d", "hunter2", "postgres://u:hunter2%@h/d"]) {
      const { code, err } = await runCommand(url, ["stats"]);
      assert.equal(code, 2);
      assert.match(err, /the URL must be: postgres:/);
      assert.doesNotMatch(err, /hunter2/);
    }
  });

  test("refuses a URL whose password hides what follows it, and shows nothing of it", async () => {
    const urls = [
      "postgres://u:/s3cret@127.0.0.1:1/db",
      "postgres://u:12/s3cret@127.0.0.1:1/db",
      "postgres://u:4242?s3cret@127.0.0.1:1/db",
      "postgres://u:4242#s3cret@127.0.0.1:1/db",
      "postgres://u:a@s3cret,4242@127.0.0.1:1/db",
    ];
    for (const url of urls) {
      for (const command of ["stats", "stats --json", "doctor --json", "migrate"]) {
        const { code, out, err } = await runCommand(url, command.split(" "));
        assert.equal(code, 2, url);
        assert.match(err, /in the password, write \/ as %2F/);
        assert.doesNotMatch(out + err, /s3cret|4242|:12\b/);
      }
    }
    const encoded = "postgres://u:%2Fs3cret%40@127.0.0.1:1/db?application_name=x";
    assert.match(
      (await runCommand(encoded, ["stats"])).err,
      /"db" at 127.0.0.1:1: nothing listens/,
    );
  });

  const away: { name: string; change: (url: URL) => void; says: RegExp }[] = [
    {
      name: "that refuses connections",
      change: (url) => {
        url.port = "1";
      },
      says: /nothing listens there \(ECONNREFUSED\)/,
    },
    {
      name: "that does not exist",
      change: (url) => {
        url.pathname = "/nowhere";
      },
      says: /the database does not exist \(3D000\)/,
    },
    {
      name: "whose host has no address",
      change: (url) => {
        url.hostname = "nowhere.invalid";
      },
      says: /host name (is not known|cannot be looked up)/,
    },
    {
      name: "that does not know a parameter of the URL",
      change: (url) => {
        url.searchParams.set("schema", "public");
      },
      says: /does not know a parameter of the URL \(42704\)\n?.*what stands after \?/,
    },
  ];
  for (const { name, change, says } of away) {
    test(`says what to do about a database ${name}, and shows no password`, async () => {
      const url = Object.assign(new URL(db.url), { password: "hunter2" });
      if (name.includes("parameter") || name.includes("exist")) {
        url.password = new URL(db.url).password;
      }
      change(url);
      const { code, err } = await runCommand(url.href, ["stats"]);
      assert.equal(code, 1);
      assert.match(err.replace("\n", " "), says);
      const doctor = await runCommand(url.href, ["doctor", "--json"]);
      assert.equal(doctor.code, 2);
      const [finding] = (JSON.parse(doctor.out) as Report).findings;
      assert.equal(finding?.check, "connection");
      for (const text of [err, doctor.out, doctor.err]) {
        assert.doesNotMatch(text, /hunter2/);
        if (url.password.length > 5) assert.ok(!text.includes(url.password));
      }
    });
  }

  test("says what to do about a wrong password, and does not show it", async () => {
    await db.sql.unsafe(`do $$ begin create role cli_guest login password 'right';
      exception when duplicate_object or unique_violation then null; end $$`);
    const url = Object.assign(new URL(db.url), { username: "cli_guest", password: "hunter2" });
    const { code, err } = await runCommand(url.href, ["list", "ada"]);
    // A server with the method trust lets everybody in, and then the role lacks rights.
    assert.equal(code, 1);
    assert.match(err, /the password is wrong \(28P01\)|lacks rights/);
    assert.doesNotMatch(err, /hunter2/);
  });

  test("sends every answer as one JSON document with --json, and messages elsewhere", async () => {
    await reset();
    const { session } = await createSession("ada", db.sql);
    const commands = [
      "doctor",
      "stats",
      "list ada",
      "list ada --all --data",
      "list nobody",
      `show ${session.id}`,
      `show ${crypto.randomUUID()}`,
      "show 1",
      `revoke ada --id ${session.id} --yes`,
      "revoke ada --all",
      "sweep --yes",
      "sweep",
      "grants web",
      "grants nobody-there --apply",
      "migrate",
      "migrate --dry-run",
      "migrate --print",
      "migrate --dry-run --print",
      "migrate --users nothing:id",
    ];
    for (const command of commands) {
      const { out, code, err } = await cli(`${command} --json`);
      const document = JSON.parse(out);
      assert.equal(typeof document, "object", command);
      if (code > 0 && command !== "doctor") assert.ok(document.error.message, command);
      if (code === 0 && command !== "sweep --yes") assert.equal(err, "", command);
    }
  });

  test("fits into 60 columns, with a username of any length, and in a pipe has no colour", async () => {
    await reset();
    await db.sql`insert into users values (3, ${"long".repeat(200)})`;
    const { session } = await createSession("long".repeat(200), db.sql, {
      data: Object.fromEntries(Array.from({ length: 3 }, (_, it) => [`key-${it}`, "x".repeat(90)])),
    });
    await db.sql`update coatcheck.sessions set revoked_at = now(), revoked_reason = ${
      "x".repeat(200)
    }`;
    const commands = [
      `show ${session.id}`,
      `show ${session.id} --data`,
      "list 3 --user-id --all",
      "list 3 --user-id --all --data",
      "list nobody",
      "stats",
      "doctor",
      "doctor --ignore nothing",
      "migrate",
      "migrate --dry-run",
    ];
    const gone = await runCommand("postgres://u@127.0.0.1:1/a-database-with-a-name", ["stats"], {
      columns: 60,
    });
    for (const line of gone.err.split("\n")) assert.ok(line.length <= 60, line);
    for (const command of commands) {
      const { out, err } = await cli(command, { columns: 60 });
      for (const line of `${out}\n${err}`.split("\n")) {
        // Statements to copy stay in one piece.
        if (line.startsWith("    ")) continue;
        assert.ok(line.length <= 60, `${command}: ${line}`);
      }
      const pipe = await cli(command);
      assert.doesNotMatch(pipe.out, STEERING);
    }
    assert.match(
      (await cli("doctor", { columns: 60, hasColor: true })).out,
      // deno-lint-ignore no-control-regex
      /^\x1b\[32mok\x1b\[0m {6}/,
    );
  });

  test("shows a hostile username, reason, key of data and role so that nothing of it is obeyed", async () => {
    await reset();
    await db.sql`insert into users values (3, ${HOSTILE})`;
    const { session } = await createSession(HOSTILE, db.sql, { data: { [HOSTILE]: HOSTILE } });
    await revokeSessions({ userId: 3, id: session.id }, db.sql, { reason: HOSTILE.slice(0, 50) });
    await createSession(HOSTILE, db.sql, { data: { [HOSTILE]: HOSTILE } });
    const commands: string[][] = [
      ["list", HOSTILE],
      ["list", HOSTILE, "--all", "--data"],
      ["show", session.id],
      ["show", session.id, "--data"],
      ["stats"],
      ["revoke", HOSTILE, "--all", "--yes"],
      ["list", `${HOSTILE}!`],
      ["doctor", "--role", HOSTILE],
    ];
    for (const args of commands) {
      for (const rest of [[], ["--json"]]) {
        const { out, err } = await cli([...args, ...rest]);
        assert.doesNotMatch(out + err, STEERING, args[0]!);
        assert.doesNotMatch(out, /^Error/m, args[0]!);
      }
    }
    const asked = await cli(["revoke", HOSTILE, "--all"], { answer: "n" });
    assert.doesNotMatch(asked.err, STEERING);
  });
});

describe("coatcheck migrate", () => {
  test("makes the schema, says its steps, and does nothing when run again", async () => {
    await reset("drop schema coatcheck cascade");
    const first = await cli("migrate --users users:id:username");
    assert.equal(first.code, 0, first.err);
    for (const name of STEPS) assert.match(first.out, new RegExp(`^  ${name}$`, "m"));
    assert.doesNotMatch(first.out, /no foreign key/);
    const second = await cli("migrate --json");
    assert.deepEqual(JSON.parse(second.out), { applied: [], foreignKey: true });
  });

  test("says that a session outlives its user without a foreign key", async () => {
    await reset("drop schema coatcheck cascade");
    const { out } = await cli("migrate --users users");
    assert.match(out, /no foreign key: a session outlives its user/);
  });

  test("with --dry-run says the missing steps, and changes nothing", async () => {
    await reset("drop schema coatcheck cascade");
    const dry = await cli("migrate --users users:id --dry-run --json");
    assert.deepEqual(JSON.parse(dry.out), { wouldApply: STEPS });
    const [row] = await db.sql`select to_regnamespace('coatcheck')::text as schema`;
    assert.equal(row!.schema, null);
    await cli("migrate --users users");
    const later = await cli("migrate --users users:id --dry-run --json");
    assert.deepEqual(JSON.parse(later.out), { wouldApply: ["002_sessions"] });
    await cli("migrate --users users:id");
    assert.match((await cli("migrate --users users:id --dry-run")).out, /^Nothing to apply/);
  });

  test("with --notify makes revocations notify, and keeps it without the option", async () => {
    await reset();
    const apply = async (options: string) =>
      JSON.parse((await cli(`migrate${options} --json`)).out).applied;
    const dry = await cli("migrate --notify --dry-run --json");
    assert.deepEqual(JSON.parse(dry.out), { wouldApply: ["005_notify"] });
    assert.deepEqual(await apply(""), []);
    assert.deepEqual(await apply(" --notify"), ["005_notify"]);
    assert.deepEqual(await apply(""), []);
    await db.sql`drop function coatcheck.notify() cascade`;
    assert.deepEqual(await apply(""), ["005_notify"]);
    for (const [options, names] of [["", STEPS], [" --notify", [...STEPS, "005_notify"]]]) {
      const { out } = await runCommand(undefined, `migrate --print --json${options}`.split(" "));
      const { steps } = JSON.parse(out) as { steps: { name: string; text: string }[] };
      assert.deepEqual(steps.map(({ name }) => name), names);
      for (const step of steps) assert.deepEqual(Object.keys(step), ["name", "text"]);
    }
  });

  test("with --dry-run refuses what migrate would refuse before its steps", async () => {
    await reset("drop view coatcheck.users");
    const { code, err } = await cli("migrate --dry-run");
    assert.equal(code, 1);
    assert.match(err, /the view coatcheck.users is missing[^]*--users table:id:username/);
  });

  test("with --print writes SQL that needs no database, and makes the same schema", async () => {
    await reset("drop schema coatcheck cascade");
    const { code, out } = await runCommand(undefined, [
      "migrate",
      "--print",
      "--users",
      "users:id",
    ]);
    assert.equal(code, 0);
    await db.sql.unsafe(out);
    const { report } = await examine();
    assert.deepEqual(
      report.findings.filter(({ severity }) => severity !== "ok").map((it) => it.check),
      [
        "privileges",
      ],
    );
    await db.sql.unsafe(out);
  });

  test("with --dry-run and --print writes the missing steps alone", async () => {
    await reset("drop schema coatcheck cascade");
    await cli("migrate --users users");
    const { out } = await cli("migrate --users users:id --dry-run --print");
    assert.equal(out.match(/^do \$coatcheck\$$/gm)?.length, 1);
    await db.sql.unsafe(out);
    assert.match(
      (await cli("migrate --users users:id --dry-run --print")).out,
      /^-- Nothing to apply/,
    );
  });

  test("takes names as they are in SQL, also with a colon", async () => {
    await reset(
      "drop schema coatcheck cascade",
      `create schema app`,
      `create table app."Us:ers" ("the ""id""" integer primary key, "e:mail" text unique)`,
      `insert into app."Us:ers" values (7, 'ada@example.com')`,
    );
    const users = `app."Us:ers":"the ""id""":"e:mail"`;
    const { code, err, out } = await cli(["migrate", "--users", users, "--json"]);
    assert.equal(code, 0, err);
    assert.equal(JSON.parse(out).foreignKey, true);
    assert.equal((await createSession("ada@example.com", db.sql)).session.userId, 7);
  });

  test("says what to name if the table or a column does not exist", async () => {
    await reset("drop schema coatcheck cascade");
    for (const [users, code] of [["nothing:id", "CC002"], ["users:key", "CC003"]] as const) {
      const { code: exit, out, err } = await cli(["migrate", "--users", users, "--json"]);
      assert.equal(exit, 1);
      assert.equal(JSON.parse(out).error.code, code);
      assert.match(err, /--users table:id:username/);
    }
  });
});

describe("coatcheck list, show and revoke", () => {
  test("list shows the live sessions of a user, the last used first, page by page", async () => {
    await reset();
    const ids: string[] = [];
    for (let made = 0; made < 3; made++) {
      ids.unshift((await createSession("ada", db.sql)).session.id);
    }
    await createSession("grace", db.sql);
    const { out } = await cli("list ada --json --limit 2");
    const first = JSON.parse(out);
    assert.deepEqual(first.sessions.map((it: { id: string }) => it.id), ids.slice(0, 2));
    assert.equal(first.next, ids[1]);
    const second = JSON.parse((await cli(`list 1 --user-id --json --after ${ids[1]}`)).out);
    assert.deepEqual(second.sessions.map((it: { id: string }) => it.id), ids.slice(2));
    assert.equal(second.next, null);
    assert.match((await cli("list ada --limit 2")).out, new RegExp(`--after ${ids[1]}`));
  });

  test("list judges by the timeouts that are given", async () => {
    await reset();
    await createSession("ada", db.sql);
    await db.sql.unsafe(age(3600));
    assert.match((await cli("list ada")).out, /^1 live session,/);
    assert.match((await cli("list ada --idle-timeout 30m")).out, /^0 live sessions,/);
    assert.match((await cli("list ada --idle-timeout 30m --all")).out, /^ {2}idle,/m);
  });

  test("list --all shows idle, expired and revoked sessions, also of a user who left the view", async () => {
    await reset();
    const { session: idle } = await createSession("ada", db.sql);
    await db.sql.unsafe(age(8 * 86_400));
    const { session: revoked } = await createSession("ada", db.sql);
    await revokeSessions({ userId: 1, id: revoked.id }, db.sql, { reason: "stolen" });
    const { session: expired } = await createSession("ada", db.sql);
    await db
      .sql`update coatcheck.sessions set expires_at = now() - interval '1 s' where id = ${expired.id}`;
    await db.sql.unsafe(
      "create or replace view coatcheck.users as select id, username from users where id > 1",
    );
    const { sessions } = JSON.parse((await cli("list 1 --user-id --all --json")).out);
    assert.deepEqual(
      sessions.map((it: { id: string; status: string }) => [it.id, it.status]),
      [[expired.id, "expired"], [revoked.id, "revoked"], [idle.id, "idle"]],
    );
    const page = JSON.parse((await cli("list 1 --user-id --all --limit 1 --json")).out);
    const rest = JSON.parse((await cli(`list 1 --user-id --all --after ${page.next} --json`)).out);
    assert.equal(rest.sessions.length, 2);
    assert.match((await cli("list 1 --user-id --all")).out, /^ {2}reason "stolen"$/m);
  });

  test("list finds a user by name, and says how to go on if there is none", async () => {
    await reset();
    const { code, err } = await cli("list bob");
    assert.equal(code, 1);
    assert.match(err, /no user has this username[^]*--user-id/);
    assert.equal((await cli("list bob --user-id")).code, 1);
    await db.sql`insert into users values (3, '-dash')`;
    assert.match((await cli("list -- -dash")).out, /^0 live sessions/);
    assert.match((await cli("list -- -h")).err, /no user has this username/);
    for (const key of ["bob", "99999999999999999999"]) {
      for (const command of [`list ${key} --user-id --all`, `list ${key} --user-id`]) {
        const { code, err } = await cli(command);
        assert.equal(code, 1);
        assert.match(err, /user not found/);
      }
      const { err } = await cli(`revoke ${key} --user-id --all`, { answer: "n" });
      assert.match(err, /user not found/);
    }
  });

  test("show tells the state of a session, with its reason, and says if there is none", async () => {
    await reset();
    const { session } = await createSession("ada", db.sql, { data: { theme: "dark" } });
    const live = JSON.parse((await cli(`show ${session.id.toUpperCase()} --json`)).out);
    assert.equal(live.status, "live");
    assert.equal(live.username, "ada");
    assert.deepEqual(live.dataKeys, ["theme"]);
    assert.equal(live.data, undefined);
    assert.equal(live.expiresAt, session.expiresAt.toISOString());
    assert.match((await cli(`show ${session.id} --data`)).out, /"dark"/);
    await revokeSessions({ userId: 1 }, db.sql, { reason: "stolen" });
    assert.match((await cli(`show ${session.id}`)).out, /^reason {6}"stolen"$/m);
    const none = await cli(`show ${crypto.randomUUID()}`);
    assert.equal(none.code, 1);
    assert.match(none.err, /never existed, or was swept/);
  });

  test("show finds the name of a user whose key is citext in another schema", async () => {
    await reset(
      "drop schema coatcheck cascade",
      "create schema app",
      "create extension if not exists citext schema app",
      "create table app.people (id app.citext primary key, username text unique)",
      "insert into app.people values ('Ada', 'ada')",
    );
    const sql = postgres(db.url, {
      max: 1,
      connection: { search_path: "public, app" },
      onnotice: () => {},
    });
    try {
      await migrate(sql, { users: { table: "app.people", id: "id" } });
      const { session } = await createSession("ada", sql);
      await db.sql`update coatcheck.sessions set user_id = 'ADA'`;
      assert.equal(JSON.parse((await cli(`show ${session.id} --json`)).out).username, "ada");
      assert.match((await cli("list aDa --user-id --all")).out, /^1 session,/);
    } finally {
      await sql.end();
      await db.sql.unsafe("drop schema coatcheck cascade");
      await db.sql.unsafe("drop schema app cascade");
    }
  });

  test("no output contains the secret or the digest, and none the data unless it is asked for", async () => {
    await reset();
    const created = await createSession("ada", db.sql, { data: { api: "key-of-the-app" } });
    const { session, headers } = created;
    const [row] = await db.sql`select encode(digest, 'hex') as digest from coatcheck.sessions`;
    for (const command of [`show ${session.id}`, "list ada", "list ada --all", "stats", "doctor"]) {
      for (const rest of ["", " --json"]) {
        const { out, err } = await cli(command + rest);
        for (const credential of [secretOf(headers), row!.digest, "key-of-the-app"]) {
          assert.ok(!(out + err).includes(credential), command);
        }
      }
    }
  });

  test("revoke ends one session, all but one, or all, with a reason", async () => {
    await reset();
    const made = [];
    for (let tries = 0; tries < 4; tries++) made.push(await createSession("ada", db.sql));
    const other = await createSession("grace", db.sql);
    const [one, kept] = made.map(({ session }) => session.id);
    const first = await cli(`revoke ada --id ${one} --reason stolen-laptop --yes`);
    assert.match(first.out, /^Revoked 1 session of user "1", username "ada"\n {2}/);
    const { revokedReason } = await validateSession(withCookie(made[0]!.headers), db.sql);
    assert.equal(revokedReason, "stolen-laptop");
    const second = await cli(`revoke 1 --user-id --except ${kept} --yes --json`);
    assert.equal(JSON.parse(second.out).revoked.length, 2);
    const third = await cli("revoke ada --all --yes --json");
    assert.deepEqual(JSON.parse(third.out), { userId: "1", revoked: [kept] });
    assert.match((await cli("revoke ada --all --yes")).out, /none to revoke/);
    assert.ok((await validateSession(withCookie(other.headers), db.sql)).session);
    const foreign = await cli(`revoke ada --id ${other.session.id} --yes --json`);
    assert.deepEqual(JSON.parse(foreign.out).revoked, []);
  });

  test("revoke asks on a terminal how many, and changes nothing unless the answer is yes", async () => {
    await reset();
    for (let tries = 0; tries < 3; tries++) await createSession("ada", db.sql);
    for (const answer of ["", "n", "no", "yep", "1"]) {
      const { code, err } = await cli("revoke ada --all", { answer, columns: 60 });
      assert.equal(code, 1);
      assert.match(
        err.replace("\n", " "),
        /^Revoke all sessions \(3 sessions\) of user "1", username "ada"\? /,
      );
      assert.match(err, /nothing was changed/);
    }
    const pipe = await cli("revoke ada --all");
    assert.equal(pipe.code, 2);
    assert.match(pipe.err, /add --yes/);
    assert.match((await cli("list ada")).out, /^3 live/);
    const yes = await cli("revoke ada --all", { answer: "y" });
    assert.match(yes.out, /^Revoked 3 sessions/);
  });
});

describe("coatcheck sweep and stats", () => {
  /** Many sessions, of which every second one is dead. */
  async function fill(rows: number) {
    await db.sql.unsafe(`insert into coatcheck.sessions
      (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
      select gen_random_uuid(), 1, '\\x00', t, t, t, t + interval '30 days', true, '{}'
      from (select now() - case when i % 2 = 0 then interval '40 days' else interval '1 hour' end as t
        from generate_series(1, ${rows}) i) made`);
  }

  test("sweep deletes what is dead, and shows its progress as lines in a pipe", async () => {
    await reset();
    await fill(20_000);
    const { code, out, err } = await cli("sweep --yes");
    assert.equal(code, 0);
    assert.equal(out, "Deleted 10,000 sessions\n");
    assert.match(err, /^(\d+ % read, [\d,]+ sessions deleted\n)+$/);
    assert.ok(err.split("\n").length <= 11);
  });

  test("sweep shows a bar on a terminal, which fits and is gone at the end", async () => {
    await reset();
    await fill(20_000);
    const { err } = await cli("sweep --yes", { hasProgress: true, columns: 60 });
    const bars = err.split("\r").filter((it) => it.startsWith("["));
    assert.ok(bars.length > 1);
    for (const bar of bars) assert.ok(bar.length <= 60, bar);
    assert.ok(err.endsWith("\r\x1b[K"));
  });

  test("sweep asks on a terminal, and needs --yes elsewhere", async () => {
    await reset();
    await fill(10);
    assert.equal((await cli("sweep")).code, 2);
    assert.equal((await cli("sweep", { answer: "" })).code, 1);
    assert.match((await cli("sweep", { answer: "yes" })).out, /^Deleted 5 sessions/);
  });

  test("sweep takes the retention of revoked sessions, and an idle timeout", async () => {
    await reset();
    await createSession("ada", db.sql);
    await revokeSessions({ userId: 1 }, db.sql);
    await createSession("ada", db.sql);
    await db.sql.unsafe(age(2 * 86_400));
    assert.match((await cli("sweep --yes")).out, /^Deleted 0 sessions/);
    assert.match((await cli("sweep --yes --retention 1d")).out, /^Deleted 1 session\n/);
    assert.match((await cli("sweep --yes --idle-timeout 1d")).out, /^Deleted 1 session\n/);
  });

  test("sweep stops between two steps at Ctrl-C, with exit code 130, and says what it has done", async () => {
    await reset();
    await fill(20_000);
    const controller = new AbortController();
    const { code, err } = await cli("sweep --yes", {
      signal: controller.signal,
      onError: () => controller.abort("SIGINT"),
    });
    assert.equal(code, 130);
    assert.match(err, /\nStopped\. Deleted so far, for good: at least [\d,]+ sessions\.\n$/);
    const [row] = await db.sql`select count(*)::int as number from coatcheck.sessions`;
    assert.ok(row!.number > 10_000 && row!.number < 20_000, String(row!.number));
  });

  test("sweep draws no progress after Ctrl-C", async () => {
    await reset();
    await fill(20_000);
    const controller = new AbortController();
    const { code, err } = await cli("sweep --yes", {
      signal: controller.signal,
      hasProgress: true,
      onError: () => controller.abort("SIGINT"),
    });
    assert.equal(code, 130);
    assert.match(err, /^\r\[[#.]{20}\] [^\r]*\nStopped\. [^\r]*\n$/);
  });

  test("stats counts by state, age, day and reason", async () => {
    await reset();
    await createSession("ada", db.sql);
    await db.sql.unsafe(age(8 * 86_400));
    await createSession("ada", db.sql);
    await db.sql.unsafe(age(7200));
    await createSession("grace", db.sql);
    await revokeSessions({ userId: 2 }, db.sql, { reason: "stolen" });
    const stats = JSON.parse((await cli("stats --json")).out);
    const { live, idle, expired, revoked, sessions, isEstimate } = stats;
    assert.deepEqual({ live, idle, expired, revoked, sessions, isEstimate }, {
      live: 1,
      idle: 1,
      expired: 0,
      revoked: 1,
      sessions: 3,
      isEstimate: false,
    });
    assert.deepEqual(stats.liveByAge[1], { age: "less than 1 day", sessions: 1 });
    assert.deepEqual(stats.revokedByReason, [{ reason: "stolen", sessions: 1 }]);
    const days = stats.newByDay.map((it: { sessions: number }) => it.sessions);
    assert.equal(days.reduce((sum: number, it: number) => sum + it, 0), 3);
    assert.match((await cli("stats")).out, /^ {2}live +1 +33 %$/m);
  });

  test("stats, show and sweep know guests, who have no user", async () => {
    await reset();
    const { guest } = await createGuestSession(db.sql);
    await createSession("ada", db.sql);
    const { live, guests } = JSON.parse((await cli("stats --json")).out);
    assert.deepEqual([live, guests], [2, 1]);
    assert.match((await cli("stats")).out, /^ {2}guests, among live +1$/m);
    assert.match(
      (await cli(`show ${guest!.id}`)).out,
      /^status {6}live\n[^]*^user {8}none: a guest$/m,
    );
    assert.equal(JSON.parse((await cli(`show ${guest!.id} --json`)).out).userId, null);
    await db.sql.unsafe(age(8 * 86_400));
    assert.match((await cli("sweep --yes --guest-idle-timeout 9d")).out, /^Deleted 0 sessions/);
    assert.match((await cli("sweep --yes")).out, /^Deleted 1 session\n/);
  });

  test("stats reads 5,000 rows of many, and estimates within a tenth; --full counts", async () => {
    await reset();
    await fill(30_000);
    const estimate = JSON.parse((await cli("stats --json")).out);
    assert.equal(estimate.isEstimate, true);
    assert.equal(estimate.rowsRead, 5000);
    for (
      const [name, real] of [["sessions", 30_000], ["live", 15_000], ["expired", 15_000]] as const
    ) {
      assert.ok(Math.abs(estimate[name] - real) < 0.1 * real, `${name} ${estimate[name]}`);
    }
    const full = JSON.parse((await cli("stats --json --full")).out);
    assert.deepEqual([full.sessions, full.live, full.isEstimate], [30_000, 15_000, false]);
    const [plan] = await db
      .sql`explain (format json) select id from coatcheck.sessions order by id limit 5000`;
    assert.match(JSON.stringify(plan), /sessions_pkey/);
  });

  test("stats estimates the number of rows by the last of the ids that were read", () => {
    const sample = (
      rows: number,
      last: string | null,
    ) => ({ rows, last } as Parameters<typeof scaleOf>[0]);
    assert.equal(scaleOf(sample(100, "80000000-0000-4000-8000-000000000000"), 5000), 1);
    assert.equal(scaleOf(sample(5000, "80000000-0000-4000-8000-000000000000"), 5000), 2);
    assert.equal(scaleOf(sample(0, null), 5000), 1);
  });
});

describe("coatcheck grants", () => {
  test("prints the statements of sql/grants.sql, for a role of any name", async () => {
    const file = await readFile(join(root, "sql", "grants.sql"), "utf8");
    const { out } = await runCommand(undefined, ["grants", `the "web" role`]);
    const statements = file.split("\n").filter((line) => line.startsWith("grant ")).join("\n");
    assert.equal(out, `${statements.replaceAll(':"app"', '"the ""web"" role"')}\n`);
  });

  test("with --apply gives the role what the app needs, and the doctor agrees", async () => {
    await reset(`do $$ begin create role cli_web login;
      exception when duplicate_object or unique_violation then null; end $$`);
    assert.equal((await examine(["--role", "cli_web"])).code, 2);
    const { code, err } = await cli("grants cli_web --apply");
    assert.equal(code, 0, err);
    assert.equal((await examine(["--role", "cli_web"])).code, 0);
  });
});

describe("coatcheck grants, to a role that does not exist", () => {
  test("says so, and grants nothing", async () => {
    await reset();
    const { code, err } = await cli("grants cli_nobody --apply");
    assert.equal(code, 1);
    assert.match(err, /the role "cli_nobody" does not exist\nCreate it/);
  });
});

describe("coatcheck doctor", () => {
  test("is content with a new schema, with exit code 0, and changes nothing", async () => {
    await reset();
    await createSession("ada", db.sql);
    const rows = await db.sql`select * from coatcheck.sessions`;
    const { code, report } = await examine();
    const others = report.findings.filter(({ severity }) => severity !== "ok");
    assert.deepEqual(others.map(({ check }) => check), ["privileges"]);
    assert.equal(code, 0);
    assert.deepEqual(await db.sql`select * from coatcheck.sessions`, rows);
    const names = new Set(report.findings.map(({ check }) => check));
    for (const { name } of CHECKS) {
      assert.equal(names.has(name), !IGNORED.includes(name), name);
    }
  });

  test("ignores the checks that are named", async () => {
    await reset("alter table coatcheck.sessions reset (fillfactor)");
    assert.equal((await examine()).code, 1);
    assert.equal((await examine(["--ignore", "fillfactor"])).code, 0);
  });

  const ROLES = `do $$ begin create role cli_mallory login;
      exception when duplicate_object or unique_violation then null; end $$;
    do $$ begin create role cli_reader nologin;
      exception when duplicate_object or unique_violation then null; end $$`;

  const NOTIFY = migrations.at(-1)!.text;

  interface Case {
    readonly name: string;
    /** What happens to a schema that is well. */
    readonly breaks: readonly string[];
    readonly check: string;
    readonly severity: "note" | "warning" | "error";
    readonly says: RegExp;
    /** Whether what the doctor says mends it: it is run, and the doctor is asked again. */
    readonly mends: boolean;
    readonly args?: readonly string[];
    readonly options?: TerminalOptions;
    readonly undo?: readonly string[];
    /** How many sessions are there after the mend. */
    readonly keeps?: number;
  }

  const row = (id: string) =>
    `insert into coatcheck.sessions
      (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
      values (${id}, 1, '\\x00', now(), now(), now(), now() + interval '1 day', true, '{}')`;

  const cases: Case[] = [
    {
      name: "no schema",
      breaks: ["drop schema coatcheck cascade"],
      check: "schema",
      severity: "error",
      says: /does not exist/,
      mends: true,
    },
    {
      name: "an empty schema",
      breaks: ["drop schema coatcheck cascade", "create schema coatcheck"],
      check: "migrations",
      severity: "error",
      says: /is empty/,
      mends: true,
    },
    {
      name: "a half-migrated schema",
      breaks: ["delete from coatcheck.migrations where name = '003_unique_users'"],
      check: "migrations",
      severity: "error",
      says: /half-migrated.*003_unique_users/,
      mends: true,
    },
    {
      name: "a schema that a newer version has migrated",
      breaks: ["insert into coatcheck.migrations values ('099_later')"],
      check: "migrations",
      severity: "warning",
      says: /newer version.*099_later/,
      mends: false,
    },
    {
      name: "a lost list of migrations",
      breaks: ["drop table coatcheck.migrations"],
      check: "migrations",
      severity: "error",
      says: /list of applied migrations is gone/,
      mends: true,
    },
    {
      name: "a server clock that was set back since the migration",
      breaks: ["update coatcheck.migrations set applied_at = now() + interval '1 day'"],
      check: "migrations",
      severity: "warning",
      says: /in the future: the server's clock was set back/,
      mends: false,
    },
    {
      name: "a table of another role",
      breaks: [ROLES, "alter table coatcheck.sessions owner to cli_mallory"],
      check: "owner",
      severity: "error",
      says: /coatcheck.sessions belongs to role "cli_mallory"/,
      mends: true,
    },
    {
      name: "a view of another role",
      breaks: [ROLES, "alter view coatcheck.users owner to cli_mallory"],
      check: "owner",
      severity: "error",
      says: /coatcheck.users belongs to role "cli_mallory"/,
      mends: true,
    },
    {
      name: "a view of a role that nobody can act as",
      breaks: [ROLES, "alter view coatcheck.users owner to cli_reader"],
      check: "owner",
      severity: "note",
      says: /Nobody can act as/,
      mends: false,
    },
    {
      name: "a lost table",
      breaks: ["drop table coatcheck.sessions"],
      check: "sessions",
      severity: "error",
      says: /coatcheck.sessions does not exist/,
      mends: true,
    },
    {
      name: "a lost column",
      breaks: ["alter table coatcheck.sessions drop column rotation_salt"],
      check: "sessions",
      severity: "error",
      says: /lacks columns: rotation_salt/,
      mends: false,
    },
    {
      name: "a column of the app without a default",
      breaks: [`alter table coatcheck.sessions add "The App" text not null`],
      check: "sessions",
      severity: "error",
      says: /"The App".*no session can be created/,
      mends: true,
    },
    {
      name: "row-level security on the table",
      breaks: ["alter table coatcheck.sessions enable row level security"],
      check: "sessions",
      severity: "warning",
      says: /Row-level security/,
      mends: true,
    },
    {
      name: "a trigger of the app",
      breaks: [
        "create or replace function keep() returns trigger language plpgsql as 'begin return new; end'",
        `create trigger "a trigger" before update on coatcheck.sessions for each row execute function keep()`,
      ],
      check: "sessions",
      severity: "note",
      says: /"a trigger"/,
      mends: false,
    },
    {
      name: "triggers that notify, which a restore has disabled",
      breaks: [NOTIFY, "alter table coatcheck.sessions disable trigger user"],
      check: "notify",
      severity: "error",
      says: /are missing or disabled: a cache keeps a revoked session/,
      mends: true,
    },
    {
      name: "a trigger that notifies, but not of what replicas write",
      breaks: [NOTIFY, "alter table coatcheck.sessions enable trigger coatcheck_notify_delete"],
      check: "notify",
      severity: "error",
      says: /are missing or disabled/,
      mends: true,
    },
    {
      name: "a lost function that notifies",
      breaks: [NOTIFY, "drop function coatcheck.notify() cascade"],
      check: "notify",
      severity: "error",
      says: /are missing or disabled/,
      mends: true,
    },
    {
      name: "triggers that notify, and that migrate would not keep",
      breaks: [NOTIFY, "delete from coatcheck.migrations where name = '005_notify'"],
      check: "notify",
      severity: "note",
      says: /the list of steps does not have 005_notify/,
      mends: true,
    },
    {
      name: "an id that the sessions cannot hold, beneath a trigger that compares it",
      breaks: [
        NOTIFY,
        "drop view coatcheck.users",
        "create view coatcheck.users as select id::bigint as id, username from users",
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
      ],
      check: "view",
      severity: "error",
      says: /CC008/,
      mends: true,
    },
    {
      name: "a lost primary key",
      breaks: ["alter table coatcheck.sessions drop constraint sessions_pkey"],
      check: "indexes",
      severity: "error",
      says: /no primary key/,
      mends: true,
    },
    {
      name: "a lost primary key, and an id that is there twice",
      breaks: [
        "alter table coatcheck.sessions drop constraint sessions_pkey",
        row("'00000000-0000-4000-8000-000000000000'"),
        row("'00000000-0000-4000-8000-000000000000'"),
      ],
      check: "indexes",
      severity: "error",
      says: /migrate adds it, or says which rows are in its way/,
      mends: false,
    },
    {
      name: "an index on user_id that has some of the rows",
      breaks: [
        "drop index coatcheck.sessions_user_id",
        "create index sessions_user_id on coatcheck.sessions (user_id) where revoked_at is null",
      ],
      check: "indexes",
      severity: "warning",
      says: /user_id has no index/,
      mends: true,
    },
    {
      name: "an index on user_id behind an expression",
      breaks: [
        "drop index coatcheck.sessions_user_id",
        "create index sessions_user_id on coatcheck.sessions ((version + 1), user_id)",
      ],
      check: "indexes",
      severity: "warning",
      says: /user_id has no index/,
      mends: true,
    },
    {
      name: "what a failed REINDEX has left",
      breaks: [
        "update pg_index set indisvalid = false where indexrelid = 'coatcheck.sessions_user_id'::regclass",
        "alter index coatcheck.sessions_user_id rename to sessions_user_id_ccnew1",
        "create index sessions_user_id on coatcheck.sessions (user_id)",
      ],
      check: "indexes",
      severity: "error",
      says: /sessions_user_id_ccnew1 is invalid/,
      mends: true,
    },
    {
      name: "our index, which is invalid",
      breaks: [
        "update pg_index set indisvalid = false where indexrelid = 'coatcheck.sessions_user_id'::regclass",
      ],
      check: "indexes",
      severity: "error",
      says: /sessions_user_id is invalid/,
      mends: true,
    },
    {
      name: "a unique constraint on what each use changes",
      breaks: ["alter table coatcheck.sessions add constraint once unique (digest)"],
      check: "indexes",
      severity: "warning",
      says: /coatcheck.once has digest/,
      mends: true,
    },
    {
      name: "a lost index",
      breaks: ["drop index coatcheck.sessions_user_id"],
      check: "indexes",
      severity: "warning",
      says: /user_id has no index/,
      mends: true,
    },
    {
      name: "an invalid index",
      breaks: [
        row("gen_random_uuid()"),
        row("gen_random_uuid()"),
        "!create unique index concurrently twice on coatcheck.sessions (user_id)",
      ],
      check: "indexes",
      severity: "error",
      says: /coatcheck.twice is invalid/,
      mends: true,
    },
    {
      name: "an index on what each use changes",
      breaks: ["create index on coatcheck.sessions (last_seen_at)"],
      check: "indexes",
      severity: "warning",
      says: /last_seen_at, which each use of a session changes/,
      mends: true,
    },
    {
      name: "a dropped view",
      breaks: ["drop view coatcheck.users"],
      check: "view",
      severity: "error",
      says: /coatcheck.users is missing/,
      mends: true,
    },
    {
      name: "a dropped users table",
      breaks: [
        "drop table users cascade",
        "create table users (id integer primary key, username text not null unique)",
      ],
      check: "view",
      severity: "error",
      says: /DROP TABLE … CASCADE.*deletes them if the new id is of another type/,
      mends: true,
    },
    {
      name: "a table in place of the view",
      breaks: [
        "drop view coatcheck.users",
        "create table coatcheck.users (id integer, username text)",
      ],
      check: "view",
      severity: "error",
      says: /not a view/,
      mends: false,
    },
    {
      name: "keys that have become too large for the sessions",
      breaks: [
        "drop view coatcheck.users",
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
        "alter table users alter id type bigint",
        "create view coatcheck.users as select id, username from users",
        "alter table coatcheck.sessions add foreign key (user_id) references users (id) on delete cascade",
      ],
      check: "view",
      severity: "error",
      says: /is bigint, and coatcheck.sessions.user_id is integer.*CC008/,
      mends: true,
    },
    {
      name: "keys of another kind than those of the sessions",
      breaks: [
        "drop view coatcheck.users",
        "create view coatcheck.users as select gen_random_uuid() as id, username from users",
      ],
      check: "view",
      severity: "error",
      says: /is uuid, and coatcheck.sessions.user_id is integer.*are lost/,
      mends: false,
    },
    {
      name: "a view whose owner may not read the users table",
      breaks: [ROLES, "alter view coatcheck.users owner to cli_reader"],
      check: "view",
      severity: "error",
      says: /reads public.users with the rights of role "cli_reader", which may not/,
      mends: true,
    },
    {
      name: "a view whose owner may read one column of the users table",
      breaks: [
        ROLES,
        "alter view coatcheck.users owner to cli_reader",
        "grant select (id) on users to cli_reader",
      ],
      check: "view",
      severity: "error",
      says: /public.users with the rights of role "cli_reader"/,
      mends: true,
    },
    {
      name: "a view with a varchar",
      breaks: [
        "drop view coatcheck.users",
        "create view coatcheck.users as select id, username::varchar(40) from users",
      ],
      check: "view",
      severity: "note",
      says: /username is character varying\(40\)/,
      mends: false,
    },
    {
      name: "a view that reads with the rights of the app",
      breaks: ["alter view coatcheck.users set (security_invoker = true)"],
      check: "view",
      severity: "note",
      says: /security_invoker/,
      mends: false,
    },
    {
      name: "a view with two users of one name",
      breaks: [
        "create or replace view coatcheck.users as select id, lower(username) as username from users",
        "insert into users values (3, 'ADA')",
      ],
      check: "unique",
      severity: "error",
      says: /Two users have the same username/,
      mends: false,
    },
    {
      name: "a view with two users of one key",
      breaks: [
        "create or replace view coatcheck.users as select 1 as id, username from users",
      ],
      check: "unique",
      severity: "error",
      says: /Two users have the same id/,
      mends: false,
    },
    {
      name: "a username that no index keeps unique",
      breaks: ["alter table users drop constraint users_username_key"],
      check: "unique",
      severity: "warning",
      says: /unique in coatcheck.users today/,
      mends: false,
    },
    {
      name: "a username that no index finds",
      breaks: [
        "create or replace view coatcheck.users as select id, lower(username) as username from users",
      ],
      check: "look-up",
      severity: "warning",
      says: /No index finds a user by username/,
      mends: false,
    },
    {
      name: "a lost foreign key",
      breaks: ["alter table coatcheck.sessions drop constraint sessions_user_id_fkey"],
      check: "foreign-key",
      severity: "warning",
      says: /no foreign key: a session outlives its user/,
      mends: true,
    },
    {
      name: "no foreign key, over users that are no table",
      breaks: [
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
        "create table people (id integer primary key, username text not null unique)",
        "create or replace view coatcheck.users as select id, username from users union all select id, username from people",
      ],
      check: "foreign-key",
      severity: "note",
      says: /Revoke the sessions of a key when you create a user with it/,
      mends: false,
    },
    {
      name: "a foreign key that deletes no session",
      breaks: [
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
        "alter table coatcheck.sessions add foreign key (user_id) references users",
      ],
      check: "foreign-key",
      severity: "warning",
      says: /not ON DELETE CASCADE.*migrate deletes the sessions of users who are gone/,
      mends: true,
    },
    ...["null", "default"].map((action): Case => ({
      name: `a foreign key that sets user_id to ${action}, and so makes guests of deleted users`,
      breaks: [
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
        `alter table coatcheck.sessions add foreign key (user_id) references users on delete set ${action}`,
      ],
      check: "foreign-key",
      severity: "error",
      says: /becomes a guest's/,
      mends: true,
    })),
    {
      name: "a foreign key that was not validated, with a session of a user who is gone",
      breaks: [
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
        row("gen_random_uuid()").replace(", 1,", ", 9,"),
        "alter table coatcheck.sessions add foreign key (user_id) references users on delete cascade not valid",
      ],
      check: "foreign-key",
      severity: "warning",
      says: /migrate validates it, and deletes the sessions of users who are gone/,
      mends: true,
    },
    {
      name: "a lost foreign key, over a table and columns of other names",
      breaks: [
        "drop schema coatcheck cascade",
        "create schema app",
        `create table app."Accounts" (uid integer primary key, "e-mail" varchar(99) not null unique)`,
        "!migrate",
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
      ],
      check: "foreign-key",
      severity: "warning",
      says: /no foreign key/,
      mends: true,
    },
    {
      name: "a lost view, over a table and columns of other names",
      breaks: [
        "drop schema coatcheck cascade",
        "create schema app",
        `create table app."Accounts" (uid integer primary key, email text not null unique)`,
        "!migrate",
        "drop view coatcheck.users",
      ],
      check: "view",
      severity: "error",
      says: /is missing/,
      mends: true,
    },
    {
      name: "a foreign key that was not validated",
      breaks: [
        "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
        "alter table coatcheck.sessions add foreign key (user_id) references users on delete cascade not valid",
      ],
      check: "foreign-key",
      severity: "warning",
      says: /not validated/,
      mends: true,
    },
    {
      name: "a foreign key to another table than the view reads",
      breaks: [
        "create table people (id integer primary key, username text not null unique)",
        "create or replace view coatcheck.users as select id, username from people",
      ],
      check: "foreign-key",
      severity: "error",
      says: /refers to public.users, which the view coatcheck.users does not read/,
      mends: false,
    },
    {
      name: "a foreign key whose triggers a restore has left disabled",
      breaks: ["alter table users disable trigger all"],
      check: "foreign-key",
      severity: "error",
      says: /disabled on public.users/,
      mends: true,
    },
    {
      name: "an app whose role lacks rights",
      breaks: [ROLES],
      args: ["--role", "cli_mallory"],
      check: "privileges",
      severity: "error",
      says: /"cli_mallory" lacks: usage on the schema, select on coatcheck.users/,
      mends: true,
    },
    {
      name: "an app whose view was created anew, without its grants",
      breaks: [
        ROLES,
        "grant usage on schema coatcheck to cli_mallory",
        "grant select, insert, update, delete on coatcheck.sessions to cli_mallory",
      ],
      args: ["--role", "cli_mallory"],
      check: "privileges",
      severity: "error",
      says: /lacks: select on coatcheck.users$/,
      mends: true,
    },
    {
      name: "an app whose role does not exist",
      breaks: [],
      args: ["--role", "cli_nobody"],
      check: "privileges",
      severity: "error",
      says: /"cli_nobody" does not exist/,
      mends: false,
    },
    {
      name: "an app that runs as a superuser",
      breaks: [],
      args: ["--role", "postgres"],
      check: "privileges",
      severity: "warning",
      says: /is a superuser: an attacker/,
      mends: false,
    },
    {
      name: "a table that every role may read",
      breaks: ["grant select on coatcheck.sessions to public"],
      check: "grants",
      severity: "error",
      says: /Every role has rights on coatcheck.sessions: select$/,
      mends: true,
    },
    {
      name: "a role that may create objects in the schema",
      breaks: [ROLES, "grant usage, create on schema coatcheck to cli_mallory"],
      check: "grants",
      severity: "warning",
      says: /"cli_mallory" may create objects/,
      mends: true,
    },
    ...([
      ["write the users table through the view", "all", "users", /insert, .*trigger.*your users/],
      [
        "write the list of steps",
        "insert, truncate",
        "migrations",
        /insert, truncate\. They can make migrate skip a step/,
      ],
      ["empty the table", "select, truncate", "sessions", /than the app needs: truncate$/],
      [
        "write some columns",
        'insert, insert (id), update (user_id, "digest")',
        "sessions",
        /more rights on coatcheck.sessions than the app needs: update \(user_id, digest\)$/,
      ],
    ] as const).map(([what, rights, part, says]): Case => ({
      name: `a role that may ${what}`,
      breaks: [ROLES, `grant ${rights} on coatcheck.${part} to cli_mallory`],
      check: "grants",
      severity: "warning",
      says,
      mends: true,
    })),
    {
      name: "columns that every role may read and write",
      breaks: ["grant select (id, digest), update (user_id) on coatcheck.sessions to public"],
      check: "grants",
      severity: "error",
      says:
        /Every role has rights on coatcheck.sessions: select \(id, digest\), update \(user_id\)$/,
      mends: true,
    },
    {
      name: "a right that another role has passed on",
      breaks: [
        ROLES,
        "grant usage on schema coatcheck to cli_mallory",
        "grant truncate on coatcheck.sessions to cli_mallory with grant option",
        `set role cli_mallory; grant truncate on coatcheck.sessions to cli_reader; reset role`,
      ],
      check: "grants",
      severity: "warning",
      says: /"cli_reader" has more rights .*: truncate, granted by role "cli_mallory"/,
      mends: true,
    },
    {
      name: "another role that may write sessions",
      breaks: [ROLES, "grant insert on coatcheck.sessions to cli_mallory"],
      args: ["--role", "postgres"],
      check: "grants",
      severity: "note",
      says: /sign in as any user: "cli_mallory"/,
      mends: false,
    },
    {
      name: "a function in a schema before pg_catalog",
      breaks: [
        ROLES,
        "create schema app authorization cli_mallory",
        "create function app.decode(text, text) returns bytea language sql as 'select null::bytea'",
        "alter role cli_mallory set search_path = app, pg_catalog",
      ],
      args: ["--role", "cli_mallory"],
      check: "search-path",
      severity: "error",
      says: /The function app.decode\(text,text\).*in place of PostgreSQL's own/,
      mends: false,
      undo: ["alter role cli_mallory reset search_path"],
    },
    {
      name: "an operator in a schema before pg_catalog",
      breaks: [
        ROLES,
        "create schema app",
        "create function app.yes(uuid, uuid) returns boolean language sql as 'select true'",
        "create operator app.= (function = app.yes, leftarg = uuid, rightarg = uuid)",
        "alter role cli_mallory set search_path = app, pg_catalog",
      ],
      args: ["--role", "cli_mallory"],
      check: "search-path",
      severity: "error",
      says: /The operator app\.=\(uuid,uuid\)/,
      mends: false,
      undo: ["alter role cli_mallory reset search_path"],
    },
    {
      name: "a search_path in which pg_catalog is not the first",
      breaks: [
        ROLES,
        "create schema app",
        "alter role cli_mallory set search_path = app, pg_catalog",
      ],
      args: ["--role", "cli_mallory"],
      check: "search-path",
      severity: "error",
      says: /pg_catalog comes after "app"/,
      mends: true,
      undo: ["alter role cli_mallory reset search_path"],
    },
    {
      name: "a search_path of one database in which pg_catalog is not the first",
      breaks: [
        ROLES,
        "create schema app",
        `do $$ begin execute format(
          'alter role cli_mallory in database %I set search_path = app, pg_catalog', current_database()); end $$`,
      ],
      args: ["--role", "cli_mallory"],
      check: "search-path",
      severity: "error",
      says: /pg_catalog comes after "app"/,
      mends: true,
      undo: [
        `do $$ begin execute format(
          'alter role cli_mallory in database %I reset search_path', current_database()); end $$`,
      ],
    },
    {
      name: "an operator on citext, beside that of the extension",
      breaks: [
        "create schema app",
        "create extension if not exists citext schema public",
        "drop view coatcheck.users",
        "create view coatcheck.users as select id, username::citext as username from users",
        "create function yes(citext, text) returns boolean language sql as 'select true'",
        "create operator public.= (function = yes, leftarg = citext, rightarg = text)",
      ],
      check: "search-path",
      severity: "error",
      says: /The operator public\.=\(public\.citext,text\)/,
      mends: true,
      undo: ["drop function yes(citext, text) cascade", "drop extension citext cascade"],
    },
    {
      name: "a citext whose schema is not in the search_path",
      breaks: [
        ROLES,
        "create schema app",
        "create extension if not exists citext schema app",
        "drop view coatcheck.users",
        "create view coatcheck.users as select id, username::app.citext as username from users",
      ],
      args: ["--role", "cli_mallory"],
      check: "search-path",
      severity: "error",
      says: /citext, and its schema "app" is not in the search_path/,
      mends: true,
      undo: ["drop extension citext cascade", "alter role cli_mallory reset search_path"],
    },
    {
      name: "a lost fillfactor",
      breaks: ["alter table coatcheck.sessions reset (fillfactor)"],
      check: "fillfactor",
      severity: "warning",
      says: /The fillfactor is 100/,
      mends: true,
    },
    {
      name: "updates that are not heap-only",
      breaks: [
        "create index slow on coatcheck.sessions (last_seen_at)",
        row("gen_random_uuid()"),
        `do $$ begin for i in 1..1200 loop
          update coatcheck.sessions set last_seen_at = last_seen_at + interval '1 s'; end loop; end $$`,
        "select pg_stat_force_next_flush()",
        "select 1",
      ],
      check: "fillfactor",
      severity: "warning",
      says: /Only 0 % of 1,200 updates were heap-only/,
      mends: false,
    },
    {
      name: "autovacuum that is off for the table",
      breaks: ["alter table coatcheck.sessions set (autovacuum_enabled = off)"],
      check: "autovacuum",
      severity: "warning",
      says: /off for coatcheck.sessions/,
      mends: true,
    },
    {
      name: "many dead rows that no vacuum has removed",
      breaks: [
        "alter table coatcheck.sessions set (autovacuum_enabled = off)",
        `insert into coatcheck.sessions
          (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
          select gen_random_uuid(), 1, '\\x00', now(), now(), now(), now() + interval '1 day', true, '{}'
          from generate_series(1, 12000)`,
        "delete from coatcheck.sessions",
        "select pg_stat_force_next_flush()",
        "select 1",
      ],
      check: "bloat",
      severity: "warning",
      says: /12,000 dead row versions beside 0 rows; the last vacuum was never/,
      mends: true,
    },
    {
      name: "a table that has kept the space of rows which are gone",
      breaks: [
        "alter table coatcheck.sessions set (autovacuum_enabled = off)",
        `insert into coatcheck.sessions
          (id, user_id, digest, created_at, authenticated_at, last_seen_at, expires_at, persistent, data)
          select gen_random_uuid(), 1, '\\x00', now(), now(), now(), now() + interval '1 day', true,
            jsonb_build_object('a', repeat('a', 900))
          from generate_series(1, 9000)`,
        "delete from coatcheck.sessions where ctid < '(1100,0)'",
        "!vacuum (analyze) coatcheck.sessions",
      ],
      check: "bloat",
      severity: "warning",
      says: /The table takes [\d.]+ MiB, and its rows need about/,
      mends: true,
    },
    {
      name: "rows that no sweep has deleted",
      breaks: [row("gen_random_uuid()"), age(5 * 86_400)],
      check: "sweep",
      severity: "warning",
      says:
        /^1 row of dead sessions wait for a sweep, the oldest for 4 days.*guests who are idle for 7 days/,
      mends: true,
    },
    {
      name: "revoked rows that are kept for longer than a retention that is given",
      breaks: [
        row("gen_random_uuid()"),
        "update coatcheck.sessions set revoked_at = now()",
        age(100 * 86_400).replace(
          "expires_at = expires_at",
          "expires_at = now() + interval '1 day'",
        ),
        row("gen_random_uuid()"),
        "update coatcheck.sessions set revoked_at = now() - interval '50 days' where revoked_at is null",
      ],
      args: ["--retention", "90d"],
      check: "sweep",
      severity: "warning",
      says: /^1 row of dead sessions/,
      mends: true,
      keeps: 1,
    },
    {
      name: "a server clock behind this machine's",
      breaks: [],
      options: { ahead: 3600 },
      check: "clock",
      severity: "warning",
      says: /server is 60 min behind the clock of this machine/,
      mends: false,
    },
    {
      name: "a server clock ahead of this machine's",
      breaks: [],
      options: { ahead: -3 * 86_400 },
      check: "clock",
      severity: "warning",
      says: /server is 3 days ahead of/,
      mends: false,
    },
  ];

  // What is examined is the server, so one runtime is enough for most.
  const here = "Bun" in globalThis ? cases : cases.slice(0, 5);
  for (
    const { name, breaks, check, severity, says, mends, args = [], options, undo = [], keeps }
      of here
  ) {
    test(`finds ${name}${mends ? ", and what it says mends it" : ""}`, async () => {
      await reset();
      try {
        for (const statement of breaks) {
          // A leading ! marks what fails on purpose, or cannot run in a transaction.
          if (statement === "!migrate") {
            const [table] = await db.sql`select c.oid::regclass::text as name, a.attname as username
              from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum = 2
              where c.relname = 'Accounts'`;
            await migrate(db.sql, {
              users: { table: table!.name, id: "uid", username: table!.username },
            });
            continue;
          }
          await db.sql.unsafe(statement.replace(/^!/, "")).catch((error) => {
            if (!statement.startsWith("!")) throw error;
          });
        }
        const { code, report } = await examine(args, options);
        const found = report.findings.filter((it) => it.check === check && says.test(it.message));
        assert.equal(found.length, 1, JSON.stringify(report.findings, null, 1));
        assert.equal(found[0]!.severity, severity);
        const worst = { ok: 0, note: 0, warning: 1, error: 2 }[report.severity];
        assert.equal(code, worst);
        assert.ok(code >= { note: 0, warning: 1, error: 2 }[severity]);
        if (!mends) return;
        for (const command of found[0]!.mend) await mend(command);
        const after = await examine(args, options);
        const again = after.report.findings.filter((it) =>
          it.check === check && says.test(it.message)
        );
        assert.deepEqual(again, []);
        if (keeps === undefined) return;
        const [row] = await db.sql`select count(*)::int as number from coatcheck.sessions`;
        assert.equal(row!.number, keeps);
      } finally {
        for (const statement of undo) await db.sql.unsafe(statement);
        await db.sql.unsafe(`do $$ declare role text; begin
          foreach role in array array['cli_mallory', 'cli_reader'] loop
            if exists (select from pg_roles where rolname = role) then
              execute 'reassign owned by ' || role || ' to current_user';
              execute 'drop owned by ' || role;
            end if;
          end loop; end $$`);
      }
    });
  }

  /** Runs what the doctor says. */
  async function mend(command: string) {
    const [, words] = /^npx coatcheck (.*)$/.exec(command) ?? [];
    if (words === undefined) {
      await db.sql.unsafe(command);
      return;
    }
    // Words between single quotes have no space.
    const { code, err } = await cli(words.replaceAll("'", "").split(" "), { answer: "y" });
    assert.equal(code, 0, err);
  }

  test("reads a large view of users only with --full", async () => {
    await reset(
      "alter table users drop constraint users_username_key",
      "insert into users select i, 'user ' || i from generate_series(3, 200000) i",
      "analyze users",
    );
    const find = async (...args: string[]) =>
      (await examine(args)).report.findings.find(({ check }) => check === "unique");
    const quick = await find();
    assert.match(quick!.message, /the whole view has to be read, about [\d,]+ rows/);
    assert.match((await find("--full"))!.message, /is unique in coatcheck.users today/);
    await db.sql`insert into users values (0, 'user 3')`;
    assert.match((await find("--full"))!.message, /Two users have the same username/);
  });

  test("says that it cannot see the transactions of other roles, without pg_monitor", async () => {
    await reset(
      `do $$ begin create role cli_app login password 'cli';
        exception when duplicate_object or unique_violation then null; end $$`,
      "alter role cli_app login password 'cli'",
    );
    await cli("grants cli_app --apply");
    const url = Object.assign(new URL(db.url), { username: "cli_app", password: "cli" }).href;
    const find = async () => {
      const { out } = await runCommand(url, ["doctor", "--json"]);
      return (JSON.parse(out) as Report).findings
        .filter(({ check, message }) => check === "activity" && /^Not examined/.test(message));
    };
    const [hidden] = await find();
    assert.match(hidden!.message, /connections? of other roles.*grant it pg_monitor/);
    assert.deepEqual(hidden!.mend, ["grant pg_monitor to cli_app;"]);
    try {
      await db.sql.unsafe(hidden!.mend[0]!);
      assert.deepEqual(await find(), []);
    } finally {
      await db.sql.unsafe("revoke pg_monitor from cli_app");
    }
  });

  test("says what it could not examine, as the role of the app", async () => {
    await reset(
      `do $$ begin create role cli_app login password 'cli';
        exception when duplicate_object or unique_violation then null; end $$`,
      "alter role cli_app login password 'cli'",
    );
    const url = Object.assign(new URL(db.url), { username: "cli_app", password: "cli" }).href;
    const closed = await examine([], {}, url);
    assert.match(
      closed.report.findings.find(({ check }) => check === "schema")!.message,
      /may not use the schema/,
    );
    assert.equal(closed.code, 2);
    await cli("grants cli_app --apply");
    const open = await examine([], {}, url);
    assert.equal(open.code, 0, JSON.stringify(open.report.findings));
    const notes = open.report.findings.filter(({ severity }) => severity === "note");
    assert.deepEqual(notes.map(({ check, message }) => [check, /^Not examined/.test(message)]), [
      ["migrations", true],
      ["notify", true],
    ]);
  });

  test("is content with triggers that notify, and counts them not as the app's", async () => {
    await reset(NOTIFY);
    const { report } = await examine();
    assert.deepEqual(
      report.findings.filter(({ check }) => ["notify", "sessions", "migrations"].includes(check))
        .map(({ severity, message }) => [severity, message]),
      [
        ["ok", `${migrations.length} steps were applied, as this version has them`],
        ["ok", "The table has its columns, and no trigger of the app"],
        ["ok", "Each revocation notifies the caches"],
      ],
    );
  });

  test("warns of a full queue of notifications, and lets the server empty it", async () => {
    // A server of its own, with the smallest queue there is.
    const server = await startPostgres(undefined, ["fsync=off", "max_notify_queue_pages=64"]);
    try {
      const own = await openDatabase({ notify: true, server: server.url });
      const find = async () => {
        const { report } = await examine([], {}, own.url);
        const { severity, message } = report.findings.find(({ check }) => check === "notify")!;
        return [severity, message.match(/^[^:]*/)![0].replace(/\d+/, "…")];
      };
      const content = ["ok", "Each revocation notifies the caches"];
      assert.deepEqual(await find(), content);
      const { headers } = await createSession("ada", own.sql);
      const request = withCookie(headers);
      const full = { code: "STORE_REJECTED", sqlstate: "54000" };
      const listener = postgres(own.url, { max: 1 });
      await listener`listen coatcheck`;
      await listener.begin(async (transaction) => {
        await transaction`select 1`;
        const fill = async (length: number) => {
          const send = () => own.sql`select pg_notify('coatcheck', repeat('x', ${length}))`;
          for (let tries = 0; tries < 10_000; tries++) {
            const error = await send().then(() => undefined, (error) => error);
            if (error) return assert.equal(error.code, "54000");
          }
          assert.fail("The queue is never full");
        };
        // So that nothing as short as ours fits into the rest of the last page.
        for (const length of [7000, 1]) await fill(length);
        assert.deepEqual(await find(), [
          "warning",
          "The server's queue of notifications is … % full",
        ]);
        await assert.rejects(revokeSession(request, own.sql), full);
        await assert.rejects(revokeSessions({ userId: 1 }, own.sql), full);
        await assert.rejects(updateSession(request, { a: 1 }, own.sql), full);
        const { session } = await validateSession(request, own.sql);
        assert.deepEqual(session?.data, {});
        assert.ok((await createSession("grace", own.sql)).session);
      });
      await listener.end();
      // To ask how full it is makes the server look at what was read.
      await assert.rejects(revokeSessions({ userId: 1 }, own.sql), full);
      assert.deepEqual(await find(), content);
      assert.equal((await revokeSessions({ userId: 1 }, own.sql)).length, 1);
      await own.close();
    } finally {
      await server.stop();
    }
  });

  test("finds a database in which transactions are read-only", async () => {
    await reset();
    const name = new URL(db.url).pathname.slice(1);
    await db.sql.unsafe(`alter database ${name} set default_transaction_read_only = on`);
    try {
      const { code, report } = await examine();
      assert.equal(code, 2);
      const finding = report.findings.find(({ check }) => check === "primary");
      assert.match(finding!.message, /read-only by default.*a setting of: database$/);
      const sweep = await cli("sweep --yes");
      assert.match(sweep.err, /takes no writes[^]*if it is the primary, run: npx coatcheck doctor/);
      // As in psql, in one session.
      const sql = postgres(db.url, { max: 1, onnotice: () => {} });
      for (const statement of finding!.mend) await sql.unsafe(statement);
      await sql.end();
      assert.equal((await examine()).code, 0);
    } finally {
      await db.sql.unsafe(`set default_transaction_read_only = off;
        alter database ${name} reset default_transaction_read_only`);
    }
  });
});

describe("the process", () => {
  const start = (args: readonly string[], env: Record<string, string> = {}) =>
    // Not what is in node_modules/.bin, which may be a script that takes the signal itself.
    spawn(process.execPath, [...runtime.run.slice(1), "cli/main.ts", ...args], {
      cwd: root,
      env: { ...process.env, DATABASE_URL: db.url, NO_COLOR: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });

  async function finish(child: ReturnType<typeof start>) {
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (it) => out += it);
    child.stderr.setEncoding("utf8").on("data", (it) => err += it);
    const [code] = await once(child, "close");
    return { code, out, err };
  }

  test("writes to a pipe, and ends with the exit code", async () => {
    await reset();
    const { code, out, err } = await finish(start(["doctor", "--json", ...IGNORED]));
    assert.equal(err, "");
    assert.equal(JSON.parse(out).severity, "note");
    assert.equal(code, 0);
    const printed = await finish(start(["migrate", "--print", "--json"]));
    assert.equal(JSON.parse(printed.out).steps.length, STEPS.length);
    assert.equal((await finish(start(["nothing"]))).code, 2);
  });

  test("is stopped by Ctrl-C while it waits for the database, with exit code 130 and no stack", async () => {
    await reset();
    await db.sql.begin(async (transaction) => {
      await transaction`lock table coatcheck.sessions`;
      const child = start(["sweep", "--yes"]);
      const finished = finish(child);
      await db.waiting();
      // With child.kill, Deno tells the signal in place of the exit code.
      process.kill(child.pid!, "SIGINT");
      const { code, err } = await finished;
      assert.equal(code, 130);
      assert.equal(err, "\nStopped.\n");
    });
  });

  test("ends quietly if nobody reads its output any more", async () => {
    const child = start(["migrate", "--print"]);
    child.stdout.destroy();
    let err = "";
    child.stderr.setEncoding("utf8").on("data", (it) => err += it);
    await once(child, "exit");
    assert.equal(err, "");
  });
});

// Servers of their own: one runtime is enough.
if ("Bun" in globalThis) {
  describe("coatcheck doctor, on other servers", () => {
    test("finds that autovacuum, counting and fsync are off", async () => {
      const settings = ["fsync=off", "autovacuum=off", "track_counts=off"];
      const server = await startPostgres(undefined, settings);
      try {
        const own = await openDatabase({ server: server.url });
        const { out, code } = await runCommand(own.url, ["doctor"]);
        await own.close();
        assert.equal(code, 1);
        for (const setting of ["fsync", "autovacuum", "track_counts"]) {
          assert.match(out, new RegExp(`^warning .*${setting} is off`, "m"));
          assert.match(out, new RegExp(`^    alter system set ${setting} = on;$`, "m"));
        }
      } finally {
        await server.stop();
      }
    });

    test("finds a read-only replica, and the other commands say what to do", async () => {
      const folder = await mkdtemp(join(tmpdir(), "coatcheck-replica-"));
      try {
        const first = await startPostgres(folder, ["fsync=off"]);
        if (!first.kept) throw new Error("The data of the server was not kept");
        const own = await openDatabase({ server: first.url });
        const name = new URL(own.url).pathname;
        await own.sql.end();
        await first.stop();
        await writeFile(join(folder, "data", "standby.signal"), "");
        // A replica says that it takes read-only connections; the helper waits for other words.
        const prefix = "log_line_prefix=ready to accept connections ";
        const replica = await startPostgres(folder, ["fsync=off", "hot_standby=on", prefix]);
        try {
          const url = Object.assign(new URL(replica.url), { pathname: name }).href;
          await until("the replica starts", () => isReached(url));
          const { out, code } = await runCommand(url, ["doctor"]);
          assert.equal(code, 2);
          assert.match(out, /^error {3}primary: This is a read-only replica/m);
          const sweep = await runCommand(url, ["sweep", "--yes"]);
          assert.equal(sweep.code, 1);
          assert.match(sweep.err, /takes no writes. Connect to the primary/);
          assert.match((await runCommand(url, ["list", "ada"])).out, /^0 live sessions/);
        } finally {
          await replica.stop();
        }
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    });

    async function isReached(url: string): Promise<boolean> {
      const sql = postgres(url, { max: 1, onnotice: () => {} });
      const isHeard = await sql`select 1`.then(() => true, () => false);
      await sql.end();
      return isHeard;
    }

    if (pgbouncer) {
      test("finds a pooler in transaction mode, and every command works through it", async () => {
        await reset();
        const bouncer = await startPgBouncer(pgbouncer!, process.env.DATABASE_URL!);
        try {
          const { hostname, port } = new URL(bouncer.url);
          const url = Object.assign(new URL(db.url), { hostname, port }).href;
          const { report, code } = await examine([], {}, url);
          const finding = report.findings.find(({ check }) => check === "pooler");
          assert.equal(finding!.severity, "note");
          assert.match(finding!.message, /pooler in transaction mode/);
          assert.equal(code, 0, JSON.stringify(report.findings));
          const { session } = await createSession("ada", db.sql);
          const commands = [
            "stats",
            "list ada",
            "list ada --all",
            `show ${session.id}`,
            "sweep --yes",
          ];
          for (const command of [...commands, "migrate", "revoke ada --all --yes"]) {
            const { code, err } = await runCommand(url, command.split(" "));
            assert.equal(code, 0, err);
          }
        } finally {
          await bouncer.close();
        }
      });
    }

    const { CITUS_URL } = process.env;
    if (CITUS_URL) {
      for (const layout of ["distributed by id", "local to the coordinator"] as const) {
        test(`finds Citus with sessions ${layout}, and every command works`, async () => {
          const cluster = await openCluster(CITUS_URL);
          try {
            await prepare(cluster, layout);
            const { session } = await createSession("ada", cluster.sql);
            const { report, code } = await examine([], {}, cluster.url);
            const finding = report.findings.find(({ check }) => check === "citus");
            const says = layout === "distributed by id"
              ? /distributed by id/
              : /table of this node/;
            assert.match(finding!.message, says);
            assert.equal(code, 0, JSON.stringify(report.findings, null, 1));
            const commands = ["stats", "list ada", "list ada --all", `show ${session.id}`];
            for (const command of [...commands, "sweep --yes", "revoke ada --all --yes"]) {
              const { code, err } = await runCommand(cluster.url, command.split(" "));
              assert.equal(code, 0, `${command}: ${err}`);
            }
          } finally {
            await cluster.close();
          }
        });
      }
    }
  });
}
