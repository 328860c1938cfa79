// Installs what the benchmark needs: the devDependencies of coatcheck, its build for Node, and the peers.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install } from "../scripts/install.mjs";
import { root } from "../scripts/run.mjs";

const bench = fileURLToPath(new URL(".", import.meta.url));
const stamp = join(bench, "node_modules", ".coatcheck");

/** Installs both sets of packages if they are missing or outdated, and builds dist/. */
export async function installAll() {
  await install();
  const wanted = createHash("sha256").update(readFileSync(join(bench, "package-lock.json")))
    .digest("hex");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    console.log("Installing the peers (once) …");
    npm(["install", "--no-save", "--include=prod", "--ignore-scripts", "--loglevel=error"]);
    writeFileSync(stamp, wanted);
  }
  execFileSync(process.execPath, [join(root, "scripts", "build.mjs")], { stdio: "inherit" });
}

function npm(args) {
  const own = process.env.npm_execpath?.endsWith("npm-cli.js");
  const command = own ? process.execPath : "npm";
  execFileSync(command, own ? [process.env.npm_execpath, ...args] : args, {
    cwd: bench,
    stdio: "inherit",
    shell: !own && process.platform === "win32",
  });
}
