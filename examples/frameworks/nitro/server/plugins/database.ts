import { definePlugin } from "nitro";
import { sql } from "../utils/sessions.ts";

// Open connections keep the process alive after Nitro has closed its server.
export default definePlugin((nitroApp) => {
  nitroApp.hooks.hook("close", () => sql.end({ timeout: 5 }));
});
