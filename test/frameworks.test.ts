// The page docs/frameworks.md: its code is that of the apps that `npm run test:frameworks` builds and asks.
import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { NEEDS_ORIGIN } from "./frameworks/apps.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const examples = join(root, "examples", "frameworks");

/** The folder of each section, by its heading. */
const FOLDERS: Record<string, string> = {
  "Next.js": "next",
  SvelteKit: "sveltekit",
  "React Router": "react-router",
  Express: "express",
  Hono: "hono",
  "Nitro and h3": "nitro",
  "h3 without Nitro": "h3",
  Astro: "astro",
  Fastify: "fastify",
  Elysia: "elysia",
};

/** What the page leaves out: what a starter template brings, and h3's routes, which are those of Nitro. */
const LEFT_OUT = [
  /\/package\.json$/,
  /\/tsconfig\.json$/,
  /^next\/(?:next\.config\.ts|app\/layout\.tsx)$/,
  /^react-router\/vite\.config\.ts$/,
  /^sveltekit\/src\/app\.html$/,
  /^astro\/src\/pages\/index\.astro$/,
  /^h3\/sessions\.ts$/,
];
/** What an app that was built in place has beside its source. */
const BUILT =
  /\/(?:node_modules|dist|build|\.(?:next|svelte-kit|react-router|nitro|output|astro))\//;
const EXCERPTS = ["h3/server.ts"];

const page = await readFile(join(root, "docs", "frameworks.md"), "utf8");

/** The blocks of the page, each with the file that its first line names. */
const blocks = page.split(/^##+ /m).slice(1).flatMap((section) => {
  const [heading = ""] = section.split("\n", 1);
  return Array.from(section.matchAll(/^```(.*)\n([^]*?)^```$/gm), ([, kind = "", text = ""]) => {
    const [first = ""] = text.split("\n", 1);
    const [, name] = first.match(/^(?:\/\/|<!--) ([\w./+-]+\.\w+)\b/) ?? [];
    const code = text.slice(first.length + 1);
    return { heading, kind, file: name && `${FOLDERS[heading]}/${name}`, code };
  });
});

describe("docs/frameworks.md", () => {
  test("has a section for each app, and an app for each section", async () => {
    const entries = await readdir(examples, { withFileTypes: true });
    const apps = entries.filter((it) => it.isDirectory()).map(({ name }) => name);
    assert.deepEqual(apps.sort(), Object.values(FOLDERS).sort());
    const sections = Array.from(page.matchAll(/^##+ (.*)$/gm), ([, it]) => it);
    assert.deepEqual(sections, Object.keys(FOLDERS));
  });

  test("names the file of each block, and Deno does not run it", () => {
    assert.ok(blocks.length > 40);
    for (const { heading, kind, file, code } of blocks) {
      assert.ok(file, `${heading}: ${code.slice(0, 80)}`);
      assert.match(kind, /^(?:[jt]sx? ignore|svelte)$/, file);
    }
  });

  test("has the code of the apps: the blocks of a file, joined, are the file", async () => {
    for (const file of new Set(blocks.map(({ file }) => file!))) {
      const said = blocks.filter((it) => it.file === file).map(({ code }) => code).join("\n");
      const code = await readFile(join(examples, file), "utf8");
      if (EXCERPTS.includes(file)) assert.ok(said.length > 100 && code.includes(said), file);
      else assert.equal(said, code, file);
    }
  });

  test("leaves out nothing that a starter template does not bring", async () => {
    const shown = new Set(blocks.map(({ file }) => file));
    for (const app of Object.values(FOLDERS)) {
      const entries = await readdir(join(examples, app), { recursive: true, withFileTypes: true });
      const files = entries.filter((it) => it.isFile())
        .map((it) => join(it.parentPath, it.name).slice(examples.length + 1).replaceAll("\\", "/"))
        .filter((it) => !BUILT.test(it));
      assert.ok(files.length > 2, app);
      for (const file of files) {
        assert.ok(shown.has(file) || LEFT_OUT.some((it) => it.test(file)), `${file} is missing`);
      }
    }
  });

  test("says of each framework whether it needs `origin`", () => {
    const rows = Array.from(page.matchAll(/^\| (.+?) \| required(.*?) \|$/gm));
    const said = rows.flatMap(([, names = "", rest = ""]) =>
      names.split(", ").map((name) => {
        const folder = FOLDERS[name] ?? name.toLowerCase();
        return [folder, !rest.startsWith(" if ")];
      })
    );
    const tested = Object.values(FOLDERS).map((it) => [it, NEEDS_ORIGIN.includes(it)]);
    assert.deepEqual(said.sort(), tested.sort());
  });
});
