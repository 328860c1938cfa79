// Builds each app of examples/frameworks/ as its users would, and tests it. See scripts/frameworks.mjs.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { startPostgres } from "../../scripts/postgres.mjs";
import { root, run, stop } from "../../scripts/run.mjs";
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

mkdirSync(work, { recursive: true });
const tarball = values.package ? resolve(values.package) : await pack();
const server = process.env.DATABASE_URL
  ? { url: process.env.DATABASE_URL, stop: async () => {} }
  : await startPostgres(undefined, ["fsync=off"]);
let [passed, failed] = [0, 0];
try {
  for (const name of chosen) {
    if (stop.aborted) break;
    console.log(`\n── ${name} ──`);
    if (!await build(name)) {
      console.log("✗ builds");
      failed++;
      continue;
    }
    const app = { name, server: server.url, start: (settings) => start(name, settings) };
    if (values.serve) await serve(app);
    else {for await (const { claim, error } of check(app)) {
        console.log(error ? `✗ ${claim}\n${error.stack ?? error}` : `✓ ${claim}`);
        if (error) failed++;
        else passed++;
      }}
  }
} finally {
  await server.stop();
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || stop.aborted ? 1 : 0;

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

/** Starts an app; it is ended by the function that is returned. */
async function start(name, settings) {
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
  const exited = once(child, "exit");
  const end = async () => {
    try {
      process.kill(-child.pid);
    } catch {
      // It has ended by itself.
    }
    await exited;
  };
  stop.addEventListener("abort", end);
  return {
    output: () => output,
    exited,
    end: async () => {
      stop.removeEventListener("abort", end);
      await end();
    },
  };
}

/** Serves an app until Ctrl-C. */
async function serve(app) {
  const database = await prepare(app.server);
  const port = process.env.PORT ?? "3000";
  const running = await app.start({ DATABASE_URL: database.url, PORT: port });
  console.log(`http://localhost:${port}: ada (password ada-demo), grace (password grace-demo)`);
  await Promise.race([
    running.exited,
    new Promise((resolve) => stop.addEventListener("abort", resolve)),
  ]);
  console.log(running.output());
  await running.end();
  await database.close();
}
