// How long everything takes. A full run stays under ten minutes.
const IN_FLIGHT = [1, 16, 64];

/** The plan of a full run, of `--quick` (for development only), or of `--against`. */
export const planOf = ({ quick, against }) => ({
  sessions: quick ? 100_000 : 1_000_000,
  inFlight: IN_FLIGHT,
  // Versions differ by less than peers do, so a comparison runs as many rounds as the time allows.
  rounds: quick ? 2 : against ? 11 : 5,
  // Seconds. After two rounds, no round starts that would end later than this.
  endsAfter: quick ? 120 : 565,
  stopsAfter: 900,
  // Milliseconds: for each figure of a round, for the warm-up before the first round, and for the one
  // before each turn, as caches are cold after the wait.
  window: quick ? 150 : 400,
  warmUp: quick ? 150 : 1500,
  wakeUp: 80,
  // What is answered from memory takes microseconds.
  memory: { inFlight: [1, 64], window: quick ? 100 : 200, warmUp: quick ? 150 : 600 },
  http: { connections: 32, window: quick ? 300 : 700, requests: 8192 },
  pgbench: {
    seconds: 1,
    clients: quick ? IN_FLIGHT : [1, 8, 16, 32, 64],
    clientsOfMany: quick ? [8] : [4, 16],
  },
});
