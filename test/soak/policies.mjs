// The policies of the soak. Each user has one, and with it each of the user's sessions: only so it is certain
// when a session ends by itself.

/** The idle timeout of the sweep: the longest of all, as it goes by the rows of every policy. */
export const LONGEST_IDLE = 60;

const ordinary = {
  idleTimeout: LONGEST_IDLE,
  absoluteTimeout: 3600,
  // Longer than the staleness of a cache: what must be touched is not answered from memory.
  touchInterval: 20,
  rotationGrace: 5,
};

/** @type {Record<string, import("../../mod.ts").Policy>} */
export const policies = {
  plain: ordinary,
  rotating: { ...ordinary, touchInterval: 0, rotateAfter: 6 },
  short: { ...ordinary, idleTimeout: 3, absoluteTimeout: 4, touchInterval: 0 },
  limited: {
    ...ordinary,
    touchInterval: 1,
    maxSessions: 3,
    cookie: { name: "limited", sameSite: "Strict" },
  },
  bearer: { ...ordinary, touchInterval: false, transport: "bearer" },
};

/** Seconds for queryTimeout: with faults few, and without faults so many that a busy machine exceeds none. */
export const queryTimeoutOf = (hasFaults) => hasFaults ? 2 : 10;

export const users = [
  { id: 1, name: "ada", policy: "plain" },
  { id: 2, name: "grace", policy: "plain" },
  { id: 3, name: "barbara", policy: "rotating" },
  { id: 4, name: "frances", policy: "rotating" },
  { id: 5, name: "hedy", policy: "short" },
  { id: 6, name: "joan", policy: "limited" },
  { id: 7, name: "karen", policy: "limited" },
  { id: 8, name: "radia", policy: "bearer" },
];

/** The keys of the data that updates change. The key `op` says which call has made the session. */
export const KEYS = ["a", "b", "c", "cart"];

/** The id of a row that no sweep deletes. */
export const TAKEN = "11111111-1111-4111-8111-111111111111";
