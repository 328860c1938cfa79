// The example on Deno. Only the way it is served differs from bun.ts.
import process from "node:process";
import { fetch, prepare } from "./bun.ts";

await prepare();
Deno.serve({ hostname: "127.0.0.1", port: Number(process.env.PORT ?? 3000) }, fetch);
