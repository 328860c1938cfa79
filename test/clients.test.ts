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
import { clients, hasPrisma, openPostgres, packages } from "./runner/clients.ts";
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

describe("a client with its own parsers and serializers of PostgreSQL's types", () => {
  test("works, as only text is sent and read", async () => {
    const { url, sql, close } = await openDatabase();
    const refuse = () => {
      throw new Error("No value of this type was sent");
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
      const request = withCookie(rotated.headers);
      assert.equal((await updateSession(request, { a: 1 }, own.sql)).session?.version, 1);
      assert.equal((await revokeSession(request, own.sql)).session?.id, session.id);
      await revokeSessions({ userId: 1, except: session.id }, own.sql);
      assert.deepEqual(await listSessions(1, sql), []);
    } finally {
      await own.close?.();
      await close();
    }
  });
});

describe("an error of the server", () => {
  let database: Database;
  beforeAll(async () => {
    database = await openDatabase();
  });
  afterAll(() => database.close());

  /** Sends a statement through a client, and cancels or terminates its backend as soon as it runs. */
  async function during(action: "cancel" | "terminate", sql: Sql): Promise<unknown> {
    const text = `select pg_sleep(9)::text as ${action}`;
    const call = codesOf(sql, text);
    let isOver = false;
    void call.finally(() => isOver = true);
    while (!isOver) {
      // Again until it is over: between two messages of a call, a server ignores the cancellation.
      await database.sql`
        select ${database.sql(`pg_${action}_backend`)}(pid) from pg_stat_activity
        where query = ${text} and state = 'active' and datname = current_database()`;
    }
    return await call;
  }

  const urlWith = (change: object) => (Object.assign(new URL(database.url), change) as URL).href;

  /** The codes of the error of a statement. */
  async function codesOf(sql: Sql, text: string): Promise<unknown> {
    const strings = Object.freeze(
      Object.defineProperty([text], "raw", { value: Object.freeze([text]) }),
    );
    const sending: Sql = () => sql(strings as unknown as TemplateStringsArray);
    const request = new Headers({ cookie: `__Host-session=${createToken().token}` });
    const error = await validateSession(request, sending, { queryTimeout: 5 }).catch((it) => it);
    return error instanceof SessionError ? [error.code, error.sqlstate] : error;
  }

  for (const [name, open] of Object.entries(clients)) {
    test(`has the same codes through ${name}`, async () => {
      const { sql, close } = await open(database.url);
      try {
        assert.deepEqual(await during("cancel", sql), ["STORE_TIMEOUT", "57014"]);
        const [code] = await during("terminate", sql) as [string];
        assert.equal(code, "STORE_UNAVAILABLE");
        // A pool may return the broken connection once more.
        const ask = () => getUserId("ada", sql);
        assert.equal(await ask().catch(ask), 1);
      } finally {
        await close?.();
      }
    });

    test(`leaves no row in the results after one that broke off through ${name}`, async () => {
      const { sql, close } = await open(database.url);
      try {
        const broken = "select (1 / (3 - n))::text as json from generate_series(1, 5) n";
        const [one, ...keys] = await Promise.all([
          codesOf(sql, broken),
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
      // It sends a statement before there is a client.
      if (name === "slonik") continue;
      test(`is ${code} for ${what} through ${name}`, async () => {
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

describe("pg's query, which is not a tagged template", () => {
  test("is rejected with a message that says so, and the process survives", async () => {
    const [program = "", ...args] = [...runtime.run, "test/runner/query.ts"];
    const { stdout } = await execute(join(root, "node_modules", ".bin", program), args, {
      cwd: root,
      env: { ...process.env, NO_COLOR: "1" },
    });
    const refusal = "TypeError: createSession: sql must be a tagged-template client, " +
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

  test("rejects a database with sessions in it, and changes nothing", async () => {
    const { sql, close } = await openDatabase();
    try {
      const { session } = await createSession("ada", sql);
      const { cases, finish } = suiteOf({ sql });
      for (const run of cases.values()) {
        await assert.rejects(
          run,
          /^Nonconformity: conformance: the database must be empty, got one with a schema coatcheck$/,
        );
      }
      await finish();
      assert.deepEqual((await listSessions(1, sql)).map(({ id }) => id), [session.id]);
    } finally {
      await close();
    }
  });

  test("reports what it could not read, and closes a client that it cannot use", async () => {
    let isClosed = false;
    const sql: Sql = () => Promise.resolve([{ json: true }]);
    const { cases } = suiteOf({ sql, close: () => isClosed = true });
    const [run] = cases.values();
    await assert.rejects(
      run!,
      /^Nonconformity: conformance: the first row must be "free", got true$/,
    );
    assert.ok(isClosed);
  });

  type Row = Readonly<Record<string, string | null>>;
  const reading = (change: (rows: readonly Row[]) => unknown) => (sql: Sql): Client => ({
    sql: async (strings, ...values) =>
      change(await sql(strings, ...values) as unknown as Row[]) as Row[],
  });
  /** A client that changes every column. */
  const mapping = (change: (text: string | null) => unknown) =>
    reading((rows) =>
      rows.map((row) =>
        Object.fromEntries(Object.entries(row).map(([name, text]) => [name, change(text)]))
      )
    );
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
    /** The test that detects it. */
    readonly claim: string;
  }
  const wrong: Wrong[] = [
    {
      name: "parses JSON",
      open: mapping((text) => text?.startsWith("{") ? JSON.parse(text) : text),
      claim: "returns JSON as text, and does not parse it",
    },
    {
      name: "loses a row",
      open: reading((rows) => rows.length > 999 ? rows.slice(1) : rows),
      claim: "returns a thousand rows in their order",
    },
    {
      name: "trims what it reads",
      open: mapping((text) => text?.trim() ?? null),
      claim: "sends parameters as values, and never as SQL text",
    },
    {
      name: "reads no more than 64 KiB",
      open: mapping((text) => text?.slice(0, 65_536) ?? null),
      claim: "sends parameters as values, and never as SQL text",
    },
    {
      name: "uses another encoding than it declares",
      open: (_, url) => openPostgres(url, { connection: { client_encoding: "LATIN1" } }),
      claim: "sends parameters as values, and never as SQL text",
    },
    {
      name: "returns the first row only",
      open: reading((rows) => rows[0]),
      claim: "returns rows of text and null, with their columns in order",
    },
    {
      name: "sorts the columns",
      open: reading((rows) =>
        rows.map((row) =>
          Object.fromEntries(Object.entries(row).sort(([a], [b]) => a < b ? -1 : 1))
        )
      ),
      claim: "returns rows of text and null, with their columns in order",
    },
    {
      name: "leaves out columns that are null",
      open: reading((rows) =>
        rows.map((row) =>
          Object.fromEntries(Object.entries(row).filter(([, text]) => text !== null))
        )
      ),
      claim: "returns rows of text and null, with their columns in order",
    },
    {
      name: "returns undefined for null",
      open: mapping((text) => text ?? undefined),
      claim: "returns rows of text and null, with their columns in order",
    },
    {
      name: "returns null for empty text",
      open: mapping((text) => text || null),
      claim: "returns rows of text and null, with their columns in order",
    },
    {
      name: "returns the rows before an error",
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
      claim: "rejects with PostgreSQL's errors, as the same class, code and message",
    },
    {
      name: "has a code for some errors only",
      open: failing(({ code, ...rest }) => code === "23514" ? rest : { code, ...rest }),
      claim: "rejects with PostgreSQL's errors, as the same class, code and message",
    },
    {
      name: "does not say which table an error is about",
      open: failing(({ code, message }) => ({ code, message })),
      claim: "distinguishes a check constraint of the app from an unknown user",
    },
    {
      name: "sends concurrent calls as one transaction",
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
                const rows = Promise.resolve(tx(strings, ...values));
                rows.then(resolve, reject);
                await rows;
              });
            }),
        };
      },
      claim: "keeps what calls beside one that fails have written",
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
      name: "has one connection for its transactions and for all other calls",
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
      claim: "keeps what was written outside a transaction that is rolled back",
    },
  ];
  for (const { name, open, claim } of wrong) {
    test(`detects a client that ${name}`, async () => {
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
  test("has a table of the clients that ran here, with their versions", async () => {
    const page = await readFile(join(root, "docs/clients.md"), "utf8");
    const [header = [], , ...rows] = page.match(/^\| client \| version \|.*\n(?:\|.*\n)+/m)![0]
      .trim()
      .split("\n")
      .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", "")));
    const column = header.indexOf(`${runtime.name} ${runtime.major}`);
    const ticked = rows.filter((row) => row[column] === "✓").map(([name]) => name);
    // PGlite has a file of its own.
    const elsewhere = hasPrisma ? ["PGlite"] : ["PGlite", "Prisma"];
    assert.deepEqual(ticked.sort(), [...Object.keys(clients), ...elsewhere].sort());
    for (const [name = "", version] of rows) {
      if (name === "Prisma" && !hasPrisma) continue;
      const place = join(root, "node_modules", packages[name.split(/,? /)[0]!]!, "package.json");
      const installed = JSON.parse(await readFile(place, "utf8")).version;
      assert.ok(installed.startsWith(`${version}.`), `${name} ${installed}`);
    }
  });

  test("shows the adapters that ran", async () => {
    const squeeze = (text: string) => text.replace(/\s+/g, "");
    const [, lines = ""] = (await readFile(join(root, "docs/clients.md"), "utf8"))
      .match(/## Adapters.*?```ts ignore\n(.*?)```/s)!;
    const ran = squeeze(await readFile(join(root, "test/runner/clients.ts"), "utf8"));
    const code = lines.replace(/^\/\/.*$/gm, "").replaceAll("const sql: Sql = ", "").split(";\n\n");
    assert.equal(code.length, 6);
    for (const line of code.flatMap((it) => it.split("};\n"))) {
      assert.ok(ran.includes(squeeze(line).replace(/;$/, "")), line);
    }
  });
});
