// npm run test:observability: tests the recipes of examples/observability/ with the packages that they are for.
import process from "node:process";
import { install } from "./install.mjs";
import { bin, run } from "./run.mjs";

await install();
const command = [bin("node"), "--import=./test/runner/node.mjs", "test/observability/run.mjs"];
if (!await run(command)) process.exitCode = 1;
