import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";

/** An error that is printed without its stack. */
export class UsageError extends Error {
  name = "UsageError";
}

/**
 * Reads the command line.
 *
 * - `--quick`: a short run, for development. It changes no published figure.
 * - `--only NAME`: only contestants whose name contains NAME. Repeatable. `--only memory`: what validates without a
 *   query.
 * - `--against PATH`: measures another checkout of coatcheck beside this one.
 */
export function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string", multiple: true, default: [] },
      against: { type: "string" },
    },
  });
  const words = values.only.map((word) => word.toLowerCase());
  const isWanted = (name) =>
    words.length === 0 || words.some((word) => name.toLowerCase().includes(word));
  const { quick, against } = values;
  return { quick, filtered: words.length > 0, isWanted, against };
}

/**
 * The other version of `--against`: its folder, and its name in the tables.
 *
 * The name is that of the folder, as no path of this machine belongs in a result.
 */
export function readCheckout(path) {
  // npm runs its commands in the folder of package.json. INIT_CWD is the folder that it was called from.
  const checkout = resolve(process.env.INIT_CWD ?? ".", path);
  for (const part of ["mod.ts", "deno.npm.json", "node_modules"]) {
    if (existsSync(join(checkout, part))) continue;
    throw new UsageError(
      `--against: ${path} has no ${part}; pass a checkout of coatcheck with its packages installed`,
    );
  }
  const hasDist = existsSync(join(checkout, "dist", "mod.js"));
  return { checkout, label: `coatcheck at ${basename(checkout)}`, hasDist };
}

/** Returns the version and the commit of a checkout: `0.1.0 (112e6f8)`. */
export function describeCheckout(checkout) {
  const { version } = JSON.parse(readFileSync(join(checkout, "package.json"), "utf8"));
  try {
    const git = ["describe", "--always", "--dirty"];
    const env = { ...process.env, GIT_OPTIONAL_LOCKS: "0" };
    const options = { cwd: checkout, encoding: "utf8", env, stdio: ["ignore", "pipe", "ignore"] };
    return `${version} (${execFileSync("git", git, options).trim()})`;
  } catch {
    // An unpacked archive, or a machine without git.
    return version;
  }
}
