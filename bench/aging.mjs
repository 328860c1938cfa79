// What a table of sessions goes through, by the verbs themselves: a day of use, and a sweep.
import { performance } from "node:perf_hooks";
import { answer } from "./answer.mjs";
import { coatcheck, connect, cookieOf } from "./contestants/coatcheck.mjs";
import { shuffled } from "./sample.mjs";

const CLIENT = { client: "Bun.SQL", pool: 10 };
const IN_FLIGHT = 64;

// An hour of use at the default touchInterval, and in its middle one rotation.
const TOUCHES_BEFORE = 6;
const TOUCHES_AFTER = 6;

answer({
  /** Gives every session its day, or as much of it as there are seconds for. */
  day: async (url, sessions, seconds) => {
    const { sql, close } = connect(url, CLIENT);
    const { validateSession, rotateSession } = coatcheck.configure({ touchInterval: 0 });
    const end = performance.now() + seconds * 1000;
    const presented = Array.from({ length: sessions }, (_, n) => cookieOf(n + 1));
    const headersOf = (index) => new Headers({ cookie: presented[index] });
    const touch = async (index) => requireSession(await validateSession(headersOf(index), sql));
    const rotate = async (index) => {
      const visit = await rotateSession(headersOf(index), sql);
      requireSession(visit);
      presented[index] = visit.headers.get("set-cookie").split(";")[0];
    };
    const passes = [
      ...Array(TOUCHES_BEFORE).fill(touch),
      rotate,
      ...Array(TOUCHES_AFTER).fill(touch),
    ];
    let done = 0;
    for (const [number, pass] of passes.entries()) {
      const waiting = shuffled(presented.keys(), number + 1);
      const lane = async () => {
        while (waiting.length > 0 && performance.now() < end) await pass(waiting.pop());
      };
      await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
      if (waiting.length > 0) break;
      done++;
    }
    await close();
    return { passes: done, of: passes.length };
  },

  /** Sweeps, for so many seconds at most. */
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
