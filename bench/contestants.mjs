// What is measured, on which runtime, with which client and pool. `group` is its role in the ratios.

// The default of pg and of postgres.js.
const POOL = 10;

// `batched` has at most two statements of each function under way: four connections carry both functions.
const BATCHED_POOL = 4;

const BOTH = ["create", "validate"];

function coatcheck(runtime, client, { batched = false, prepare = true, touch = false } = {}) {
  const title = `coatcheck${batched ? " batched" : ""}${prepare ? "" : " unprepared"}`;
  const group = touch ? "touching" : batched ? "batched" : "plain";
  return {
    name: `${title}${touch ? ", a touch each time" : ""}, ${client}, ${runtime}`,
    group: prepare ? group : `unprepared ${group}`,
    module: "coatcheck",
    runtime,
    operations: touch ? ["validate"] : BOTH,
    options: { client, batched, prepare, touch, pool: batched ? BATCHED_POOL : POOL },
  };
}

function scratch(runtime, { prepare = true } = {}) {
  return {
    name: `from scratch${prepare ? "" : " unprepared"}, postgres.js, ${runtime}`,
    group: prepare ? "scratch" : "unprepared scratch",
    module: "scratch",
    runtime,
    operations: BOTH,
    options: { client: "postgres.js", prepare, pool: POOL },
  };
}

function peer(title, module, runtime, { touch = false } = {}) {
  return {
    name: `${title}${touch ? ", its touch each time" : ""}, pg, ${runtime}`,
    group: touch ? "touching" : "peer",
    module,
    runtime,
    operations: touch ? ["validate"] : BOTH,
    options: { client: "pg", touch, pool: POOL },
  };
}

export const contestants = [
  coatcheck("Bun", "Bun.SQL", { batched: true }),
  coatcheck("Bun", "postgres.js", { batched: true }),
  coatcheck("Node", "postgres.js", { batched: true }),
  coatcheck("Deno", "postgres.js", { batched: true }),
  coatcheck("Bun", "Bun.SQL"),
  coatcheck("Bun", "postgres.js"),
  coatcheck("Node", "postgres.js"),
  coatcheck("Deno", "postgres.js"),
  coatcheck("Bun", "postgres.js", { prepare: false }),
  coatcheck("Bun", "Bun.SQL", { touch: true }),
  scratch("Bun"),
  scratch("Node"),
  scratch("Deno"),
  scratch("Bun", { prepare: false }),
  peer("Lucia 3", "lucia", "Node"),
  peer("Lucia 3", "lucia", "Bun"),
  peer("connect-pg-simple", "express", "Node"),
  peer("connect-pg-simple", "express", "Node", { touch: true }),
  peer("Auth.js pg-adapter", "auth", "Node"),
  peer("Auth.js pg-adapter", "auth", "Bun"),
  peer("better-auth", "better", "Node"),
  peer("better-auth", "better", "Bun"),
];

// Different cookies, the same number for all. Beyond some thousands, the processor's own caches no longer hold what a
// call reads, which shows in calls of some microseconds: so the cache is measured with more as well.
const DISTINCT = 1024;
const MANY = 8192;

const RUNTIMES = ["Bun", "Node", "Deno"];

// The cache sends its misses by one connection, and its beats; the client listens by another.
const CACHED = { client: "postgres.js", cached: true, pool: 4 };

const memory = (title, module, options) =>
  RUNTIMES.map((runtime) => ({
    name: `${title}, ${runtime}`,
    group: title,
    module,
    runtime,
    options: { pool: 0, distinct: DISTINCT, ...options },
  }));

/** What validates without a query, on each runtime. `stateless`: it has no database at all. */
export const memoryContestants = [
  ...memory("coatcheck cached", "coatcheck", CACHED).map(withNotify),
  ...memory("coatcheck cached, of 8,192 sessions", "coatcheck", { ...CACHED, distinct: MANY })
    .map(withNotify),
  ...memory("jose HS256", "jose", { algorithm: "HS256" }).map(withoutDatabase),
  ...memory("jose EdDSA", "jose", { algorithm: "EdDSA" }).map(withoutDatabase),
  ...memory("iron-session", "iron", {}).map(withoutDatabase),
  ...memory("better-auth with its cookie cache", "better", { cookieCache: true, pool: 4 }),
];

function withNotify(contestant) {
  return { ...contestant, database: "cached", seeds: { notify: true } };
}

function withoutDatabase(contestant) {
  return { ...contestant, stateless: true };
}

/** The same over HTTP: one page for all. */
export const memoryServers = [
  ...memory("coatcheck cached", "coatcheck", CACHED).map(withNotify),
  ...memory("jose HS256", "jose", { algorithm: "HS256" }).map(withoutDatabase),
  ...memory("better-auth with its cookie cache", "better", { cookieCache: true, pool: 4 }),
  ...memory("coatcheck", "coatcheck", { client: "postgres.js", pool: POOL }),
].filter(({ runtime }) => runtime !== "Deno");

/** What a comparison of two versions measures as well. The ten minutes of a full run have no room for it. */
export const comparisonContestants = [
  coatcheck("Bun", "postgres.js", { batched: true, prepare: false }),
  coatcheck("Node", "postgres.js", { prepare: false }),
];

/** The contestant of the other version that does the same; it runs directly before or after this one. */
export function counterpartOf(contestant, { checkout, label }) {
  return {
    ...contestant,
    name: contestant.name.replace("coatcheck", label),
    group: "against",
    counterpart: contestant.name,
    database: "against",
    checkout,
  };
}

/** What is measured over HTTP, each in a process of its own. */
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
