// npm run test:faults: breaks servers, networks and disks under load, for some minutes.
// npm run test:faults -- failover patroni: these alone.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { openFolder } from "./guard.mjs";
import { install } from "./install.mjs";
import { bin, root, run, stop } from "./run.mjs";

await install();
const { folder, remove } = openFolder("faults");
const report = join(folder, "report");
writeFileSync(report, "");
// Each client on the runtime that it is used on most.
const runtimes = {
  "postgres.js": [bin("node"), "--import=./test/runner/node.mjs"],
  "Bun.SQL": [bin("bun")],
  "pg": [bin("node"), "--import=./test/runner/node.mjs"],
};
try {
  let hasEnded = true;
  for (const [client, command] of Object.entries(runtimes)) {
    const program = join(root, "test", "faults", "run.mjs");
    const env = { ...process.env, CLIENT: client, REPORT: report, NO_COLOR: "1" };
    if (!await run([...command, program, ...process.argv.slice(2)], { env })) hasEnded = false;
    if (stop.aborted) break;
  }
  const lines = readFileSync(report, "utf8").split("\n").filter(Boolean);
  const rows = lines.map((line) => JSON.parse(line));
  print(rows);
  const count = (outcome) => rows.filter((it) => it.outcome === outcome).length;
  for (const { fault, client, seen } of rows.filter(({ outcome }) => outcome === "not run")) {
    console.error(`\n!! NOT RUN: ${fault}, ${client}: ${seen}`);
  }
  // A run that was cut short has failed, whatever it has reported.
  const failed = count("failed") + (hasEnded || count("failed") > 0 ? 0 : 1);
  console.log(`\n${count("passed")} passed, ${failed} failed`);
  process.exitCode = failed > 0 || count("passed") === 0 ? 1 : 0;
} finally {
  remove();
}

function print(rows) {
  console.log(
    "\n| fault | client | expected | seen | seconds | |\n| --- | --- | --- | --- | --- | --- |",
  );
  for (const { fault, client, expected, seen, seconds, outcome } of rows) {
    const [line] = seen.split("\n");
    console.log(`| ${fault} | ${client} | ${expected} | ${line} | ${seconds} | ${outcome} |`);
  }
}
