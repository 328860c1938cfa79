// npm run test:frameworks: builds each app of examples/frameworks/ as its users would, tests it over HTTP, and drives some in
// Chromium.
// npm run test:frameworks -- next hono: these alone.
// npm run test:frameworks -- --serve next: serves one, to look at it.
// npm run test:frameworks -- --package FILE: tests a package that was packed before.
import process from "node:process";
import { install } from "./install.mjs";
import { bin, run } from "./run.mjs";

await install();
// The newest frameworks need a newer Node than coatcheck does.
const command = [bin("node"), "test/frameworks/run.mjs", ...process.argv.slice(2)];
if (!await run(command)) process.exitCode = 1;
