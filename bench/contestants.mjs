// Who runs, where, and with which client and pool. `group` is who they are in the ratios.

// Ten is what pg and postgres.js take where nothing is said.
const POOL = 10;

// Two statements of each verb are under way at most, so that four connections carry creates and validates.
const BATCHED_POOL = 4;

const BOTH = ["create", "validate"];

function ours(runtime, client, { batched = false, touch = false } = {}) {
  const kind = batched ? " batched" : touch ? ", a touch each time" : "";
  return {
    name: `coatcheck${kind}, ${client}, ${runtime}`,
    group: batched ? "batched" : touch ? "touching" : "plain",
    module: "coatcheck",
    runtime,
    verbs: touch ? ["validate"] : BOTH,
    options: { client, batched, touch, pool: batched ? BATCHED_POOL : POOL },
  };
}

function peer(title, module, runtime, client, { group = "peer", touch = false } = {}) {
  return {
    name: `${title}${touch ? ", its touch each time" : ""}, ${client}, ${runtime}`,
    group: touch ? "touching" : group,
    module,
    runtime,
    verbs: touch ? ["validate"] : BOTH,
    options: { client, touch, pool: POOL },
  };
}

export const contestants = [
  ours("Bun", "Bun.SQL", { batched: true }),
  ours("Bun", "postgres.js", { batched: true }),
  ours("Node", "postgres.js", { batched: true }),
  ours("Deno", "postgres.js", { batched: true }),
  ours("Bun", "Bun.SQL"),
  ours("Bun", "postgres.js"),
  ours("Node", "postgres.js"),
  ours("Deno", "postgres.js"),
  ours("Bun", "Bun.SQL", { touch: true }),
  peer("from scratch", "scratch", "Bun", "postgres.js", { group: "scratch" }),
  peer("from scratch", "scratch", "Node", "postgres.js", { group: "scratch" }),
  peer("Lucia 3", "lucia", "Node", "pg"),
  peer("Lucia 3", "lucia", "Bun", "pg"),
  peer("connect-pg-simple", "express", "Node", "pg"),
  peer("connect-pg-simple", "express", "Node", "pg", { touch: true }),
  peer("Auth.js pg-adapter", "auth", "Node", "pg"),
  peer("Auth.js pg-adapter", "auth", "Bun", "pg"),
  peer("better-auth", "better", "Node", "pg"),
  peer("better-auth", "better", "Bun", "pg"),
];

/** Who answers over HTTP, each in a process of its own. */
export const servers = [
  {
    name: "coatcheck batched, Bun.serve",
    module: "coatcheck",
    runtime: "Bun",
    options: { client: "Bun.SQL", batched: true, pool: BATCHED_POOL },
  },
  {
    name: "coatcheck, Bun.serve",
    module: "coatcheck",
    runtime: "Bun",
    options: { client: "Bun.SQL", batched: false, pool: POOL },
  },
  {
    name: "express-session, Express on Node",
    module: "express",
    runtime: "Node",
    options: { pool: POOL, touch: true },
  },
  {
    name: "express-session without its touch, Express on Node",
    module: "express",
    runtime: "Node",
    options: { pool: POOL, touch: false },
  },
  {
    name: "better-auth, Bun.serve",
    module: "better",
    runtime: "Bun",
    options: { pool: POOL },
  },
];
