import { performance } from "node:perf_hooks";
import { startChild } from "./children.mjs";

/**
 * Fills databases, two at a time, and says where they are.
 *
 * @param {Record<string, string>} databases The module whose tables each holds.
 */
export async function seedAll(databases, server, sessions) {
  const urls = {};
  const waiting = Object.entries(databases);
  const lane = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [database, module] = next;
      const start = performance.now();
      urls[database] = await server.make(database);
      const child = startChild("Bun", "worker.mjs", module);
      await child.ask("seed", urls[database], sessions);
      await child.stop();
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(
        `Seeded ${database} with ${sessions.toLocaleString("en")} sessions in ${seconds} s`,
      );
    }
  };
  await Promise.all([lane(), lane()]);
  // Else the checkpoint that this calls for would come in somebody's turn.
  await server.admin`checkpoint`;
  return urls;
}
