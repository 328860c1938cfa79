// What websocket.ts and events.ts have in common: the app of ../app.ts, and a cache that knows when a session ends.
import { configure, migrate, type SessionFunctions } from "coatcheck";
import { createSessionCache, type SessionCache } from "coatcheck/cache";
import type { Sql } from "postgres";
import { appWith, prepare } from "../app.ts";
import { openDatabase } from "../database.ts";
import { isOutage } from "../outage.ts";

export const sql: Sql = openDatabase();
await prepare(sql);
// Your app does this when it runs its migrations.
await migrate(sql, { notify: true });
export const cache: SessionCache = await createSessionCache({
  sql,
  listen: (channel, onMessage, onListen) => sql.listen(channel, onMessage, onListen),
});
export const sessions: SessionFunctions = configure({ cache });

const app = appWith(sql);
const signOutEverywhere = sessions.withSession(async (_request, { session }) => {
  if (!session) return new Response("Sign in first\n", { status: 401 });
  const revoked = await sessions.revokeSessions({ userId: session.userId }, sql);
  return Response.json({ revoked: revoked.length });
}, sql);

/** Answers all but the live route: the page with its script, the sign-in, the sign-out, and figures. */
export async function answer(request: Request, script: string): Promise<Response> {
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case "GET /":
      return page(script);
    case "POST /sign-out-everywhere":
      return await signOutEverywhere(request).catch(unavailable);
    case "GET /stats": // For your monitoring: do not show it to everyone.
      return Response.json(cache.stats());
    default:
      return await app(request);
  }
}

/** Answers while the database is unreachable. The user stays signed in: set no cookie. */
export function unavailable(error: unknown): Response {
  if (!isOutage(error)) throw error;
  return new Response("The database is unreachable, try again\n", { status: 503 });
}

function page(script: string): Response {
  const html = `<!doctype html>
<html lang="en">
<title>Live</title>
<form method="post" action="/sign-in">
  <input name="username" value="ada" aria-label="Username">
  <input name="password" value="ada-demo" type="password" aria-label="Password">
  <button>Sign in</button>
</form>
<form method="post" action="/sign-out-everywhere"><button>Sign out on all devices</button></form>
<output></output>
<script type="module">
  const show = (text) => document.querySelector("output").textContent = text;
  ${script}
</script>
`;
  return new Response(html, { headers: { "content-type": "text/html; charset=utf-8" } });
}
