// Serves the example app on Deno.
import process from "node:process";
import { fetch, prepare } from "./app.ts";

await prepare();
Deno.serve({ hostname: "127.0.0.1", port: Number(process.env.PORT ?? 3000) }, fetch);
