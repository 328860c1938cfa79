// npm run test:soak: ten minutes of mixed calls from several processes, with faults, each answer checked.
// npm run test:soak -- --seconds 60 --faults none --workers 2 --seed 7
// npm run test:soak -- --cache all: each process has a cache; by default, half of them; or none.
// npm run test:soak -- --broken revoked: one process has a library that is wrong, which must be found.
import process from "node:process";
import { install } from "./install.mjs";
import { bin, run } from "./run.mjs";

await install();
// It runs the TypeScript of the library, as Node 22.18 and later do.
const hooks = "--import=./test/runner/node.mjs";
const command = [bin("node"), hooks, "test/soak/run.mjs", ...process.argv.slice(2)];
if (!await run(command)) process.exitCode = 1;
