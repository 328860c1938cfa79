// Runs a program as one module of JavaScript, for a Node that takes no TypeScript.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const bun = join(root, "node_modules", ".bin", "bun");
const code = execFileSync(bun, ["build", process.argv[2], "--target=node"], { cwd: root });
await import(`data:text/javascript;base64,${code.toString("base64")}`);
