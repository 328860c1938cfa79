// A process with a cache that validates without a pause. It is told by lines of JSON what to do.
import process from "node:process";
import { createInterface } from "node:readline";
import pg from "pg";
import postgres from "postgres";
import { createSessionCache, type Listen } from "../../cache.ts";
import { configure, type Sql } from "../../mod.ts";

/** What the process is told. */
export type Order =
  | {
    readonly order: "validate";
    readonly sessions: readonly (readonly [id: string, cookie: string])[];
  }
  | { readonly order: "jump"; readonly milliseconds: number }
  | { readonly order: "report" };

/** What the process knows of the sessions that it validates. */
export interface Report {
  /** Its clock, in milliseconds. */
  readonly clock: number;
  readonly sessions: Readonly<Record<string, Seen>>;
  /** How many validations have failed. */
  readonly failed: number;
}

/** What the process has seen of a session. */
export interface Seen {
  /** When the last validation began that was granted, in milliseconds. */
  granted: number;
  /** How many were answered from memory. */
  remembered: number;
  /** How many are under way. */
  running: number;
}

const [listener, poolUrl, listenUrl, maxStaleness] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
];
const { Bun } = globalThis as unknown as {
  Bun?: { SQL: new (url: string, options: object) => Sql & { listen: Listen } };
};

const options = { max: 4, onnotice: () => {}, connect_timeout: 5 };
const sql: Sql = listener === "Bun.SQL"
  ? new Bun!.SQL(poolUrl, { max: 4, connectionTimeout: 5 })
  : postgres(poolUrl, options);

/** The ways to listen of the documentation. */
const listeners: Record<string, () => Listen> = {
  "postgres.js": () => {
    const client = postgres(listenUrl, options);
    return (channel, onMessage, onListen) => client.listen(channel, onMessage, onListen);
  },
  "postgres.js that is closed": () => async (channel, onMessage, onListen) => {
    const client = postgres(listenUrl, options);
    await client.listen(channel, onMessage, onListen);
    return () => client.end({ timeout: 0 });
  },
  "pg": () => async (channel, onMessage) => {
    const client = new pg.Client({ connectionString: listenUrl, connectionTimeoutMillis: 5000 });
    client.on("error", () => {});
    client.on("notification", ({ payload }) => onMessage(payload ?? ""));
    await client.connect();
    await client.query(`listen "${channel}"`);
    return () => client.end();
  },
  "Bun.SQL": () => {
    const client = new Bun!.SQL(listenUrl, { max: 1, connectionTimeout: 5 });
    return (channel, onMessage, onListen) => client.listen(channel, onMessage, onListen);
  },
};

const { now } = Date;
let jumped = 0;
Date.now = () => now() + jumped;
const clock = () => Number(process.hrtime.bigint()) / 1e6;

const cache = await createSessionCache({
  sql,
  listen: listeners[listener]!(),
  maxStaleness: Number(maxStaleness),
});
const { validateSession } = configure({ cache, queryTimeout: 2 });
let sessions: { id: string; request: Headers; seen: Seen }[] = [];
let failed = 0;

async function validate({ request, seen }: (typeof sessions)[number]): Promise<void> {
  seen.running++;
  const began = clock();
  const { hits } = cache.stats();
  const pending = validateSession(request, sql);
  // What is answered from memory is answered before the call returns.
  if (cache.stats().hits > hits) seen.remembered++;
  try {
    if ((await pending).session) seen.granted = Math.max(seen.granted, began);
  } catch {
    failed++;
  }
  seen.running--;
}

const write = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);

createInterface({ input: process.stdin }).on("line", (line) => {
  const order = JSON.parse(line) as Order;
  if (order.order === "jump") jumped = order.milliseconds;
  if (order.order === "validate") {
    sessions = order.sessions.map(([id, cookie]) => ({
      id,
      request: new Headers({ cookie }),
      seen: { granted: -Infinity, remembered: 0, running: 0 },
    }));
  }
  if (order.order === "report") {
    const seen = Object.fromEntries(sessions.map((it) => [it.id, it.seen]));
    write({ clock: clock(), sessions: seen, failed } satisfies Report);
  }
}).on("close", () => process.exit());
write({ pid: process.pid });

for (;;) {
  // Four at a time, as each that asks the database waits for its answer.
  for (const it of sessions) if (it.seen.running < 4) void validate(it);
  await new Promise((resolve) => setTimeout(resolve, 1));
}
