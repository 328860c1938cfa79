/// <reference types="bun" />
// Serves the example app on Bun:
//
//   DATABASE_URL=postgres://… bun examples/bun.ts
import process from "node:process";
import { appWith, prepare } from "./app.ts";
import { openDatabase } from "./database.ts";

const sql = openDatabase();
await prepare(sql);
const port = Number(process.env.PORT ?? 3000);
const server = Bun.serve({ hostname: "127.0.0.1", port, development: false, fetch: appWith(sql) });
console.log(`Listening on ${server.url}`);
