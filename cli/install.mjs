// Installs what the commands need, if it is not there. A `pre` script would be skipped under
// ignore-scripts, and would install no devDependencies under NODE_ENV=production.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** The path of a command that a devDependency brings. */
export const bin = (name) => join(root, "node_modules", ".bin", name);

const lock = join(root, ".installing");
const stamp = join(root, "node_modules", ".coatcheck");
const wanted = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .update(`${process.platform} ${process.arch}`)
  .digest("hex");

const isCurrent = () => existsSync(stamp) && readFileSync(stamp, "utf8") === wanted;

/** Installs unless the last install fits package-lock.json; of two commands at once, one does. */
export async function install() {
  while (!isCurrent()) {
    if (!acquire()) {
      await sleep(200);
      continue;
    }
    try {
      if (!isCurrent()) npmInstall();
    } finally {
      rmSync(lock, { recursive: true, force: true });
    }
  }
}

function npmInstall() {
  console.log("Installing (once) …");
  // Not `npm ci`: it refuses a lock file without the optional packages of other platforms.
  const args = [
    "install",
    "--no-save",
    "--include=dev",
    "--ignore-scripts=false",
    "--loglevel=error",
  ];
  const npm = process.env.npm_execpath?.endsWith("npm-cli.js")
    ? [process.execPath, process.env.npm_execpath]
    : ["npm"];
  const { status } = spawnSync(npm[0], [...npm.slice(1), ...args], {
    cwd: root,
    stdio: "inherit",
    shell: npm.length === 1 && process.platform === "win32",
  });
  if (status !== 0) {
    console.error("The install failed: see above.");
    process.exit(1);
  }
  writeFileSync(stamp, wanted);
}

// The folder is the lock, and names its holder: one that was killed does not block the next.
function acquire() {
  try {
    mkdirSync(lock);
    writeFileSync(join(lock, "pid"), String(process.pid));
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  try {
    process.kill(Number(readFileSync(join(lock, "pid"), "utf8")), 0);
  } catch (error) {
    if (error.code === "ESRCH") rmSync(lock, { recursive: true, force: true });
  }
  return false;
}
