// Builds dist/: one module and its types, with what it takes from other packages inside, so that npm
// users install no dependency.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { install } from "./install.mjs";
import { bin, root, run } from "./run.mjs";

await install();
// Under Bun, as tsup does not run on Node 20.
const options = ["--format=esm", "--target=es2022", "--platform=neutral", "--dts", "--clean"];
const tsup = [bin("bun"), "--bun", bin("tsup"), "mod.ts", ...options, "--no-config", "--silent"];
if (!await run(tsup)) process.exit(1);

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
