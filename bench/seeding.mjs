import { performance } from "node:perf_hooks";
import { startChild } from "./children.mjs";

/**
 * Creates and fills the databases, two at a time.
 *
 * @param {Record<string, { module: string, seeds?: object, checkout?: string }>} databases The contestant
 * module that fills each, by the database's name, and its options; `checkout` is that of another version of coatcheck.
 * @returns {Promise<Record<string, string>>} Their URLs, by the database's name.
 */
export async function seedAll(databases, server, sessions) {
  const urls = {};
  const waiting = Object.entries(databases);
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [database, { module, checkout, seeds }] = next;
      const start = performance.now();
      urls[database] = await server.make(database);
      const child = startChild("Bun", "worker.mjs", module, checkout);
      await child.ask("seed", urls[database], sessions, { ...seeds, checkout });
      await child.stop();
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      console.log(
        `Seeded ${database} with ${sessions.toLocaleString("en")} sessions in ${seconds} s`,
      );
    }
  };
  await Promise.all([worker(), worker()]);
  // Without it, the checkpoint would run during a measurement.
  await server.admin`checkpoint`;
  return urls;
}
