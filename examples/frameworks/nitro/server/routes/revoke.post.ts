import { defineHandler } from "nitro";
import { redirect } from "nitro/h3";
import { revokeSessions, sql } from "../utils/sessions.ts";

export default defineHandler(async (event) => {
  const { session } = event.context.result;
  const form = await event.req.formData();
  // With the user's own key: nobody revokes the session of another user.
  if (session) await revokeSessions({ userId: session.userId, id: String(form.get("id")) }, sql);
  return redirect("/", 303);
});
