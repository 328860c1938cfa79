// Runs programs, so that none outlives the command that runs it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** The path of a program that a devDependency brings. */
export const bin = (name) => join(root, "node_modules", ".bin", name);

const controller = new AbortController();

/** Aborts when this command shall end: what waits for it ends what it has begun, and tidies up. */
export const stop = controller.signal;

// Ctrl-C comes here, and npm passes it on: the first signal counts. The handlers stay, so that an
// impatient second one leaves nothing behind.
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => controller.abort());
stop.addEventListener("abort", () => console.log("\nStopping …"));

// SIGTERM for npm ends npm and the shell between, and never comes here.
const { ppid } = process;
if (process.env.npm_execpath) {
  setInterval(() => process.ppid === ppid || controller.abort(), 200).unref();
}

// A terminal that was closed takes no more lines, and that must not be what ends this process.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

/**
 * Runs a program to its end, which `stop` brings about.
 *
 * @param {string[]} command
 * @param {import("node:child_process").SpawnOptions} [options]
 * @param {(pid: number) => void} [started] Is told of its process.
 * @returns {Promise<boolean>} Whether it succeeded.
 */
export async function run([program, ...args], options, started) {
  if (stop.aborted) return false;
  const child = spawn(program, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    // A process group of its own: Ctrl-C reaches it once, from here, and with all that it has started.
    // npm takes back what it has done after the first signal, and a second one would cut that short.
    detached: true,
    ...options,
  });
  const exited = once(child, "exit");
  const end = () => {
    try {
      process.kill(-child.pid);
    } catch {
      // It has ended by itself.
    }
  };
  stop.addEventListener("abort", end);
  try {
    if (child.pid) started?.(child.pid);
    const [code] = await exited;
    return code === 0;
  } finally {
    stop.removeEventListener("abort", end);
  }
}
