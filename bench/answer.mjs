import process from "node:process";
import { createInterface } from "node:readline";

/**
 * Answers the parent process: one line of JSON in, one line of JSON out.
 *
 * The process exits when the parent closes the pipe or exits.
 *
 * @param {Record<string, Function>} methods The functions that the parent can call.
 */
export function answer(methods) {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const { id, method, args } = JSON.parse(line);
    try {
      send({ id, result: await methods[method](...args) ?? null });
    } catch (error) {
      send({ id, error: String(error?.stack ?? error) });
    }
  });
  lines.on("close", () => process.exit(0));
}

function send(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
