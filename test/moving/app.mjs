// An app that has moved to coatcheck, and trades in the cookies of before. It is asked over HTTP.
import { once } from "node:events";
import { createServer } from "node:http";
import { createSession, revokeSession, validateSession, withSession } from "coatcheck";
import { movingIn } from "../app.ts";
import { isOutage } from "../outage.ts";

/** Serves the app, with the sessions of a client, until it is closed. */
export async function serve(tradeIn, sql) {
  const answers = {
    "GET /": (_request, { session, reason }) =>
      new Response(session?.username ?? reason, { status: session ? 200 : 401 }),
    "GET /session": (_request, { session }) => Response.json(session),
    "GET /cookie": (request) => new Response(request.headers.get("cookie")),
    "POST /body": async (request) => new Response(await request.text()),
    "GET /account": async (request) =>
      new Response(
        (await validateSession(request.headers, sql, { authenticatedWithin: 900 })).reason,
      ),
    "POST /sign-in": async (request) => {
      const replaces = request.headers;
      const { headers } = await createSession(await request.text(), sql, { replaces });
      return new Response(null, { status: 204, headers });
    },
    "POST /sign-out": async (request) => {
      const { headers } = await revokeSession(request.headers, sql);
      return new Response(null, { status: 204, headers });
    },
  };
  const app = withSession((request, result) => {
    return answers[`${request.method} ${new URL(request.url).pathname}`](request, result);
  }, sql);
  const handler = movingIn(app, tradeIn, sql);

  const server = createServer(async (incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const body = method === "GET" ? null : incoming;
    const request = new Request(`http://app.example${url}`, {
      method,
      headers,
      body,
      duplex: "half",
    });
    const response = await handler(request).catch((error) => {
      return new Response(String(error.stack), { status: isOutage(error) ? 503 : 500 });
    });
    outgoing.writeHead(response.status, {
      ...Object.fromEntries(response.headers),
      "set-cookie": response.headers.getSetCookie(),
    });
    outgoing.end(await response.text());
  });
  await once(server.listen(0, "127.0.0.1"), "listening");

  return {
    /** Asks with the cookies of a jar, which keeps those of the answer; or with a text, or new lines. */
    async visit(cookies, path = "/", { body } = {}) {
      const isJar = typeof cookies === "object" && "keep" in cookies;
      const cookie = Array.isArray(cookies)
        ? cookies.map((it) => it.split(";", 1)[0]).join("; ")
        : isJar
        ? cookies.header
        : cookies;
      const response = await fetch(`http://127.0.0.1:${server.address().port}${path}`, {
        method: body === undefined ? "GET" : "POST",
        body,
        headers: { cookie },
      });
      const lines = response.headers.getSetCookie();
      if (isJar) cookies.keep(lines);
      return {
        status: response.status,
        text: await response.text(),
        lines,
        headers: response.headers,
      };
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
