// What `npm start` serves: a page to sign in and out, on Bun.
//
//   DATABASE_URL=postgres://… bun examples/demo/server.ts
//
// It keeps its users in a schema of its own, coatcheck_demo, so that it can share a database.
import { configure } from "@coatcheck/coatcheck";
import process from "node:process";
import { openDatabase } from "../database.ts";
import { isCrossOrigin } from "../origin.ts";
import { isOutage } from "../outage.ts";
import type { Html } from "./html.ts";
import { noticePage, sessionPage, signInPage } from "./page.ts";
import { contentSecurityPolicy } from "./style.ts";
import { checkPassword, prepare } from "./users.ts";

const sql = openDatabase();

// Safari stores no Secure cookie of http://localhost; COOKIE=plain is for that browser alone.
const cookie = { secure: process.env.COOKIE !== "plain" };
const { createSession, revokeSession, validateSession } = configure({ cookie });

const routes = new Map([
  ["GET /", home],
  ["POST /sign-in", signIn],
  ["GET /session", showSession],
  ["POST /sign-out", signOut],
]);

async function fetch(request: Request): Promise<Response> {
  if (isCrossOrigin(request)) {
    return answer(403, noticePage("Refused", "This form was sent by another site."));
  }
  const { pathname } = new URL(request.url);
  const method = request.method === "HEAD" ? "GET" : request.method;
  const route = routes.get(`${method} ${pathname}`);
  if (!route) return notHere(pathname);
  try {
    return await route(request);
  } catch (error) {
    if (!isOutage(error)) throw error;
    // A failing store signs nobody out: the answer says so, and leaves the cookie alone.
    const text = "The database does not answer. You are still signed in, if you were: try again.";
    return answer(503, noticePage("Just a moment", text), new Headers({ "retry-after": "5" }));
  }
}

async function home(request: Request): Promise<Response> {
  const { session, headers } = await validateSession(request.headers, sql);
  return answer(200, session ? sessionPage(session) : signInPage(), headers);
}

async function signIn(request: Request): Promise<Response> {
  const form = await request.formData().catch(() => new FormData());
  const username = String(form.get("username") ?? "");
  const password = String(form.get("password") ?? "");
  if (!await checkPassword(username, password, sql)) {
    return answer(401, signInPage({ username, message: "Wrong username or password." }));
  }
  // A session that this browser has already ends here, so that nobody can plant one (fixation).
  const { headers } = await createSession(username, sql, { replaces: request.headers });
  return seeHome(headers);
}

async function showSession(request: Request): Promise<Response> {
  const { session, reason, headers } = await validateSession(request.headers, sql);
  headers.set("cache-control", "no-store");
  return session
    ? Response.json({ session }, { headers })
    : Response.json({ reason }, { status: 401, headers });
}

async function signOut(request: Request): Promise<Response> {
  const { headers } = await revokeSession(request.headers, sql);
  return seeHome(headers);
}

function notHere(pathname: string): Response {
  const allow = (routes.has(`GET ${pathname}`) && "GET, HEAD") ||
    (routes.has(`POST ${pathname}`) && "POST");
  if (!allow) return answer(404, noticePage("Not here", "There is no such page."));
  const page = noticePage("Not like this", "This is asked for in another way.");
  return answer(405, page, new Headers({ allow }));
}

function seeHome(headers: Headers): Response {
  headers.set("location", "/");
  return new Response(null, { status: 303, headers });
}

// The headers are those of a verb, which belong to the caller, or fresh ones.
function answer(status: number, page: Html, headers = new Headers()): Response {
  headers.set("content-type", "text/html; charset=utf-8");
  headers.set("content-security-policy", contentSecurityPolicy);
  headers.set("cache-control", "no-store");
  headers.set("x-content-type-options", "nosniff");
  return new Response(page.html, { status, headers });
}

// cli/start.mjs, which has started this, was killed.
process.on("disconnect", () => process.exit(1));

try {
  await prepare(sql);
} catch (error) {
  const { message, code } = error as { message: string; code?: string };
  console.error(`Cannot prepare the database: ${message || code}`);
  process.exit(1);
}
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT ?? 3000),
  maxRequestBodySize: 16 * 1024,
  development: false,
  fetch,
});
console.log(`Listening on ${server.url}`);
