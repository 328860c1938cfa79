// The example app on Cloudflare Workers, with the compatibility flag nodejs_compat and the secret DATABASE_URL.
//
// A Worker may use a connection only in the request that opened it. So each request creates a client, and ends
// it after the response. Create the schema from elsewhere (`prepare` in app.ts).
import { createSession, revokeSession, type SessionResult, withSession } from "coatcheck";
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
      return await withSession((request, result) => respond(request, result, sql), sql)(request);
    } catch (error) {
      if (!isOutage(error)) throw error;
      return new Response("The database is unreachable, try again\n", { status: 503 });
    } finally {
      context.waitUntil(sql.end({ timeout: 5 }));
    }
  },
};

async function respond(
  request: Request,
  result: SessionResult,
  sql: postgres.Sql,
): Promise<Response> {
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case "POST /sign-in":
      return await signIn(request, sql);
    case "GET /session":
      return showSession(result);
    case "POST /sign-out":
      return redirectHome((await revokeSession(request.headers, sql)).headers);
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
  return redirectHome(headers);
}

function showSession({ session, reason }: SessionResult): Response {
  const headers = { "cache-control": "no-store" };
  return session
    ? Response.json({ session }, { headers })
    : Response.json({ reason }, { status: 401, headers });
}

function redirectHome(headers: Headers): Response {
  headers.append("location", "/");
  return new Response(null, { status: 303, headers });
}
