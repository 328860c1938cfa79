// Ends what a process has started, and removes what it has made, if that process is killed before it can do so.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Has a shell run a line once this process has gone, however it goes.
 *
 * @param {string} line
 * @returns {() => void} Calls it off.
 */
export function afterwards(line) {
  // The system closes the pipe when this process has gone, and so ends the shell's read.
  const shell = spawn("sh", ["-c", `read _; ${line}`], {
    cwd: "/",
    // A process group of its own: what ends this process does not reach it.
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  // Without a shell, as on Windows, nobody looks after what is left.
  shell.on("error", () => {});
  shell.stdin.on("error", () => {});
  shell.unref();
  shell.stdin.unref?.();
  return () => void shell.kill("SIGKILL");
}

/**
 * Makes a folder that is removed afterwards at the latest.
 *
 * @param {string} name
 * @returns {{ folder: string, remove: () => void }}
 */
export function openFolder(name) {
  const folder = mkdtempSync(join(tmpdir(), `coatcheck-${name}-`));
  // A server that ends may still write to it.
  const forget = afterwards(
    `for i in 1 2 3 4 5 6 7 8 9; do sleep 1; rm -rf '${folder}' && break; done`,
  );
  return {
    folder,
    remove: () => {
      rmSync(folder, { recursive: true, force: true });
      forget();
    },
  };
}
