// The example app: sign in, show the session, sign out. bun.ts, deno.ts, node.ts and workers.ts serve it.
//
// users.ts stands for what your app already has: a table of users, and a password check.
import { createSession, migrate, revokeSession, type SessionResult, withSession } from "coatcheck";
import type { Sql } from "postgres";
import { isOutage } from "./outage.ts";
import { checkPassword, createUsers } from "./users.ts";

/** Makes the function that answers requests. */
export function appWith(sql: Sql): (request: Request) => Promise<Response> {
  // Rejects cross-origin requests, and validates the session before it calls the handler.
  const route = withSession(async (request, result) => {
    switch (`${request.method} ${new URL(request.url).pathname}`) {
      case "POST /sign-in":
        return await signIn(request, sql);
      case "GET /session":
        return showSession(result);
      case "POST /sign-out":
        return await signOut(request, sql);
      default:
        return new Response("Not found\n", { status: 404 });
    }
  }, sql);
  return async (request) => {
    try {
      return await route(request);
    } catch (error) {
      if (!isOutage(error)) throw error;
      // The user stays signed in while the database is unreachable: set no cookie.
      return new Response("The database is unreachable, try again\n", { status: 503 });
    }
  };
}

async function signIn(request: Request, sql: Sql): Promise<Response> {
  const form = await request.formData().catch(() => new FormData());
  const username = String(form.get("username") ?? "");
  const password = String(form.get("password") ?? "");
  if (!await checkPassword(username, password, sql)) {
    return new Response("Wrong username or password\n", { status: 401 });
  }
  // `replaces` revokes the session that the browser presents, against session fixation.
  const { headers } = await createSession(username, sql, { replaces: request.headers });
  return redirectHome(headers);
}

function showSession({ session, reason }: SessionResult): Response {
  const headers = { "cache-control": "no-store" };
  return session
    ? Response.json({ session }, { headers })
    : Response.json({ reason }, { status: 401, headers });
}

async function signOut(request: Request, sql: Sql): Promise<Response> {
  const { headers } = await revokeSession(request.headers, sql);
  return redirectHome(headers);
}

// You own the headers that a function returns. To merge them into others, append each entry: an object made
// from Headers keeps only one Set-Cookie.
function redirectHome(headers: Headers): Response {
  headers.append("location", "/");
  return new Response(null, { status: 303, headers });
}

/** Creates the users and the schema `coatcheck`. Your app does this when it runs its migrations. */
export async function prepare(sql: Sql): Promise<void> {
  await createUsers(sql);
  await migrate(sql, { users: { table: "users", id: "id", username: "username" } });
}
