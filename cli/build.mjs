// Builds dist/: one module and its types, with what it takes from other packages inside, so that npm
// users install no dependency.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bin, install, root } from "./install.mjs";

await install();
// Under Bun, as tsup does not run on Node 20.
const options = ["--format=esm", "--target=es2022", "--platform=neutral", "--dts", "--clean"];
execFileSync(bin("bun"), ["--bun", bin("tsup"), "mod.ts", ...options, "--no-config", "--silent"], {
  cwd: root,
  stdio: "inherit",
});

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
