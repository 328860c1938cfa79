import { performance } from "node:perf_hooks";
import { shuffled } from "./sample.mjs";

/**
 * Runs every turn once a round, so that other load on the machine affects all contestants alike.
 *
 * The order is random in each round: otherwise the same contestant would always wait for the checkpoint of
 * the fastest writer. A turn and its counterpart of another version run one after the other.
 *
 * @param {Turn[]} turns
 * @param {(seconds: number) => boolean} hasTimeFor Whether there is time for a round of that many seconds.
 * @returns The figures of all rounds, for each cell.
 *
 * @typedef {object} Turn
 * @property {string} name
 * @property {string} [counterpart] The name of the turn that it runs beside.
 * @property {number} [every] Runs only in every so many rounds. Unset: in each.
 * @property {(record: Function) => Promise<void>} run
 */
export async function runRounds(turns, rounds, hasTimeFor) {
  // Kept by turn, so that the tables list the contestants in their own order.
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
    if (done >= 2 && !hasTimeFor(longest)) {
      console.log(`No time for more rounds: ${done} of ${rounds} were run`);
      break;
    }
    const start = performance.now();
    const now = turns.filter(({ every = 1 }) => done % every === 0);
    for (const [place, turn] of drawn(now, done + 1).entries()) {
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

/** The turns in random order. Counterparts stay together, and take turns in going first. */
function drawn(turns, round) {
  const groups = turns.filter(({ counterpart }) => !counterpart).map((turn) => {
    const others = turns.filter(({ counterpart }) => counterpart === turn.name);
    return [turn, ...others];
  });
  const ordered = groups.map((group, index) => (round + index) % 2 ? group.toReversed() : group);
  return shuffled(ordered, round).flat();
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
  summary.perSecond.rounds = rounds.map(({ perSecond }) => round(perSecond));
  return summary;
}

// Four digits are more than the measurement resolves.
const round = (value) => Number(value.toPrecision(4));
