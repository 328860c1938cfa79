import { defineHandler } from "nitro";
import { revokeSession, sql } from "../utils/sessions.ts";

export default defineHandler(async (event) => {
  const { headers } = await revokeSession(event.req.headers, sql);
  return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
});
