// The processes that a run starts, and how it talks with them.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { bin, root } from "../scripts/run.mjs";

const commands = {
  Bun: () => [bin("bun"), []],
  Node: () => [bin("node"), []],
  Deno: () => [bin("deno"), ["run", "--config=deno.npm.json", "--allow-all", "--no-check"]],
};

const running = new Set();

/** Starts a script of this folder on a runtime; `ask(verb, ...args)` has it do something. */
export function startChild(runtime, script, ...args) {
  const [command, flags] = commands[runtime]();
  const child = spawn(command, [...flags, join("bench", script), ...args], {
    cwd: root,
    env: { ...process.env, NODE_ENV: "production", DENO_NO_UPDATE_CHECK: "1", DO_NOT_TRACK: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting = new Map();
  const gone = () => new Error(`${script} on ${runtime} has ended`);
  const exited = once(child, "exit").then(() => {
    running.delete(child);
    for (const { reject } of waiting.values()) reject(gone());
  });
  running.add(child);
  // What it was told when it had ended already is found out by its exit.
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
    ask: (verb, ...args) =>
      new Promise((resolve, reject) => {
        if (!running.has(child)) return reject(gone());
        const id = ++last;
        waiting.set(id, { resolve, reject });
        child.stdin.write(`${JSON.stringify({ id, verb, args })}\n`);
      }),
    stop: async () => {
      child.stdin.end();
      const patience = setTimeout(() => child.kill("SIGKILL"), 3000);
      await exited;
      clearTimeout(patience);
    },
  };
}

/** Ends what is still running, when the run itself ends early. */
export function stopChildren() {
  for (const child of running) child.kill();
}

/**
 * Sees to it that a run ends: with Ctrl-C, and after so many seconds, as a peer that hangs must not hold
 * the machine for ever. Without its processes the run ends by itself.
 *
 * @returns {() => void} To be called once it has ended.
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
  const patience = setTimeout(() => {
    console.error(`Given up after ${seconds} s.`);
    stopChildren();
  }, seconds * 1000);
  return () => clearTimeout(patience);
}
