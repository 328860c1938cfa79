import { performance } from "node:perf_hooks";
import { startChild } from "./children.mjs";

/** Fills the tables of every module, two at a time, and says where they are. */
export async function seedAll(modules, server, sessions) {
  const urls = {};
  const waiting = [...modules];
  const lane = async () => {
    for (let module = waiting.shift(); module; module = waiting.shift()) {
      const start = performance.now();
      urls[module] = await server.make(module);
      const child = startChild("Bun", "worker.mjs", module);
      await child.ask("seed", urls[module], sessions);
      await child.stop();
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(
        `Seeded ${module} with ${sessions.toLocaleString("en")} sessions in ${seconds} s`,
      );
    }
  };
  await Promise.all([lane(), lane()]);
  // Else the checkpoint that this calls for would come in somebody's turn.
  await server.admin`checkpoint`;
  return urls;
}
