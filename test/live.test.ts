// examples/live/: sockets and streams on one server, and what ends their sessions on another one or in the database.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createUsers } from "../examples/users.ts";
import { createSession, migrate } from "../mod.ts";
import { type Database, openDatabase } from "./runner/database.ts";
import { openProxy, type Proxy } from "./runner/proxy.mjs";
import { type Browser, openBrowser, sendLines, type Server, startServer } from "./runner/server.ts";
import { until } from "./runner/until.ts";

/** A connection of a signed-in browser. */
interface Connection {
  /** What the server has sent. */
  readonly received: string[];
  readonly isOpen: () => boolean;
  /** Resolves when the server ends it: the close code of a socket, and why. */
  readonly ended: Promise<string>;
  readonly close: () => void;
}

interface Example {
  readonly name: string;
  readonly command: readonly string[];
  readonly connect: (server: Server, browser: Browser) => Promise<Connection>;
  readonly end: string;
}

// Bun's client of WebSockets takes headers; the types of other runtimes have none.
type Sockets = new (url: string, options: { headers: Record<string, string> }) => WebSocket;

const cookiesOf = ({ cookies }: Browser) => ({
  cookie: [...cookies].map((it) => it.join("=")).join("; "),
});

async function openSocket({ url }: Server, browser: Browser): Promise<Connection> {
  const place = `${url.replace("http", "ws")}/socket`;
  const socket = new (WebSocket as unknown as Sockets)(place, { headers: cookiesOf(browser) });
  const received: string[] = [];
  const ended = new Promise<string>((resolve) => {
    socket.onclose = ({ code, reason }) => resolve(`${code} ${reason}`);
  });
  await new Promise<void>((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      received.push(data);
      resolve();
    };
    void ended.then((end) => reject(new Error(end)));
  });
  return {
    received,
    ended,
    isOpen: () => socket.readyState === WebSocket.OPEN,
    close: () => socket.close(),
  };
}

async function openStream({ url }: Server, browser: Browser): Promise<Connection> {
  const abort = new AbortController();
  const response = await fetch(`${url}/events`, {
    headers: cookiesOf(browser),
    signal: abort.signal,
  });
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const first = await reader.read();
  const received = [first.value!];
  let isOpen = true;
  const readOn = async () => {
    for (let it = await reader.read(); !it.done; it = await reader.read()) received.push(it.value);
    return "the end";
  };
  const ended = readOn().catch((error) => String(error)).finally(() => isOpen = false);
  return { received, ended, isOpen: () => isOpen, close: () => abort.abort() };
}

const deno = ["deno", "run", "--config=deno.npm.json", "--allow-all", "--no-check"];
const examples: Example[] = [
  {
    name: "examples/live/websocket.ts",
    command: ["bun", "examples/live/websocket.ts"],
    connect: openSocket,
    end: "4401 Your session has ended",
  },
  ...Object.entries({
    Bun: ["bun"],
    Deno: deno,
    Node: ["node", "--import=./test/runner/node.mjs"],
  }).map(([name, command]) => ({
    name: `examples/live/events.ts on ${name}`,
    command: [...command, "examples/live/serve.ts"],
    connect: openStream,
    end: "the end",
  })),
];

/** What ends the sessions of ada. */
const ends: {
  name: string;
  end: (all: { db: Database; other: Server; proxy: Proxy; browser: Browser }) => Promise<unknown>;
}[] = [
  {
    name: "revokeSessions in another process",
    end: async ({ other, browser }) => {
      const here = openBrowser(other);
      for (const [name, value] of browser.cookies) here.cookies.set(name, value);
      const response = await here.post("/sign-out-everywhere");
      assert.equal(response.status, 200);
    },
  },
  {
    name: "psql",
    end: ({ db }) =>
      db.sql`update coatcheck.sessions set revoked_at = now() where user_id =
        (select id from users where username = 'ada')`,
  },
  {
    name: "the deletion of the user",
    end: ({ db }) => db.sql`delete from users where username = 'ada'`,
  },
  {
    name: "a revocation while the server has no connection to the database, once it has one again",
    end: async ({ db, proxy }) => {
      proxy.cut();
      await db.sql`update coatcheck.sessions set revoked_at = now() where user_id =
        (select id from users where username = 'ada')`;
      await proxy.resume();
    },
  },
];

// As an upper bound: a notification takes milliseconds, and a lost connection at most some seconds.
const LIMIT = 10_000;

/** Fails if it takes longer than the bound. */
async function within<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Not within ${LIMIT} ms: ${what}`)), LIMIT);
  });
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

if ("Bun" in globalThis) {
  let db: Database;
  let proxy: Proxy;
  let other: Server;

  beforeAll(async () => {
    db = await openDatabase({ bare: true });
    await db.sql`drop table users`;
    await createUsers(db.sql);
    await migrate(db.sql, { users: { table: "users", id: "id", username: "username" } });
    proxy = await openProxy(db.url);
    other = await startServer(examples[0]!.command, { DATABASE_URL: db.url });
  });
  afterAll(async () => {
    await other?.close();
    proxy?.cut();
    await db?.close();
  });

  for (const { name, command, connect, end: expected } of examples) {
    describe(name, () => {
      let server: Server;

      beforeAll(async () => {
        server = await startServer(command, { DATABASE_URL: proxy.url });
      });
      afterAll(() => server?.close());

      /** A browser that is signed in, without a password: its hash takes a second of a busy core. */
      async function signIn(username: string): Promise<Browser> {
        [{ now: signedInAt }] = await db.sql<[{ now: Date }]>`select clock_timestamp() as now`;
        const browser = openBrowser(server);
        const { headers } = await createSession(username, db.sql);
        const [name = "", value = ""] = headers.get("set-cookie")!.split(";")[0]!.split("=");
        browser.cookies.set(name, value);
        return browser;
      }

      let signedInAt: Date;

      /** Resolves when the server has asked about the watches of those who have signed in last. */
      async function checked(): Promise<void> {
        await until("a check of the watches", async () => {
          const asked = await db.sql`select from pg_stat_activity
            where datname = current_database() and query like '%concat_ws(%'
              and query not like '%pg_stat_activity%' and state = 'idle' and query_start > ${signedInAt}`;
          return asked.length > 0;
        });
      }

      const watched = async () =>
        (await (await fetch(`${server.url}/stats`)).json() as { watched: number }).watched;

      const path = expected === "the end" ? "/events" : "/socket";

      test("answers 401 without a session, and connects after the sign-in", async () => {
        const browser = openBrowser(server);
        assert.equal((await browser.get(path)).status, 401);
        assert.match(await (await browser.get("/")).text(), new RegExp(path));
        const form = { username: "grace", password: "grace-demo" };
        assert.equal((await browser.post("/sign-in", form)).status, 303);
        const connection = await connect(server, browser);
        assert.match(connection.received[0]!, /Hello grace/);
        connection.close();
        await until("the watch of a client that has gone", async () => await watched() === 0);
      });

      if (path === "/socket") {
        test("rejects a WebSocket that a page of another origin opens", async () => {
          const { cookie } = cookiesOf(await signIn("grace"));
          const answer = await sendLines(
            Number(new URL(server.url).port),
            "GET /socket HTTP/1.1",
            `Host: ${new URL(server.url).host}`,
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Origin: https://evil.example",
            `Cookie: ${cookie}`,
          );
          assert.match(answer, /^HTTP\/1\.1 403 /);
        });
      }

      for (const { name: cause, end } of ends) {
        test(`ends by ${cause}, and only for that user`, async () => {
          await db.sql`insert into users (username, password_hash) values ('ada', '')
            on conflict do nothing`;
          const grace = await connect(server, await signIn("grace"));
          const browser = await signIn("ada");
          const connections = [await connect(server, browser), await connect(server, browser)];
          assert.match(connections[0]!.received[0]!, /Hello ada/);
          assert.equal(await watched(), 2);
          if (cause.includes("no connection")) await checked();
          const start = performance.now();
          await end({ db, other, proxy, browser });
          const saw = await within(Promise.all(connections.map(({ ended }) => ended)), cause);
          console.info(`${name}, ${cause}: ${Math.round(performance.now() - start)} ms`);
          assert.deepEqual(saw, [expected, expected]);
          // The browser would connect again.
          assert.equal((await browser.ask()).status, 401);
          assert.ok(grace.isOpen());
          assert.equal(await watched(), 1);
          grace.close();
          await until("the watch of a client that has gone", async () => await watched() === 0);
        });
      }

      test("ends at the deadline of the session", async () => {
        const browser = await signIn("ada");
        await db.sql`update coatcheck.sessions set expires_at = clock_timestamp() + interval '2 s'
          where revoked_at is null and user_id = (select id from users where username = 'ada')`;
        const { ended } = await connect(server, browser);
        assert.equal(await within(ended, "the deadline"), expected);
        assert.equal((await browser.ask()).status, 401);
        await until("the watch of an expired session", async () => await watched() === 0);
      });

      test("is watched no longer once its client has gone", async () => {
        const browser = await signIn("ada");
        const connections = await Promise.all(
          Array.from({ length: 20 }, () => connect(server, browser)),
        );
        // 20 watches of one session.
        assert.equal(await watched(), 1);
        for (const { close } of connections.slice(1)) close();
        await Promise.all(connections.slice(1).map(({ ended }) => ended));
        assert.equal(await watched(), 1);
        assert.ok(connections[0]!.isOpen());
        connections[0]!.close();
        await until("the last watch", async () => await watched() === 0);
      });
    });
  }
}
