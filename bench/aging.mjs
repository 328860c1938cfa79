// Ages a table of sessions through the public functions: a day of use, and a sweep.
import { performance } from "node:perf_hooks";
import { answer } from "./answer.mjs";
import { connect, cookieOf, load } from "./contestants/coatcheck.mjs";
import { shuffled } from "./sample.mjs";

const coatcheck = await load();
const CLIENT = { client: "Bun.SQL", pool: 10 };
const IN_FLIGHT = 64;

// An hour of use at the default touchInterval of 300 s: twelve touches, and one rotation halfway.
const TOUCHES_BEFORE = 6;
const TOUCHES_AFTER = 6;

answer({
  /** Touches and rotates every session, until the day is over or the seconds are used up. */
  day: async (url, sessions, seconds) => {
    const { sql, close } = connect(url, CLIENT);
    const { validateSession, rotateSession } = coatcheck.configure({ touchInterval: 0 });
    const end = performance.now() + seconds * 1000;
    const presented = Array.from({ length: sessions }, (_, n) => cookieOf(n + 1));
    const headersOf = (index) => new Headers({ cookie: presented[index] });
    const touch = async (index) => requireSession(await validateSession(headersOf(index), sql));
    const rotate = async (index) => {
      const result = await rotateSession(headersOf(index), sql);
      requireSession(result);
      presented[index] = result.headers.get("set-cookie").split(";")[0];
    };
    const passes = [
      ...Array(TOUCHES_BEFORE).fill(touch),
      rotate,
      ...Array(TOUCHES_AFTER).fill(touch),
    ];
    let done = 0;
    for (const [number, pass] of passes.entries()) {
      const waiting = shuffled(presented.keys(), number + 1);
      const caller = async () => {
        while (waiting.length > 0 && performance.now() < end) await pass(waiting.pop());
      };
      await Promise.all(Array.from({ length: IN_FLIGHT }, caller));
      if (waiting.length > 0) break;
      done++;
    }
    await close();
    return { passes: done, of: passes.length };
  },

  /** Sweeps, for at most that many seconds. */
  sweep: async (url, seconds) => {
    const { sql, close } = connect(url, { ...CLIENT, pool: 1 });
    let progress;
    const start = performance.now();
    await coatcheck.sweepSessions(sql, {
      signal: AbortSignal.timeout(seconds * 1000),
      onProgress: (now) => {
        progress = now;
      },
    }).catch((error) => {
      if (error.name !== "TimeoutError") throw error;
    });
    const took = (performance.now() - start) / 1000;
    await close();
    return { ...progress, seconds: took };
  },
});

function requireSession({ session, reason }) {
  if (session === null) throw new Error(`A session was lost: ${reason}`);
}
