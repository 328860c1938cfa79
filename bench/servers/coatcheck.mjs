// coatcheck behind Bun.serve, with the handler of the README.
import process from "node:process";
import { answer } from "../answer.mjs";
import { connect, cookieOf, liveSample, load } from "../contestants/coatcheck.mjs";
import { userOf } from "../sample.mjs";
import { get, post } from "./request.mjs";

const { batched, createSession, validateSession } = await load();
let opened;

answer({
  open: (url, options) => {
    opened = connect(url, options);
    const sql = options.batched ? batched(opened.sql) : opened.sql;
    const server = globalThis.Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        if (request.method === "POST") {
          const { username } = await request.json();
          const { headers } = await createSession(username, sql);
          return new Response(null, { status: 204, headers });
        }
        const { session, reason } = await validateSession(request.headers, sql);
        return Response.json(session ?? { reason }, { status: session ? 200 : 401 });
      },
    });
    return server.port;
  },
  requests: (sessions, count) => ({
    create: Array.from(
      { length: count },
      (_, n) => post("/sign-in", { username: `user${userOf(n)}` }),
    ),
    validate: liveSample(count, sessions, 1).map((n) => get("/me", cookieOf(n))),
  }),
  usage: () => process.cpuUsage(),
  close: () => opened.close(),
});
