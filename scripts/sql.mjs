// Writes sql/ from the source, for psql and for reviewers; with --check, compares it with the source.
// Runs on Bun, as it imports TypeScript.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { migrations } from "../src/migrations.ts";
import * as cacheStatements from "../src/cache/statements.ts";
import * as statements from "../src/statements.ts";
import { root } from "./run.mjs";

const byHand = ["grants.sql"];
/** @type {[file: string, text: string][]} */
const files = [
  ...migrations.map(({ name, text }) => [`${name}.sql`, text]),
  ["statements.sql", statementsText()],
];

const folder = join(root, "sql");
const there = readdirSync(folder);
if (process.argv[2] !== "--check") {
  for (const [file, text] of files) writeFileSync(join(folder, file), text);
}
const differing = files.filter(([file, text]) =>
  !there.includes(file) || readFileSync(join(folder, file), "utf8") !== text
).map(([file]) => file);
const left = there.filter((file) =>
  !byHand.includes(file) && !files.some(([name]) => name === file)
);
if (process.argv[2] === "--check" && differing.length) {
  console.error(`sql/ differs from the source in ${differing.join(", ")}: npm run sql`);
  process.exitCode = 1;
}
if (left.length) {
  console.error(`sql/ holds what the source does not: ${left.join(", ")}`);
  process.exitCode = 1;
}

/** Every statement, with its doc comment as a comment of SQL. */
function statementsText() {
  const read = (...path) => readFileSync(join(root, "src", ...path), "utf8");
  const source = read("statements.ts");
  const [introduction] = /^(\/\/.*\n)+/.exec(source);
  const module = { ...statements, ...cacheStatements };
  const parts = [
    introduction.replaceAll(/^\/\/ ?/gm, "-- ").replaceAll(/ $/gm, "").trim(),
    "-- Written by scripts/sql.mjs. The text that is sent has a space for each line break and its indentation.",
  ];
  // In the order of the source, which a module does not keep.
  for (
    const [, comment, name] of (source + read("cache", "statements.ts")).matchAll(
      /\/\*\*((?:(?!\*\/)[^])*)\*\/\nexport const (\w+): Statement\b/g,
    )
  ) {
    const { text } = module[name];
    const lines = comment.replaceAll(/\{@linkcode (\w+)\}/g, "$1").split("\n")
      .map((line) => `-- ${line.replace(/^ \* ?/, "")}`.trimEnd()).slice(1, -1);
    parts.push(`-- ${name}\n--\n${lines.join("\n")}\n${text};`);
  }
  const long = parts.join("\n").split("\n").filter((line) => line.length > 110);
  if (long.length) throw new Error(`Lines of more than 110 characters:\n${long.join("\n")}`);
  return `${parts.join("\n\n")}\n`;
}
