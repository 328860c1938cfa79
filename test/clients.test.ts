import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { conformance } from "../conformance.ts";
import { clients } from "./runner/clients.ts";
import { openDatabase } from "./runner/database.ts";
import { runtime } from "./runner/runtime.ts";

const execute = promisify(execFile);
const root = fileURLToPath(new URL("..", import.meta.url));

interface Case {
  readonly name: string;
  readonly run: () => Promise<void>;
  outcome?: Promise<void>;
}

/** The tests of a client, and what runs after them. */
const cells = Object.entries(clients).map(([client, open]) => {
  const cases: Case[] = [];
  let finish = async () => {};
  conformance({
    test: (name, run) => cases.push({ name, run }),
    afterAll: (run) => finish = run,
    open: async () => {
      const database = await openDatabase({ bare: true });
      const opened = await open(database.url);
      const close = async () => {
        await opened.close?.();
        await database.close();
      };
      return { ...opened, close };
    },
  });
  return { client, cases, finish: () => finish() };
});

// All clients side by side, each test of one after the other: most of it is waiting for a deadline.
beforeAll(() => {
  for (const { cases } of cells) {
    let last: Promise<void> = Promise.resolve();
    for (const it of cases) {
      it.outcome = last.then(it.run);
      last = it.outcome.catch(() => {});
    }
  }
});

for (const { client, cases, finish } of cells) {
  describe(`through ${client}`, () => {
    for (const it of cases) test(it.name, () => it.outcome);
    afterAll(finish);
  });
}

describe("pg's query, which is no tagged template", () => {
  test("is refused with a sentence that says so, and takes no process down", async () => {
    const [program = "", ...args] = [...runtime.run, "test/runner/query.ts"];
    const { stdout } = await execute(join(root, "node_modules", ".bin", program), args, {
      cwd: root,
      env: { ...process.env, NO_COLOR: "1" },
    });
    const refusal = "TypeError: Cannot proceed as sql must be a tagged-template client, " +
      "like postgres(url): received a function of 3 parameters, like pg's query\n";
    assert.equal(stdout, `${refusal.repeat(4)}goes on\n`);
  });
});
