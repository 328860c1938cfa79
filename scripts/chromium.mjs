// The browser of the tests, where there is one.
import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import process from "node:process";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/**
 * Finds Chromium: at CHROMIUM, or on the PATH.
 *
 * @returns {string | undefined} The path of a program that says its version: some names are of shells
 * around nothing.
 */
export function findChromium() {
  const { CHROMIUM, PATH = "" } = process.env;
  const folders = PATH.split(delimiter);
  const paths = CHROMIUM
    ? [CHROMIUM]
    : names.flatMap((name) => folders.map((folder) => join(folder, name)));
  return paths.find((it) => spawnSync(it, ["--version"], { stdio: "ignore" }).status === 0);
}
