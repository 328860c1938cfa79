// An app with one page, for fixtures.ts and the tests beside it.
import { serve } from "@hono/node-server";
import { configure } from "coatcheck";
import process from "node:process";
import postgres from "postgres";

const sql = postgres(process.env.DATABASE_URL!);
const { revokeSession, withSession } = configure({ rotateAfter: 3600 });

const fetch = withSession(async (request, { session }) => {
  if (request.method === "POST") {
    const { headers } = await revokeSession(request.headers, sql);
    return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
  }
  const body = session
    ? `<p>Signed in as ${session.username}</p><form method="post"><button>Sign out</button></form>`
    : "<p>Signed out</p>";
  return new Response(`<!doctype html><title>App</title>${body}`, {
    headers: { "content-type": "text/html; charset=utf-8" },
  });
}, sql);

serve({ fetch, hostname: "127.0.0.1", port: Number(process.env.PORT ?? 3000) });
