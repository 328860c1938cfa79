// Builds dist/: the module, the cache, the conformance suite and the helpers for tests, with their types, and the
// command line; with what they take from other packages inside, so that npm users install no dependency.
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { install } from "./install.mjs";
import { bin, root, run } from "./run.mjs";

await install();
// Under Bun, as tsup does not run on Node 20.
const options = ["--format=esm", "--target=es2022", "--platform=neutral", "--dts"];
const tsup = [bin("bun"), "--bun", bin("tsup"), ...options, "--no-config", "--silent"];
if (!await run([...tsup, "mod.ts", "cache.ts", "--clean"])) process.exit(1);
// What the module and the cache have in common is in a file of its own, so that their errors are of one class.
for (const [ending, name] of [[".d.ts", "shared.d.ts"], [".js", "shared.js"]]) {
  const names = readdirSync(join(root, "dist")).filter((it) => it.endsWith(ending));
  const [common, ...more] = names.filter((it) => !/^(mod|cache)\.(js|d\.ts)$/.test(it));
  if (!common || more.length) throw new Error(`tsup has split the module into ${names}`);
  renameSync(join(root, "dist", common), join(root, "dist", name));
  for (const importer of names.filter((it) => it !== common)) {
    const file = join(root, "dist", importer);
    const path = common.replace(/\.d\.ts$/, ".js");
    writeFileSync(file, readFileSync(file, "utf8").replaceAll(`./${path}`, "./shared.js"));
  }
}
// Both are about the module that is there, and hold none of their own.
for (const name of ["conformance", "testing"]) {
  if (!await run([...tsup, `${name}.ts`, "--external=./mod.ts"])) process.exit(1);
}
// The command line too. It has no types, as nobody imports it.
const command = tsup.filter((it) => it !== "--dts");
const outside = ["../mod.ts", "../../mod.ts"].map((it) => `--external=${it}`);
if (!await run([...command, "--entry.cli", "cli/main.ts", ...outside])) process.exit(1);
const cli = join(root, "dist", "cli.js");
writeFileSync(cli, readFileSync(cli, "utf8").replaceAll(/"(?:\.\.\/)+mod\.ts"/g, '"./mod.js"'));
const others = ["conformance", "testing"].flatMap((name) => [`${name}.js`, `${name}.d.ts`]);
for (const name of ["mod.d.ts", "cache.d.ts", "shared.d.ts", ...others]) {
  const file = join(root, "dist", name);
  // The examples in the types say our name on JSR.
  const text = readFileSync(file, "utf8").replaceAll("@coatcheck/coatcheck", "coatcheck");
  writeFileSync(file, text.replaceAll("./mod.ts", "./mod.js"));
}

// A statement that nobody asks for shall not be in their bundle: bundlers drop a constant only where they
// see that making it does nothing else.
const made =
  /^var (\w+) = (?=[a-z]\w*\(|`)(.*?);\n(?=\n*(?:var |(?:async )?function |\/\/ |export ))/gms;
// Statements lose the line breaks that they are sent without.
const statements = /^\/\/ src\/(?:cache\/)?statements\.ts\n[^]*?(?=^\/\/ src\/)/m;
const withoutBreaks = (code) =>
  code.replaceAll(/`[^`]*`/g, (literal) => literal.replaceAll(/\n\s*/g, " "));
for (const name of ["mod.js", "cache.js", "shared.js"]) {
  const file = join(root, "dist", name);
  writeFileSync(
    file,
    readFileSync(file, "utf8")
      .replace(made, "var $1 = /* @__PURE__ */ (() => $2)();\n")
      .replace(statements, withoutBreaks),
  );
}

// Both are under the MIT licence, as we are: the text differs in its copyright line alone.
const [ours] = /^Copyright.*$/m.exec(readFileSync(join(root, "LICENSE"), "utf8"));
const licence = (holder) => readFileSync(join(root, "LICENSE"), "utf8").replace(ours, holder);
writeFileSync(
  join(root, "dist", "LICENSES.txt"),
  [
    `@std/http (cookie)\n\n${licence("Copyright 2018-2026 the Deno authors.")}`,
    `@noble/hashes\n\n${licence("Copyright (c) 2022 Paul Miller (https://paulmillr.com)")}`,
  ].join("\n\n"),
);
