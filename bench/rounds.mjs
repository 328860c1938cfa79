import { performance } from "node:perf_hooks";
import { shuffled } from "./sample.mjs";

/**
 * Runs every turn once a round, so that what the machine does meanwhile meets all of them.
 *
 * The order is drawn anew for each round: whoever always came after the fastest writer would always
 * wait for its checkpoint.
 *
 * @param {{ name: string, every?: number, run: (record: Function) => Promise<void> }[]} turns One with
 * `every` is run in each so many rounds.
 * @param {(seconds: number) => boolean} mayGoOn Whether there is time for a round of so many seconds.
 * @returns Every figure of every round, by what was measured.
 */
export async function runRounds(turns, rounds, mayGoOn) {
  // By turn, so that the tables have the order of the contestants and not that of the draw.
  const cells = new Map(turns.map((turn) => [turn, new Map()]));
  const recorder = (turn) => (what, figures) => {
    const key = JSON.stringify(what);
    const own = cells.get(turn);
    if (!own.has(key)) own.set(key, { what, rounds: [] });
    own.get(key).rounds.push(figures);
  };
  let longest = 0;
  let done = 0;
  for (; done < rounds; done++) {
    if (done >= 2 && !mayGoOn(longest)) {
      console.log(`No time for more rounds: ${done} of ${rounds} were run.`);
      break;
    }
    const start = performance.now();
    const now = turns.filter(({ every = 1 }) => done % every === 0);
    for (const [place, turn] of shuffled(now, done + 1).entries()) {
      console.log(`round ${done + 1} of ${rounds}, ${place + 1} of ${now.length}: ${turn.name}`);
      await turn.run(recorder(turn));
    }
    longest = Math.max(longest, (performance.now() - start) / 1000);
  }
  return {
    rounds: done,
    cells: [...cells.values()].flatMap((own) => [...own.values()].map(summarise)),
  };
}

function summarise({ what, rounds }) {
  const summary = { ...what };
  for (const name of Object.keys(rounds[0])) {
    const values = rounds.map((figures) => figures[name]).sort((a, b) => a - b);
    summary[name] = {
      median: round((values[(values.length - 1) >> 1] + values[values.length >> 1]) / 2),
      min: round(values[0]),
      max: round(values.at(-1)),
    };
  }
  return summary;
}

// Four digits are more than such a measurement knows.
const round = (value) => Number(value.toPrecision(4));
