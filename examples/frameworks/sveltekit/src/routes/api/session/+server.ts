import { json } from "@sveltejs/kit";
import type { RequestHandler } from "./$types";

export const GET: RequestHandler = ({ locals: { session, reason } }) =>
  session ? json(session) : json({ reason }, { status: 401 });
