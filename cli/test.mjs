// Runs every test on Bun, on Deno and on a current Node, against one PostgreSQL, and adds them up.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { bin, install, root } from "./install.mjs";

await install();
const { startPostgres } = await import("./postgres.mjs");
const postgres = process.env.DATABASE_URL
  ? { url: process.env.DATABASE_URL, stop: () => {} }
  : await startPostgres(undefined, ["fsync=off", "max_connections=200"]);
// The server has a process group of its own, which Ctrl-C does not reach; and whoever reads the output
// may have gone.
process.stdout.on("error", () => {});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.once(signal, async () => {
    await postgres.stop();
    process.exit(1);
  });
}
const reports = mkdtempSync(join(tmpdir(), "coatcheck-reports-"));

// `npm test -- create` runs the files whose name has that word.
const words = process.argv.slice(2);
const report = (name) => join(reports, `${name}.xml`);
const files = words.length ? words.map((word) => `test/${word}.test.ts`) : ["test/"];
const nodeFiles = words.length ? files : ["test/*.test.ts"];
const runtimes = {
  Bun: [bin("bun"), [
    "test",
    "--timeout=60000",
    "--reporter=junit",
    `--reporter-outfile=${report("Bun")}`,
    ...files,
  ]],
  Deno: [bin("deno"), [
    "test",
    "--config=deno.npm.json",
    "--allow-all",
    "--no-check",
    `--junit-path=${report("Deno")}`,
    ...files,
  ]],
  Node: [bin("node"), [
    "--import=./test/runner/node.mjs",
    "--test",
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=junit",
    `--test-reporter-destination=${report("Node")}`,
    ...nodeFiles,
  ]],
};

let passed = 0;
let failed = 0;
try {
  for (const [name, [command, args]] of Object.entries(runtimes)) {
    console.log(`\n── ${name} ──`);
    const status = await run(command, args);
    const count = counts(report(name));
    // A runner that crashed, or found no test, has failed, whatever it wrote.
    if (count.failed === 0 && (status !== 0 || count.passed === 0)) count.failed = 1;
    console.log(`${name}: ${count.passed} passed, ${count.failed} failed`);
    passed += count.passed;
    failed += count.failed;
  }
} finally {
  await postgres.stop();
  rmSync(reports, { recursive: true, force: true });
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

function run(command, args) {
  const env = { ...process.env, DATABASE_URL: postgres.url, NO_COLOR: "1" };
  return new Promise((resolve, reject) => {
    spawn(command, args, { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] })
      .once("error", reject)
      .once("exit", resolve);
  });
}

function counts(file) {
  let xml = "";
  try {
    xml = readFileSync(file, "utf8");
  } catch {
    // No report: the runner did not get that far.
  }
  const cases = xml.split("<testcase ").slice(1).map((text) => ({
    name: text.match(/name="([^"]*)"/)[1],
    fails: /<(?:failure|error)\b/.test(text),
  }));
  // Deno lists a `describe` beside its tests, which are named after it.
  const tests = cases.filter(({ name }) =>
    !cases.some((it) => it.name.startsWith(`${name} &gt; `))
  );
  const failed = tests.filter(({ fails }) => fails).length;
  return { passed: tests.length - failed, failed };
}
