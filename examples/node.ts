// Serves the example app on Node 22.18 or later, through a bridge from node:http to fetch.
import process from "node:process";
import { serve } from "./bridge.ts";
import { fetch, prepare } from "./app.ts";

await prepare();
serve(fetch, Number(process.env.PORT ?? 3000));
