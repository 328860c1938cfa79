import type { APIRoute } from "astro";

export const GET: APIRoute = ({ locals: { result: { session, reason } } }) => {
  return Response.json(session ?? { reason }, { status: session ? 200 : 401 });
};
