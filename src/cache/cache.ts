import {
  type SessionCache,
  type SessionCacheStats,
  VALIDATION_CACHE,
  type ValidationCache,
} from "../cached.ts";
import { emit } from "../events.ts";
import {
  copyOptions,
  kindOf,
  refuse,
  requireDate,
  requireFunction,
  requireSeconds,
  requireWhole,
} from "../input.ts";
import { type Call, requireSql, type Sql } from "../sql.ts";
import { requireSessionId } from "../token.ts";
import { between, clock } from "./clock.ts";
import { openEntries } from "./entries.ts";
import { type Listen, openNotifications } from "./notifications.ts";
import { openWatches } from "./watches.ts";

/** What {@linkcode createSessionCache} needs. */
export interface SessionCacheOptions {
  /**
   * The SQL client that your app validates sessions with, or what {@linkcode batched} made of it: a pool to the
   * primary. A validation with any other client, such as a transaction, asks the database.
   */
  readonly sql: Sql;
  /** Listens to a channel of the same database, on a connection of its own; see {@linkcode Listen}. */
  readonly listen: Listen;
  /**
   * Seconds after its commit at which a revocation by any process is seen at the latest, 1 to 60. If the
   * notifications of the database are older than that, each validation asks the database.
   *
   * @default {2}
   */
  readonly maxStaleness?: number;
  /**
   * Maximum number of sessions in memory, 1 to 10,000,000. Each takes about 1 KiB with no data, and its data
   * may be 1 KiB of JSON on average; beyond that, fewer are kept.
   *
   * @default {100000}
   */
  readonly maxSessions?: number;
  /**
   * Seconds after which a session is read again, 1 to 3,600. A change in your users table, such as a new
   * username, is seen after this time at the latest.
   *
   * @default {60}
   */
  readonly maxAge?: number;
  /** Seconds to wait for the first notification, and for each statement of the cache, 1 to 86,400. @default {5} */
  readonly queryTimeout?: number;
}

const KEYS = ["sql", "listen", "maxStaleness", "maxSessions", "maxAge", "queryTimeout"];

/**
 * Makes a cache that answers validations from memory, and learns of each revocation within milliseconds.
 *
 * Pass it to {@linkcode configure} as `cache`. A validation whose session is in memory then sends no SQL. A
 * revocation by any process, by SQL or by a deleted user is pushed by triggers, which
 * `migrate(sql, { notify: true })` makes. In this process it counts at once.
 *
 * The staleness is bounded: eight times in `maxStaleness`, the cache asks which transactions have ended, and the
 * processes send a notification to all, the beat. PostgreSQL delivers in the order of the commits, so when a beat
 * of a later transaction has arrived, all earlier revocations have, too. If the last moment that is proven so is longer
 * ago than `maxStaleness`, as after a lost connection, a failover or a pause of the process, each validation asks
 * the database.
 *
 * The database is also asked if something must be written (a use, a rotation), if the secret is not the current
 * one, and before each refusal. Secrets are not kept, but their digests.
 *
 * Use it in a server that runs for long. It is not for Workers, for a client without `LISTEN` as Neon over
 * HTTP, for Citus, nor for a listener behind a pooler in transaction mode.
 *
 * @example
 * ```ts
 * import { configure, createSession, migrate } from "coatcheck";
 * import { createSessionCache } from "coatcheck/cache";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * await migrate(sql, { notify: true });
 * const cache = await createSessionCache({
 *   sql,
 *   listen: (channel, onMessage, onListen) => sql.listen(channel, onMessage, onListen),
 * });
 * const { validateSession, revokeSession } = configure({ cache });
 *
 * const { headers } = await createSession("ada", sql);
 * const request = new Headers({ cookie: headers.get("set-cookie")!.split(";")[0]! });
 * await validateSession(request, sql); // Asks the database.
 * await validateSession(request, sql); // Answered from memory.
 * assert.equal(cache.stats().hits, 1);
 * await revokeSession(request, sql);
 * assert.equal((await validateSession(request, sql)).reason, "revoked");
 * await cache.close();
 * await sql.end();
 * ```
 *
 * @param options The SQL client, how to listen, and the limits.
 * @returns The cache, when the first notification has come back. Close it when your server stops.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If an option is out of range.
 * @throws {SessionError} If the database cannot be reached or listened to. If the triggers are missing
 * (`SCHEMA_MISSING`). If no notification arrives in time (`STORE_TIMEOUT`), as behind a pooler.
 */
export async function createSessionCache(options: SessionCacheOptions): Promise<SessionCache> {
  const caller = "createSessionCache";
  const given = copyOptions(`${caller}: options`, options, KEYS);
  const { sql, listen, maxStaleness = 2, maxSessions = 100_000, maxAge = 60, queryTimeout = 5 } =
    given;
  requireSql(caller, sql);
  if (typeof listen !== "function") {
    const desired = "be a function that listens to a channel, on a client that can";
    refuse(TypeError, `${caller}: listen`, desired, kindOf(listen));
  }
  requireSeconds(`${caller}: maxStaleness`, maxStaleness, 1, 60);
  requireWhole(`${caller}: maxSessions`, maxSessions, 1, 10_000_000);
  requireSeconds(`${caller}: maxAge`, maxAge, 1, 3600);
  requireSeconds(`${caller}: queryTimeout`, queryTimeout, 1, 86_400);

  const call: Call = { caller, sql, queryTimeout };
  const entries = openEntries({ maxSessions, maxAge });
  const watches = openWatches(call, entries.forget);
  let hits = 0;
  let misses = 0;
  // When it was last asked about all watches, because nothing was heard.
  let askedAt = clock();

  const notifications = openNotifications({
    ...call,
    listen,
    maxStaleness,
    clock,
    onMessage(payload) {
      const [, event, id] = /^(revoked|changed):(.+)$/.exec(payload) ?? [];
      if (id === undefined) {
        // The table was truncated, or a newer version says something else.
        onGap();
        return checkWatches();
      }
      entries.forget(id);
      if (event === "revoked") watches.end(id);
      // It may have another deadline. The next tick asks.
      else watches.doubt(id);
    },
    onGap,
    onTick,
  });
  await notifications.ready;

  function onGap(): void {
    entries.clear();
    watches.doubt();
  }

  function onTick(): void {
    // The database may be reached while nothing is heard: without triggers, or if only the listener is cut off.
    const isDue = !isFresh() && between(askedAt, clock()) >= maxStaleness * 1000;
    if (isDue) {
      askedAt = clock();
      watches.doubt();
    }
    // A deadline is over, whether notifications arrive or not.
    if (watches.expire() || isDue || isFresh()) void watches.check();
  }

  function checkWatches(): void {
    if (isFresh()) void watches.check();
  }

  function staleness(now = clock()): number {
    const provenAt = notifications.provenAt();
    return provenAt ? between(provenAt, now) / 1000 : Infinity;
  }

  function isFresh(): boolean {
    return staleness() <= maxStaleness;
  }

  const own: ValidationCache = {
    find(key, client, isEnough) {
      if (client !== sql) return undefined;
      const now = clock();
      const state = staleness(now) <= maxStaleness ? entries.find(key, now) : undefined;
      if (state && isEnough(state)) {
        hits++;
        return state;
      }
      misses++;
      return undefined;
    },
    read(id, client) {
      const isKept = client === sql && notifications.isListening();
      return isKept ? entries.read(id, clock()) : undefined;
    },
    hearing: (onEvent) => (event) => {
      // A refused token may be anybody's, who would make the cache forget.
      if (event.type !== "refused") entries.forget(event.id);
      emit(onEvent, event);
    },
  };
  const cache: SessionCache & { readonly [VALIDATION_CACHE]: ValidationCache } = {
    watch(session, onEnd) {
      const { id, expiresAt, authenticatedAt } = session;
      requireSessionId("watch: session.id", id);
      requireDate("watch: session.expiresAt", expiresAt);
      if (authenticatedAt !== undefined) {
        requireDate("watch: session.authenticatedAt", authenticatedAt);
      }
      requireFunction("watch: onEnd", onEnd);
      const stop = watches.add({ ...session, id: id.toLowerCase() }, onEnd);
      checkWatches();
      return stop;
    },
    stats: (): SessionCacheStats => ({
      hits,
      misses,
      sessions: entries.size(),
      watched: watches.size(),
      staleness: staleness(),
      queueUsage: notifications.queueUsage(),
    }),
    close: notifications.close,
    [VALIDATION_CACHE]: own,
  };
  return cache;
}
