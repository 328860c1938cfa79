// Starts the child processes of a run, and calls their functions.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { bin, root } from "../scripts/run.mjs";

const commands = {
  Bun: () => [bin("bun"), []],
  Node: () => [bin("node"), []],
  Deno: (checkout) => [
    bin("deno"),
    ["run", `--config=${join(checkout, "deno.npm.json")}`, "--allow-all", "--no-check"],
  ],
};

const running = new Set();

/**
 * Starts a script of this folder; `ask(method, ...args)` calls one of its functions.
 *
 * @param {"Bun" | "Node" | "Deno"} runtime
 * @param {string} script
 * @param {string} [module] What `worker.mjs` measures: a module of `contestants/`.
 * @param {string} [checkout] The checkout of coatcheck whose dependencies Deno resolves.
 */
export function startChild(runtime, script, module, checkout = root) {
  const [command, flags] = commands[runtime](checkout);
  const args = [...flags, join("bench", script)];
  if (module !== undefined) args.push(module);
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, NODE_ENV: "production", DENO_NO_UPDATE_CHECK: "1", DO_NOT_TRACK: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting = new Map();
  const exitError = () => new Error(`${script} on ${runtime} has exited`);
  const exited = once(child, "exit").then(() => {
    running.delete(child);
    for (const { reject } of waiting.values()) reject(exitError());
  });
  running.add(child);
  // A write to a process that has exited fails here; the exit itself rejects the call.
  child.stdin.on("error", () => {});
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (!line.startsWith("{")) return console.error(line);
    const { id, result, error } = JSON.parse(line);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  });

  let last = 0;
  return {
    ask: (method, ...args) =>
      new Promise((resolve, reject) => {
        if (!running.has(child)) return reject(exitError());
        const id = ++last;
        waiting.set(id, { resolve, reject });
        child.stdin.write(`${JSON.stringify({ id, method, args })}\n`);
      }),
    stop: async () => {
      child.stdin.end();
      const timeout = setTimeout(() => child.kill("SIGKILL"), 3000);
      await exited;
      clearTimeout(timeout);
    },
  };
}

/** Kills the children that still run when the run ends early. */
export function stopChildren() {
  for (const child of running) child.kill();
}

/**
 * Ends the run on Ctrl-C, and after a number of seconds, so that a peer that hangs cannot block it.
 * Without its children the run ends by itself.
 *
 * @returns {() => void} Call it when the run has ended.
 */
export function watch(server, seconds) {
  // The embedded server has a process group of its own, which Ctrl-C does not reach.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.once(signal, async () => {
      stopChildren();
      await server.close();
      process.exit(1);
    });
  }
  const timeout = setTimeout(() => {
    console.error(`Stopped: the run took longer than ${seconds} s`);
    stopChildren();
  }, seconds * 1000);
  return () => clearTimeout(timeout);
}
