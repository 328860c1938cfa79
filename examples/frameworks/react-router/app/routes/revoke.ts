import { redirect } from "react-router";
import { revokeSessions, sessionContext, sql } from "../.server/sessions";
import type { Route } from "./+types/revoke";

export async function action({ request, context }: Route.ActionArgs) {
  const { session } = context.get(sessionContext);
  const form = await request.formData();
  // With the user's own key: nobody revokes the session of another user.
  if (session) await revokeSessions({ userId: session.userId, id: String(form.get("id")) }, sql);
  return redirect("/");
}
