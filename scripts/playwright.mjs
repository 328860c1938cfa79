// npm run test:playwright: runs the tests of examples/testing/ with Playwright's own test runner.
import process from "node:process";
import { findChromium } from "./chromium.mjs";
import { install } from "./install.mjs";
import { bin, run } from "./run.mjs";

await install();
const chromium = findChromium();
if (!chromium) {
  console.error("!! There is no Chromium here. Install it, or say where one is: CHROMIUM=…");
  process.exit(1);
}
const command = [bin("node"), "--import=./test/runner/node.mjs", "test/playwright/run.mjs"];
const env = { ...process.env, CHROMIUM: chromium };
if (!await run(command, { env })) process.exitCode = 1;
