// What the tests of the examples need beside a database: a program that serves, and a browser.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A program that serves, as a process of its own. */
export interface Server {
  /** Where it serves: `http://127.0.0.1:` and a port. */
  readonly url: string;
  /** The process. */
  readonly pid: number;
  readonly close: () => Promise<void>;
}

/** Starts a program of node_modules/.bin on a free port, and waits until it says where it listens. */
export async function startServer(
  [program = "", ...args]: readonly string[],
  env: Strings,
): Promise<Server> {
  const child = spawn(resolve(root, "node_modules", ".bin", program), args, {
    cwd: root,
    env: { ...process.env, ...env, PORT: "0", NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = once(child, "exit");
  const close = async () => {
    child.kill();
    await exited;
  };
  try {
    return { url: await announced(child), pid: child.pid!, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function announced(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = "";
    const fail = () => {
      clearTimeout(deadline);
      reject(new Error(`The server does not listen:\n${output}`));
    };
    const deadline = setTimeout(fail, 30_000);
    // All output is there once the streams are closed too.
    child.once("close", fail);
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
        const url = output.match(/Listening on (http:\/\/[\w.]+:\d+)\//)?.[1];
        if (url === undefined) return;
        clearTimeout(deadline);
        resolve(url);
      });
    }
  });
}

/** Sends a request as it is written, and gives the beginning of the answer. */
export async function sendLines(port: number, ...lines: string[]): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(lines.map((line) => `${line}\r\n`).join("") + "\r\n");
  let answer = "";
  for await (const chunk of socket) {
    answer += chunk;
    if (answer.includes("\r\n\r\n")) break;
  }
  socket.destroy();
  return answer;
}

/** A browser as far as these tests need one: it keeps cookies by name, and follows no redirect. */
export interface Browser {
  readonly cookies: Map<string, string>;
  get(path: string): Promise<Response>;
  /** Sends a form; `headers` are those that say where it comes from. */
  post(path: string, form?: Strings, headers?: Strings): Promise<Response>;
  /** Asks who is signed in. */
  ask(): Promise<{ status: number; session?: Strings; reason?: string }>;
}

type Strings = Readonly<Record<string, string>>;

export function openBrowser({ url }: Server): Browser {
  const cookies = new Map<string, string>();
  async function send(path: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (cookies.size > 0) {
      headers.set("cookie", [...cookies].map(([name, value]) => `${name}=${value}`).join("; "));
    }
    // On Bun a connection of its own: one that is kept may be closed by the server just then.
    const own = { redirect: "manual", keepalive: false } as const;
    const response = await fetch(url + path, { ...init, headers, ...own });
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = line.match(/^([^=]+)=([^;]*)/) ?? [];
      if (/; Expires=Thu, 01 Jan 1970/.test(line)) cookies.delete(name);
      else cookies.set(name, value);
    }
    return response;
  }
  return {
    cookies,
    get: (path) => send(path, {}),
    post: (path, form = {}, headers = {}) =>
      send(path, { method: "POST", body: new URLSearchParams(form), headers }),
    ask: async () => {
      const response = await send("/session", {});
      return { status: response.status, ...await response.json() as object };
    },
  };
}
