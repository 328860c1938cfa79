import { defineHandler } from "nitro";
import { signInPage } from "../utils/pages.ts";
import { createSession, sql } from "../utils/sessions.ts";
import { checkPassword } from "../utils/users.ts";

export default defineHandler(async (event) => {
  const form = await event.req.formData();
  const username = String(form.get("username"));
  if (!await checkPassword(username, String(form.get("password")), sql)) {
    event.res.status = 401;
    return signInPage("Wrong username or password");
  }
  // `replaces` revokes the session that the browser had, against session fixation.
  const { headers } = await createSession(username, sql, { replaces: event.req.headers });
  return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
});
