// All that must hold before a change lands: each step is named as the claim it proves.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import process from "node:process";
import { install } from "./install.mjs";
import { bin, root, run } from "./run.mjs";

await install();
const deno = (verb, ...args) => [bin("deno"), verb, "--config=deno.npm.json", ...args];
const sources = [
  "mod.ts",
  "cache.ts",
  "conformance.ts",
  "testing.ts",
  "src",
  "cli",
  "test",
  "scripts",
  "examples",
  "bench",
]
  .filter((it) => existsSync(join(root, it)));
const env = { ...process.env, NO_COLOR: "1" };
const floating = ["-D", "typescript/no-floating-promises", "-D", "typescript/no-misused-promises"];

const claims = {
  "The code is formatted": deno("fmt", "--check"),
  "The code is free of lint": deno("lint", ...sources),
  "No promise floats": [
    bin("oxlint"),
    "--type-aware",
    "--deny-warnings",
    ...floating,
    "mod.ts",
    "cache.ts",
    "conformance.ts",
    "testing.ts",
    "src",
    "cli",
  ],
  "Types hold, and src/ uses Web APIs alone": [bin("tsc"), "--project", "."],
  "Types hold in the command line": [bin("tsc"), "--project", "cli"],
  "Types hold in the tests": [bin("tsc"), "--project", "test"],
  "Types hold in the examples": [bin("tsc"), "--project", "examples"],
  "Types hold on Deno": deno(
    "check",
    "mod.ts",
    "cache.ts",
    "conformance.ts",
    "testing.ts",
    "cli/main.ts",
    "examples/deno.ts",
  ),
  "Every export is documented": deno(
    "doc",
    "--lint",
    "mod.ts",
    "cache.ts",
    "conformance.ts",
    "testing.ts",
  ),
  "docs/reference.md is what the doc comments say": [
    process.execPath,
    "scripts/reference.mjs",
    "--check",
  ],
  "The module has no slow types": deno("publish", "--dry-run", "--allow-dirty"),
  "The files in sql/ are what the source says": [bin("bun"), "scripts/sql.mjs", "--check"],
  "Modules import as docs/architecture.md says": modules,
  "The package builds": [process.execPath, "scripts/build.mjs"],
  "The tools of users accept the package": [process.execPath, "scripts/users.mjs"],
  "Every test passes": [process.execPath, "scripts/test.mjs", "--all"],
};

for (const [claim, proof] of Object.entries(claims)) {
  console.log(`\n── ${claim} ──`);
  const holds = typeof proof === "function" ? proof() : await run(proof, { env });
  if (!holds) process.exit(1);
}

/** Compares the imports of each module with its row in the table of docs/architecture.md. */
function modules() {
  const table = readFileSync(join(root, "docs", "architecture.md"), "utf8");
  const said = new Map(
    [...table.matchAll(/^\| `([\w/]+\.ts)` \|[^|]*\|([^|]*)\|/gm)]
      .map(([, module, imports]) => [module, imports.match(/[\w/]+(?=\.ts)/g) ?? []]),
  );
  let holds = true;
  const files = readdirSync(join(root, "src"), { recursive: true });
  for (const module of files.filter((file) => file.endsWith(".ts"))) {
    const code = readFileSync(join(root, "src", module), "utf8");
    const found = [...code.matchAll(/^(?:import|\}) (?!type\b)[^;]*?from "(\.[\w./]+)\.ts"/gm)]
      .map(([, path]) => posix.join(posix.dirname(module), path));
    if (String(found.sort()) === String(said.get(module)?.sort())) continue;
    holds = false;
    console.error(`${module} imports ${found}; docs/architecture.md says ${said.get(module)}`);
  }
  if (holds) console.log(`${said.size} modules`);
  return holds;
}
