// The example on Node: bun.ts, and a bridge, as node:http has no Request and no Response.
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { buffer } from "node:stream/consumers";
import { fetch, prepare } from "./bun.ts";

async function toRequest(incoming: IncomingMessage): Promise<Request> {
  const { method = "GET", url, headers } = incoming;
  return new Request(`http://${headers.host}${url}`, {
    method,
    // Node has joined what came in several fields.
    headers: headers as Record<string, string>,
    body: method === "GET" || method === "HEAD" ? null : await buffer(incoming),
  });
}

async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  const body = Buffer.from(await response.arrayBuffer());
  outgoing.writeHead(response.status, {
    ...Object.fromEntries(response.headers),
    // Several cookies are several fields: the object above has only the last of them.
    "set-cookie": response.headers.getSetCookie(),
  });
  outgoing.end(body);
}

await prepare();
const server = createServer(async (incoming, outgoing) => {
  try {
    await send(await fetch(await toRequest(incoming)), outgoing);
  } catch (error) {
    console.error(error);
    outgoing.writeHead(500).end();
  }
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`Listening on http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});
