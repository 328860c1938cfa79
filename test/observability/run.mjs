// Compiles the recipes of examples/observability/ and runs their tests. See scripts/observability.mjs.
import { cpSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { root } from "../../scripts/run.mjs";
import { openDatabase } from "../runner/database.ts";
import { prepareExample } from "../runner/example.mjs";

const example = await prepareExample("observability");
const database = await openDatabase({ server: example.url });
try {
  const compiles = await example.compile();
  const names = ["opentelemetry", "pino", "audit"].map((name) => `${name}.test.mjs`);
  for (const name of names) {
    cpSync(join(root, "test", "observability", name), join(example.folder, name));
  }
  const passes = await example.run(["node", "--test", ...names], { DATABASE_URL: database.url });
  process.exitCode = compiles && passes ? 0 : 1;
} finally {
  await database.close();
  await example.stop();
}
