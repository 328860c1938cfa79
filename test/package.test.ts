import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Database, openDatabase } from "./runner/database.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
const read = async (name: string) => await readFile(join(root, name), "utf8");
const json = async (name: string) => JSON.parse(await read(name));

describe("the package", () => {
  test("has one version, on npm and on JSR", async () => {
    assert.equal((await json("deno.json")).version, (await json("package.json")).version);
  });

  test("has one entry, on npm and on JSR", async () => {
    const { exports } = await json("package.json");
    assert.deepEqual(Object.keys(exports), ["."]);
    assert.equal((await json("deno.json")).exports, "./mod.ts");
    assert.deepEqual(exports["."], { types: "./dist/mod.d.ts", default: "./dist/mod.js" });
  });

  test("asks npm users to install nothing", async () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } = await json("package.json");
    assert.equal(dependencies, undefined);
    assert.deepEqual(Object.keys(peerDependencies), ["postgres"]);
    assert.deepEqual(peerDependenciesMeta, { postgres: { optional: true } });
  });

  test("is tested with the configuration it is published with, but for where @std/http is", async () => {
    const published = await json("deno.json");
    const tested = await json("deno.npm.json");
    assert.equal(published.imports["@std/http/cookie"], "jsr:@std/http@^1/cookie");
    assert.equal(tested.imports["@std/http/cookie"], "npm:deno-std@^1.4.0/http/cookie.js");
    delete published.imports["@std/http/cookie"];
    delete tested.imports["@std/http/cookie"];
    assert.deepEqual(tested, published);
  });

  test("names tests for its guarantees that are there", async () => {
    const files = (await readdir(join(root, "test"))).filter((name) => name.endsWith(".test.ts"));
    const code = (await Promise.all(files.map((name) => read(join("test", name))))).join("\n");
    const names = Array.from(
      code.matchAll(/\btest(?:\.concurrent)?\(\s*["`](.*?)["`],/g),
      ([, name]) => name!,
    );
    for (const document of ["README.md", "SECURITY.md"]) {
      const said = Array.from(
        (await read(document)).matchAll(/(?<!\*)\*([^*]+)\*(?!\*)/g),
        ([, it]) => it!,
      )
        .flatMap((it) => it.replace(/\s+/g, " ").split("; "));
      assert.ok(said.length > 5);
      for (const it of said) {
        assert.ok(names.some((name) => name.startsWith(it)), `${document}: ${it}`);
      }
    }
  });

  test("has a lock file that names no address", async () => {
    assert.doesNotMatch(await read("package-lock.json"), /"resolved"|https?:\/\/[^"]*registry/);
  });
});

// Deno checks the types of the blocks, and each runs as a program of its own.
if ("Bun" in globalThis) {
  describe("the documentation", () => {
    let db: Database;
    beforeAll(async () => {
      db = await openDatabase();
    });
    afterAll(() => db.close());

    test("has code that runs as it stands", async () => {
      const deno = join(root, "node_modules", ".bin", "deno");
      const places = ["mod.ts", "src", "README.md", "docs"];
      const args = ["test", "--config=deno.npm.json", "--allow-all", "--doc", ...places];
      const env = { ...process.env, DATABASE_URL: db.url, NO_COLOR: "1" };
      const { stdout } = await run(deno, args, { cwd: root, env });
      const [, passed] = stdout.match(/ok \| (\d+) passed \| 0 failed/)!;
      assert.ok(Number(passed) >= 10, stdout);
    });
  });

  describe("what npm users install", () => {
    let db: Database;
    let folder: string;
    beforeAll(async () => {
      db = await openDatabase();
      folder = await mkdtemp(join(tmpdir(), "coatcheck-package-"));
    });
    afterAll(async () => {
      await rm(folder, { recursive: true });
      await db.close();
    });

    test("works on the Node that runs npm, alone", async () => {
      const node = process.env.npm_node_execpath ?? "node";
      await run(node, [join(root, "cli", "build.mjs")]);
      await writeFile(join(folder, "mod.js"), await read("dist/mod.js"));
      await writeFile(join(folder, "package.json"), `{ "type": "module" }`);
      await writeFile(
        join(folder, "app.js"),
        `import { createSession, revokeSession, validateSession } from "./mod.js";
        import postgres from ${JSON.stringify(import.meta.resolve("postgres"))};
        const sql = postgres(process.env.DATABASE_URL);
        const { headers } = await createSession("ada", sql);
        const request = new Headers({ cookie: headers.get("set-cookie").split(";")[0] });
        const { session } = await validateSession(request, sql);
        await revokeSession(request, sql);
        const { reason } = await validateSession(request, sql);
        console.log(session.username, reason);
        await sql.end();`,
      );
      const env = { ...process.env, DATABASE_URL: db.url };
      const { stdout } = await run(node, ["app.js"], { cwd: folder, env });
      assert.equal(stdout, "ada revoked\n");
    });
  });
}
