// The soak of `npm run test:soak`, in short: with the library as it is, and with ones that are wrong.
import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findings, isCacheBroken } from "./soak/broken.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Runs a soak without faults; returns whether it passed, and what it said. */
function soak(...words: string[]): Promise<{ passed: boolean; output: string }> {
  const args = ["scripts/soak.mjs", "--faults", "none", ...words];
  return new Promise((resolve) => {
    const options = { cwd: root, timeout: 150_000, env: { ...process.env, NO_COLOR: "1" } };
    execFile("node", args, options, (error, stdout, stderr) => {
      resolve({ passed: error === null, output: stdout + stderr });
    });
  });
}

describe("a soak without faults", () => {
  test("passes, on all runtimes and clients", async () => {
    const { passed, output } = await soak("--seconds", "10");
    assert.ok(passed, output);
    assert.match(output, /\n[1-9]\d{4,} passed, 0 failed/);
    // The caches were asked, and have answered.
    const [, answers] = /Of (\d+) answers from memory/.exec(output) ?? [];
    assert.ok(Number(answers) > 50, output);
    const [, ends] = /, (\d+) were told of an end/.exec(output) ?? [];
    assert.ok(Number(ends) > 50, output);
    assert.match(output, /\. 4 connections listen\.$/m);
  });
});

describe("a soak with a library that is wrong", () => {
  for (const [name, finding] of Object.entries(findings)) {
    test(`finds ${name}`, async () => {
      // What a cache gets wrong shows when a session has ended long enough ago.
      const seconds = isCacheBroken(name) ? "60" : "20";
      const words = ["--seconds", seconds, "--workers", "2", "--broken", name];
      const { passed, output } = await soak(...words);
      assert.ok(!passed, output);
      const found = Array.from(output.matchAll(/^✗ (.*)$/gm), ([, text]) => text!);
      assert.ok(found.some((text) => finding.test(text)), output);
    });
  }
});
