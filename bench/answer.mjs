import process from "node:process";
import { createInterface } from "node:readline";

/**
 * Answers the process that started this one: a line of JSON in, a line of JSON out.
 *
 * It ends when that process closes the pipe or is gone, so nothing is left running.
 */
export function answer(verbs) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const { id, verb, args } = JSON.parse(line);
    try {
      say({ id, result: await verbs[verb](...args) ?? null });
    } catch (error) {
      say({ id, error: String(error?.stack ?? error) });
    }
  });
  lines.on("close", () => process.exit(0));
}

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
