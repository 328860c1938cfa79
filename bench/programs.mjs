// Finds the programs of an installed PostgreSQL.
import { execFileSync } from "node:child_process";
import { accessSync, constants, readdirSync, realpathSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";

const LAYOUT = "/usr/lib/postgresql";
const OLDEST = 15;

/** Returns the path of pgbench; null if it is not installed. */
export function findPgbench() {
  const folder = folders().find((it) => has(it, "pgbench"));
  return folder === undefined ? null : join(folder, "pgbench");
}

/** Returns the folder of an installed server that coatcheck supports; undefined if there is none. */
export function findServer() {
  return folders().filter((it) => has(it, "initdb") && has(it, "postgres"))
    .map((it) => dirname(realpathSync(join(it, "postgres"))))
    .filter((it) => has(it, "initdb") && versionIn(it) >= OLDEST)
    .map((bin) => dirname(bin))[0];
}

function folders() {
  const known = (process.env.PATH ?? "").split(delimiter).filter(Boolean);
  try {
    const versions = readdirSync(LAYOUT).sort((a, b) => Number(b) - Number(a));
    return [...known, ...versions.map((version) => join(LAYOUT, version, "bin"))];
  } catch {
    // Only Debian and its derivatives have this folder.
    return known;
  }
}

function has(folder, name) {
  try {
    accessSync(join(folder, name), constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function versionIn(folder) {
  const output = execFileSync(join(folder, "postgres"), ["--version"], { encoding: "utf8" });
  return Number(/ (\d+)/.exec(output)?.[1]);
}
