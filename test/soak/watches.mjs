// What the workers watch with their caches, as an app does for its WebSockets: each watch is told of the end of its
// session once, in time, and of nothing else.

/** Milliseconds for a question of the cache to the database, beside its staleness. */
const marginOf = (hasFaults) => hasFaults ? 6000 : 2000;

/**
 * @param {ReturnType<typeof import("./oracle.mjs").createOracle>} oracle
 * @param {boolean} hasFaults
 */
export function createWatches(oracle, hasFaults) {
  const known = new Map();
  const open = new Set();
  const figures = { begun: 0, told: 0, longest: 0 };
  const { check } = oracle;

  const boundOf = ({ worker }) => worker.cached.maxStaleness * 1000 + marginOf(hasFaults);

  const tell = ({ worker, session, since, expiresAt }) =>
    JSON.stringify({ worker: worker.name, id: session.id, since, expiresAt, now: Date.now() });

  /** When the session had ended, and the cache could know; Infinity if it has not, as far as is known. */
  function dueSince({ session, since, expiresAt, worker: { freshSince } }) {
    const endedAt = Math.min(session.endedAt, Math.max(expiresAt, session.expires));
    return Math.max(endedAt, since, freshSince);
  }

  const handlers = {
    opened(worker, { n, id, expiresAt, authenticatedAt, at, cache }) {
      const session = oracle.sessions.get(id);
      const deadline = { expiresAt, authenticatedAt };
      const watch = { worker, session, ...deadline, since: at, cache: `${worker.name} ${cache}` };
      known.set(`${worker.name} ${n}`, watch);
      open.add(watch);
      figures.begun++;
    },

    /** By the app, or by the end of its cache. */
    stopped: (worker, { n }) => void open.delete(end(worker, n, "stopped")),
    closed: (worker, { n }) => void open.delete(end(worker, n, "closed")),

    told(worker, { n, at, turn }) {
      const watch = known.get(`${worker.name} ${n}`);
      const isWatching = watch.end === undefined || watch.end === "closed";
      check(
        "watches",
        undefined,
        isWatching,
        () => `told of an end when ${watch.end}: ${tell(watch)}`,
      );
      figures.told++;
      const late = at - dueSince(watch);
      figures.longest = Math.max(figures.longest, late);
      end(worker, n, "told");
      open.delete(watch);
      oracle.endWatch(watch, at, turn);
    },

    /** Now and then: `freshSince` is the time from which the cache was fresh, if it is. */
    sampled(worker, { at, freshSince = Infinity }) {
      worker.freshSince = freshSince;
      for (const watch of open) {
        if (watch.worker !== worker) continue;
        const late = at - dueSince(watch);
        const isInTime = !(late > boundOf(watch));
        check("watches in time", undefined, isInTime, () => {
          return `not told of an end for ${late} ms: ${tell(watch)}`;
        });
        // Once is enough.
        if (!isInTime) open.delete(watch);
      }
    },
  };

  function end(worker, n, how) {
    const watch = known.get(`${worker.name} ${n}`);
    watch.end = how;
    return watch;
  }

  return {
    figures,
    open,
    longestBound: () => Math.max(0, ...[...open].map(boundOf)),
    hear: (worker, message) => handlers[message.has](worker, message),
    tell,
  };
}
