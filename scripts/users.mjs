// What the tools of those who install the package say of its tarball: publint, are-the-types-wrong, and three
// compilers. They are many and large, so that only the gate installs them.
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { installExtra, npm } from "./extra.mjs";
import { root, run } from "./run.mjs";

const tools = installExtra("users");
const project = mkdtempSync(join(tmpdir(), "coatcheck-users-"));
try {
  npm(root, "pack", "--silent", "--ignore-scripts", "--pack-destination", project);
  const [name] = readdirSync(project);
  const tarball = readFileSync(join(project, name));
  const said = [...await publint(tarball), ...await typesWrong(tarball)];
  for (const line of said) console.error(line);

  writeFileSync(join(project, "package.json"), `{ "type": "module" }`);
  npm(project, "install", "--offline", `./${name}`);
  symlinkSync(join(root, "node_modules", "postgres"), join(project, "node_modules", "postgres"));
  symlinkSync(join(tools, "node_modules", "@types"), join(project, "node_modules", "@types"));
  copyFileSync(join(tools, "app.ts"), join(project, "app.ts"));
  process.exitCode = said.length === 0 && await compiles() ? 0 : 1;
} finally {
  rmSync(project, { recursive: true, force: true });
}

async function compiles() {
  const strict = ["--strict", "--exactOptionalPropertyTypes", "--noEmit", "--target", "es2022"];
  const types = ["--lib", "es2022,dom,dom.iterable", "--types", "node"];
  const kinds = ["--module nodenext", "--module esnext --moduleResolution bundler"];
  for (const compiler of ["typescript-5.9", "typescript-6", "typescript-7"]) {
    for (const kind of kinds) {
      const tsc = join(tools, "node_modules", compiler, "bin", "tsc");
      const command = [process.execPath, tsc, ...strict, ...types, ...kind.split(" "), "app.ts"];
      if (!await run(command, { cwd: project })) return false;
      console.log(`${compiler} ${kind}`);
    }
  }
  return true;
}

async function publint(tarball) {
  const { publint } = await tool("publint");
  const { messages } = await publint({ pack: { tarball }, strict: true });
  return messages.map(({ code, path }) => `publint: ${code} ${path.join(".")}`);
}

// Of ESM alone, as we are: what `require` of an old Node and a resolution without `exports` make of it does not
// matter.
async function typesWrong(tarball) {
  const { checkPackage, createPackageFromTarballData } = await tool("@arethetypeswrong/core");
  const { problems = [], types } = await checkPackage(createPackageFromTarballData(tarball));
  if (!types) return ["are-the-types-wrong: there are none"];
  return problems
    .filter(({ kind, resolutionKind }) =>
      kind !== "CJSResolvesToESM" && resolutionKind !== "node10"
    )
    .map(({ kind, entrypoint }) => `are-the-types-wrong: ${kind} ${entrypoint}`);
}

async function tool(name) {
  return await import(createRequire(join(tools, "package.json")).resolve(name));
}
