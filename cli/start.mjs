// Serves the demo on a PostgreSQL of its own, whose data stays in .postgres, or on DATABASE_URL.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { setImmediate as tick } from "node:timers/promises";
import { bin, install, root } from "./install.mjs";

const port = process.env.PORT || "3000";
const plain = process.env.COOKIE === "plain";
const folder = join(root, ".postgres");
const claim = join(folder, "start.pid");

await install();

// Ctrl-C reaches the demo too, and npm passes it on: the first signal counts. The handlers stay, so
// that an impatient second one does not leave the server behind.
const stop = new AbortController();
const stopped = once(stop.signal, "abort").then(() => console.log("\nStopping …"));
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => stop.abort());

// SIGTERM for npm ends npm and the shell between, and never comes here.
const { ppid } = process;
if (process.env.npm_execpath) setInterval(() => process.ppid === ppid || stop.abort(), 200).unref();

// A terminal that was closed takes no more lines, and that must not be what ends this process.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

try {
  await requireFreePort();
  if (process.env.DATABASE_URL) {
    const where = "in the schemas coatcheck and coatcheck_demo of your DATABASE_URL";
    await serve(process.env.DATABASE_URL, where, []);
  } else {
    await serveOwn();
  }
} catch (error) {
  // Ctrl-C ends initdb too, before this process gets to see the signal.
  await tick();
  if (!stop.signal.aborted) {
    console.error(error.message);
    process.exitCode = 1;
  }
}

async function serveOwn() {
  const { startPostgres } = await import("./postgres.mjs");
  claimData();
  try {
    const server = await startPostgres(folder);
    try {
      const where = server.kept
        ? "kept in .postgres; delete that folder to start afresh"
        : "gone when this stops, as PostgreSQL runs as nobody, who cannot enter this checkout";
      const died = server.exited.then(() => {
        throw new Error("PostgreSQL has ended.");
      });
      await serve(server.url, where, [died]);
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(claim, { force: true });
  }
}

/** Serves until a signal comes; throws if the demo, or what else it needs, ends before that. */
async function serve(url, where, needs) {
  const demo = spawn(bin("bun"), ["examples/demo/server.ts"], {
    cwd: root,
    env: { ...process.env, DATABASE_URL: url, PORT: port },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(demo, "exit");
  const died = exited.then(([code, signal]) => {
    throw new Error(`The demo has ended (${signal ?? `exit code ${code}`}).`);
  });
  // Its first line says that it listens.
  demo.stdout.once("data", () => console.log(welcome(where))).resume();
  try {
    await Promise.race([stopped, died, ...needs]);
  } finally {
    demo.kill();
    await exited;
  }
}

function requireFreePort() {
  if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535) {
    throw new Error(`Cannot serve as PORT must be from 1 to 65535: received ${port}`);
  }
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", ({ code }) => {
      const why = code === "EADDRINUSE" ? "is in use" : `cannot be opened (${code})`;
      reject(new Error(`Port ${port} ${why}. Choose another: PORT=${Number(port) + 1} npm start`));
    });
    probe.listen(Number(port), "127.0.0.1", () => probe.close(resolve));
  });
}

// Two servers on the same data would destroy it, and so would two that make it. A process that was
// killed does not block the next.
function claimData() {
  mkdirSync(folder, { recursive: true });
  try {
    writeFileSync(claim, String(process.pid), { flag: "wx" });
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    const holder = readFileSync(claim, "utf8");
    if (isRunning(Number(holder))) {
      throw new Error(
        `Another npm start (process ${holder}) uses the data in .postgres. ` +
          "If that process is something else, delete .postgres/start.pid",
      );
    }
    rmSync(claim, { force: true });
    claimData();
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code !== "ESRCH";
  }
}

function welcome(where) {
  const url = `http://localhost:${port}`;
  return `
  The demo is at ${url}
  Sign in as ada (password ada-demo) or grace (password grace-demo). Or without a browser:

    curl -i -c cookies.txt -d username=ada -d password=ada-demo ${url}/sign-in
    curl -b cookies.txt ${url}/session
    curl -i -b cookies.txt -c cookies.txt -X POST ${url}/sign-out

  Cookie: ${
    plain
      ? "session, without Secure and without the __Host- prefix, as COOKIE=plain asks"
      : "__Host-session. Safari takes none like it on http://localhost: COOKIE=plain npm start"
  }
  Data: ${where}
  Ctrl-C stops it.
`;
}
