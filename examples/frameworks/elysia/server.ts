import type { SessionResult } from "coatcheck";
import { Elysia } from "elysia";
import { createSession, revokeSession, sql, withSession } from "./sessions.ts";
import { checkPassword } from "./users.ts";

const results = new WeakMap<Request, SessionResult>();

const app = new Elysia()
  .derive(({ request }) => ({ result: results.get(request)! }))
  .get("/", ({ result: { session } }) => {
    return session ? `Signed in as ${session.username}` : "Signed out";
  })
  .get("/api/session", ({ result: { session, reason }, status }) => {
    return session ?? status(401, { reason });
  })
  .post("/sign-in", async ({ request, body, status }) => {
    const { username, password } = (body ?? {}) as Record<string, unknown>;
    if (!await checkPassword(String(username), String(password), sql)) {
      return status(401, "Wrong username or password");
    }
    const { headers } = await createSession(String(username), sql, { replaces: request.headers });
    return redirectHome(headers);
  })
  .post("/sign-out", async ({ request }) => {
    const { headers } = await revokeSession(request.headers, sql);
    return redirectHome(headers);
  });

// Around the app: Elysia's own hooks do not see the response as it is sent.
const fetch = withSession(
  (request, result) => {
    results.set(request, result);
    return app.fetch(request);
  },
  sql,
  process.env.ORIGIN ? { origin: process.env.ORIGIN } : {},
);

Bun.serve({ port: Number(process.env.PORT ?? 3000), fetch });

function redirectHome(headers: Headers) {
  return new Response(null, { status: 303, headers: [["location", "/"], ...headers] });
}
