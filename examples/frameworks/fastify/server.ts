import formbody from "@fastify/formbody";
import { isCrossOrigin, type SessionResult } from "coatcheck";
import { fastify, type FastifyReply, type FastifyRequest } from "fastify";
import process from "node:process";
import { createSession, revokeSession, sql, validateSession } from "./sessions.ts";
import { checkPassword } from "./users.ts";

declare module "fastify" {
  interface FastifyRequest {
    result: SessionResult;
  }
}

const port = Number(process.env.PORT ?? 3000);
const origin = process.env.ORIGIN ?? `http://localhost:${port}`;

const app = fastify();
app.register(formbody);

app.decorateRequest("result");
app.addHook("onRequest", async (request, reply) => {
  const { method, url } = request;
  if (isCrossOrigin({ method, url, headers: headersOf(request) }, { origin })) {
    return reply.code(403).send("Cross-origin request refused");
  }
  request.result = await validateSession(headersOf(request), sql);
  reply.header("vary", "Cookie");
  if (request.result.reason !== "absent") reply.header("cache-control", "private");
  setHeaders(reply, request.result.headers);
});

app.get("/", ({ result: { session } }) => {
  return session ? `Signed in as ${session.username}` : "Signed out";
});

app.get("/api/session", ({ result: { session, reason } }, reply) => {
  return session ?? reply.code(401).send({ reason });
});

app.post("/sign-in", async (request, reply) => {
  const { username, password } = (request.body ?? {}) as Record<string, unknown>;
  if (!await checkPassword(String(username), String(password), sql)) {
    return reply.code(401).send("Wrong username or password");
  }
  const replaces = headersOf(request);
  const { headers } = await createSession(String(username), sql, { replaces });
  return setHeaders(reply, headers).redirect("/", 303);
});

app.post("/sign-out", async (request, reply) => {
  const { headers } = await revokeSession(headersOf(request), sql);
  return setHeaders(reply, headers).redirect("/", 303);
});

await app.listen({ port });

function headersOf({ headers }: FastifyRequest) {
  return { get: (name: string) => headers[name.toLowerCase()]?.toString() };
}

/** Replaces the cookie of the hook: `reply.header` alone would append, and send both. */
function setHeaders(reply: FastifyReply, headers: Headers) {
  if (headers.has("set-cookie")) reply.removeHeader("set-cookie");
  for (const [name, value] of headers) reply.header(name, value);
  return reply;
}
