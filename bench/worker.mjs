// One contestant in a process of its own. It keeps its pool open, and measures on request.
import process from "node:process";
import { answer } from "./answer.mjs";
import { measure, measureRate } from "./measure.mjs";
import { userOf } from "./sample.mjs";

const contestant = await import(`./contestants/${process.argv[2]}.mjs`);
let opened;
// The count continues from one measurement to the next, so that each uses other sessions.
let next = 0;

answer({
  hasBatched: (checkout) => contestant.hasBatched(checkout),
  hasCache: (checkout) => contestant.hasCache(checkout),
  seed: (...args) => contestant.seed(...args),
  open: async (url, options) => {
    opened = await contestant.open(url, options);
    await prove(opened.check);
  },
  measure: (operation, inFlight, milliseconds) =>
    measure(() => opened[operation](next++), inFlight, milliseconds),
  refresh: () => opened.refresh?.(),
  rate: async (inFlight, milliseconds) => {
    const missesBefore = opened.misses?.() ?? 0;
    const { calls, ...figures } = await measureRate(
      () => opened.validate(next++),
      inFlight,
      milliseconds,
    );
    requireFromMemory(calls, (opened.misses?.() ?? 0) - missesBefore);
    return figures;
  },
  close: () => opened.close(),
});

/** Rejects a measurement of the database instead of the cache. */
function requireFromMemory(calls, misses) {
  if (misses > calls / 1000) throw new Error(`Of ${calls} calls, ${misses} asked the database`);
}

/** Checks the contestant before it is measured. */
async function prove({ created, seeded, wrong, validate, user }) {
  const made = await created();
  const claims = {
    "a created session validates": [await validate(made), user(7)],
    "a seeded session validates": [await validate(seeded()), user(userOf(7))],
    "a wrong token does not": [await validate(wrong(made)), null],
    "the wrong token of a seeded session does not": [await validate(wrong(seeded())), null],
  };
  for (const [claim, [found, expected]] of Object.entries(claims)) {
    if (found !== expected) throw new Error(`${claim}: expected ${expected}, got ${found}`);
  }
}
