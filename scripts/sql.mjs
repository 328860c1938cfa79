// Writes sql/ from the source, for psql and for reviewers; with --check, compares it with the source.
// Runs on Bun, as it imports TypeScript.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { migrations } from "../src/migrations.ts";
import { root } from "./run.mjs";

const byHand = ["grants.sql"];
/** @type {[file: string, text: string][]} */
const files = migrations.map(({ name, text }) => [`${name}.sql`, text]);

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
