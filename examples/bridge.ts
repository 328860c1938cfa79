// A bridge from node:http, which has no Request and no Response, to a fetch handler.
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";

/** Serves a fetch handler on 127.0.0.1. */
export function serve(handler: (request: Request) => Promise<Response>, port: number): void {
  const server = createServer(async (incoming, outgoing) => {
    try {
      const request = await toRequest(incoming);
      if (request) await send(await handler(request), outgoing);
      else outgoing.writeHead(400).end();
    } catch (error) {
      console.error(error);
      outgoing.writeHead(500).end();
    }
  });
  server.listen(port, "127.0.0.1", () => {
    console.log(`Listening on http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  });
}

/** Returns undefined if Fetch rejects the request: for its Host, or for a method such as TRACE. */
async function toRequest(incoming: IncomingMessage): Promise<Request | undefined> {
  const { method = "GET", url, headers } = incoming;
  const body = method === "GET" || method === "HEAD" ? null : await buffer(incoming);
  try {
    // Node has joined repeated fields already.
    const joined = headers as Record<string, string>;
    return new Request(`http://${headers.host}${url}`, { method, headers: joined, body });
  } catch {
    return undefined;
  }
}

async function send(response: Response, outgoing: ServerResponse): Promise<void> {
  const body = Buffer.from(await response.arrayBuffer());
  outgoing.writeHead(response.status, {
    ...Object.fromEntries(response.headers),
    // Each cookie is a field of its own, and the object above keeps only the last one.
    "set-cookie": response.headers.getSetCookie(),
  });
  outgoing.end(body);
}
