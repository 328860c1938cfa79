// Installs what the commands need, if it is not there. A `pre` script would be skipped under
// ignore-scripts, and would install no devDependencies under NODE_ENV=production.
import { createHash } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { claim } from "./claim.mjs";
import { root, run, stop } from "./run.mjs";

const folder = join(root, "node_modules");
const stamp = join(folder, ".coatcheck");
const lock = join(folder, ".installing");
const patience = 10 * 60_000;
const wanted = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .update(`${process.platform} ${process.arch}`)
  .digest("hex");

const isCurrent = () => existsSync(stamp) && readFileSync(stamp, "utf8") === wanted;

/** Installs unless the last install fits package-lock.json; of two commands at once, one does. */
export async function install() {
  if (isCurrent()) return;
  mkdirSync(folder, { recursive: true });
  if (!await claimLock()) process.exit(1);
  let installed;
  try {
    installed = isCurrent() || await npmInstall();
  } finally {
    rmSync(lock, { force: true });
  }
  if (!installed) process.exit(1);
}

async function claimLock() {
  const start = Date.now();
  let told;
  for (; !stop.aborted; await sleep(200)) {
    const holder = await claim(lock);
    if (!holder) return true;
    const hint = `If process ${holder} is something else, delete node_modules/.installing`;
    if (holder !== told) console.log(`Waiting for another install to end. ${hint}`);
    told = holder;
    if (Date.now() - start > patience) {
      console.error(`The other install did not end. ${hint}`);
      return false;
    }
  }
  return false;
}

async function npmInstall() {
  console.log("Installing (once) …");
  const { npm_execpath } = process.env;
  const npm = npm_execpath?.endsWith("npm-cli.js") ? [process.execPath, npm_execpath] : ["npm"];
  // Not `npm ci`: it refuses a lock file without the optional packages of other platforms.
  const args = [
    "install",
    "--no-save",
    "--include=dev",
    "--ignore-scripts=false",
    "--loglevel=error",
  ];
  // npm goes on where this process is killed, and then holds the lock by itself.
  const keep = (pid) => appendFileSync(lock, ` ${pid}`);
  if (await run([...npm, ...args], {}, keep)) {
    writeFileSync(stamp, wanted);
    return true;
  }
  if (!stop.aborted) console.error("The install failed: see above.");
  return false;
}
