// How long everything takes, so that the whole run stays under ten minutes.
const IN_FLIGHT = [1, 16, 64];

/** The plan of a run that counts, and that of `--quick`, whose figures are for development alone. */
export const planOf = ({ quick }) => ({
  sessions: quick ? 100_000 : 1_000_000,
  inFlight: IN_FLIGHT,
  rounds: quick ? 2 : 5,
  // A round that would end after this does not begin, once there were two.
  endsAfter: quick ? 120 : 540,
  givenUpAfter: 900,
  // Milliseconds for each figure of each round, for what comes before all, and for what comes before
  // each round, as whoever has waited finds cold caches.
  window: quick ? 150 : 450,
  warmUp: quick ? 150 : 1500,
  wakeUp: 80,
  http: { connections: 32, window: quick ? 300 : 700, requests: 8192 },
  pgbench: {
    seconds: 1,
    clients: quick ? IN_FLIGHT : [1, 8, 16, 32, 64],
    clientsOfMany: quick ? [8] : [4, 16],
  },
});
