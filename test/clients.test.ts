import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { conformance } from "../conformance.ts";
import {
  createSession,
  createToken,
  getUserId,
  listSessions,
  SessionError,
  type Sql,
  validateSession,
} from "../mod.ts";
import { closing, sideBySide } from "./runner/cells.ts";
import { clients, packages } from "./runner/clients.ts";
import { type Database, openDatabase } from "./runner/database.ts";
import { runtime } from "./runner/runtime.ts";

const execute = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));

sideBySide(
  Object.fromEntries(
    Object.entries(clients).map(([name, open]) => [name, async () => {
      const database = await openDatabase({ bare: true });
      return closing(await open(database.url), database.close);
    }]),
  ),
);

describe("what befalls the server", () => {
  let database: Database;
  beforeAll(async () => {
    database = await openDatabase();
  });
  afterAll(() => database.close());

  /** Asks through a client until the server works on it, and then has something done to its backend. */
  async function during(action: "cancel" | "terminate", sql: Sql): Promise<unknown> {
    const text = `select pg_sleep(9)::text as ${action}`;
    const call = told(sql, text);
    let isOver = false;
    void call.finally(() => isOver = true);
    while (!isOver) {
      // Again until it is over: between two messages of a call, a server hears no cancelling.
      await database.sql`
        select ${database.sql(`pg_${action}_backend`)}(pid) from pg_stat_activity
        where query = ${text} and state = 'active' and datname = current_database()`;
    }
    return await call;
  }

  const urlWith = (change: object) => (Object.assign(new URL(database.url), change) as URL).href;

  /** How a failure is told. */
  async function told(sql: Sql, text: string): Promise<unknown> {
    const strings = Object.freeze(
      Object.defineProperty([text], "raw", { value: Object.freeze([text]) }),
    );
    const asked: Sql = () => sql(strings as unknown as TemplateStringsArray);
    const visitor = new Headers({ cookie: `__Host-session=${createToken().token}` });
    const error = await validateSession(visitor, asked, { queryTimeout: 5 }).catch((it) => it);
    return error instanceof SessionError ? [error.code, error.sqlstate] : error;
  }

  for (const [name, open] of Object.entries(clients)) {
    test(`is told in the same codes through ${name}`, async () => {
      const { sql, close } = await open(database.url);
      try {
        assert.deepEqual(await during("cancel", sql), ["STORE_TIMEOUT", "57014"]);
        const [code] = await during("terminate", sql) as [string];
        assert.equal(code, "STORE_UNAVAILABLE");
        // A pool may hand the broken connection out once more.
        const ask = () => getUserId("ada", sql);
        assert.equal(await ask().catch(ask), 1);
      } finally {
        await close?.();
      }
    });

    const unusable = [
      { what: "a server that is not there", change: { port: "1" }, code: "STORE_UNAVAILABLE" },
      { what: "a wrong password", change: { password: "wrong" }, code: "STORE_REJECTED" },
      { what: "no such database", change: { pathname: "/nowhere" }, code: "STORE_REJECTED" },
    ];
    for (const { what, change, code } of unusable) {
      // It asks the server something when it is made, before there is a client.
      if (name === "slonik") continue;
      test(`is told as ${code} for ${what} through ${name}`, async () => {
        const { sql, close } = await open(urlWith(change));
        try {
          await assert.rejects(getUserId("ada", sql), { name: "SessionError", code });
        } finally {
          await close?.();
        }
      });
    }
  }
});

describe("pg's query, which is no tagged template", () => {
  test("is refused with a sentence that says so, and takes no process down", async () => {
    const [program = "", ...args] = [...runtime.run, "test/runner/query.ts"];
    const { stdout } = await execute(join(root, "node_modules", ".bin", program), args, {
      cwd: root,
      env: { ...process.env, NO_COLOR: "1" },
    });
    const refusal = "TypeError: Cannot proceed as sql must be a tagged-template client, " +
      "like postgres(url): received a function of 3 parameters, like pg's query\n";
    assert.equal(stdout, `${refusal.repeat(4)}goes on\n`);
  });
});

describe("the conformance suite", () => {
  /** Its tests, by their names, and what runs after them. */
  function suiteOf(
    sql: Sql,
  ): { cases: Map<string, () => Promise<void>>; finish: () => Promise<void> } {
    const cases = new Map<string, () => Promise<void>>();
    let finish = async () => {};
    conformance({
      test: (name, run) => cases.set(name, run),
      afterAll: (run) => finish = run,
      open: () => ({ sql }),
    });
    return { cases, finish: () => finish() };
  }

  test("refuses a database with sessions in it, and touches nothing", async () => {
    const { sql, close } = await openDatabase();
    try {
      const { session } = await createSession("ada", sql);
      const { cases, finish } = suiteOf(sql);
      for (const run of cases.values()) await assert.rejects(run, /the database must be empty/);
      await finish();
      assert.deepEqual((await listSessions(1, sql)).map(({ id }) => id), [session.id]);
    } finally {
      await close();
    }
  });

  type Rows = readonly Record<string, string>[];
  const wrong: { name: string; change: (rows: Rows) => unknown; claim: string }[] = [
    {
      name: "parses JSON",
      change: (rows) =>
        rows.map(({ json }) => ({ json: json?.startsWith("{") ? JSON.parse(json) : json })),
      claim: "hands over JSON as the text that it is",
    },
    {
      name: "loses a row",
      change: (rows) => rows.length > 999 ? rows.slice(1) : rows,
      claim: "hands over a thousand rows in their order",
    },
    {
      name: "trims what it reads",
      change: (rows) => rows.map(({ json }) => ({ json: json?.trim() })),
      claim: "takes parameters as they are, and makes no text of them",
    },
    {
      name: "answers with the first row alone",
      change: (rows) => rows[0],
      claim: "hands over rows of one column of text",
    },
  ];
  for (const { name, change, claim } of wrong) {
    test(`finds out a client that ${name}`, async () => {
      const { sql, close } = await openDatabase({ bare: true });
      let isBroken = false;
      const broken: Sql = async (strings, ...values) => {
        const rows = await sql(strings, ...values);
        return (isBroken ? change(rows as unknown as Rows) : rows) as Rows;
      };
      const { cases, finish } = suiteOf(broken);
      try {
        await cases.get(claim)!();
        isBroken = true;
        await assert.rejects(cases.get(claim)!, { name: "Nonconformity" });
      } finally {
        isBroken = false;
        await finish();
        await close();
      }
    });
  }
});

describe("the README", () => {
  test("has a table of the clients that ran here, and of their versions", async () => {
    const readme = await readFile(join(root, "README.md"), "utf8");
    const [header = [], , ...rows] = readme.match(/^\| client \|(?:.*\n)+?(?=\n)/m)![0].trim()
      .split("\n")
      .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", "")));
    const column = header.indexOf(`${runtime.name} ${runtime.major}`);
    const ticked = rows.filter((row) => row[column] === "✓").map(([name]) => name);
    // PGlite has a file of its own.
    assert.deepEqual(ticked.sort(), [...Object.keys(clients), "PGlite"].sort());
    for (const [name = "", version] of rows) {
      const place = join(root, "node_modules", packages[name.split(/,? /)[0]!]!, "package.json");
      const installed = JSON.parse(await readFile(place, "utf8")).version;
      assert.ok(installed.startsWith(`${version}.`), `${name} ${installed}`);
    }
  });

  test("leads to lines of code that are those which ran", async () => {
    const squeeze = (text: string) => text.replace(/\s+/g, "");
    const [, lines = ""] = (await readFile(join(root, "docs/reference.md"), "utf8"))
      .match(/## The SQL client.*?```ts ignore\n(.*?)```/s)!;
    const ran = squeeze(await readFile(join(root, "test/runner/clients.ts"), "utf8"));
    const code = lines.replace(/^\/\/.*$/gm, "").replaceAll("const sql: Sql = ", "").split(";\n\n");
    assert.equal(code.length, 5);
    for (const line of code.flatMap((it) => it.split("};\n"))) {
      assert.ok(ran.includes(squeeze(line).replace(/;$/, "")), line);
    }
  });
});
