import type { SessionResult } from "coatcheck";
import { H3, serve, toResponse } from "h3";
import process from "node:process";
import { createSession, revokeSession, sql, withSession } from "./sessions.ts";
import { checkPassword } from "./users.ts";

declare module "h3" {
  interface H3EventContext {
    result: SessionResult;
  }
}

const app = new H3();

app.use((event, next) => {
  const handle = withSession(
    async (_request, result) => {
      event.context.result = result;
      return await toResponse(await next(), event);
    },
    sql,
    { origin: process.env.ORIGIN },
  );
  return handle(event.req);
});

app.get("/", ({ context: { result: { session } } }) => {
  return session ? `Signed in as ${session.username}` : "Signed out";
});

app.get("/api/session", ({ res, context: { result: { session, reason } } }) => {
  if (session) return session;
  res.status = 401;
  return { reason };
});

app.post("/sign-in", async ({ req, res }) => {
  const form = await req.formData();
  const username = String(form.get("username"));
  if (!await checkPassword(username, String(form.get("password")), sql)) {
    res.status = 401;
    return "Wrong username or password";
  }
  const { headers } = await createSession(username, sql, { replaces: req.headers });
  return redirectHome(headers);
});

app.post("/sign-out", async ({ req }) => {
  const { headers } = await revokeSession(req.headers, sql);
  return redirectHome(headers);
});

serve(app, { port: Number(process.env.PORT ?? 3000) });

function redirectHome(headers: Headers) {
  return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
}
