// A load client for HTTP. Each of its connections stays open, and sends a request as soon as the last one
// is answered. It shares the machine with the server, so it runs on Bun, whose sockets take least CPU.
import { performance } from "node:perf_hooks";
import { answer } from "./answer.mjs";
import { percentiles } from "./measure.mjs";

let requests;

answer({
  prepare: (prepared) => {
    requests = prepared;
  },
  load: async (port, operation, connections, milliseconds) => {
    const latencies = [];
    let next = 0;
    let within = 0;
    const end = performance.now() + milliseconds;
    const caller = async () => {
      const connection = await connect(port);
      try {
        for (let from = performance.now(); from < end;) {
          const list = requests[operation];
          requireExpected(await connection.send(list[next++ % list.length]), operation);
          const now = performance.now();
          if (now <= end) within++;
          latencies.push(now - from);
          from = now;
        }
      } finally {
        connection.close();
      }
    };
    await Promise.all(Array.from({ length: connections }, caller));
    const perSecond = within / milliseconds * 1000;
    return { perSecond, ...percentiles(latencies), requests: latencies.length };
  },
});

/** Rejects a wrong response, which must not count as a fast one. */
function requireExpected(text, operation) {
  const isExpected = operation === "create" ? /^set-cookie: /im : /"user/;
  if (/^HTTP\/1.1 20[04]/.test(text) && isExpected.test(text)) return;
  throw new Error(`${operation}: unexpected response ${text.split("\r\n", 1)}`);
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
      // In Latin-1 a character is a byte, so that Content-Length compares with the length of the text.
      data: (_, data) => {
        text += data.latin1Slice();
        const length = lengthOf(text);
        if (length === null || text.length < length) return;
        const answered = text.slice(0, length);
        text = text.slice(length);
        settle("resolve", answered);
      },
      error: (_, error) => settle("reject", error),
      close: () => settle("reject", new Error("The server closed the connection")),
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

/** The length of the response with its head; null while the head is incomplete. */
function lengthOf(text) {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return null;
  const head = text.slice(0, end);
  if (/^HTTP\/1.1 204/.test(head)) return end + 4;
  const [, length] = /^content-length: *(\d+)/im.exec(head) ?? [];
  if (length === undefined) throw new Error("The load client reads no chunked responses");
  return end + 4 + Number(length);
}
