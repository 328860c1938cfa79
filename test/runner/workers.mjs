// Serves examples/workers.ts as Cloudflare does: in workerd, by Miniflare, which runs on Node.
import { Miniflare } from "miniflare";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const bundle = execFileSync(join(root, "node_modules", ".bin", "bun"), [
  "build",
  "examples/workers.ts",
  "--target=browser",
  "--conditions=workerd",
  "--external=cloudflare:*",
  "--external=node:*",
], { cwd: root, encoding: "utf8" });

const worker = new Miniflare({
  modules: [{ type: "ESModule", path: "worker.js", contents: bundle }],
  compatibilityDate: "2026-04-01",
  compatibilityFlags: ["nodejs_compat"],
  bindings: { DATABASE_URL: process.env.DATABASE_URL },
  host: "127.0.0.1",
  port: Number(process.env.PORT),
});
process.on("SIGTERM", async () => {
  await worker.dispose();
  process.exit();
});
console.log(`Listening on ${await worker.ready}`);
