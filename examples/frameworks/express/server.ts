import { isCrossOrigin, type Session, type SessionResult } from "coatcheck";
import express from "express";
import process from "node:process";
import {
  createSession,
  listSessions,
  revokeSession,
  revokeSessions,
  sql,
  validateSession,
} from "./sessions.ts";
import { checkPassword } from "./users.ts";

declare global {
  namespace Express {
    interface Locals {
      result: SessionResult;
    }
  }
}

const port = Number(process.env.PORT ?? 3000);
const origin = process.env.ORIGIN ?? `http://localhost:${port}`;

const app = express();

app.use(async (req, res, next) => {
  if (isCrossOrigin({ method: req.method, url: req.originalUrl, headers: req }, { origin })) {
    res.status(403).send("Cross-origin request refused");
    return;
  }
  const result = await validateSession(req, sql);
  res.locals.result = result;
  res.vary("Cookie");
  if (result.reason !== "absent") res.set("Cache-Control", "private");
  // The cookie and `no-store`, if the session has a new secret.
  res.setHeaders(result.headers);
  next();
});

app.use(express.urlencoded());

app.get("/", async (_req, res) => {
  const { session } = res.locals.result;
  res.send(session ? await home(session) : signInPage());
});

app.get("/api/session", (_req, res) => {
  const { session, reason } = res.locals.result;
  if (session) res.json(session);
  else res.status(401).json({ reason });
});

app.post("/sign-in", async (req, res) => {
  const { username, password } = req.body ?? {};
  if (!await checkPassword(String(username), String(password), sql)) {
    res.status(401).send(signInPage("Wrong username or password"));
    return;
  }
  // `replaces` revokes the session that the browser had, against session fixation.
  const { headers } = await createSession(String(username), sql, { replaces: req });
  // `setHeaders` replaces the cookie of the middleware; `append` would send both.
  res.setHeaders(headers).redirect(303, "/");
});

app.post("/sign-out", async (req, res) => {
  const { headers } = await revokeSession(req, sql);
  res.setHeaders(headers).redirect(303, "/");
});

app.post("/revoke", async (req, res) => {
  const { session } = res.locals.result;
  const id = String(req.body?.id);
  // With the user's own key: nobody revokes the session of another user.
  if (session) await revokeSessions({ userId: session.userId, id }, sql);
  res.redirect(303, "/");
});

app.listen(port);

function signInPage(message = "") {
  return page(`
    <p>Signed out. ${message}</p>
    <form method="post" action="/sign-in">
      <input name="username" aria-label="Username" autocomplete="username" required>
      <input name="password" aria-label="Password" type="password" autocomplete="current-password" required>
      <button>Sign in</button>
    </form>`);
}

async function home(current: Session) {
  const sessions = await listSessions(current.userId, sql);
  const items = sessions.map(({ id, lastSeenAt }) => `
    <li id="${id}">Last seen ${lastSeenAt.toISOString()}
      ${id === current.id ? "(this device)" : revokeForm(id)}
    </li>`);
  return page(`
    <p>Signed in as ${escapeHtml(current.username)}</p>
    <form method="post" action="/sign-out"><button>Sign out</button></form>
    <ul>${items.join("")}</ul>`);
}

function revokeForm(id: string) {
  return `
    <form method="post" action="/revoke">
      <input type="hidden" name="id" value="${id}"><button>Revoke</button>
    </form>`;
}

function page(content: string) {
  return `<!doctype html><html lang="en"><title>coatcheck</title>${content}</html>`;
}

function escapeHtml(text: string) {
  return text.replace(/[&<>"']/g, (it) => `&#${it.charCodeAt(0)};`);
}
