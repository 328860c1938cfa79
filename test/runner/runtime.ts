import process from "node:process";

const { Bun, Deno } = globalThis as unknown as {
  Bun?: { version: string };
  Deno?: { version: { deno: string } };
};

const minor = (version: string) => version.split(".").slice(0, 2).join(".");

/** The runtime that runs this test, and the command that runs a program on it, of node_modules/.bin. */
export const runtime: { name: string; major: string; run: readonly string[] } = Bun
  ? { name: "Bun", major: minor(Bun.version), run: ["bun"] }
  : Deno
  ? {
    name: "Deno",
    major: minor(Deno.version.deno),
    run: ["deno", "run", "--config=deno.npm.json", "--allow-all", "--no-check"],
  }
  : {
    name: "Node",
    major: process.versions.node.split(".")[0]!,
    run: ["node", "--import=./test/runner/node.mjs"],
  };

/** The Node that runs npm: 20, or later. By hand, it is the one of node_modules/.bin. */
export const npmNode: string = process.env.npm_node_execpath ?? "node";
