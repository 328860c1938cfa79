/// <reference types="bun" />
// Serves the example app on Bun:
//
//   DATABASE_URL=postgres://… bun examples/bun.ts
import process from "node:process";
import { fetch, prepare } from "./app.ts";

await prepare();
const port = Number(process.env.PORT ?? 3000);
const server = Bun.serve({ hostname: "127.0.0.1", port, development: false, fetch });
console.log(`Listening on ${server.url}`);
