import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../scripts/run.mjs";
import { picture } from "./picture.mjs";
import { comparisonOf, memoryRatiosOf, ratiosOf } from "./ratios.mjs";
import { report } from "./tables.mjs";

const folder = join(root, "bench", "results");

/** Prints the tables and writes the results. Only a full run changes a published figure. */
export function publish(measured) {
  const { cells } = measured;
  const results = { ...measured, ratios: ratiosOf(cells), memoryRatios: memoryRatiosOf(cells) };
  if (results.against) results.comparison = comparisonOf(cells);
  const text = report(results);
  console.log(`\n${text}\n`);
  const json = `${JSON.stringify(results, null, 1)}\n`;
  if (results.against) return keep("against.json", json);
  const isFull = !results.quick && !results.filtered;
  keep(isFull ? "latest.json" : "quick.json", json);
  const image = picture(results);
  if (image !== null) keep(isFull ? "throughput.svg" : "quick.svg", image);
  if (isFull) insert(join(root, "docs", "performance.md"), "bench", text);
}

/** Prints the report of a bench of its own, and keeps its results; its place in the page only if it was run in full. */
export function publishReport(name, quick, results, text) {
  console.log(`\n${text}\n`);
  keep(`${quick ? "quick-" : ""}${name}.json`, `${JSON.stringify(results, null, 1)}\n`);
  if (!quick) insert(join(root, "docs", "performance.md"), name, text);
}

function keep(name, text) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, name), text);
  console.log(`Written: bench/results/${name}`);
}

/** Replaces the text between two marks of a page; prints a note if a mark is missing. */
function insert(file, mark, text) {
  const [begin, end] = [`<!-- ${mark}:begin -->`, `<!-- ${mark}:end -->`];
  const old = existsSync(file) ? readFileSync(file, "utf8") : "";
  const from = old.indexOf(begin);
  const to = old.indexOf(end);
  if (from === -1 || to < from) {
    return console.log(`${file.slice(root.length)} has no ${begin} … ${end}: printed only`);
  }
  writeFileSync(file, `${old.slice(0, from + begin.length)}\n\n${text}\n\n${old.slice(to)}`);
  console.log(`Written: ${file.slice(root.length)}`);
}
