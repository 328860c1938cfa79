// A bridge from node:http, which has no Request and no Response, to a fetch handler.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

/** Serves a fetch handler on 127.0.0.1. Bodies are streamed, in both directions. */
export function serve(handler: (request: Request) => Promise<Response>, port: number): void {
  const server = createServer(async (incoming, outgoing) => {
    try {
      const request = toRequest(incoming, outgoing);
      if (request) await send(await handler(request), incoming, outgoing);
      else outgoing.writeHead(400).end();
    } catch (error) {
      console.error(error);
      if (outgoing.headersSent) outgoing.destroy();
      else outgoing.writeHead(500).end();
    }
  });
  server.listen(port, "127.0.0.1", () => {
    console.log(`Listening on http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  });
}

/** Returns undefined if Fetch rejects the request: for its Host, or for a method such as TRACE. */
function toRequest(incoming: IncomingMessage, outgoing: ServerResponse): Request | undefined {
  const { method = "GET", url, headers } = incoming;
  const stream = readBody(incoming, outgoing);
  const body = method === "GET" || method === "HEAD" ? null : stream;
  // Node has joined repeated fields already. `duplex` is what Node demands for a stream.
  const joined = headers as Record<string, string>;
  const init = { method, headers: joined, body, duplex: "half" } as const;
  try {
    return new Request(`http://${headers.host}${url}`, init);
  } catch {
    return undefined;
  }
}

/** The body, read no faster than the handler reads it: a rejected request is not read into memory. */
function readBody(incoming: IncomingMessage, outgoing: ServerResponse): ReadableStream<Uint8Array> {
  let stop: () => void;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const enqueue = (chunk: Uint8Array) => {
        incoming.pause();
        controller.enqueue(chunk);
      };
      const close = () => controller.close();
      stop = () => void incoming.off("data", enqueue).off("end", close);
      incoming.pause().on("data", enqueue).on("end", close);
      // A body that is never read, Node would discard itself after the response, without a limit.
      incoming.read(0);
      // The client has gone away.
      incoming.on("error", (error) => controller.error(error));
      outgoing.on("finish", () => {
        stop();
        controller.error(new Error("The body was not read before the response was sent"));
        discardRest(incoming);
      });
    },
    pull: () => void incoming.resume(),
    cancel: () => stop(),
  }, { highWaterMark: 0 });
}

const DISCARD_BYTES = 16 * 1024 * 1024;
const DISCARD_MILLISECONDS = 5_000;

/**
 * Discards the rest of a body, up to a limit, and closes the connection if the client is still sending then.
 * Closed at once, the client could lose the response.
 */
function discardRest(incoming: IncomingMessage): void {
  if (incoming.closed) return;
  const { socket } = incoming;
  const most = socket.bytesRead + DISCARD_BYTES;
  const timer = setTimeout(() => socket.destroy(), DISCARD_MILLISECONDS);
  incoming.on("close", () => clearTimeout(timer));
  incoming.on("data", () => socket.bytesRead > most && incoming.pause()).resume();
}

async function send(
  response: Response,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  outgoing.writeHead(response.status, {
    ...Object.fromEntries(response.headers),
    // Each cookie is a field of its own, and the object above keeps only the last one.
    "set-cookie": response.headers.getSetCookie(),
  });
  if (response.body && incoming.method !== "HEAD") {
    // The types of Node's streams and of Fetch's differ; the streams do not.
    const body = Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]);
    await pipeline(body, outgoing);
  } else {
    outgoing.end();
    await response.body?.cancel();
  }
}
