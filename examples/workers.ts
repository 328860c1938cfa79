// The example on Cloudflare Workers, with the compatibility flag nodejs_compat and the secret DATABASE_URL.
//
// A Worker may use a connection only in the request that has opened it: each request makes its client, and
// ends it once the answer is on its way. What makes the schema (`prepare` in app.ts) runs elsewhere.
import { createSession, revokeSession, type Visit, withSession } from "@coatcheck/coatcheck";
import postgres from "postgres";
import { isOutage } from "./outage.ts";
import { checkPassword } from "./users.ts";

interface Environment {
  readonly DATABASE_URL: string;
}

interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

export default {
  async fetch(request: Request, env: Environment, context: Context): Promise<Response> {
    const sql = postgres(env.DATABASE_URL, { max: 1, fetch_types: false });
    try {
      return await withSession((request, visit) => answer(request, visit, sql), sql)(request);
    } catch (error) {
      if (!isOutage(error)) throw error;
      return new Response("The database does not answer\n", { status: 503 });
    } finally {
      context.waitUntil(sql.end({ timeout: 5 }));
    }
  },
};

async function answer(request: Request, visit: Visit, sql: postgres.Sql): Promise<Response> {
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case "POST /sign-in":
      return await signIn(request, sql);
    case "GET /session":
      return showSession(visit);
    case "POST /sign-out":
      return seeHome((await revokeSession(request.headers, sql)).headers);
    default:
      return new Response("Not found\n", { status: 404 });
  }
}

async function signIn(request: Request, sql: postgres.Sql): Promise<Response> {
  const form = await request.formData().catch(() => new FormData());
  const username = String(form.get("username") ?? "");
  const password = String(form.get("password") ?? "");
  if (!await checkPassword(username, password, sql)) {
    return new Response("Wrong username or password\n", { status: 401 });
  }
  const { headers } = await createSession(username, sql, { replaces: request.headers });
  return seeHome(headers);
}

function showSession({ session, reason }: Visit): Response {
  const headers = { "cache-control": "no-store" };
  return session
    ? Response.json({ session }, { headers })
    : Response.json({ reason }, { status: 401, headers });
}

function seeHome(headers: Headers): Response {
  headers.append("location", "/");
  return new Response(null, { status: 303, headers });
}
