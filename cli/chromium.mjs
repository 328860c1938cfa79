// The browser of the tests, where there is one.
import { spawnSync } from "node:child_process";
import process from "node:process";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/**
 * Finds Chromium: at CHROMIUM, or on the PATH.
 *
 * @returns {string | undefined} A program that says its version: some names are of empty shells.
 */
export function findChromium() {
  const { CHROMIUM } = process.env;
  const candidates = CHROMIUM ? [CHROMIUM] : names;
  return candidates.find((it) => spawnSync(it, ["--version"], { stdio: "ignore" }).status === 0);
}
