// Builds each app of examples/frameworks/ as its users would, and tests it. See scripts/frameworks.mjs.
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { findChromium } from "../../scripts/chromium.mjs";
import { startPostgres } from "../../scripts/postgres.mjs";
import { bin, root, run, stop } from "../../scripts/run.mjs";
import { DRIVEN } from "./apps.mjs";
import { check } from "./checks.mjs";
import { prepare } from "./database.mjs";

const examples = join(root, "examples", "frameworks");
const work = join(root, ".frameworks");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { serve: { type: "boolean", default: false }, package: { type: "string" } },
});
const known = readdirSync(examples, { withFileTypes: true })
  .filter((it) => it.isDirectory()).map(({ name }) => name);
for (const name of positionals) {
  if (known.includes(name)) continue;
  console.error(`There is no ${name} in examples/frameworks/: ${known.join(", ")}`);
  process.exit(1);
}
const chosen = positionals.length > 0 ? positionals : known;

// The `node` of devDependencies, as the newest frameworks need a newer one than coatcheck does.
const env = {
  ...process.env,
  PATH: [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
  NEXT_TELEMETRY_DISABLED: "1",
};

// What a TypeScript project on Node or on Bun has, if the framework brings no tsconfig.json.
const compilerOptions = {
  target: "es2024",
  lib: ["es2024", "dom", "dom.iterable"],
  module: "preserve",
  types: ["node", "bun"],
  allowImportingTsExtensions: true,
  verbatimModuleSyntax: true,
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: true,
  noEmit: true,
};

mkdirSync(work, { recursive: true });
const tarball = values.package ? resolve(values.package) : await pack();
const server = process.env.DATABASE_URL
  ? { url: process.env.DATABASE_URL, stop: async () => {} }
  : await startPostgres(undefined, ["fsync=off"]);
let [passed, failed, notAsked] = [0, 0, 0];
try {
  for (const name of chosen) {
    if (stop.aborted) break;
    console.log(`\n── ${name} ──`);
    if (!await build(name)) {
      console.log("✗ builds");
      failed++;
      continue;
    }
    const claim = "has types that hold";
    report(await typechecks(name) ? { claim } : { claim, error: new Error("See above") });
    const app = { name, server: server.url, start: (settings) => start(name, settings) };
    if (values.serve) await serve(app);
    else for await (const it of check(app)) report(it);
  }
} finally {
  await server.stop();
}
const undriven = values.serve || findChromium() ? [] : chosen.filter((it) => DRIVEN.includes(it));
if (undriven.length > 0) {
  console.error(`
!! The pages of ${
    undriven.join(" and ")
  } were NOT driven in a real browser: there is no Chromium here.
!! Install chromium, or say where one is: CHROMIUM=/path/to/chrome npm run test:frameworks`);
  if (process.env.CI) failed++;
}
console.log(`\n${passed} passed, ${failed} failed, ${notAsked} not asked`);
process.exitCode = failed > 0 || stop.aborted ? 1 : 0;

function report({ claim, error, notAsked: reason }) {
  if (error) failed++;
  else if (reason) notAsked++;
  else passed++;
  console.log(
    error
      ? `✗ ${claim}\n${error.stack ?? error}`
      : reason
      ? `– ${claim}: not asked, as ${reason}`
      : `✓ ${claim}`,
  );
}

/** Makes the package that the apps install. */
async function pack() {
  const isPackage = (name) => name.endsWith(".tgz");
  for (const it of readdirSync(work).filter(isPackage)) rmSync(join(work, it));
  if (!await run(["npm", "pack", "--silent", "--pack-destination", work])) process.exit(1);
  return join(work, readdirSync(work).find(isPackage));
}

/** Copies an app, with what every app has, into a folder of its own, and builds it. */
async function build(name) {
  const folder = join(work, name);
  mkdirSync(folder, { recursive: true });
  for (const it of readdirSync(folder)) {
    if (it !== "node_modules") rmSync(join(folder, it), { recursive: true });
  }
  const source = join(examples, name);
  const isSource = (path) =>
    !/[\\/](?:node_modules|\.next|\.svelte-kit|\.output|build|dist)$/.test(path);
  cpSync(source, folder, { recursive: true, filter: isSource });
  const sessions = readdirSync(folder, { recursive: true })
    .find((it) => /(?:^|[\\/])sessions\.ts$/.test(it) && !it.includes("node_modules"));
  cpSync(join(root, "examples", "users.ts"), join(folder, dirname(sessions), "users.ts"));
  const file = join(folder, "package.json");
  const description = JSON.parse(readFileSync(file, "utf8"));
  description.dependencies.coatcheck = `file:${relative(folder, tarball)}`;
  writeFileSync(file, JSON.stringify(description, null, 2));
  rmSync(join(folder, "node_modules", "coatcheck"), { recursive: true, force: true });
  const options = { cwd: folder, env };
  return await run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"], options) &&
    await run(["npm", "run", "--silent", "--if-present", "build"], options);
}

/** Checks the types of a built app. */
async function typechecks(name) {
  const folder = join(work, name);
  const { scripts } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (scripts.typecheck) {
    return await run(["npm", "run", "--silent", "typecheck"], { cwd: folder, env });
  }
  const config = join(folder, "tsconfig.json");
  if (!existsSync(config)) {
    const include = ["**/*.ts", ".astro/types.d.ts"];
    writeFileSync(config, JSON.stringify({ compilerOptions, include }));
  }
  return await run([bin("tsc"), "--noEmit", "--project", folder]);
}

/** Starts an app. */
function start(name, settings) {
  const child = spawn("npm", ["run", "--silent", "start"], {
    cwd: join(work, name),
    env: { ...env, NODE_ENV: "production", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => output += text);
  }
  // Not `exit`: npm can end before the app does, which holds the pipes open.
  const ended = once(child, "close");
  const kill = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // It has ended by itself.
    }
  };
  /** Ends the app. Returns whether it has ended by SIGTERM, within 10 seconds. */
  const end = async () => {
    kill("SIGTERM");
    const timer = new AbortController();
    const inTime = await Promise.race([
      ended.then(() => true),
      sleep(10_000, false, { signal: timer.signal }).catch(() => true),
    ]);
    timer.abort();
    kill("SIGKILL");
    await ended;
    return inTime;
  };
  stop.addEventListener("abort", end);
  return {
    output: () => output,
    ended,
    end: () => {
      stop.removeEventListener("abort", end);
      return end();
    },
  };
}

/** Serves an app until Ctrl-C. */
async function serve(app) {
  const database = await prepare(app.server);
  const port = process.env.PORT ?? "3000";
  const running = app.start({ DATABASE_URL: database.url, PORT: port });
  console.log(`http://localhost:${port}: ada (password ada-demo), grace (password grace-demo)`);
  await Promise.race([
    running.ended,
    new Promise((resolve) => stop.addEventListener("abort", resolve)),
  ]);
  console.log(running.output());
  await running.end();
  await database.close();
}
