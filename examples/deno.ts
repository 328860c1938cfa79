// Serves the example app on Deno.
import process from "node:process";
import { appWith, prepare } from "./app.ts";
import { openDatabase } from "./database.ts";

const sql = openDatabase();
await prepare(sql);
Deno.serve({ hostname: "127.0.0.1", port: Number(process.env.PORT ?? 3000) }, appWith(sql));
