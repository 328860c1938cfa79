// Writes docs/api.md, the types of what the package exports; with --check, compares it with the code. So a
// change of the public surface is a change of that file, which a reviewer sees.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { root } from "./run.mjs";

const entries = { coatcheck: "mod.d.ts", "coatcheck/conformance": "conformance.d.ts" };
const report = join(root, "docs", "api.md");
const text = `# The public API

All that the package exports, as its types have it. \`npm run api\` writes this file, and the gate compares it
with the code. [reference.md](reference.md) says what it means.
${
  Object.entries(entries).map(([name, file]) =>
    `\n## ${name}\n\n\`\`\`ts ignore\n${typesOf(join(root, "dist", file))}\n\`\`\`\n`
  ).join("")
}`;

if (process.argv[2] !== "--check") writeFileSync(report, text);
else if (readFileSync(report, "utf8") !== text) {
  console.error(
    "docs/api.md differs from the code. Where that is meant: npm run api, and CHANGELOG.md",
  );
  process.exitCode = 1;
}

/** The declarations, without their comments. */
function typesOf(file) {
  return readFileSync(file, "utf8")
    .replace(/^ *\/\*\*.*?\*\/\n/gms, "")
    .replace(/^ *\/\/.*\n/gm, "")
    .trim();
}
