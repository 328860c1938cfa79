// Compiles examples/testing/ and runs its tests. See scripts/playwright.mjs.
import { createServer } from "node:net";
import process from "node:process";
import { openDatabase } from "../runner/database.ts";
import { prepareExample } from "../runner/example.mjs";

const example = await prepareExample("testing");
const database = await openDatabase({ server: example.url });
try {
  const compiles = await example.compile();
  const passes = await example.run(["npm", "test", "--silent"], {
    DATABASE_URL: database.url,
    PORT: String(await freePort()),
  });
  process.exitCode = compiles && passes ? 0 : 1;
} finally {
  await database.close();
  await example.stop();
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
