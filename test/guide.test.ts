import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import postgres from "postgres";
import { createSession, createToken, migrate, validateSession } from "../mod.ts";
import { type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";
import { openBrowser, type Server, startServer } from "./runner/server.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
const runtime = "Bun" in globalThis ? "bun" : "Deno" in globalThis ? "deno" : "node";
const deno = ["run", `--config=${join(root, "deno.npm.json")}`, "--allow-all", "--no-check"];
const command = {
  bun: ["bun"],
  deno: ["deno", ...deno],
  node: ["node", `--import=${join(root, "test/runner/node.mjs")}`],
}[runtime];

describe("docs/guide.md", () => {
  let db: Database;
  let folder: string;
  let blocks: { kind: string; code: string }[];
  const file = (name: string) => join(folder, name);

  // The guide's files, as a reader would save them, in a folder that finds node_modules.
  beforeAll(async () => {
    db = await openDatabase({ bare: true });
    await db.sql`drop table users`;
    folder = await mkdtemp(join(root, ".guide-"));
    const guide = await readFile(join(root, "docs/guide.md"), "utf8");
    blocks = Array.from(
      guide.matchAll(/^```(.+)\n([^]*?)^```$/gm),
      ([, kind, code]) => ({ kind: kind!, code: code! }),
    );
    for (const { code } of blocks) {
      const name = code.match(/^\/\/ ([\w.]+\.ts)\b/)?.[1];
      if (name) await writeFile(file(name), code);
    }
    for (const name of ["users.ts", "outage.ts", "bridge.ts"]) {
      await copyFile(join(root, "examples", name), file(name));
    }
    await writeFile(
      file("tsconfig.json"),
      JSON.stringify({
        extends: "../tsconfig.json",
        compilerOptions: {
          types: ["bun", "node"],
          isolatedDeclarations: false,
          skipLibCheck: true,
        },
        include: ["*.ts", "../scripts/deno-std.d.ts"],
        exclude: ["deno.ts"],
      }),
    );
    const [program = "", ...args] = [...command, file("setup.ts")];
    const env = { ...process.env, DATABASE_URL: db.url };
    await run(join(root, "node_modules/.bin", program), args, { cwd: folder, env });
  });
  afterAll(async () => {
    if (folder) await rm(folder, { recursive: true });
    await db?.close();
  });

  test("names each block that Deno ignores, so that this file checks it", () => {
    const code = blocks.filter(({ kind }) => kind.startsWith("ts"));
    assert.ok(code.length > 10);
    for (const { kind, code: text } of code) {
      assert.equal(kind, /^\/\/ [\w./-]+\.ts\b/.test(text) ? "ts ignore" : "ts");
    }
  });

  test(`serves its app on ${runtime}`, async () => {
    const server: Server = await startServer([...command, file(`${runtime}.ts`)], {
      DATABASE_URL: db.url,
    });
    try {
      const browser = openBrowser(server);
      assert.equal((await browser.get("/")).status, 401);
      const form = { username: "ada", password: "ada-demo" };
      const foreign = await browser.post("/sign-in", form, { "sec-fetch-site": "cross-site" });
      assert.equal(foreign.status, 403);
      assert.equal((await browser.post("/sign-in", { ...form, password: "no" })).status, 401);
      assert.equal(browser.cookies.size, 0);
      assert.equal((await browser.post("/sign-in", form)).status, 303);
      const home = await browser.get("/");
      assert.equal(home.headers.get("vary"), "Cookie");
      assert.equal((await home.json() as { username: string }).username, "ada");
      if (runtime === "bun") {
        assert.equal(await (await browser.get("/notes/7")).text(), "Note 7 of ada\n");
      }
      assert.equal((await browser.post("/sign-out")).status, 303);
      assert.equal(browser.cookies.size, 0);
      assert.equal((await browser.get("/")).status, 401);
    } finally {
      await server.close();
    }
  });

  test(`answers 503 on ${runtime} while the database is unreachable`, async () => {
    const server = await startServer([...command, file(`${runtime}.ts`)], {
      DATABASE_URL: Object.assign(new URL(db.url), { port: "1" }).href,
    });
    try {
      const browser = openBrowser(server);
      const { status } = await browser.post("/sign-in", { username: "ada", password: "ada-demo" });
      assert.equal(status, 503);
      const cookie = `__Host-session=${createToken().token}`;
      for (const path of runtime === "bun" ? ["/", "/notes/7"] : ["/"]) {
        const answer = await fetch(new URL(path, server.url), { headers: { cookie } });
        assert.equal(answer.status, 503);
        assert.deepEqual(answer.headers.getSetCookie(), []);
      }
    } finally {
      await server.close();
    }
  });

  /** Imports a file of the guide with this database at DATABASE_URL. */
  async function load(name: string) {
    const { DATABASE_URL } = process.env;
    process.env.DATABASE_URL = db.url;
    try {
      return await import(pathToFileURL(file(name)).href);
    } finally {
      process.env.DATABASE_URL = DATABASE_URL;
    }
  }

  test("passes the session to Hono's handlers, and keeps both cookies", async () => {
    // The guide's file, with a rotation and with a handler that sets a cookie of its own.
    const hono = blocks.find(({ code }) => code.startsWith("// hono.ts"))!.code
      .replace("}, sql);", "}, sql, { rotateAfter: 60 });")
      .replace(
        "export",
        `app.get("/own", (c) => c.text("own", 200, { "set-cookie": "a=1" }));\nexport`,
      );
    await writeFile(file("hono2.ts"), hono);
    const { default: app } = await load("hono2.ts");
    const { sql } = await load("app.ts");
    try {
      const { session, headers } = await createSession("ada", db.sql);
      await db.sql`update coatcheck.sessions set created_at = created_at - interval '1 hour',
        authenticated_at = authenticated_at - interval '1 hour' where id = ${session.id}`;
      const ask = (path: string, init: RequestInit) =>
        app.request(`https://app.example${path}`, init) as Promise<Response>;
      const own = await ask("/own", { headers: withCookie(headers) });
      assert.equal(await own.text(), "own");
      const [first, second, ...rest] = own.headers.getSetCookie();
      assert.deepEqual([first, rest], ["a=1", []]);
      assert.match(second!, /^__Host-session=/);
      assert.notEqual(secretOf(new Headers({ "set-cookie": second! })), secretOf(headers));
      assert.equal(own.headers.get("cache-control"), "no-store");

      const me = await ask("/me", { headers: { cookie: second!.split(";")[0]! } });
      assert.equal((await me.json() as { username: string }).username, "ada");
      assert.equal(me.headers.get("vary"), "Cookie");
      assert.equal((await ask("/me", {})).status, 401);
      assert.equal((await ask("/none", {})).status, 404);
      const origin = "https://evil.example";
      assert.equal((await ask("/me", { method: "POST", headers: { origin } })).status, 403);
    } finally {
      await sql.end();
    }
  });

  test("keeps one pool if a hot reload runs its module again", async () => {
    await writeFile(file("db2.ts"), blocks.find(({ code }) => code.startsWith("// db.ts"))!.code);
    const { sql } = await load("db.ts");
    try {
      // Another file, as no runtime runs the same one twice by itself.
      assert.equal((await load("db2.ts")).sql, sql);
    } finally {
      await sql.end();
    }
  });

  test("creates a client for each request of a Worker, and ends it", async () => {
    const { default: worker } = await load("worker.ts");
    const { headers } = await createSession("ada", db.sql);
    const waits: Promise<unknown>[] = [];
    const context = { waitUntil: (it: Promise<unknown>) => waits.push(it) };
    const request = new Request("https://app.example/", { headers: withCookie(headers) });
    const env = { HYPERDRIVE: { connectionString: db.url } };
    const response: Response = await worker.fetch(request, env, context);
    assert.equal((await response.json() as { username: string }).username, "ada");
    assert.equal(waits.length, 1);
    await Promise.all(waits);
  });

  test("signs in by e-mail once the view finds users by e-mail", async () => {
    const own = await openDatabase({ bare: true });
    try {
      await own.sql`alter table users alter username type varchar(255), add email text,
        add disabled boolean not null default false`;
      await own.sql`update users set email = username || '@Example.com'`;
      await migrate(own.sql, { users: { table: "users", id: "id" } });
      const [sql] = blocks.filter(({ kind }) => kind === "sql");
      const psql = postgres(own.url, { max: 1 });
      await psql.unsafe(sql!.code);
      await psql.end();
      const { session, headers } = await createSession("ada@example.com", own.sql);
      assert.deepEqual([session.userId, session.username], [1, "ada@example.com"]);
      await own.sql`update users set disabled = true where id = 1`;
      assert.equal((await validateSession(withCookie(headers), own.sql)).reason, "user");
    } finally {
      await own.close();
    }
  });

  test("shows files of examples/ as they are", async () => {
    const shown = blocks.flatMap(({ code }) => {
      const [, name, text] = code.match(/^\/\/ (examples\/\S+)\n([^]*)$/) ?? [];
      return name ? [{ name, text }] : [];
    });
    assert.ok(shown.length > 0);
    for (const { name, text } of shown) {
      assert.equal(text, await readFile(join(root, name), "utf8"));
    }
  });

  if (runtime === "bun") {
    test("has tests that pass", async () => {
      const env = { ...process.env, DATABASE_URL: db.url, NO_COLOR: "1" };
      const bun = join(root, "node_modules/.bin/bun");
      const { stderr } = await run(bun, ["test", "app.test.ts"], { cwd: folder, env });
      assert.match(stderr, /\b4 pass\n.*\b0 fail/s);
    });

    test("has code that type-checks", async () => {
      const bin = (name: string) => join(root, "node_modules/.bin", name);
      const config = join(root, "deno.npm.json");
      await Promise.all([
        run(bin("tsc"), ["--project", folder]),
        run(bin("deno"), ["check", `--config=${config}`, file("deno.ts")]),
      ]);
    });
  }
});
