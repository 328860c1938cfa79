// What of PostgreSQL is installed on this machine.
import { accessSync, constants, readdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";

const LAYOUT = "/usr/lib/postgresql";

/** Finds a program of PostgreSQL's; null where there is none. */
export function findProgram(name) {
  const folders = (process.env.PATH ?? "").split(delimiter);
  try {
    const versions = readdirSync(LAYOUT).sort((a, b) => Number(b) - Number(a));
    folders.push(...versions.map((version) => join(LAYOUT, version, "bin")));
  } catch {
    // Not a Debian.
  }
  const found = folders.filter(Boolean).map((folder) => join(folder, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  return found ?? null;
}

/** The folder of an installed server; undefined where there is none. */
export function findServer() {
  const initdb = findProgram("initdb");
  return initdb === null ? undefined : dirname(dirname(initdb));
}
