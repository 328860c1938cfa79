import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type postgres from "postgres";
import { type Client, conformance } from "../conformance.ts";
import {
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  revokeSession,
  revokeSessions,
  rotateSession,
  SessionError,
  type Sql,
  updateSession,
  validateSession,
} from "../mod.ts";
import { closing, sideBySide } from "./runner/cells.ts";
import { clients, openPostgres, packages } from "./runner/clients.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
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

describe("a client that has ways of its own to write PostgreSQL's types", () => {
  test("is as good as any", async () => {
    const { url, sql, close } = await openDatabase();
    const refuse = () => {
      throw new Error("Nobody asked for this");
    };
    const type = (oid: number) => ({ to: oid, from: [oid], serialize: refuse, parse: refuse });
    const types = { date: type(1184), uuid: type(2950), bool: type(16), bytea: type(17) };
    const own = openPostgres(url, { types } as object);
    try {
      const { session, headers } = await createSession("ada", own.sql, { persistent: true });
      assert.equal(session.persistent, true);
      assert.deepEqual((await validateSession(withCookie(headers), own.sql)).session, session);
      const rotated = await rotateSession(withCookie(headers), own.sql);
      const { id, digest } = createToken();
      const times = { createdAt: new Date("2026-01-01"), expiresAt: new Date("2099-01-01") };
      const inserted = await insertSession({ id, digest, userId: 1, ...times }, own.sql);
      assert.deepEqual(inserted.expiresAt, times.expiresAt);
      const visitor = withCookie(rotated.headers);
      assert.equal((await updateSession(visitor, { a: 1 }, own.sql)).session?.version, 1);
      assert.equal((await revokeSession(visitor, own.sql)).session?.id, session.id);
      await revokeSessions({ userId: 1, except: session.id }, own.sql);
      assert.deepEqual(await listSessions(1, sql), []);
    } finally {
      await own.close?.();
      await close();
    }
  });
});

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

    test(`leaves nothing in the answers after one that broke off through ${name}`, async () => {
      const { sql, close } = await open(database.url);
      try {
        const broken = "select (1 / (3 - n))::text as json from generate_series(1, 5) n";
        const [one, ...keys] = await Promise.all([
          told(sql, broken),
          ...Array.from({ length: 8 }, () => getUserId("ada", sql)),
        ]);
        assert.deepEqual([one, ...keys], [["STORE_REJECTED", "22012"], ...Array(8).fill(1)]);
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
      "like postgres(url), got a function of 3 parameters, like pg's query\n";
    assert.equal(stdout, `${refusal.repeat(4)}goes on\n`);
  });
});

describe("the conformance suite", () => {
  /** Its tests, by their names, and what runs after them. */
  function suiteOf(
    client: Client,
  ): { cases: Map<string, () => Promise<void>>; finish: () => Promise<void> } {
    const cases = new Map<string, () => Promise<void>>();
    let finish = async () => {};
    conformance({
      test: (name, run) => cases.set(name, run),
      afterAll: (run) => finish = run,
      open: () => client,
    });
    return { cases, finish: () => finish() };
  }

  test("refuses a database with sessions in it, and touches nothing", async () => {
    const { sql, close } = await openDatabase();
    try {
      const { session } = await createSession("ada", sql);
      const { cases, finish } = suiteOf({ sql });
      for (const run of cases.values()) await assert.rejects(run, /the database must be empty/);
      await finish();
      assert.deepEqual((await listSessions(1, sql)).map(({ id }) => id), [session.id]);
    } finally {
      await close();
    }
  });

  test("says what it could not read, and closes a client that it could not use", async () => {
    let isClosed = false;
    const sql: Sql = () => Promise.resolve([{ json: true }]);
    const { cases } = suiteOf({ sql, close: () => isClosed = true });
    const [run] = cases.values();
    await assert.rejects(run!, /the first answer must be "free", got true/);
    assert.ok(isClosed);
  });

  type Rows = readonly Record<string, string>[];
  const reading = (change: (rows: Rows) => unknown) => (sql: Sql): Client => ({
    sql: async (strings, ...values) =>
      change(await sql(strings, ...values) as unknown as Rows) as Rows,
  });
  const failing = (change: (error: Record<string, unknown>) => unknown) => (sql: Sql): Client => ({
    sql: async (strings, ...values) => {
      try {
        return await sql(strings, ...values);
      } catch (error) {
        throw change(error as Record<string, unknown>);
      }
    },
  });
  interface Wrong {
    readonly name: string;
    readonly open: (sql: postgres.Sql, url: string) => Client;
    /** The test that finds it out. */
    readonly claim: string;
  }
  const wrong: Wrong[] = [
    {
      name: "parses JSON",
      open: reading((rows) =>
        rows.map(({ json }) => ({ json: json?.startsWith("{") ? JSON.parse(json) : json }))
      ),
      claim: "hands over JSON as the text that it is",
    },
    {
      name: "loses a row",
      open: reading((rows) => rows.length > 999 ? rows.slice(1) : rows),
      claim: "hands over a thousand rows in their order",
    },
    {
      name: "trims what it reads",
      open: reading((rows) => rows.map(({ json }) => ({ json: json?.trim() }))),
      claim: "takes parameters as they are, and makes no text of them",
    },
    {
      name: "reads no more than 64 KiB",
      open: reading((rows) => rows.map(({ json }) => ({ json: json?.slice(0, 65_536) }))),
      claim: "takes parameters as they are, and makes no text of them",
    },
    {
      name: "speaks another encoding than it says",
      open: (_, url) => openPostgres(url, { connection: { client_encoding: "LATIN1" } }),
      claim: "takes parameters as they are, and makes no text of them",
    },
    {
      name: "answers with the first row alone",
      open: reading((rows) => rows[0]),
      claim: "hands over rows of one column of text",
    },
    {
      name: "answers with the rows before an error",
      open: (sql) => ({
        sql: async (strings, ...values) => {
          const rows: unknown[] = [];
          await sql(strings, ...values).cursor(1, ([row]) => void rows.push(row)).catch(
            (error) => {
              if (rows.length === 0) throw error;
            },
          );
          return rows;
        },
      }),
      claim: "rejects with what PostgreSQL refuses, told in the same class, code and words",
    },
    {
      name: "has a code for some errors alone",
      open: failing(({ code, ...rest }) => code === "23514" ? rest : { code, ...rest }),
      claim: "rejects with what PostgreSQL refuses, told in the same class, code and words",
    },
    {
      name: "does not say which table an error is about",
      open: failing(({ code, message }) => ({ code, message })),
      claim: "tells a rule of the app's own from a user who is not there",
    },
    {
      name: "sends what comes at once as one transaction",
      open: (sql) => {
        const calls: ((sql: Sql) => Promise<unknown>)[] = [];
        const flush = async (tx: Sql) => {
          const sent = calls.splice(0).map((call) => call(tx));
          await Promise.all(sent);
        };
        return {
          sql: (strings, ...values) =>
            new Promise((resolve, reject) => {
              if (calls.length === 0) setTimeout(() => sql.begin(flush).catch(() => {}));
              calls.push(async (tx) => {
                const answer = Promise.resolve(tx(strings, ...values));
                answer.then(resolve, reject);
                await answer;
              });
            }),
        };
      },
      claim: "keeps what is written beside a call that fails",
    },
    {
      name: "does not wait for the commit",
      open: (sql) => ({
        sql,
        begin: (run) =>
          new Promise((resolve, reject) => {
            sql.begin((tx) => run(tx).then(resolve)).catch(reject);
          }),
      }),
      claim: "rejects a transaction that fails at its commit",
    },
    {
      name: "has one connection for its transactions and for all else",
      open: (_, url) => {
        const { sql, close } = openPostgres(url, { max: 1 });
        return {
          sql,
          close: close!,
          begin: async (run) => {
            await sql`begin`;
            try {
              await run(sql);
              await sql`commit`;
            } catch (error) {
              await sql`rollback`;
              throw error;
            }
          },
        };
      },
      claim: "keeps what is written outside of a transaction that is rolled back",
    },
  ];
  for (const { name, open, claim } of wrong) {
    test(`finds out a client that ${name}`, async () => {
      const { sql, url, close } = await openDatabase({ bare: true });
      const broken = open(sql, url);
      let it: Client = { sql, begin: (run) => sql.begin(run) };
      const { cases, finish } = suiteOf({
        sql: (strings, ...values) => it.sql(strings, ...values),
        begin: (run) => it.begin!(run),
      });
      try {
        await cases.get(claim)!();
        it = broken;
        await assert.rejects(cases.get(claim)!, /Nonconformity|SessionError/);
      } finally {
        it = { sql };
        await broken.close?.();
        await finish();
        await close();
      }
    });
  }
});

describe("docs/clients.md", () => {
  test("has a table of the clients that ran here, and of their versions", async () => {
    const page = await readFile(join(root, "docs/clients.md"), "utf8");
    const [header = [], , ...rows] = page.match(/^\| client \|(?:.*\n)+?(?=\n)/m)![0].trim()
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
    const [, lines = ""] = (await readFile(join(root, "docs/clients.md"), "utf8"))
      .match(/## Adapters.*?```ts ignore\n(.*?)```/s)!;
    const ran = squeeze(await readFile(join(root, "test/runner/clients.ts"), "utf8"));
    const code = lines.replace(/^\/\/.*$/gm, "").replaceAll("const sql: Sql = ", "").split(";\n\n");
    assert.equal(code.length, 5);
    for (const line of code.flatMap((it) => it.split("};\n"))) {
      assert.ok(ran.includes(squeeze(line).replace(/;$/, "")), line);
    }
  });
});
