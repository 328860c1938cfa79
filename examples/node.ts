// Serves the example app on Node 22.18 or later, through a bridge from node:http to fetch.
import process from "node:process";
import { serve } from "./bridge.ts";
import { appWith, prepare } from "./app.ts";
import { openDatabase } from "./database.ts";

const sql = openDatabase();
await prepare(sql);
serve(appWith(sql), Number(process.env.PORT ?? 3000));
