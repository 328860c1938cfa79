// coatcheck as each runtime gets it: from source on Bun and Deno, from dist/ on Node.
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import postgres from "postgres";
import { md5, sample, sha256, userOf, USERS } from "../sample.mjs";
import { fill } from "../seed.mjs";

const onNode = !process.versions.bun && !process.versions.deno;

const here = fileURLToPath(new URL("../..", import.meta.url));

/** Loads coatcheck from a checkout: that of `--against`, or else this one. */
export const load = (checkout) => loadFile("mod", checkout);

/** Loads `coatcheck/cache`. */
export const loadCache = (checkout) => loadFile("cache", checkout);

const loadFile = (name, checkout) => import(pathToFileURL(fileOf(name, checkout)).href);

const fileOf = (name, checkout) =>
  join(checkout ?? here, onNode ? `dist/${name}.js` : `${name}.ts`);

// One session in ten is presented to the contestants that touch at each use. To the others, a day passes before a
// touch is due, so that none becomes due during the run.
export const isDue = (session) => session % 10 === 0;

// One session in ten has expired when the growth of a table is measured.
export const isDead = (session) => session % 10 === 5;

/**
 * Creates the tables by `migrate`, and fills them.
 *
 * @param {{ dead?: boolean, notify?: boolean, checkout?: string }} which Whether one in ten has expired, whether there
 * are the triggers that a cache needs, and the version whose `migrate` is called.
 */
export async function seed(url, sessions, { dead = false, notify = false, checkout } = {}) {
  const coatcheck = await load(checkout);
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users select n, 'user' || n from generate_series(1, ${USERS}::int) n`;
  await sql`vacuum (analyze) users`;
  await coatcheck.migrate(sql, {
    users: { table: "users", id: "id", username: "username" },
    // Another version may not know the option.
    ...(notify ? { notify } : {}),
  });
  await fill(sql, "coatcheck.sessions", () =>
    sql`
      insert into coatcheck.sessions (id, user_id, digest, created_at, authenticated_at, last_seen_at,
        expires_at, persistent, data)
      select md5('session' || n)::uuid, 1 + n % ${USERS}::int,
        sha256(sha256(('secret' || n)::bytea)), now(), now(), now(),
        case when ${dead} and n % 10 = 5 then now() else now() + interval '30 days' end, true, '{}'
      from generate_series(1, ${sessions}::int) n`);
  await sql.end();
}

/** The Cookie header of a seeded session. */
export const cookieOf = (session) =>
  `__Host-session=${idOf(session)}.${sha256(`secret${session}`).toString("base64url")}`;

/** What `revokeSessions` needs to revoke a seeded session, and no other. */
export const targetOf = (session) => ({ userId: userOf(session), id: idOf(session) });

const idOf = (session) =>
  md5(`session${session}`).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

export function connect(url, { client, pool, prepare = true }) {
  const sql = client === "Bun.SQL"
    ? new globalThis.Bun.SQL(url, { max: pool })
    : postgres(url, { max: pool, prepare, onnotice: () => {} });
  return { sql, close: () => sql.end({ timeout: 5 }) };
}

export async function hasBatched(checkout) {
  return typeof (await load(checkout)).batched === "function";
}

/** Whether a checkout has `coatcheck/cache`. */
export const hasCache = (checkout) => existsSync(join(checkout ?? here, "cache.ts"));

// The defaults, but for `queryTimeout`: 50 processes that start together on two cores take longer.
const CACHE = { maxStaleness: 2, maxSessions: 100_000, maxAge: 60, queryTimeout: 30 };

/** A cache of sessions, listening on a connection of its own. */
export async function openCache(sql, checkout) {
  const { createSessionCache } = await loadCache(checkout);
  return await createSessionCache({
    ...CACHE,
    sql,
    listen: (channel, onMessage, onListen) => sql.listen(channel, onMessage, onListen),
  });
}

/** Numbers of live sessions: either those that are due for a touch, or those that are not. */
export const liveSample = (count, sessions, seed, due = false) =>
  sample(count, sessions, seed).filter((n) => isDue(n) === due && !isDead(n));

export async function open(url, options) {
  const { batched, cached, touch, sessions, seed, distinct = 16_384, checkout } = options;
  let toRevoke = sessions;
  const coatcheck = await load(checkout);
  const { sql: plain, close } = connect(url, options);
  const sql = batched ? coatcheck.batched(plain) : plain;
  const policy = { touchInterval: touch ? 0 : 86_400 };
  let functions = coatcheck.configure(policy);
  const touching = coatcheck.configure({ touchInterval: 0 });
  let cache;
  const headersOf = (cookie) => new Headers({ cookie });
  const cookies = liveSample(distinct, sessions, seed, touch).map(cookieOf);
  // A Fetch runtime passes the headers as an object, so they are built before the clock starts.
  const presented = cookies.map(headersOf);
  const usernameOf = async (headers) =>
    (await functions.validateSession(headers, sql)).session?.username ?? null;

  /** Starts with an empty cache, and reads every session that is presented: none becomes too old in a turn. */
  async function refresh() {
    await cache?.close();
    cache = await openCache(sql, checkout);
    functions = coatcheck.configure({ ...policy, cache });
    const waiting = [...presented];
    const read = async () => {
      while (waiting.length > 0) await usernameOf(waiting.pop());
    };
    await Promise.all(Array.from({ length: 16 }, read));
  }

  if (cached) await refresh();
  return {
    create: (index) => functions.createSession(`user${userOf(index)}`, sql),
    validate: (index) => usernameOf(presented[index % presented.length]),
    touch: async (index) =>
      (await touching.validateSession(presented[index % presented.length], sql)).session?.username,
    // Those after the sessions that are presented, each once.
    revoke: async () => (await functions.revokeSessions(targetOf(++toRevoke), sql)).length === 1,
    ...(cached ? { refresh, misses: () => cache.stats().misses } : {}),
    cookies,
    usernameOf,
    check: {
      created: async () => {
        const { headers } = await functions.createSession("user7", sql);
        return headersOf(headers.get("set-cookie").split(";")[0]);
      },
      seeded: () => headersOf(cookieOf(7)),
      wrong: (right) => headersOf(right.get("cookie").replace(/.{43}$/, "A".repeat(43))),
      validate: usernameOf,
      user: (n) => `user${n}`,
    },
    close: async () => {
      await cache?.close();
      await close();
    },
  };
}
