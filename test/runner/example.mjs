// An example with packages of its own, as its users would have it. Used by the commands test:observability and
// test:playwright.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join, relative } from "node:path";
import process from "node:process";
import { startPostgres } from "../../scripts/postgres.mjs";
import { bin, root, run } from "../../scripts/run.mjs";

// The `node` of devDependencies, which runs TypeScript.
const env = {
  ...process.env,
  PATH: [join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
};

// As strict as a user's compiler may be.
const compilerOptions = {
  target: "es2024",
  lib: ["es2024", "dom", "dom.iterable"],
  module: "nodenext",
  allowImportingTsExtensions: true,
  types: ["node"],
  typeRoots: [join(root, "node_modules", "@types")],
  strict: true,
  noUncheckedIndexedAccess: true,
  erasableSyntaxOnly: true,
  verbatimModuleSyntax: true,
  noUnusedLocals: true,
  noUnusedParameters: true,
  skipLibCheck: true,
  noEmit: true,
};

/**
 * Copies a folder of examples/, installs its packages and ours in the copy, and starts a PostgreSQL.
 *
 * @param {string} name
 * @returns {Promise<{
 *   folder: string,
 *   url: string,
 *   compile: () => Promise<boolean>,
 *   run: (command: string[], env?: Record<string, string>) => Promise<boolean>,
 *   stop: () => Promise<void>,
 * }>} The copy, the server, and what runs the compiler and other programs in the copy.
 */
export async function prepareExample(name) {
  const work = join(root, ".examples");
  const folder = join(work, name);
  mkdirSync(folder, { recursive: true });
  for (const it of readdirSync(folder)) {
    if (it !== "node_modules") rmSync(join(folder, it), { recursive: true });
  }
  cpSync(join(root, "examples", name), folder, {
    recursive: true,
    filter: (path) => !/[\\/]node_modules$/.test(path),
  });
  const isPackage = (it) => it.endsWith(".tgz");
  for (const it of readdirSync(work).filter(isPackage)) rmSync(join(work, it));
  const options = { cwd: folder, env };
  if (!await run(["npm", "pack", "--silent", "--pack-destination", work])) process.exit(1);
  const tarball = join(work, readdirSync(work).find(isPackage));
  const file = join(folder, "package.json");
  const description = JSON.parse(readFileSync(file, "utf8"));
  description.dependencies.coatcheck = `file:${relative(folder, tarball)}`;
  writeFileSync(file, JSON.stringify(description, null, 2));
  rmSync(join(folder, "node_modules", "coatcheck"), { recursive: true, force: true });
  const install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"];
  if (!await run(install, options)) process.exit(1);
  const server = process.env.DATABASE_URL
    ? { url: process.env.DATABASE_URL, stop: async () => {} }
    : await startPostgres(undefined, ["fsync=off"]);
  return {
    folder,
    url: server.url,
    compile: async () => {
      const config = JSON.stringify({ compilerOptions, include: ["*.ts"] });
      writeFileSync(join(folder, "tsconfig.json"), config);
      const compiles = await run([bin("tsc"), "--project", "."], options);
      console.log(compiles ? "It compiles" : "It does not compile");
      return compiles;
    },
    run: (command, more) => run(command, { ...options, env: { ...env, ...more } }),
    stop: server.stop,
  };
}
