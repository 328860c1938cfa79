import type { Session, SessionResult } from "coatcheck";
import { Hono } from "hono";
import { html } from "hono/html";
import {
  createSession,
  listSessions,
  revokeSession,
  revokeSessions,
  sql,
  withSession,
} from "./sessions.ts";
import { checkPassword } from "./users.ts";

export const app = new Hono<{ Variables: { result: SessionResult } }>();

// Rejects cross-origin requests, validates the session, and sets its cookie if the handler sets none.
app.use(async (c, next) => {
  const handle = withSession(
    async (_request, result) => {
      c.set("result", result);
      await next();
      return c.res;
    },
    sql,
    process.env.ORIGIN ? { origin: process.env.ORIGIN } : {},
  );
  const response = await handle(c.req.raw);
  // Clear it first: Hono would copy the old response's headers over the new ones.
  c.res = undefined;
  c.res = response;
});

app.get("/", async (c) => {
  const { session } = c.get("result");
  return c.html(session ? await home(session) : signInPage());
});

app.get("/api/session", (c) => {
  const { session, reason } = c.get("result");
  return session ? c.json(session) : c.json({ reason }, 401);
});

app.post("/sign-in", async (c) => {
  const form = await c.req.formData();
  const username = String(form.get("username"));
  if (!await checkPassword(username, String(form.get("password")), sql)) {
    return c.html(signInPage("Wrong username or password"), 401);
  }
  // `replaces` revokes the session that the browser had, against session fixation.
  const { headers } = await createSession(username, sql, { replaces: c.req.raw.headers });
  return redirectHome(headers);
});

app.post("/sign-out", async (c) => {
  const { headers } = await revokeSession(c.req.raw.headers, sql);
  return redirectHome(headers);
});

app.post("/revoke", async (c) => {
  const { session } = c.get("result");
  const form = await c.req.formData();
  // With the user's own key: nobody revokes the session of another user.
  if (session) await revokeSessions({ userId: session.userId, id: String(form.get("id")) }, sql);
  return c.redirect("/", 303);
});

function redirectHome(headers: Headers): Response {
  return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
}

function signInPage(message = "") {
  return page(html`
    <p>Signed out. ${message}</p>
    <form method="post" action="/sign-in">
      <input name="username" aria-label="Username" autocomplete="username" required>
      <input name="password" aria-label="Password" type="password" autocomplete="current-password"
        required>
      <button>Sign in</button>
    </form>
  `);
}

async function home(current: Session) {
  const sessions = await listSessions(current.userId, sql);
  return page(html`
    <p>Signed in as ${current.username}</p>
    <form method="post" action="/sign-out"><button>Sign out</button></form>
    <ul>
      ${sessions.map(({ id, lastSeenAt }) =>
        html`
          <li id="${id}">Last seen ${lastSeenAt.toISOString()}
            ${id === current.id ? "(this device)" : html`
              <form method="post" action="/revoke">
                <input type="hidden" name="id" value="${id}"><button>Revoke</button>
              </form>
            `}
          </li>
        `
      )}
    </ul>
  `);
}

function page(content: unknown) {
  return html`
    <!doctype html>
    <html lang="en"><title>coatcheck</title>${content}</html>
  `;
}
