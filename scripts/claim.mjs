// Claims that end with their process: one that was killed does not block the next.
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Claims what a file stands for, until the file is deleted or every process that it names has ended.
 *
 * @param {string} file
 * @returns {Promise<string | undefined>} The process that has it; nothing, if it is this one now.
 */
export async function claim(file) {
  const own = `${file}.${process.pid}`;
  try {
    while (true) {
      // Written first, then linked: whoever finds the file also finds a process in it.
      writeFileSync(own, String(process.pid));
      try {
        linkSync(own, file);
        return;
      } catch (error) {
        if (error.code !== "EEXIST") throw error;
      }
      const pids = read(file)?.split(" ");
      if (!pids) continue;
      const holder = pids.find((pid) => isRunning(Number(pid)));
      if (holder === String(process.pid)) return;
      if (holder) return holder;
      // Others may find it dead at the same moment: the last to put its name there has it.
      renameSync(own, file);
      await sleep(100);
    }
  } finally {
    rmSync(own, { force: true });
  }
}

function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
}

function isRunning(pid) {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch (error) {
    return error.code !== "ESRCH";
  }
}
