import { getSession } from "../../../lib/sessions";

export async function GET(): Promise<Response> {
  const { session, reason } = await getSession();
  const headers = { "cache-control": "no-store" };
  return session
    ? Response.json(session, { headers })
    : Response.json({ reason }, { status: 401, headers });
}
