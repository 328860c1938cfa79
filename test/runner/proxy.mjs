// A way to a database that can be cut.
import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Opens a proxy on the loopback address to the PostgreSQL of a URL. `cut` ends it and all that goes through it. */
export async function openProxy(target) {
  const sockets = new Set();
  const proxy = createServer((socket) => {
    const upstream = connect(Number(target.port || 5432), target.hostname);
    for (const it of [socket, upstream]) {
      sockets.add(it);
      it.on("error", () => {}).on("close", () => {
        sockets.delete(it);
        socket.destroy();
        upstream.destroy();
      });
    }
    socket.pipe(upstream).pipe(socket);
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const url = Object.assign(new URL(target), {
    hostname: "127.0.0.1",
    port: String(proxy.address().port),
  });
  return {
    url: url.href,
    cut: () => {
      proxy.close();
      for (const it of sockets) it.destroy();
    },
  };
}
