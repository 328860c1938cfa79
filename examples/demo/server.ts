// What `npm start` serves: sessions to look at, to end and to steal, on Bun.
//
//   DATABASE_URL=postgres://… bun examples/demo/server.ts
//
// It keeps its users in a schema of its own, coatcheck_demo, so that it can share a database.
import { configure, type Granted, isCrossOrigin } from "@coatcheck/coatcheck";
import process from "node:process";
import { openDatabase } from "../database.ts";
import { isOutage } from "../outage.ts";
import { notice } from "./frame.ts";
import type { Html } from "./html.ts";
import * as pages from "./pages.ts";
import { type Data, policy, PROOF_LASTS } from "./policy.ts";
import { replay, theft } from "./theft.ts";
import { checkPassword, prepare, setPassword } from "./users.ts";

const sql = openDatabase();
const {
  createSession,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  validateSession,
} = configure<Data>(policy);

const routes = new Map<string, (request: Request) => Response | Promise<Response>>([
  ["GET /", home],
  ["POST /sign-in", signIn],
  ["GET /session", showSession],
  ["POST /sign-out", signOut],
  ["GET /devices", signedIn(showDevices)],
  ["POST /devices/end", signedIn(endDevice)],
  ["POST /devices/end-others", signedIn(endOtherDevices)],
  ["GET /password", signedIn(askPassword)],
  ["POST /password", signedIn(changePassword)],
  ["GET /recovery-code", signedIn(showRecoveryCode)],
  ["POST /recovery-code", signedIn(proveIdentity)],
  ["GET /theft", signedIn(tellTheft)],
  ["POST /theft/copy", signedIn(copyCookie)],
  ["POST /theft/rotate", signedIn(rotate)],
  ["POST /theft/replay", signedIn(replayCopy)],
  ["GET /style.css", () => file("style.css")],
  ["GET /page.js", () => file("page.js")],
]);

async function fetch(request: Request): Promise<Response> {
  if (isCrossOrigin(request)) {
    return answer(403, notice("Refused", "This form was sent by another site."));
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
    return answer(503, notice("Just a moment", text), new Headers({ "retry-after": "5" }));
  }
}

// In, who am I, out.

async function home(request: Request): Promise<Response> {
  const visit = await validateSession(request.headers, sql);
  const page = visit.session ? pages.session(visit.session) : pages.signIn({ ended: visit });
  return answer(200, page, visit.headers);
}

async function signIn(request: Request): Promise<Response> {
  const form = await read(request);
  const username = form("username");
  if (!await checkPassword(username, form("password"), sql)) {
    const failed = { username, message: "Wrong username or password." };
    return answer(401, pages.signIn({ failed }));
  }
  const { headers } = await createSession(username, sql, {
    // A session that this browser has already ends here, so that nobody can plant one (fixation).
    replaces: request.headers,
    persistent: form("remember") !== "",
    data: { userAgent: request.headers.get("user-agent")?.slice(0, 300) ?? "" },
  });
  return see("/", headers);
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
  return see("/", headers);
}

// For those who are signed in.

type Visit = Granted<Data>;

/** Lets those in who are signed in, and sends all others to the form, which tells them why. */
function signedIn(handler: (request: Request, visit: Visit) => Response | Promise<Response>) {
  return async (request: Request): Promise<Response> => {
    const visit = await validateSession(request.headers, sql);
    return visit.session ? await handler(request, visit) : see("/", visit.headers);
  };
}

async function showDevices(_request: Request, { session, headers }: Visit): Promise<Response> {
  const sessions = await listSessions(session.userId, sql);
  const elsewhere = sessions.filter(({ id }) => id !== session.id);
  return answer(200, pages.devices(session, elsewhere), headers);
}

async function endDevice(request: Request, { session, headers }: Visit): Promise<Response> {
  const id = (await read(request))("id");
  // By user and id: an id that somebody made up, or found, is nobody else's session.
  await revokeSessions({ userId: session.userId, id }, sql, { reason: "ended-elsewhere" });
  return see("/devices", headers);
}

async function endOtherDevices(_request: Request, { session, headers }: Visit): Promise<Response> {
  const others = { userId: session.userId, except: session.id };
  await revokeSessions(others, sql, { reason: "ended-elsewhere" });
  return see("/devices", headers);
}

function askPassword(_request: Request, { session, headers }: Visit): Response {
  return answer(200, pages.password(session.username), headers);
}

async function changePassword(request: Request, { session, headers }: Visit): Promise<Response> {
  const form = await read(request);
  const password = form("new");
  const refuse = (status: number, field: "current" | "new", message: string) =>
    answer(status, pages.password(session.username, { field, message }), headers);
  if (!await checkPassword(session.username, form("current"), sql)) {
    return refuse(401, "current", "Wrong password.");
  }
  if (password.length < 8) return refuse(422, "new", "The new password is too short.");
  // First the password: a sign-in with the old one that is under way would outlive the rest.
  await setPassword(session.username, password, sql);
  const others = { userId: session.userId, except: session.id };
  const ended = await revokeSessions(others, sql, { reason: "password-changed" });
  // The user has just proved who they are. Whoever has copied the cookie is out, too.
  const renewed = await reauthenticateSession(request.headers, sql);
  return answer(200, pages.passwordChanged(ended.length), renewed.headers);
}

// What is dangerous asks for more than a session: a proof of identity that is fresh.

async function showRecoveryCode(request: Request, { session }: Visit): Promise<Response> {
  const fresh = { authenticatedWithin: PROOF_LASTS };
  const visit = await validateSession(request.headers, sql, fresh);
  if (visit.session) return answer(200, pages.recoveryCode(visit.session), visit.headers);
  if (visit.reason === "stale") return answer(401, pages.proof(session.username), visit.headers);
  return see("/", visit.headers);
}

async function proveIdentity(request: Request, { session, headers }: Visit): Promise<Response> {
  const form = await read(request);
  if (!await checkPassword(session.username, form("password"), sql)) {
    return answer(401, pages.proof(session.username, "Wrong password."), headers);
  }
  const renewed = await reauthenticateSession(request.headers, sql);
  return see("/recovery-code", renewed.headers);
}

// The stolen cookie. The thief's pocket is here, as it is the same to the database where a cookie comes
// from. It holds what no server may hold, the cookies themselves: this is for the demo alone.

const copies = new Map<string, { readonly headers: Headers; readonly worksUntil?: Date }>();

function tellTheft(_request: Request, { session, headers }: Visit): Response {
  return answer(200, theft(copies.get(session.id)), headers);
}

function copyCookie(request: Request, { session, headers }: Visit): Response {
  if (copies.size >= 100) copies.clear();
  const cookie = request.headers.get("cookie") ?? "";
  copies.set(session.id, { headers: new Headers({ cookie }) });
  return see("/theft", headers);
}

async function rotate(request: Request, { session }: Visit): Promise<Response> {
  const { headers } = await rotateSession(request.headers, sql);
  const copy = copies.get(session.id);
  if (copy && !copy.worksUntil) {
    // The new secret is first seen where the redirect leads: the grace begins with that.
    const worksUntil = new Date(Date.now() + policy.rotationGrace * 1000);
    copies.set(session.id, { ...copy, worksUntil });
  }
  return see("/theft", headers);
}

async function replayCopy(request: Request, { session, headers }: Visit): Promise<Response> {
  const copy = copies.get(session.id);
  if (!copy) return see("/theft", headers);
  const thief = await validateSession(copy.headers, sql);
  const owner = await validateSession(request.headers, sql);
  if (!thief.session) copies.delete(session.id);
  return answer(200, replay(thief, owner), owner.headers);
}

function notHere(pathname: string): Response {
  const allow = [
    ...(routes.has(`GET ${pathname}`) ? ["GET", "HEAD"] : []),
    ...(routes.has(`POST ${pathname}`) ? ["POST"] : []),
  ].join(", ");
  if (!allow) return answer(404, notice("Not here", "There is no such page."));
  const page = notice("Not like this", "This is asked for in another way.");
  return answer(405, page, new Headers({ allow }));
}

async function read(request: Request): Promise<(field: string) => string> {
  const form = await request.formData().catch(() => new FormData());
  return (field) => String(form.get(field) ?? "");
}

function see(location: string, headers: Headers): Response {
  headers.set("location", location);
  return new Response(null, { status: 303, headers });
}

// Lets a page have its own style, script, icon and forms, and nothing else.
const contentSecurityPolicy = [
  "default-src 'none'",
  "style-src 'self'",
  "script-src 'self'",
  "img-src data:",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

// The headers are those of a verb, which belong to the caller, or fresh ones.
function answer(status: number, page: Html, headers = new Headers()): Response {
  headers.set("content-type", "text/html; charset=utf-8");
  headers.set("content-security-policy", contentSecurityPolicy);
  // So that the back button shows nothing private to whoever comes after a sign-out.
  headers.set("cache-control", "no-store");
  headers.set("x-content-type-options", "nosniff");
  return new Response(page.html, { status, headers });
}

function file(name: string): Response {
  const headers = { "cache-control": "no-cache", "x-content-type-options": "nosniff" };
  return new Response(Bun.file(new URL(name, import.meta.url)), { headers });
}

// scripts/start.mjs, which has started this, was killed.
process.on("disconnect", () => process.exit(1));

function giveUp({ message, code }: { message: string; code?: string }): never {
  console.error(`Cannot prepare the database: ${message || code}`);
  process.exit(1);
}

// To what takes connections and is no PostgreSQL, postgres.js would connect for ever.
const patience = setTimeout(giveUp, 20_000, { message: "no PostgreSQL has answered for 20 s" });
await prepare(sql).catch(giveUp);
clearTimeout(patience);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT ?? 3000),
  maxRequestBodySize: 16 * 1024,
  development: false,
  fetch,
});
console.log(`Listening on ${server.url}`);
