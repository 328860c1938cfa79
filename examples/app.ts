// The example app: sign in, show the session, sign out. bun.ts, deno.ts and node.ts serve its `fetch`.
//
// users.ts is what an app has before it has sessions: a table of users, and a password check.
import {
  createSession,
  migrate,
  revokeSession,
  type Visit,
  withSession,
} from "@coatcheck/coatcheck";
import { openDatabase } from "./database.ts";
import { isOutage } from "./outage.ts";
import { checkPassword, createUsers } from "./users.ts";

const sql = openDatabase();

// It refuses what a page of another origin sends, and finds out who is there.
const route = withSession(async (request, visit) => {
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case "POST /sign-in":
      return await signIn(request);
    case "GET /session":
      return showSession(visit);
    case "POST /sign-out":
      return await signOut(request);
    default:
      return new Response("Not found\n", { status: 404 });
  }
}, sql);

/** Answers one request. */
export async function fetch(request: Request): Promise<Response> {
  try {
    return await route(request);
  } catch (error) {
    if (!isOutage(error)) throw error;
    // A failing store signs nobody out: the answer says so, and leaves the cookie alone.
    return new Response("The database does not answer\n", { status: 503 });
  }
}

async function signIn(request: Request): Promise<Response> {
  const form = await request.formData().catch(() => new FormData());
  const username = String(form.get("username") ?? "");
  const password = String(form.get("password") ?? "");
  if (!await checkPassword(username, password, sql)) {
    return new Response("Wrong username or password\n", { status: 401 });
  }
  // A session that this browser has already ends here, so that nobody can plant one (fixation).
  const { headers } = await createSession(username, sql, { replaces: request.headers });
  return seeHome(headers);
}

function showSession({ session, reason }: Visit): Response {
  const headers = { "cache-control": "no-store" };
  return session
    ? Response.json({ session }, { headers })
    : Response.json({ reason }, { status: 401, headers });
}

async function signOut(request: Request): Promise<Response> {
  const { headers } = await revokeSession(request.headers, sql);
  return seeHome(headers);
}

// The headers of a verb belong to the caller. Where a response has some of its own, append entry by
// entry: an object made of Headers keeps only one Set-Cookie.
function seeHome(headers: Headers): Response {
  headers.append("location", "/");
  return new Response(null, { status: 303, headers });
}

/** Makes the users and the schema `coatcheck`. An app does this where it runs its migrations. */
export async function prepare(): Promise<void> {
  await createUsers(sql);
  await migrate(sql, { users: { table: "users", id: "id", username: "username" } });
}
