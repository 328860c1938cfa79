// Serves the demo on a PostgreSQL of its own, whose data stays in .postgres, or on DATABASE_URL.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { claim } from "./claim.mjs";
import { install } from "./install.mjs";
import { startPostgres } from "./postgres.mjs";
import { bin, root, stop } from "./run.mjs";

const port = process.env.PORT || "3000";
const plain = process.env.COOKIE === "plain";
const folder = join(root, ".postgres");
const lock = join(folder, "start.pid");

await install();

try {
  await requireFreePort();
  if (process.env.DATABASE_URL) {
    const where = "in the schemas coatcheck and coatcheck_demo of your DATABASE_URL";
    await serve(process.env.DATABASE_URL, where, []);
  } else {
    await serveOwn();
  }
} catch (error) {
  if (!stop.aborted) {
    console.error(error.message);
    process.exitCode = 1;
  }
}

async function serveOwn() {
  await claimData();
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
    rmSync(lock, { force: true });
  }
}

/** Serves until a signal comes; throws if the demo, or what else it needs, ends before that. */
async function serve(url, where, needs) {
  const demo = spawn(bin("bun"), ["examples/demo/server.ts"], {
    cwd: root,
    env: { ...process.env, DATABASE_URL: url, PORT: port },
    // By the channel the demo notices when this process was killed.
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  const stopped = stop.aborted || once(stop, "abort");
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

// Two servers on the same data would destroy it, and so would two that make it.
async function claimData() {
  mkdirSync(folder, { recursive: true });
  const holder = await claim(lock);
  if (holder) {
    throw new Error(
      `Another npm start (process ${holder}) uses the data in .postgres. ` +
        "If that process is something else, delete .postgres/start.pid",
    );
  }
}

function welcome(where) {
  const url = `http://localhost:${port}`;
  return `
  The demo is at ${url}
  Sign in as ada (password ada-demo) or grace (password grace-demo). Then try this:

    Timeouts: watch both count down. After 2 minutes without use you are signed out.
    Devices: sign in with a second browser or in a private window, and sign it out from here.
    Password: change it. All other sessions are revoked.
    Recovery code: wait half a minute, then open it. It asks for the password again.
    Token theft: copy your cookie as an attacker, and see the theft detected.

  Or without a browser:

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
