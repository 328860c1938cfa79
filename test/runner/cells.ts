import { afterAll, beforeAll, describe, test } from "bun:test";
import { type Client, conformance } from "../../conformance.ts";

interface Case {
  readonly name: string;
  readonly run: () => Promise<void>;
  outcome?: Promise<void>;
}

/**
 * Registers the conformance suite for each of these clients, by their names.
 *
 * All run side by side, each test of one after the other: most of it is waiting for a deadline.
 */
export function sideBySide(clients: Readonly<Record<string, () => Promise<Client>>>): void {
  const cells = Object.entries(clients).map(([client, open]) => {
    const cases: Case[] = [];
    let finish: () => Promise<void>;
    conformance({
      test: (name, run) => cases.push({ name, run }),
      afterAll: (run) => finish = run,
      open,
    });
    return { client, cases, finish: () => finish() };
  });

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
}

/** The same client, with something to do once it is closed. */
export function closing(client: Client, after: () => Promise<void>): Client {
  return {
    ...client,
    close: async () => {
      await client.close?.();
      await after();
    },
  };
}
