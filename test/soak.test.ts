// The soak of `npm run test:soak`, in short: with the library as it is, and with ones that are wrong.
import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

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
  });
});

/** What is wrong, and the check that must find it. */
const broken = [
  { name: "revoked", says: /after .+ had ended it/ },
  { name: "stranger", says: /another session|another user/ },
  { name: "cookie", says: /a property headers/ },
  { name: "update", says: /and was set to|a version that was given before/ },
  { name: "unstored", says: /nothing ended it|a cookie without its row/ },
  { name: "lost", says: /nothing ended it/ },
  { name: "kept", says: /and was not revoked|had ended/ },
  { name: "slow", says: /took \d+ ms for 1 statements/ },
  { name: "stray", says: /Nobody handles this/ },
];

describe("a soak with a library that is wrong", () => {
  for (const { name, says } of broken) {
    test(`finds ${name}`, async () => {
      const words = ["--seconds", "5", "--workers", "2", "--broken", name];
      const { passed, output } = await soak(...words);
      assert.ok(!passed, output);
      assert.match(output, says);
    });
  }
});
