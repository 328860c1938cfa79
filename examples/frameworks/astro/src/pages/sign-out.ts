import type { APIRoute } from "astro";
import { revokeSession, sql } from "../sessions.ts";

export const POST: APIRoute = async ({ request }) => {
  const { headers } = await revokeSession(request.headers, sql);
  return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
};
