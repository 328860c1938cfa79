import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { migrate } from "../mod.ts";
import { type Database, openDatabase } from "./runner/database.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));
const read = async (name: string) => await readFile(join(root, name), "utf8");
const json = async (name: string) => JSON.parse(await read(name));

describe("the package", () => {
  test("has one version, on npm and on JSR", async () => {
    assert.equal((await json("deno.json")).version, (await json("package.json")).version);
  });

  test("has the same entries, on npm and on JSR", async () => {
    const { exports } = await json("package.json");
    const places = Object.entries((await json("deno.json")).exports as Record<string, string>);
    assert.deepEqual(places, [
      [".", "./mod.ts"],
      ["./conformance", "./conformance.ts"],
      ["./cache", "./cache.ts"],
      ["./testing", "./testing.ts"],
      ["./cli", "./cli/main.ts"],
    ]);
    // npm has a command for the last one.
    assert.deepEqual(exports, {
      ...Object.fromEntries(
        places.slice(0, -1).map(([entry, source]) => {
          const built = `./dist/${source.slice(2, -3)}`;
          return [entry, { types: `${built}.d.ts`, default: `${built}.js` }];
        }),
      ),
      "./package.json": "./package.json",
    });
  });

  test("has a changelog whose newest entry is its version", async () => {
    const [, version] = (await read("CHANGELOG.md")).match(/^## (\S+)/m)!;
    assert.equal(version, (await json("package.json")).version);
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

  test("names existing tests in SECURITY.md and docs/reliability.md", async () => {
    const files = (await readdir(join(root, "test"))).filter((name) => name.endsWith(".test.ts"));
    const code = (await Promise.all(files.map((name) => read(join("test", name))))).join("\n");
    const names = Array.from(
      code.matchAll(/\b(?:test(?:\.concurrent)?|through)\(\s*["`](.*?)["`],/g),
      ([, name]) => name!,
    );
    const said = Array.from(
      `${await read("SECURITY.md")}${await read("docs/reliability.md")}`
        // Code has asterisks of its own.
        .replace(/^```[^]*?^```$/gm, "")
        .matchAll(/(?<!\*)\*([^*]+)\*(?!\*)/g),
      ([, it]) => it!,
    )
      .flatMap((it) => it.replace(/\s+/g, " ").split("; "));
    assert.ok(said.length > 50);
    for (const it of said) assert.ok(names.some((name) => name.startsWith(it)), it);
  });

  test("has documents whose links lead to a file and to a heading", async () => {
    const documents = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
      .concat((await readdir(join(root, "docs"))).map((name) => `docs/${name}`));
    const texts = new Map<string, string>();
    for (const name of documents) {
      texts.set(
        name,
        (await read(name)).replace(/^```[^]*?^```$/gm, "").replace(/`[^`\n]*`/g, code),
      );
    }
    // Code keeps its words, which are part of a heading's anchor, and loses what could be a link.
    function code(text: string) {
      return text.replace(/[`[\]()]/g, "");
    }
    for (const [name, text] of texts) {
      for (const [, link = ""] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^https?:/.test(link)) continue;
        const [path = "", anchor] = link.split("#");
        const target = path ? join(dirname(name), path) : name;
        assert.ok(existsSync(join(root, target)), `${name}: ${link}`);
        if (anchor) assert.ok(anchorsOf(texts.get(target)!).has(anchor), `${name}: ${link}`);
      }
    }
  });

  test("has a lock file that names no address", async () => {
    assert.doesNotMatch(await read("package-lock.json"), /"resolved"|https?:\/\/[^"]*registry/);
  });
});

/** The anchors of a document's headings, as GitHub makes them. */
function anchorsOf(text: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, heading = ""] of text.matchAll(/^#+ (.*)$/gm)) {
    const slug = heading.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-");
    let anchor = slug;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

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
      // The examples of docs/reference.md are those in src/.
      const docs = (await readdir(join(root, "docs"))).filter((it) =>
        /\.md$/.test(it) && it !== "reference.md"
      );
      const places = [
        "mod.ts",
        "cache.ts",
        "testing.ts",
        "src",
        "README.md",
        ...docs.map((it) => join("docs", it)),
      ];
      const args = ["test", "--config=deno.npm.json", "--allow-all", "--doc", ...places];
      const env = { ...process.env, DATABASE_URL: db.url, NO_COLOR: "1" };
      const { stdout } = await run(deno, args, { cwd: root, env });
      const [, passed] = stdout.match(/ok \| (\d+) passed \| 0 failed/)!;
      assert.ok(Number(passed) >= 10, stdout);
    });
  });

  describe("what npm users install", () => {
    const node = process.env.npm_node_execpath ?? "node";
    const bin = (name: string) => join(root, "node_modules", ".bin", name);
    let db: Database;
    let folder: string;
    let env: NodeJS.ProcessEnv;

    /** Runs a program in the project. */
    async function go(program: string, ...args: string[]): Promise<string> {
      return (await run(program, args, { cwd: folder, env })).stdout;
    }

    // An empty project, and the tarball in it. What else there is was put there by its users.
    beforeAll(async () => {
      db = await openDatabase();
      folder = await mkdtemp(join(tmpdir(), "coatcheck-package-"));
      env = { ...process.env, DATABASE_URL: db.url, NO_COLOR: "1" };
      const { npm_execpath } = process.env;
      const npm = npm_execpath?.endsWith("npm-cli.js") ? [node, npm_execpath] : ["npm"];
      const [program = "", ...args] = [...npm, "--loglevel=error"];
      await run(program, [...args, "pack", "--pack-destination", folder], { cwd: root });
      const [tarball = ""] = await readdir(folder);
      await writeFile(join(folder, "package.json"), `{ "type": "module" }`);
      await run(program, [...args, "install", "--offline", `./${tarball}`], { cwd: folder });
      installed = await readdir(join(folder, "node_modules"));
      const client = join("node_modules", "postgres");
      await symlink(join(root, client), join(folder, client));
      await writeFile(
        join(folder, "app.js"),
        `import { createSession, revokeSession, validateSession } from "coatcheck";
        import postgres from "postgres";
        const sql = postgres(process.env.DATABASE_URL);
        const { headers } = await createSession("ada", sql);
        const request = new Headers({ cookie: headers.get("set-cookie").split(";")[0] });
        const { session } = await validateSession(request, sql);
        await revokeSession(request, sql);
        const { reason } = await validateSession(request, sql);
        console.log(session.username, reason);
        await sql.end();`,
      );
    });
    let installed: string[];

    afterAll(async () => {
      await rm(folder, { recursive: true });
      await db.close();
    });

    test("is one package, with the module, the schema and the licences", async () => {
      assert.deepEqual(installed.filter((name) => !name.startsWith(".")), ["coatcheck"]);
      const files = await readdir(join(folder, "node_modules", "coatcheck"), { recursive: true });
      assert.deepEqual(files.sort(), [
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "dist",
        "dist/LICENSES.txt",
        "dist/cache.d.ts",
        "dist/cache.js",
        "dist/cli.js",
        "dist/conformance.d.ts",
        "dist/conformance.js",
        "dist/mod.d.ts",
        "dist/mod.js",
        "dist/shared.d.ts",
        "dist/shared.js",
        "dist/testing.d.ts",
        "dist/testing.js",
        "package.json",
        "sql",
        "sql/001_users.sql",
        "sql/002_sessions.sql",
        "sql/003_unique_users.sql",
        "sql/004_guests.sql",
        "sql/005_notify.sql",
        "sql/grants.sql",
        "sql/statements.sql",
      ]);
    });

    test("goes by its name on npm in the examples of its types", async () => {
      for (const name of ["mod.d.ts", "conformance.d.ts", "testing.d.ts"]) {
        const types = await readFile(join(folder, "node_modules/coatcheck/dist", name), "utf8");
        assert.match(types, /^ \* import .* from "coatcheck/m);
        assert.doesNotMatch(types, /@coatcheck/);
      }
    });

    const runtimes = [
      { name: "the Node that runs npm", command: [node] },
      { name: "the current Node", command: [bin("node")] },
      { name: "Bun", command: [bin("bun")] },
      { name: "Deno", command: [bin("deno"), "run", "--allow-all", "--no-check"] },
    ];
    for (const { name, command: [program = "", ...args] } of runtimes) {
      test(`works on ${name}`, async () => {
        assert.equal(await go(program, ...args, "app.js"), "ada revoked\n");
      });
    }

    test("works on Deno under the name npm:coatcheck", async () => {
      const code = await readFile(join(folder, "app.js"), "utf8");
      await writeFile(join(folder, "npm.js"), code.replace(`"coatcheck"`, `"npm:coatcheck"`));
      const args = ["run", "--allow-all", "--no-check", "--node-modules-dir=manual", "npm.js"];
      assert.equal(await go(bin("deno"), ...args), "ada revoked\n");
    });

    test("has the command line of its version", async () => {
      const { version } = await json("package.json");
      const output = await go(node, "node_modules/coatcheck/dist/cli.js", "--version");
      assert.equal(output.trim(), version);
    });

    test("conforms on the Node that runs npm, by the suite in the package", async () => {
      await writeFile(
        join(folder, "conformance.test.js"),
        `import { after, test } from "node:test";
        import { conformance } from "coatcheck/conformance";
        import postgres from "postgres";
        conformance({ test, afterAll: after, open() {
          const sql = postgres(process.env.DATABASE_URL, { max: 3, onnotice() {} });
          return { sql, begin: (run) => sql.begin(run), close: () => sql.end() };
        } });`,
      );
      await db.sql`drop schema coatcheck cascade`;
      const output = await go(node, "--test", "--test-reporter=tap", "conformance.test.js");
      await migrate(db.sql);
      const [, passed] = output.match(/# pass (\d+)\n# fail 0\n/) ?? [];
      assert.ok(Number(passed) > 20, output);
    });

    test("costs a worker that creates and validates no more than 14.5 KiB, and no module of Node's", async () => {
      await writeFile(
        join(folder, "edge.js"),
        `export { createSession, validateSession } from "coatcheck";`,
      );
      const args = ["build", "edge.js", "--minify", "--target=browser", "--outfile=bundle.js"];
      await go(bin("bun"), ...args);
      const bundle = await readFile(join(folder, "bundle.js"));
      const sizes = { gzip: gzipSync(bundle).length, brotli: brotliCompressSync(bundle).length };
      assert.ok(sizes.brotli <= 14.5 * 1024, JSON.stringify(sizes));
      assert.doesNotMatch(bundle.toString(), /\brequire\(|\bimport\b|"node:/);
    });
  });
}
