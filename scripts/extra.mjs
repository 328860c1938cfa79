// Packages that only some commands need. They are large, so each has a folder of its own in test/, with a
// package-lock.json, and is installed when it is asked for.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { root } from "./run.mjs";

/** Installs the packages of a folder of test/, unless the last install fits its package-lock.json. */
export function installExtra(name) {
  const folder = join(root, "test", name);
  const stamp = join(folder, "node_modules", ".coatcheck");
  const wanted = createHash("sha256").update(readFileSync(join(folder, "package-lock.json")))
    .digest("hex");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    console.log(`Installing the packages of test/${name} (once) …`);
    npm(folder, "install", "--no-save", "--ignore-scripts");
    writeFileSync(stamp, wanted);
  }
  return folder;
}

/** Runs npm in a folder: the one that runs this command, if there is one. */
export function npm(cwd, ...args) {
  const own = process.env.npm_execpath?.endsWith("npm-cli.js");
  const [program, ...first] = own ? [process.execPath, process.env.npm_execpath] : ["npm"];
  execFileSync(program, [...first, ...args, "--loglevel=error"], {
    cwd,
    stdio: ["ignore", "ignore", "inherit"],
  });
}
