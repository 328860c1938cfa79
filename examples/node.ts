// The example on Node, from 22.18 on as it stands: bun.ts, and a bridge.
import process from "node:process";
import { serve } from "./bridge.ts";
import { fetch, prepare } from "./bun.ts";

await prepare();
serve(fetch, Number(process.env.PORT ?? 3000));
