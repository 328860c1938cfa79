// Installs the libraries of examples/moving/, and tests each recipe with them. See scripts/moving.mjs.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join, relative, resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { startPostgres } from "../../scripts/postgres.mjs";
import { bin, root, run, stop } from "../../scripts/run.mjs";

const work = join(root, ".moving");
const known = ["lucia", "connect-pg-simple", "auth-js", "better-auth", "iron-session"];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { package: { type: "string" } },
});
for (const name of positionals) {
  if (known.includes(name)) continue;
  console.error(`There is no ${name} in examples/moving/: ${known.join(", ")}`);
  process.exit(1);
}
const chosen = positionals.length > 0 ? positionals : known;

mkdirSync(work, { recursive: true });
const tarball = values.package ? resolve(values.package) : await pack();
if (!await prepare()) process.exit(1);
const server = process.env.DATABASE_URL
  ? { url: process.env.DATABASE_URL, stop: async () => {} }
  : await startPostgres(undefined, ["fsync=off"]);
let [passed, failed] = [0, 0];
try {
  const facts = {
    "the types of the recipes hold": await compile(),
    "docs/moving.md has each file as it is": isDocumented(),
  };
  for (const [claim, holds] of Object.entries(facts)) {
    console.log(`${holds ? "✓" : "✗"} ${claim}`);
    if (holds) passed++;
    else failed++;
  }
  const { check } = await import(pathToFileURL(join(work, "test", "checks.mjs")).href);
  for (const name of chosen) {
    console.log(`\n── ${name} ──`);
    for await (const { claim, error } of check(name, server.url)) {
      console.log(error ? `✗ ${claim}\n${error.stack ?? error}` : `✓ ${claim}`);
      if (error) failed++;
      else passed++;
      if (stop.aborted) break;
    }
    if (stop.aborted) break;
  }
} finally {
  await server.stop();
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 || stop.aborted ? 1 : 0;

/** Makes the package that the recipes import. */
async function pack() {
  const isPackage = (name) => name.endsWith(".tgz");
  for (const it of readdirSync(work).filter(isPackage)) rmSync(join(work, it));
  if (!await run(["npm", "pack", "--silent", "--pack-destination", work])) process.exit(1);
  return join(work, readdirSync(work).find(isPackage));
}

/** Whether the page has the files of examples/moving/, each in a block that begins with its name. */
function isDocumented() {
  const page = readFileSync(join(root, "docs", "moving.md"), "utf8");
  const folder = join(root, "examples", "moving");
  const missing = readdirSync(folder).filter((it) => it.endsWith(".ts")).filter((it) => {
    const code = readFileSync(join(folder, it), "utf8");
    return !page.includes(`\n\`\`\`ts ignore\n// ${it}\n${code}\`\`\`\n`);
  });
  if (missing.length > 0) console.error(`Copy to docs/moving.md again: ${missing.join(", ")}`);
  return missing.length === 0;
}

/** Copies the recipes and the tests into a folder where their imports find the libraries. */
async function prepare() {
  for (const it of readdirSync(work)) {
    if (it !== "node_modules" && !it.endsWith(".tgz")) rmSync(join(work, it), { recursive: true });
  }
  cpSync(join(root, "examples", "moving"), work, {
    recursive: true,
    filter: (path) => !/[\\/]node_modules$/.test(path),
  });
  cpSync(join(root, "examples", "outage.ts"), join(work, "outage.ts"));
  cpSync(join(root, "test", "moving"), join(work, "test"), { recursive: true });
  cpSync(join(root, "test", "runner", "proxy.mjs"), join(work, "runner", "proxy.mjs"));
  const file = join(work, "package.json");
  const description = JSON.parse(readFileSync(file, "utf8"));
  description.dependencies.coatcheck = `file:${relative(work, tarball)}`;
  writeFileSync(file, JSON.stringify(description, null, 2));
  rmSync(join(work, "node_modules", "coatcheck"), { recursive: true, force: true });
  // The `node` of devDependencies, which is the one that runs this.
  const env = {
    ...process.env,
    PATH: [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
  };
  const install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"];
  return await run([...install, "--silent"], { cwd: work, env });
}

/** Checks the types of the recipes, with those of the libraries. */
async function compile() {
  const files = readdirSync(work).filter((it) => it.endsWith(".ts"));
  const options =
    "--ignoreConfig --noEmit --strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess " +
    "--erasableSyntaxOnly --allowImportingTsExtensions --skipLibCheck " +
    "--target es2024 --lib es2024 --module nodenext --types node";
  return await run([bin("tsc"), ...options.split(" "), ...files], { cwd: work });
}
