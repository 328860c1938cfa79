/// <reference types="bun" />
// A WebSocket on Bun that is closed when its session ends, whichever process has revoked it:
//
//   DATABASE_URL=postgres://… bun examples/live/websocket.ts
import type { Session } from "coatcheck";
import process from "node:process";
import { answer, cache, sessions, sql, unavailable } from "./app.ts";

/** What the server keeps with each socket. */
interface Connection {
  readonly session: Session;
  stopWatching?: () => void;
}

// Rejects a WebSocket that a page of another origin opens.
const open = sessions.withSession(
  (request: Request, { session }, server: Bun.Server<Connection>) => {
    if (!session) return new Response("Sign in first\n", { status: 401 });
    if (server.upgrade(request, { data: { session } })) return undefined;
    return new Response("Open a WebSocket\n", { status: 426 });
  },
  sql,
);

const script = `
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/socket");
  socket.onmessage = ({ data }) => show(data);
  socket.onclose = ({ code, reason }) => show(code === 4401 ? reason : "Not connected");
`;

const server = Bun.serve<Connection>({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT ?? 3000),
  development: false,
  fetch: (request, server) =>
    new URL(request.url).pathname === "/socket"
      ? open(request, server).catch(unavailable)
      : answer(request, script),
  websocket: {
    open(socket) {
      const { session } = socket.data;
      // 4000 to 4999 are the app's own codes. The page does not connect again.
      const onEnd = () => socket.close(4401, "Your session has ended");
      socket.data.stopWatching = cache.watch(session, onEnd);
      socket.send(`Hello ${session.username}`);
    },
    message(socket, text) {
      socket.send(text);
    },
    close(socket) {
      socket.data.stopWatching?.();
    },
  },
});
console.log(`Listening on ${server.url}`);
