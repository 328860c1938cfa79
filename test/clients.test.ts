import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { closing, sideBySide } from "./runner/cells.ts";
import { clients, packages } from "./runner/clients.ts";
import { openDatabase } from "./runner/database.ts";
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
