// npm run test:moving: trades in sessions that other libraries have made, by the recipes of examples/moving/.
// npm run test:moving -- lucia iron-session: these alone.
// npm run test:moving -- --package FILE: tests a package that was packed before.
import process from "node:process";
import { install } from "./install.mjs";
import { bin, run } from "./run.mjs";

await install();
// It runs the TypeScript of the recipes, as Node 22.18 and later do.
const command = [bin("node"), "test/moving/run.mjs", ...process.argv.slice(2)];
if (!await run(command)) process.exitCode = 1;
