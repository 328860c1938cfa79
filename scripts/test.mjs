// Runs every test on Bun, on Deno and on a current Node, against one PostgreSQL, and adds them up.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { findChromium } from "./chromium.mjs";
import { installExtra } from "./extra.mjs";
import { install } from "./install.mjs";
import { startPostgres } from "./postgres.mjs";
import { bin, root, run, stop } from "./run.mjs";

const { DATABASE_URL } = process.env;
try {
  if (DATABASE_URL) decodeURIComponent(new URL(DATABASE_URL));
} catch {
  // What was thrown shows the URL, and so the password.
  console.error("DATABASE_URL must be a URL: postgres://user:password@host:port/database");
  process.exit(1);
}

await install();
const reports = mkdtempSync(join(tmpdir(), "coatcheck-reports-"));

// Files at a time, and tests in the browser, whatever the cores: most of them wait.
const AT_ONCE = 4;

const file = (name) => `${name}.test.ts`;
// Floods, other people's clients, servers and package managers, the guide's apps, and hostile schemas. They take as
// long as all others together, so they run in the gate, or if they are asked for by name.
const SLOW = [
  "bridge",
  "cli",
  "clients",
  "decoys",
  "guide",
  "live",
  "migrations",
  "package",
  "pglite",
  "repair",
  "servers",
  "soak",
  "staleness",
]
  .map(file);
// These test the server, start other programs, or drive a browser: one runtime is enough.
const ON_BUN = [
  "bridge",
  "browser",
  "decoys",
  "migrations",
  "repair",
].map(file);
// These start servers and processes of their own, and load them: after the others, one at a time, on Bun.
const ALONE = ["failover", "live", "pressure", "soak", "staleness"].map(file);
const CITUS = file("citus");
const { CITUS_URL } = process.env;

// `npm test -- create` runs the file of that name, and `npm test -- --all` every one.
const words = process.argv.slice(2);
const every = readdirSync(join(root, "test")).filter((name) => name.endsWith(".test.ts"));
const all = every.filter((name) => name !== CITUS || CITUS_URL);
const asked = words.includes("--all")
  ? all
  : words.length
  ? words.map(file)
  : all.filter((name) => !SLOW.includes(name) && name !== CITUS);
const left = words.length ? [] : SLOW;
const unknown = asked.filter((name) => !every.includes(name));
if (unknown.length) {
  console.error(`test/ has no ${unknown.join(", ")}. Try: npm test, npm test -- create, or --all`);
  process.exit(1);
}

if (asked.includes(file("clients"))) installExtra("prisma");
const BROWSER = file("browser");
const needsBrowser = asked.includes(BROWSER);
const chromium = needsBrowser ? findChromium() : undefined;
const files = asked.filter((name) => ![...ON_BUN, ...ALONE].includes(name))
  .map((name) => `test/${name}`);
const alone = asked.filter((name) => ALONE.includes(name)).map((name) => `test/${name}`);
// The browser first, as it takes longest.
const onBun = asked.filter((name) => ON_BUN.includes(name) && (name !== BROWSER || chromium))
  .sort().map((name) => `test/${name}`);

const report = (name) => join(reports, `${name}.xml`);
const bun = (name, atOnce, ...files) => [
  bin("bun"),
  "test",
  // For each test. The slowest starts Deno on every example of the documents.
  "--timeout=400000",
  `--parallel=${atOnce}`,
  `--max-concurrency=${atOnce}`,
  "--reporter=junit",
  `--reporter-outfile=${report(name)}`,
  ...files,
];
const runtimes = {
  Bun: bun("Bun", AT_ONCE, ...onBun, ...files),
  Deno: [
    bin("deno"),
    "test",
    "--config=deno.npm.json",
    "--allow-all",
    "--no-check",
    "--parallel",
    `--junit-path=${report("Deno")}`,
    ...files,
  ],
  Node: [
    bin("node"),
    "--import=./test/runner/node.mjs",
    "--test",
    `--test-concurrency=${AT_ONCE}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=junit",
    `--test-reporter-destination=${report("Node")}`,
    ...files,
  ],
  "Bun, one file at a time": bun("Bun, one file at a time", 1, ...alone),
};

const NO_BROWSER = `!! The tests in a real browser did NOT run: there is no Chromium here.
!! Install chromium, or say where one is: CHROMIUM=/path/to/chrome npm test`;

let postgres;
try {
  postgres = DATABASE_URL
    ? { url: DATABASE_URL, stop: () => {} }
    : await startPostgres(undefined, ["fsync=off", "max_connections=200"]);
  const env = {
    ...process.env,
    DATABASE_URL: postgres.url,
    CHROMIUM: chromium,
    DENO_JOBS: String(AT_ONCE),
    NO_COLOR: "1",
  };
  let passed = 0;
  let failed = 0;
  for (const [name, command] of Object.entries(runtimes)) {
    if (!command.some((it) => it.endsWith(".test.ts"))) continue;
    console.log(`\n── ${name} ──`);
    const succeeded = await run(command, { env });
    stop.throwIfAborted();
    const count = counts(report(name));
    // A runner that crashed, or found no test, has failed, whatever it wrote.
    if (count.failed === 0 && (!succeeded || count.passed === 0)) count.failed = 1;
    console.log(`${name}: ${count.passed} passed, ${count.failed} failed`);
    passed += count.passed;
    failed += count.failed;
  }
  if (needsBrowser && !chromium) {
    console.error(`\n${NO_BROWSER}`);
    if (process.env.CI || passed === 0) failed++;
  }
  if (!CITUS_URL && (words.includes("--all") || asked.includes(CITUS))) {
    console.error("\n!! Citus was NOT tested: CITUS_URL names no coordinator of a cluster.");
  }
  if (left.length) console.log(`\nFor the gate: npm test -- --all (${left.join(", ")})`);
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} catch (error) {
  if (!stop.aborted) console.error(error.message);
  process.exitCode = 1;
} finally {
  await postgres?.stop();
  rmSync(reports, { recursive: true, force: true });
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
