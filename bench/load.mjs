// A load client for HTTP: a number of connections that stay open, and on each a request as soon as the
// one before was answered. It runs on Bun, whose sockets cost least, as it shares the machine.
import { performance } from "node:perf_hooks";
import { answer } from "./answer.mjs";
import { percentiles } from "./measure.mjs";

let requests;

answer({
  prepare: (prepared) => {
    requests = prepared;
  },
  load: async (port, verb, connections, milliseconds) => {
    const latencies = [];
    let next = 0;
    let within = 0;
    const end = performance.now() + milliseconds;
    const lane = async () => {
      const connection = await connect(port);
      try {
        for (let from = performance.now(); from < end;) {
          const list = requests[verb];
          requireRight(await connection.send(list[next++ % list.length]), verb);
          const now = performance.now();
          if (now <= end) within++;
          latencies.push(now - from);
          from = now;
        }
      } finally {
        connection.close();
      }
    };
    await Promise.all(Array.from({ length: connections }, lane));
    const perSecond = within / milliseconds * 1000;
    return { perSecond, ...percentiles(latencies), requests: latencies.length };
  },
});

/** An answer that is not the right one must not count as a fast one. */
function requireRight(text, verb) {
  const isRight = verb === "create" ? /^set-cookie: /im : /"user/;
  if (/^HTTP\/1.1 20[04]/.test(text) && isRight.test(text)) return;
  throw new Error(`A ${verb} was answered with ${text.split("\r\n", 1)}`);
}

async function connect(port) {
  let text = "";
  let waiting;
  const settle = (how, value) => {
    const { [how]: done } = waiting ?? {};
    waiting = undefined;
    done?.(value);
  };
  const socket = await globalThis.Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      // Latin-1, so that a character is a byte and Content-Length can be compared with a length.
      data: (_, data) => {
        text += data.latin1Slice();
        const length = lengthOf(text);
        if (length === null || text.length < length) return;
        const answered = text.slice(0, length);
        text = text.slice(length);
        settle("resolve", answered);
      },
      error: (_, error) => settle("reject", error),
      close: () => settle("reject", new Error("The server has closed the connection")),
    },
  });
  return {
    send: (request) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        socket.write(request);
      }),
    close: () => socket.end(),
  };
}

/** How long the answer is with its head, or null where that is not known yet. */
function lengthOf(text) {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const head = text.slice(0, end);
  if (/^HTTP\/1.1 204/.test(head)) return end + 4;
  const [, length] = /^content-length: *(\d+)/im.exec(head) ?? [];
  if (length === undefined) throw new Error("The load client reads no chunked answers");
  return end + 4 + Number(length);
}
