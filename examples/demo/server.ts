// The demo that `npm start` serves, on Bun: sign-in, devices, re-authentication and token-theft detection.
//
//   DATABASE_URL=postgres://… bun examples/demo/server.ts
//
// Its users are in a schema of their own, coatcheck_demo, so that it can share a database.
import { configure, isCrossOrigin, type Session, type SessionResult } from "coatcheck";
import process from "node:process";
import { openDatabase } from "../database.ts";
import { isOutage } from "../outage.ts";
import { notice } from "./frame.ts";
import type { Html } from "./html.ts";
import * as pages from "./pages.ts";
import { type Data, policy, PROOF_LASTS } from "./policy.ts";
import { replay, theft } from "./theft.ts";
import { checkPassword, prepare, setPassword } from "./users.ts";
import { endOf } from "./warning.ts";

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
// It records no use, so an open page that asks does not keep the session alive.
const asking = configure<Data>({ ...policy, touchInterval: false });

const routes = new Map<string, (request: Request) => Response | Promise<Response>>([
  ["GET /", home],
  ["POST /sign-in", signIn],
  ["GET /session", showSession],
  ["GET /session/end", showEnd],
  ["POST /session/end", staySignedIn],
  ["POST /sign-out", signOut],
  ["GET /devices", requireSession(showDevices)],
  ["POST /devices/revoke", requireSession(revokeDevice)],
  ["POST /devices/revoke-others", requireSession(revokeOtherDevices)],
  ["GET /password", requireSession(askPassword)],
  ["POST /password", requireSession(changePassword)],
  ["GET /recovery-code", requireSession(showRecoveryCode)],
  ["POST /recovery-code", requireSession(confirmPassword)],
  ["GET /theft", requireSession(showTheft)],
  ["POST /theft/copy", requireSession(copyCookie)],
  ["POST /theft/rotate", requireSession(rotate)],
  ["POST /theft/replay", requireSession(replayCopy)],
  ["GET /style.css", () => file("style.css")],
  ["GET /page.js", () => file("page.js")],
  ["GET /warning.js", () => file("warning.js")],
]);

async function fetch(request: Request): Promise<Response> {
  if (isCrossOrigin(request)) {
    return respond(403, notice("Request rejected", "Another site sent this form."));
  }
  const { pathname } = new URL(request.url);
  const method = request.method === "HEAD" ? "GET" : request.method;
  const route = routes.get(`${method} ${pathname}`);
  if (!route) return rejectRoute(pathname);
  try {
    return await route(request);
  } catch (error) {
    if (!isOutage(error)) throw error;
    // The user stays signed in while the database is unreachable: set no cookie.
    const text = "The database is unreachable. If you were signed in, you still are.";
    return respond(503, notice("Try again", text), new Headers({ "retry-after": "5" }));
  }
}

// Sign in, show the session, sign out.

async function home(request: Request): Promise<Response> {
  const result = await validateSession(request.headers, sql);
  const page = result.session ? pages.session(result.session) : pages.signIn({ ended: result });
  return respond(200, page, result.headers);
}

async function signIn(request: Request): Promise<Response> {
  const form = await readForm(request);
  const username = form("username");
  if (!await checkPassword(username, form("password"), sql)) {
    const failed = { username, message: "Wrong username or password." };
    return respond(401, pages.signIn({ failed }));
  }
  const { headers } = await createSession(username, sql, {
    // Revokes the session that the browser presents, against session fixation.
    replaces: request.headers,
    persistent: form("remember") !== "",
    data: { userAgent: request.headers.get("user-agent")?.slice(0, 300) ?? "" },
  });
  return redirect("/", headers);
}

async function showSession(request: Request): Promise<Response> {
  const { session, reason, headers } = await validateSession(request.headers, sql);
  headers.set("cache-control", "no-store");
  return session
    ? Response.json({ session }, { headers })
    : Response.json({ reason }, { status: 401, headers });
}

// For the warning of each page.

async function showEnd(request: Request): Promise<Response> {
  return end(await asking.validateSession(request.headers, sql));
}

async function staySignedIn(request: Request): Promise<Response> {
  return end(await validateSession(request.headers, sql));
}

function end({ session, headers }: SessionResult<Data>): Response {
  headers.set("cache-control", "no-store");
  return Response.json(session ? endOf(session) : { seconds: 0, canStay: false }, { headers });
}

async function signOut(request: Request): Promise<Response> {
  const { headers } = await revokeSession(request.headers, sql);
  return redirect("/", headers);
}

// Pages for a signed-in user.

interface SignedIn {
  readonly session: Session<Data>;
  readonly headers: Headers;
}

/** Calls the handler for a signed-in user, and redirects others to the sign-in form, which says why. */
function requireSession(
  handler: (request: Request, current: SignedIn) => Response | Promise<Response>,
) {
  return async (request: Request): Promise<Response> => {
    const result = await validateSession(request.headers, sql);
    return result.session ? await handler(request, result) : redirect("/", result.headers);
  };
}

async function showDevices(_request: Request, { session, headers }: SignedIn): Promise<Response> {
  const sessions = await listSessions(session.userId, sql);
  const elsewhere = sessions.filter(({ id }) => id !== session.id);
  return respond(200, pages.devices(session, elsewhere), headers);
}

async function revokeDevice(request: Request, { session, headers }: SignedIn): Promise<Response> {
  const id = (await readForm(request))("id");
  // The id comes from a form. With the user's key beside it, it cannot revoke another user's session.
  await revokeSessions({ userId: session.userId, id }, sql, { reason: "revoked-elsewhere" });
  return redirect("/devices", headers);
}

async function revokeOtherDevices(
  _request: Request,
  { session, headers }: SignedIn,
): Promise<Response> {
  const others = { userId: session.userId, except: session.id };
  await revokeSessions(others, sql, { reason: "revoked-elsewhere" });
  return redirect("/devices", headers);
}

function askPassword(_request: Request, { session, headers }: SignedIn): Response {
  return respond(200, pages.password(session), headers);
}

async function changePassword(request: Request, { session, headers }: SignedIn): Promise<Response> {
  const form = await readForm(request);
  const password = form("new");
  const refuse = (status: number, field: "current" | "new", message: string) =>
    respond(status, pages.password(session, { field, message }), headers);
  if (!await checkPassword(session.username, form("current"), sql)) {
    return refuse(401, "current", "Wrong password.");
  }
  if (password.length < 8) return refuse(422, "new", "The new password is too short.");
  // Change the password first: otherwise a concurrent sign-in with the old one would survive.
  await setPassword(session.username, password, sql);
  const others = { userId: session.userId, except: session.id };
  const revoked = await revokeSessions(others, sql, { reason: "password-changed" });
  // The user has just entered the password. A new secret invalidates copies of the cookie.
  const renewed = await reauthenticateSession(request.headers, sql);
  if (!renewed.session) return redirect("/", renewed.headers);
  return respond(200, pages.passwordChanged(renewed.session, revoked.length), renewed.headers);
}

// A sensitive page needs a recent proof of identity, not only a session.

async function showRecoveryCode(request: Request, { session }: SignedIn): Promise<Response> {
  const recent = { authenticatedWithin: PROOF_LASTS };
  const result = await validateSession(request.headers, sql, recent);
  if (result.session) return respond(200, pages.recoveryCode(result.session), result.headers);
  if (result.reason === "stale") return respond(401, pages.proof(session), result.headers);
  return redirect("/", result.headers);
}

async function confirmPassword(
  request: Request,
  { session, headers }: SignedIn,
): Promise<Response> {
  const form = await readForm(request);
  if (!await checkPassword(session.username, form("password"), sql)) {
    return respond(401, pages.proof(session, "Wrong password."), headers);
  }
  const renewed = await reauthenticateSession(request.headers, sql);
  return redirect("/recovery-code", renewed.headers);
}

// Token-theft detection. The server plays the attacker, and holds the copied cookies. Never do this outside of
// a demo: a server must not store cookies.

const copies = new Map<string, { readonly headers: Headers; readonly worksUntil?: Date }>();

function showTheft(_request: Request, { session, headers }: SignedIn): Response {
  return respond(200, theft(session, copies.get(session.id)), headers);
}

function copyCookie(request: Request, { session, headers }: SignedIn): Response {
  if (copies.size >= 100) copies.clear();
  const cookie = request.headers.get("cookie") ?? "";
  copies.set(session.id, { headers: new Headers({ cookie }) });
  return redirect("/theft", headers);
}

async function rotate(request: Request, { session }: SignedIn): Promise<Response> {
  const { headers } = await rotateSession(request.headers, sql);
  const copy = copies.get(session.id);
  if (copy && !copy.worksUntil) {
    // The redirect is the first request with the new secret, and starts the grace period.
    const worksUntil = new Date(Date.now() + policy.rotationGrace * 1000);
    copies.set(session.id, { ...copy, worksUntil });
  }
  return redirect("/theft", headers);
}

async function replayCopy(request: Request, { session, headers }: SignedIn): Promise<Response> {
  const copy = copies.get(session.id);
  if (!copy) return redirect("/theft", headers);
  const attacker = await validateSession(copy.headers, sql);
  const owner = await validateSession(request.headers, sql);
  if (!attacker.session) copies.delete(session.id);
  return respond(200, replay(attacker, owner), owner.headers);
}

function rejectRoute(pathname: string): Response {
  const allow = [
    ...(routes.has(`GET ${pathname}`) ? ["GET", "HEAD"] : []),
    ...(routes.has(`POST ${pathname}`) ? ["POST"] : []),
  ].join(", ");
  if (!allow) return respond(404, notice("Page not found", "There is no page at this address."));
  const page = notice("Method not allowed", "This address does not accept this method.");
  return respond(405, page, new Headers({ allow }));
}

async function readForm(request: Request): Promise<(field: string) => string> {
  const form = await request.formData().catch(() => new FormData());
  return (field) => String(form.get(field) ?? "");
}

function redirect(location: string, headers: Headers): Response {
  headers.set("location", location);
  return new Response(null, { status: 303, headers });
}

// Allows the demo's own style, scripts with their requests, icon and forms, and nothing else.
const contentSecurityPolicy = [
  "default-src 'none'",
  "style-src 'self'",
  "script-src 'self'",
  "connect-src 'self'",
  "img-src data:",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

// Takes the headers that a function of coatcheck returned, or new ones.
function respond(status: number, page: Html, headers = new Headers()): Response {
  headers.set("content-type", "text/html; charset=utf-8");
  headers.set("content-security-policy", contentSecurityPolicy);
  // After a sign-out, the back button must not show a private page.
  headers.set("cache-control", "no-store");
  headers.set("x-content-type-options", "nosniff");
  return new Response(page.html, { status, headers });
}

function file(name: string): Response {
  const headers = { "cache-control": "no-cache", "x-content-type-options": "nosniff" };
  return new Response(Bun.file(new URL(name, import.meta.url)), { headers });
}

// scripts/start.mjs, the parent process, was killed.
process.on("disconnect", () => process.exit(1));

function fail({ message, code }: { message: string; code?: string }): never {
  console.error(`Cannot prepare the database: ${message || code}`);
  process.exit(1);
}

// A server that accepts connections but is not PostgreSQL would keep postgres.js waiting forever.
const deadline = setTimeout(fail, 20_000, { message: "no answer from PostgreSQL within 20 s" });
await prepare(sql).catch(fail);
clearTimeout(deadline);
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT ?? 3000),
  maxRequestBodySize: 16 * 1024,
  development: false,
  fetch,
});
console.log(`Listening on ${server.url}`);
