// A way to a database that can be made slow, silent or narrow, cut, mended, and led to another one.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

// What a connection holds before it stops reading, as the buffers of a network do.
const HELD = 256 * 1024;

/** @typedef {Awaited<ReturnType<typeof openProxy>>} Proxy */

/**
 * Opens a proxy on the loopback address to the PostgreSQL of a URL.
 *
 * @param {string | URL} target
 */
export async function openProxy(target) {
  let upstreamOf = new URL(target);
  const sockets = new Set();
  let latency = () => 0;
  let bytesPerSecond = Infinity;
  let passes = Promise.resolve();
  let open = () => {};
  /** @type {"destroy" | "resetAndDestroy" | undefined} */
  let cutReply;
  /** @type {string | undefined} */
  let cutText;

  const proxy = createServer((socket) => {
    const upstream = connect(Number(upstreamOf.port || 5432), upstreamOf.hostname);
    for (const it of [socket, upstream]) {
      sockets.add(it);
      it.setNoDelay().on("error", () => {}).on("close", () => sockets.delete(it));
    }
    const asks = (chunk) => cutText !== undefined && chunk.includes(cutText);
    passOn(socket, upstream, (chunk) => asks(chunk) ? "destroy" : undefined);
    passOn(upstream, socket, () => cutReply);
  });

  /** Passes on in order what comes, each piece after its delay, and then the end. */
  function passOn(from, to, howToCut) {
    let held = 0;
    let due = 0;
    let last = Promise.resolve();
    const then = (step) => last = last.then(step);
    from.on("data", (chunk) => {
      const cut = howToCut(chunk);
      if (cut) return void [from, to].forEach((it) => it[cut]());
      held += chunk.length;
      if (held > HELD) from.pause();
      // Counted from now: what comes together is delayed together.
      due = Math.max(due, performance.now() + latency());
      const own = due;
      then(async () => {
        const left = own - performance.now();
        if (left > 0) await sleep(left);
        await write(to, chunk);
        held -= chunk.length;
        if (held <= HELD) from.resume();
      });
    });
    from.on("close", () => then(() => to.destroySoon()));
  }

  async function write(to, chunk) {
    for (let at = 0; at < chunk.length && !to.destroyed;) {
      await passes;
      const size = Math.max(1, Math.min(chunk.length - at, Math.floor(bytesPerSecond / 20)));
      const isDrained = to.write(chunk.subarray(at, at += size));
      if (bytesPerSecond < Infinity) await sleep(50);
      else if (!isDrained) {
        await Promise.race([once(to, "drain"), once(to, "close")]).catch(() => {});
      }
    }
  }

  const listen = async (port) => {
    await once(proxy.listen(port, "127.0.0.1"), "listening");
    return proxy.address().port;
  };
  const port = await listen(0);
  /** @type {Promise<unknown> | undefined} */
  let closed;

  const destroy = () => {
    for (const it of sockets) it.destroy();
  };
  /** Passes all on again, at once, and listens again after a cut. */
  const resume = async () => {
    [latency, bytesPerSecond, cutReply, cutText] = [() => 0, Infinity, undefined, undefined];
    open();
    await closed;
    if (closed) await listen(port);
    closed = undefined;
  };
  /** Ends it and all that goes through it. */
  const cut = () => {
    if (closed) return;
    closed = once(proxy, "close");
    proxy.close();
    open();
    destroy();
  };
  return {
    url: Object.assign(new URL(target), { hostname: "127.0.0.1", port: String(port) }).href,
    /** How many connections go through it. */
    connections: () => sockets.size / 2,
    cut,
    resume,
    /** Holds all that comes, and takes connections, as a network without a route does. */
    stall: () => {
      if (closed) return;
      open();
      passes = new Promise((resolve) => open = () => resolve());
    },
    /** Passes each piece on after so many milliseconds, plus up to `jitter` more. */
    delay: (ms, jitter = 0) => {
      latency = () => ms + Math.random() * jitter;
    },
    /** Passes on so many bytes a second, in each direction of each connection. */
    trickle: (bytes) => {
      bytesPerSecond = bytes;
    },
    /** Ends each connection when the server answers on it; or resets it, as a network does that has forgotten it. */
    cutReply: (/** @type {"destroy" | "resetAndDestroy"} */ how = "destroy") => {
      cutReply = how;
    },
    /** Ends each connection on which a client sends a text, before it has passed. */
    cutRequest: (text) => {
      cutText = text;
    },
    /** Ends all connections, and leads the next ones to the PostgreSQL of another URL. */
    retarget: (url) => {
      upstreamOf = new URL(url);
      destroy();
    },
  };
}
