// A page that says who is signed in, the same for every library: only how it finds that out differs.
import { once } from "node:events";
import { createServer } from "node:http";
import process from "node:process";
import { answer } from "../answer.mjs";
import { get } from "./request.mjs";

let opened;
let listening;

answer({
  open: async (url, { module, ...options }) => {
    const contestant = await import(`../contestants/${module}.mjs`);
    opened = await contestant.open(url, options);
    listening = globalThis.Bun
      ? serveOnBun(opened.usernameOf)
      : await serveOnNode(opened.usernameOf);
    return listening.port;
  },
  refresh: () => opened.refresh?.(),
  requests: () => ({ validate: opened.cookies.map((cookie) => get("/me", cookie)) }),
  usage: () => process.cpuUsage(),
  close: async () => {
    listening.close();
    await opened.close();
  },
});

function serveOnBun(usernameOf) {
  const server = globalThis.Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const username = await usernameOf(request.headers);
      return Response.json({ username }, { status: username ? 200 : 401 });
    },
  });
  return { port: server.port, close: () => server.stop(true) };
}

async function serveOnNode(usernameOf) {
  const server = createServer(async (request, response) => {
    const username = await usernameOf(new Headers({ cookie: request.headers.cookie ?? "" }));
    const text = JSON.stringify({ username });
    response.writeHead(username ? 200 : 401, {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(text),
    }).end(text);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { port: server.address().port, close: () => server.close() };
}
