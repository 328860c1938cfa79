import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import os from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { bin, root } from "../scripts/run.mjs";
import { describeCheckout } from "./options.mjs";

const PEERS = [
  "postgres",
  "pg",
  "lucia",
  "@lucia-auth/adapter-postgresql",
  "express",
  "express-session",
  "connect-pg-simple",
  "@auth/pg-adapter",
  "better-auth",
  "iron-session",
  "jose",
];

/** The machine, without its name or its owner. */
export function describeMachine() {
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model.trim() ?? "unknown",
    cores: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()}`,
    load: Number(os.loadavg()[0].toFixed(1)),
  };
}

/** @param other The version of `--against`. */
export function describeVersions(other) {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  const first = (command) =>
    execFileSync(bin(command), ["--version"], { encoding: "utf8" }).match(/\d[\w.-]*/)[0];
  const version = (path) => JSON.parse(readFileSync(path, "utf8")).version;
  return {
    coatcheck: describeCheckout(root),
    ...(other ? { [other.label]: describeCheckout(other.checkout) } : {}),
    Bun: first("bun"),
    Node: first("node"),
    Deno: first("deno"),
    "npm's Node": process.versions.node,
    ...Object.fromEntries(
      PEERS.map((name) => [name, version(join(folder, "node_modules", name, "package.json"))]),
    ),
  };
}
