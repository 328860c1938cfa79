import { afterAll, beforeAll, describe, test } from "bun:test";
import { conformance } from "../conformance.ts";
import { clients } from "./runner/clients.ts";
import { openDatabase } from "./runner/database.ts";

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
