// Runs the faults with one client, and reports each. See scripts/faults.mjs.
import { appendFileSync } from "node:fs";
import process from "node:process";
import { catchStrays } from "../runner/pools.ts";
import { NotRun } from "./servers.mjs";

const groups = ["failover", "patroni", "pooler", "disk", "citus", "load"];
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !groups.includes(name));
if (unknown.length > 0) {
  console.error(`There is no ${unknown.join(", ")} in test/faults/: ${groups.join(", ")}`);
  process.exit(1);
}
const client = process.env.CLIENT;
const watch = catchStrays();
let failed = 0;
for (const name of asked.length > 0 ? asked : groups) {
  const { faults } = await import(`./${name}.mjs`);
  for (const { fault, expected, clients, run } of faults) {
    if (clients && !clients.includes(client)) continue;
    const start = performance.now();
    let [outcome, seen] = ["passed", ""];
    try {
      seen = await run(client, watch.strays);
      if (watch.strays.length > 0) throw new Error(`Nobody has caught: ${watch.strays.splice(0)}`);
    } catch (error) {
      outcome = error instanceof NotRun ? "not run" : "failed";
      seen = String(error.message);
      if (outcome === "failed") {
        failed++;
        console.error(error);
      }
    }
    const seconds = Math.round((performance.now() - start) / 100) / 10;
    appendFileSync(
      process.env.REPORT,
      `${JSON.stringify({ fault, client, expected, seen, seconds, outcome })}\n`,
    );
    console.log(`${outcome}: ${fault}, ${client}: ${seen} (${seconds} s)`);
  }
}
process.exit(failed > 0 ? 1 : 0);
