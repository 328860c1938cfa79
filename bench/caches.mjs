// One app process with a cache: a pool of one connection, and another that listens.
import { performance } from "node:perf_hooks";
import process from "node:process";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { answer } from "./answer.mjs";
import { connect, cookieOf, load, openCache, targetOf } from "./contestants/coatcheck.mjs";

const POLL_MILLISECONDS = 30_000;

// Processes of one machine share it, but for what their clock is set by meanwhile.
const now = () => performance.timeOrigin + performance.now();

const coatcheck = await load();
let sql;
let close;
let cache;
let validateSession;
let refused;

answer({
  open: async (url) => {
    ({ sql, close } = connect(url, { client: "postgres.js", pool: 1 }));
    cache = await openCache(sql);
    ({ validateSession } = coatcheck.configure({ cache, touchInterval: 86_400 }));
  },

  /** Reads a session into the cache, and then validates it again and again until it is refused. */
  poll: async (session, pause) => {
    const headers = new Headers({ cookie: cookieOf(session) });
    for (let tries = 0;; tries++) {
      const { hits } = cache.stats();
      const { reason } = await validateSession(headers, sql);
      if (reason) throw new Error(`Session ${session} is refused before it was revoked: ${reason}`);
      if (cache.stats().hits > hits) break;
      if (tries === 100) throw new Error("The cache answers nothing from memory");
      // The last one may have come before a beat.
      if (tries > 0) await sleep(20);
    }
    refused = poll(headers, pause);
    // A failure is thrown by `refused`.
    refused.catch(() => {});
  },
  refused: () => refused,

  revoke: async (session) => {
    const calledAt = now();
    const revoked = await coatcheck.revokeSessions(targetOf(session), sql);
    const returnedAt = now();
    if (revoked.length !== 1) throw new Error(`Session ${session} was not revoked`);
    return { calledAt, returnedAt };
  },

  usage: () => process.cpuUsage(),
  close: async () => {
    await cache?.close();
    await close?.();
  },
});

async function poll(headers, pause) {
  const { misses } = cache.stats();
  const end = now() + POLL_MILLISECONDS;
  for (;;) {
    const { session, reason } = await validateSession(headers, sql);
    if (session === null) {
      if (reason !== "revoked") throw new Error(`Refused, but as ${reason}`);
      // The one that was refused asks; more of them have not been answered from memory.
      return { at: now(), asked: cache.stats().misses - misses - 1 };
    }
    if (now() > end) throw new Error("The session is not refused");
    // Notifications arrive between two validations.
    await (pause > 0 ? sleep(pause) : setImmediate());
  }
}
