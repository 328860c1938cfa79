import { defineHandler } from "nitro";
import { homePage, signInPage } from "../utils/pages.ts";
import { listSessions, sql } from "../utils/sessions.ts";

export default defineHandler(async (event) => {
  const { session } = event.context.result;
  return session ? homePage(session, await listSessions(session.userId, sql)) : signInPage();
});
