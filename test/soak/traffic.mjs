// Chooses the next call: of which function, for whom, and with which token. Few users and shared tokens, so that
// calls meet.
import { KEYS, LONGEST_IDLE, policies, TAKEN, users } from "./policies.mjs";

/** Sessions of one user, and guests of one policy, below which a new one is made. */
const FEW = 8;

/** Tokens that a worker presents again and again. */
const MANY = 20;

/** What a guest's data has that a sign-in keeps. */
const KEPT = ["cart", "a"];

/** A well-formed token that nobody was given. */
const FORGED = "A".repeat(43);

/**
 * @param {ReturnType<typeof import("./oracle.mjs").createOracle>} oracle
 * @param {number} seed The same seed makes the same choices of the same state.
 */
export function createTraffic(oracle, seed) {
  let state = seed >>> 0;
  // The constants are those of Numerical Recipes.
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const chance = (probability) => random() < probability;
  const pick = (items) => items[Math.floor(random() * items.length)];
  const guests = [];

  const FUNCTIONS = Object.entries({
    validateSession: 55,
    updateSession: 12,
    rotateSession: 6,
    reauthenticateSession: 3,
    listSessions: 6,
    revokeSession: 1.5,
    revokeSessions: 0.8,
    createSession: 5,
    createGuestSession: 3,
    insertSession: 1,
    getUserId: 2,
    sweepSessions: 0.3,
    migrate: 0.1,
  });
  const DURABLE = ["revokeSession", "revokeSessions", ...Array(30).fill("listSessions")];
  const total = FUNCTIONS.reduce((sum, [, weight]) => sum + weight, 0);
  const choose = () => {
    let left = random() * total;
    return FUNCTIONS.find(([, weight]) => (left -= weight) < 0)?.[0] ?? "validateSession";
  };

  const isLive = (it) => it.deadSince === undefined;
  // A session that may have ended is of little use, and stays so until it is granted again.
  const isUseful = (it) => isLive(it) && it.expires > Date.now();
  const liveOf = (user) => [...oracle.people.get(user.id).sessions].filter(isUseful);
  const liveGuests = () => {
    for (let i = guests.length - 1; i >= 0; i--) if (!isUseful(guests[i])) guests.splice(i, 1);
    return guests;
  };

  /** A token of a session: mostly the newest, sometimes an older one. */
  function tokenOf(session) {
    const own = session.tokens;
    return chance(0.9) ? own.at(-1) : pick(own.slice(-4));
  }

  /** A session to present, of any user, of a guest, or one that has just ended. */
  function anySession() {
    // Just now, or longer ago than the staleness of a cache.
    if (oracle.recent.length > 0 && chance(0.15)) {
      return pick(chance(0.5) ? oracle.recent.slice(-40) : oracle.recent);
    }
    if (chance(0.15) && liveGuests().length > 0) return pick(guests);
    const live = liveOf(pick(users));
    // The first ones are asked for most, so that calls meet there.
    return live.length > 0 ? live[Math.floor(random() ** 2 * live.length)] : undefined;
  }

  const dataOf = (n, keys = KEYS) => ({
    op: n,
    ...Object.fromEntries(keys.filter(() => chance(0.5)).map((key) => [key, n])),
  });

  /**
   * The next call: what the worker gets, and what the oracle knows besides.
   *
   * @param {{ isLazy?: boolean, remembered: object[] }} worker `isLazy`: only revocations, which survive a crash also
   * where synchronous_commit is off, and reads.
   */
  function next({ isLazy, remembered }) {
    const n = oracle.next();
    if (remembered.length > 0 && chance(0.7)) return again(n, pick(remembered));
    const chosen = isLazy ? pick(DURABLE) : choose();
    const { order, call = chosen, ...about } = (makers[chosen] ?? presenting)(n, chosen);
    return { order: { n, call, policy: about.policy, ...order }, about };
  }

  /** A token that a cache has in memory, or had: also when its session has ended, until it is refused. */
  function again(n, token) {
    const policy = token.session.policyName;
    const order = { n, call: "validateSession", policy, token: token.value };
    return { order, about: { policy, token } };
  }

  /** Notes what a worker with a cache was answered. */
  function remember({ remembered }, { order, token }, { session, guest, error }) {
    if (order.call !== "validateSession" || !token || error) return;
    // Each use is written, so it is never answered from memory.
    if (token.session.policy.touchInterval === 0) return;
    const index = remembered.indexOf(token);
    if (!session && !guest) {
      if (index >= 0) remembered.splice(index, 1);
    } else if (index < 0) {
      remembered.push(token);
      if (remembered.length > MANY) remembered.shift();
    }
  }

  const makers = {
    createSession(n) {
      if (chance(0.06)) {
        const user = chance(0.5) ? "nobody" : { userId: 99 };
        return { policy: "plain", order: { user, data: dataOf(n), fails: "USER_NOT_FOUND" } };
      }
      const user = pick(users);
      const { policy } = user;
      // More sign-ins with a limit, as each of them ends another session.
      const isMany = liveOf(user).length > FEW && !policies[policy].maxSessions;
      if (isMany && chance(0.7)) return presenting(n, "validateSession");
      const asked = chance(0.7) ? user.name : { userId: user.id };
      const order = { user: asked, data: dataOf(n), persistent: chance(0.5) };
      const own = liveGuests().filter((it) => it.policyName === policy);
      const others = [...liveOf(user), ...own];
      if (others.length === 0 || chance(0.6)) return { policy, user: user.id, order };
      const replaced = own.length > 0 && chance(0.6) ? pick(own) : pick(others);
      const token = tokenOf(replaced);
      Object.assign(order, { replaces: token.value, ...(chance(0.6) && { keep: KEPT }) });
      return { policy, user: user.id, token, order };
    },

    createGuestSession(n) {
      const { policy } = pick(users);
      const order = { data: dataOf(n) };
      const own = liveGuests().filter((it) => it.policyName === policy);
      const live = [...own, ...users.filter((it) => it.policy === policy).flatMap(liveOf)];
      if (own.length > FEW || live.length > 0 && chance(0.3)) {
        const token = tokenOf(pick(live));
        return { policy, token, order: { ...order, headers: token.value } };
      }
      return { policy, order };
    },

    insertSession(n) {
      const user = pick(users.filter((it) => policies[it.policy].idleTimeout === LONGEST_IDLE));
      const { policy, id: userId } = user;
      if (chance(0.1)) {
        const order = { userId, data: dataOf(n), lifetime: 600, id: TAKEN, fails: "23505" };
        return { policy, user: userId, order };
      }
      const lifetime = chance(0.5) ? 600 : 15;
      return { policy, user: userId, order: { userId, data: dataOf(n), lifetime } };
    },

    getUserId() {
      if (chance(0.1)) {
        return { policy: "plain", order: { username: "nobody", fails: "USER_NOT_FOUND" } };
      }
      const { name, id, policy } = pick(users);
      return { policy, user: id, order: { username: name } };
    },

    listSessions() {
      const { id, policy } = pick(users);
      const order = { userId: id, ...(chance(0.1) && { limit: 2 }) };
      return { policy, user: id, order };
    },

    revokeSessions(n) {
      const user = pick(users);
      const { id: userId, policy } = user;
      const live = liveOf(user);
      const reason = `op-${n}`;
      const one = live.length > 0 ? pick(live).id : undefined;
      const target = one && chance(0.7)
        ? { userId, id: one }
        : one && chance(0.5)
        ? { userId, except: one }
        : chance(0.3)
        ? { userIds: [userId, pick(users.filter((it) => it !== user)).id] }
        : { userId };
      return { policy, user: userId, order: { target, reason } };
    },

    sweepSessions: () => ({
      policy: "plain",
      order: { idleTimeout: LONGEST_IDLE, retention: pick([0, 2, 30]) },
    }),
    migrate: () => ({ policy: "plain", order: {} }),
  };

  /** A call that presents a token. */
  function presenting(n, call) {
    const session = anySession();
    if (!session || chance(0.03)) return forged(n, call);
    const { policyName: policy } = session;
    const token = tokenOf(session);
    return { policy, token, call, order: { token: token.value, ...argumentsOf(n, call, session) } };
  }

  function argumentsOf(n, call, session) {
    switch (call) {
      case "validateSession":
        return {
          ...(chance(0.1) && { authenticatedWithin: 5 }),
          ...(chance(0.2) && { through: "withSession" }),
        };
      case "updateSession": {
        const keys = KEYS.filter(() => chance(0.4));
        const removed = keys.filter(() => chance(0.2));
        const patch = Object.fromEntries(
          keys.filter((key) => !removed.includes(key)).map((key) => [key, n]),
        );
        return { patch, removed, ...(chance(0.3) && { version: session.versionLow }) };
      }
      case "revokeSession":
        return { reason: `op-${n}` };
      default:
        return {};
    }
  }

  /** A token that was never given to anyone, or none at all. */
  function forged(n, call) {
    const { policy } = pick(users);
    const live = liveOf(pick(users));
    const id = live.length > 0 ? pick(live).id : "00000000-0000-4000-8000-000000000000";
    const [token, reason] = pick([
      [`${id}.${FORGED}`, "unknown"],
      ["nonsense", "malformed"],
      [undefined, "absent"],
    ]);
    const order = { token, expected: [reason], ...argumentsOf(n, call, { versionLow: 0 }) };
    return { policy, call, order };
  }

  /** Adds a guest that was created. */
  const addGuest = (session) => void guests.push(session);

  return { next, remember, addGuest };
}
