import { serve } from "@hono/node-server";
import process from "node:process";
import { app } from "./app.ts";

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000) });
