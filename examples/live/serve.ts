/// <reference types="bun" />
// Serves events.ts on Bun, Deno, or Node 22.18 or later:
//
//   DATABASE_URL=postgres://… bun examples/live/serve.ts
import process from "node:process";
import { serve } from "../bridge.ts";
import { fetch } from "./events.ts";

declare const Deno: { serve(options: object, handler: typeof fetch): unknown };

const hostname = "127.0.0.1";
const port = Number(process.env.PORT ?? 3000);
if ("Bun" in globalThis) {
  // Bun closes a connection that is quiet for `idleTimeout`, which is 10 seconds by default.
  const server = Bun.serve({ hostname, port, idleTimeout: 60, development: false, fetch });
  console.log(`Listening on ${server.url}`);
} else if ("Deno" in globalThis) {
  Deno.serve({ hostname, port }, fetch);
} else {
  serve(fetch, port);
}
