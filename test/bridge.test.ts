import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import process from "node:process";
import { npmNode } from "./runner/runtime.ts";
import { type Server, startServer } from "./runner/server.ts";

const MIB = 1024 * 1024;
const nodes = {
  "a current Node": ["node", "--import=./test/runner/node.mjs", "test/runner/bridge.ts"],
  "the Node that runs npm": [npmNode, "test/runner/bundled.mjs", "test/runner/bridge.ts"],
};

for (const [name, command] of Object.entries(nodes)) {
  describe(`the bridge of the examples on ${name}`, () => {
    let server: Server;
    beforeAll(async () => {
      server = await startServer(command, {});
    });
    afterAll(() => server?.close());

    const ask = (path: string, init: RequestInit = {}) =>
      // On Bun a connection of its own, as one that is kept may be closed by the server just then.
      fetch(server.url + path, { ...init, keepalive: false } as RequestInit);

    async function open() {
      const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
      await once(socket, "connect");
      return socket.on("error", () => {});
    }

    /** The most memory that the server has had, in bytes; 0 if the system does not say. */
    async function peak(): Promise<number> {
      if (process.platform !== "linux") return 0;
      const status = await readFile(`/proc/${server.pid}/status`, "utf8");
      return Number(status.match(/VmHWM:\s+(\d+)/)![1]) * 1024;
    }

    /** Sends 256 MiB for as long as the server reads; gives the first line of the answer, and what was sent. */
    async function flood(head: string): Promise<{ status: string; sent: number }> {
      const socket = await open();
      let status = "";
      let isOpen = true;
      let wake = () => {};
      socket.on("data", (data) => status ||= String(data).split("\r\n")[0]!);
      socket.on("drain", () => wake());
      socket.on("close", () => {
        isOpen = false;
        wake();
      });
      socket.write(`${head} HTTP/1.1\r\nHost: app\r\nContent-Length: ${256 * MIB}\r\n`);
      socket.write("Sec-Fetch-Site: cross-site\r\n\r\n");
      let sent = 0;
      for (; isOpen && sent < 256 * MIB; sent += MIB) {
        if (socket.write(Buffer.alloc(MIB))) continue;
        await new Promise<void>((resolve) => isOpen ? wake = resolve : resolve());
      }
      socket.destroy();
      return { status, sent };
    }

    test("answers a cross-site POST of 256 MiB with 403, and reads no more than 64 MiB of it", async () => {
      const before = await peak();
      const begin = performance.now();
      // A GET and a TRACE have bodies that no handler gets.
      const heads = ["POST /length", "GET /length", "TRACE /length"];
      const floods = await Promise.all(heads.map(flood));
      const wanted = ["403 Forbidden", "200 OK", "400 Bad Request"];
      assert.deepEqual(floods.map(({ status }) => status), wanted.map((it) => `HTTP/1.1 ${it}`));
      for (const { sent } of floods) assert.ok(sent < 64 * MIB, `${sent}`);
      assert.ok(performance.now() - begin < 20_000);
      const growth = await peak() - before;
      assert.ok(growth < 128 * MIB, `${growth}`);
    });

    test("answers a handler that does not read a body to its end", async () => {
      for (const path of ["/chunk", "/cancel", "/throw"]) {
        const body = new Uint8Array(8 * MIB);
        const { status } = await ask(path, { method: "POST", body });
        assert.equal(status, path === "/throw" ? 500 : 200);
      }
    });

    test("passes on a form, a large body and an empty one", async () => {
      const form = await ask("/form", {
        method: "POST",
        body: new URLSearchParams({ name: "ada" }),
      });
      assert.equal(await form.text(), "ada");
      for (const length of [0, 1, 20 * MIB]) {
        const answer = await ask("/length", { method: "POST", body: new Uint8Array(length) });
        assert.equal(await answer.text(), String(length));
      }
      assert.equal(await (await ask("/length", { method: "POST" })).text(), "0");
    });

    test("streams a request's body into the response", async () => {
      const body = new Uint8Array(20 * MIB).fill(7);
      const answer = await ask("/echo", { method: "POST", body });
      assert.deepEqual(new Uint8Array(await answer.arrayBuffer()), body);
    });

    test("keeps the connection after a rejected form", async () => {
      const socket = await open();
      const lines = ["Host: app", "Content-Length: 3"].join("\r\n");
      socket.write(`POST /form HTTP/1.1\r\n${lines}\r\nSec-Fetch-Site: cross-site\r\n\r\na=b`);
      socket.write(`POST /length HTTP/1.1\r\n${lines}\r\n\r\na=b`);
      let answers = "";
      for await (const chunk of socket) {
        answers += chunk;
        if (/ 403 [^]* 200 [^]*\r\n\r\n1\r\n3\r\n/.test(answers)) break;
      }
      socket.destroy();
    });

    test("ends both bodies if the client goes away, and serves the next one", async () => {
      const sending = await open();
      sending.end("POST /length HTTP/1.1\r\nHost: app\r\nContent-Length: 9\r\n\r\nabc");
      await once(sending.resume(), "close");
      const reading = await open();
      reading.write("GET /events HTTP/1.1\r\nHost: app\r\n\r\n");
      await once(reading, "data");
      reading.destroy();
      const wanted = ["request: aborted", "response: cancelled"];
      let log: string[] = [];
      while (log.length < 2) log = await (await ask("/log")).json() as string[];
      assert.deepEqual(log.sort(), wanted);
    });

    test("sends no body in answer to HEAD", async () => {
      const answer = await ask("/events", { method: "HEAD" });
      assert.deepEqual([answer.status, await answer.text()], [200, ""]);
    });
  });
}
