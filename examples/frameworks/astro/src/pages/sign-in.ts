import type { APIRoute } from "astro";
import { createSession, sql } from "../sessions.ts";
import { checkPassword } from "../users.ts";

export const POST: APIRoute = async ({ request }) => {
  const form = await request.formData();
  const username = String(form.get("username"));
  if (!await checkPassword(username, String(form.get("password")), sql)) {
    return new Response("Wrong username or password", { status: 401 });
  }
  const { headers } = await createSession(username, sql, { replaces: request.headers });
  return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
};
