import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createUsers } from "../examples/users.ts";
import { migrate } from "../mod.ts";
import { type Database, openDatabase } from "./runner/database.ts";
import { openProxy, type Proxy } from "./runner/proxy.mjs";
import { npmNode, runtime } from "./runner/runtime.ts";
import { type Browser, openBrowser, sendLines, type Server, startServer } from "./runner/server.ts";

interface Example {
  readonly name: string;
  /** The first cell of its row in the table of runtimes. */
  readonly row: string;
  readonly command: readonly string[];
  /** Creates the schema, if the example does not. */
  readonly prepare?: (database: Database) => Promise<unknown>;
}

// Each runtime starts its own example. All examples must do the same.
const name = runtime.name.toLowerCase();
const examples: Example[] = [
  {
    name: `examples/${name}.ts`,
    row: `${runtime.name} ${runtime.major}`,
    command: [...runtime.run, `examples/${name}.ts`],
  },
];
// Bun also starts what cannot run the tests: workerd, and the oldest Node, which runs no TypeScript.
if (runtime.name === "Bun") {
  examples.push({
    name: "examples/workers.ts on workerd",
    row: "Cloudflare Workers, in workerd",
    command: ["node", "test/runner/workers.mjs"],
    prepare: async ({ sql }) => {
      await createUsers(sql);
      await migrate(sql, { users: { table: "users", id: "id", username: "username" } });
    },
  }, {
    name: "examples/node.ts on the Node that runs npm",
    row: "Node 20 or later, the one that runs npm",
    command: [npmNode, "test/runner/bundled.mjs", "examples/node.ts"],
  });
}

for (const example of examples) {
  describe(example.name, () => {
    let database: Database;
    let proxy: Proxy;
    let server: Server;

    beforeAll(async () => {
      database = await openDatabase({ bare: true });
      // The example creates its own.
      await database.sql`drop table users`;
      proxy = await openProxy(database.url);
      await example.prepare?.(database);
      server = await startServer(example.command, { DATABASE_URL: proxy.url });
    });

    afterAll(async () => {
      await server?.close();
      proxy?.cut();
      await database?.close();
    });

    async function signIn(username = "ada"): Promise<Browser> {
      const browser = openBrowser(server);
      const response = await browser.post("/sign-in", { username, password: `${username}-demo` });
      assert.equal(response.status, 303);
      return browser;
    }

    /** The session id and the secret of the browser's cookie. */
    function tokenOf(browser: Browser): string[] {
      return browser.cookies.get("__Host-session")!.split(".");
    }

    test("is in the table of runtimes of docs/clients.md", async () => {
      const page = await readFile(new URL("../docs/clients.md", import.meta.url), "utf8");
      const row = page.split("\n").find((line) => line.startsWith(`| ${example.row} |`));
      assert.ok(row?.includes(`\`${example.name.split(" ")[0]}\``), example.row);
    });

    test("signs in, and redirects with a cookie that no cache stores", async () => {
      const form = { username: "ada", password: "ada-demo" };
      const { status, headers } = await openBrowser(server).post("/sign-in", form);
      assert.equal(status, 303);
      assert.equal(headers.get("location"), "/");
      assert.equal(headers.get("cache-control"), "no-store");
      assert.equal(headers.getSetCookie().length, 1);
      assert.match(headers.getSetCookie()[0]!, /^__Host-session=.{80}; Secure; HttpOnly; /);
    });

    test("shows the signed-in user", async () => {
      const { status, session } = await (await signIn("grace")).ask();
      assert.equal(status, 200);
      assert.equal(session?.username, "grace");
      assert.ok(session && new Date(session.expiresAt!) > new Date(session.createdAt!));
    });

    test("stores the digest of the secret, and the secret nowhere", async () => {
      const [id = "", secret = ""] = tokenOf(await signIn());
      const bytes = Buffer.from(secret, "base64url");
      const [row] = await database.sql`
      select encode(digest, 'hex') as digest from coatcheck.sessions where id = ${id}`;
      assert.equal(row!.digest, createHash("sha256").update(bytes).digest("hex"));

      const rows = await database.sql<{ text: string }[]>`
      select s::text as text from coatcheck.sessions s union all select u::text from users u`;
      const stored = rows.map(({ text }) => text).join("\n");
      assert.ok(stored.includes(id));
      const spellings = [secret, bytes.toString("base64"), bytes.toString("hex")];
      // A column of bytes is shown as hexadecimal digits, whatever the bytes spell.
      for (const spelling of [...spellings, Buffer.from(secret).toString("hex")]) {
        assert.ok(!stored.includes(spelling));
      }
    });

    test("answers 401 without a cookie", async () => {
      assert.deepEqual(await openBrowser(server).ask(), { status: 401, reason: "absent" });
    });

    const wrong = [
      { name: "a wrong password", form: { username: "ada", password: "grace-demo" } },
      { name: "an unknown user", form: { username: "eve", password: "ada-demo" } },
      { name: "a username with a NUL", form: { username: "ada\0", password: "ada-demo" } },
      { name: "an empty form", form: {} },
    ];
    for (const { name, form } of wrong) {
      test(`rejects ${name}, and sets no cookie`, async () => {
        const response = await openBrowser(server).post("/sign-in", form);
        assert.equal(response.status, 401);
        assert.deepEqual(response.headers.getSetCookie(), []);
      });
    }

    test("revokes the session that a sign-in replaces", async () => {
      const browser = await signIn();
      const [id = ""] = tokenOf(browser);
      await browser.post("/sign-in", { username: "grace", password: "grace-demo" });
      const [row] = await database.sql`
      select revoked_reason from coatcheck.sessions where id = ${id}`;
      assert.equal(row!.revoked_reason, "replaced");
      assert.equal((await browser.ask()).session?.username, "grace");
    });

    test("signs out: revokes the row, clears the cookie, and rejects a copy of it", async () => {
      const browser = await signIn();
      const copy = openBrowser(server);
      copy.cookies.set("__Host-session", browser.cookies.get("__Host-session")!);
      const [id = ""] = tokenOf(browser);

      const response = await browser.post("/sign-out");
      assert.equal(response.status, 303);
      assert.equal(response.headers.get("location"), "/");
      assert.equal(browser.cookies.size, 0);
      const [row] = await database.sql`
      select revoked_at, revoked_reason from coatcheck.sessions where id = ${id}`;
      assert.ok(row!.revoked_at instanceof Date);
      assert.equal(row!.revoked_reason, "signed-out");

      assert.deepEqual(await browser.ask(), { status: 401, reason: "absent" });
      assert.deepEqual(await copy.ask(), { status: 401, reason: "revoked" });
    });

    test("rejects a sign-in form of another origin", async () => {
      const form = { username: "ada", password: "ada-demo" };
      const from = { origin: "https://evil.example" };
      const response = await openBrowser(server).post("/sign-in", form, from);
      assert.equal(response.status, 403);
      assert.deepEqual(response.headers.getSetCookie(), []);
    });

    const strange = [
      { name: "a Host that is no host", lines: ["POST /sign-in HTTP/1.1", "Host: a b"] },
      { name: "no Host", lines: ["POST /sign-in HTTP/1.0"] },
      { name: "TRACE", lines: ["TRACE / HTTP/1.1", "Host: app.example"] },
      { name: "a method of its own", lines: ["BREW / HTTP/1.1", "Host: app.example"] },
    ];
    for (const { name, lines } of strange) {
      test(`survives a request with ${name}`, async () => {
        const { port } = new URL(server.url);
        const answer = await sendLines(Number(port), ...lines, "Content-Length: 0");
        // Bun and Deno hand on a Host that is none, and the example's `new URL` throws: a 500.
        const refused = example.name.startsWith("examples/node.ts")
          ? /^HTTP\/1\.[01] 4\d\d /
          : /^HTTP\/1\.[01] [45]\d\d |^$/;
        assert.match(answer, refused);
        assert.equal((await openBrowser(server).ask()).status, 401);
      });
    }

    test("answers 503 while the database is unreachable, and keeps the user signed in", async () => {
      const browser = await signIn();
      proxy.cut();
      const form = { username: "ada", password: "ada-demo" };
      const answers = [
        await browser.get("/session"),
        await browser.post("/sign-out"),
        await browser.post("/sign-in", form),
      ];
      await proxy.resume();
      assert.deepEqual(answers.map(({ status }) => status), [503, 503, 503]);
      assert.deepEqual(answers.flatMap(({ headers }) => headers.getSetCookie()), []);
      assert.equal((await browser.ask()).session?.username, "ada");
    });
  });
}
