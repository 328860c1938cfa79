// Says of each answer whether it was allowed. It knows nothing of SQL: it knows what was asked, what was
// answered, and in which order.
//
// A call takes effect somewhere between its beginning, which is noted before it is ordered, and its end, which is
// noted when its answer has come. If one call ended before another began, the second must see what the first has
// done. If they overlap, either order is allowed. A call that failed with an error of the store is open: it may
// take effect until its statements can no longer reach the server, or never.
//
// Each worker also says by the machine's clock when it began a call and when it was answered. A worker that was
// stopped begins late what was ordered early, and tells late what it was answered early. So a validation that began
// by the worker's own clock after the end of a revocation, by the clock of the worker that revoked, must see it too.
// A worker with a cache may answer from memory, without a statement: there the validation must see what ended
// maxStaleness before it began, and at once what this worker has ended itself.
import { KEYS, policies, queryTimeoutOf, users } from "./policies.mjs";

/** Milliseconds by which a clock in milliseconds may differ from one in microseconds. */
const CLOCK = 5;

/** The codes of PostgreSQL that the injected faults cause. */
const EXPECTED_SQLSTATES = new Set([
  // A connection is lost, or cannot be opened.
  "08000",
  "08003",
  "08006",
  "08P01",
  // A statement waits for a lock until statement_timeout.
  "57014",
  "55P03",
  // pg_terminate_backend, and a server that stops or starts.
  "57P01",
  "57P02",
  "57P03",
  // Connections of clients that were cut are still there.
  "53300",
]);

/**
 * A session as the oracle knows it.
 *
 * @typedef {object} Known
 * @property {string} id
 * @property {{ id: number, name: string } | null} user Null for a guest.
 * @property {object} policy
 * @property {Map<number, object>} enders The calls that have ended it, or may have.
 * @property {number | undefined} deadSince When the first call ended that says it is dead.
 * @property {number} endedAt Milliseconds since 1970, when a call was answered that says its row has ended: it was
 * revoked. Being idle does not count.
 */

/** @param {{ faults: boolean }} options `faults`: whether errors of the store are expected. */
export function createOracle({ faults }) {
  const queryTimeout = queryTimeoutOf(faults);
  let tick = 0;
  let numbers = 0;
  const violations = [];
  const checks = {};
  const sessions = new Map();
  const tokens = new Map();
  const open = new Set();
  const lateDeaths = new Map();
  /** Creations that may have left a row which nobody was told about, by their number. */
  const failedCreations = new Map();
  /** Sweeps that may have deleted rows: the end of the last one, and those that are open. */
  const sweeps = { lastEnd: -1, open: new Set() };
  /** Times without triggers. */
  const silences = { lastEnd: -1, open: 0 };
  /** Answers from memory, and those that came after the end of their session. */
  const memory = { answers: 0, stale: 0, longest: 0 };
  const people = new Map(
    users.map((user) => [user.id, { ...user, sessions: new Set(), wide: new Set(), failed: 0 }]),
  );

  const fail = (call, text) => {
    violations.push({ text, call: call && describe(call) });
  };
  /** Counts a check, and notes what it has found. */
  const check = (kind, call, holds, text) => {
    checks[kind] = (checks[kind] ?? 0) + 1;
    if (!holds) fail(call, typeof text === "function" ? text() : text);
    return holds;
  };

  // ── The beginning ──────────────────────────────────────────────────────────────────────────────

  /** The number of the next call. What it writes carries it, so that it is known what came of it. */
  const next = () => ++numbers;

  /**
   * Notes that a call begins. What it asks for is in `order`, as the worker gets it.
   *
   * @param {object} order
   * @param {{ worker: string, policy: string, user?: number, token?: object, staleness?: number }} about
   * `staleness`: milliseconds, of the worker's cache.
   */
  function begin(order, { worker, policy, user, token, staleness = 0 }) {
    const call = {
      n: order.n,
      order,
      worker,
      staleness,
      policyName: policy,
      policy: policies[policy],
      person: user === undefined ? undefined : people.get(user),
      token,
      session: token?.session,
      begin: ++tick,
      // When it was ordered, and when the worker began it.
      beginAt: Date.now(),
      began: Infinity,
      end: Infinity,
      endAt: Infinity,
      state: "open",
    };
    open.add(call);
    const { session } = call;
    if (session) {
      session.open.add(call);
      session.begun++;
      call.versionLow = session.versionLow;
      call.authenticatedLow = session.authenticated;
      call.lastSeenLow = session.lastSeen;
      call.expiresLow = session.expires;
      for (let older = token.parent; older; older = older.parent) {
        older.childSeenAt ??= call.beginAt;
      }
    }
    for (const it of targets(call)) {
      it.begun++;
      it.enders.set(call.n, call);
    }
    if (call.order.call === "updateSession" && session) noteWrite(call);
    if (call.order.call === "sweepSessions") sweeps.open.add(call);
    for (const person of widely(call)) person.wide.add(call);
    return call;
  }

  /** The sessions that a call may end, besides by the reuse of a secret. */
  function targets({ order, session, person }) {
    switch (order.call) {
      case "revokeSession":
      case "revokeBySql":
        return session ? [session] : [];
      case "createSession":
        return [
          ...(session ? [session] : []),
          ...(policies[person?.policy]?.maxSessions ? person.sessions : []),
        ];
      case "revokeSessions":
        return selected(order.target);
      default:
        return [];
    }
  }

  function selected({ userId, userIds = [userId], id, except }) {
    return userIds.flatMap((it) => [...people.get(it).sessions])
      .filter((it) => (id === undefined || it.id === id) && it.id !== except);
  }

  /** The people whose later sessions a call may end as well. */
  function widely({ order, person }) {
    if (order.call === "createSession" && policies[person?.policy]?.maxSessions) return [person];
    if (order.call !== "revokeSessions" || order.target.id) return [];
    const { userId, userIds = [userId] } = order.target;
    return userIds.map((it) => people.get(it));
  }

  function noteWrite(call) {
    const { session, order: { patch = {}, removed = [] } } = call;
    session.updates++;
    for (const [key, value] of [...Object.entries(patch), ...removed.map((key) => [key])]) {
      session.writes.get(key).push({ call, value, version: null });
    }
  }

  // ── The end ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Notes what a call was answered, and checks it.
   *
   * @param {{ began: number, ended: number, turns?: [number, number], cache?: number }} answer Among others:
   * by the machine's clock, and by a count of the worker, when it began and ended; and the number of its cache.
   */
  function end(call, answer) {
    const { began, ended, turns: [beganTurn, endedTurn] = [0, 0], cache = 0 } = answer;
    Object.assign(call, { end: ++tick, endAt: ended, began, beganTurn, endedTurn });
    call.cache = `${call.worker} ${cache}`;
    const isGranted = answer.session || answer.guest;
    call.isFromMemory = isGranted && answer.statements === 0 && !answer.error;
    if (call.isFromMemory) {
      memory.answers++;
      check("from memory", call, cache > 0, "an answer without a statement and without a cache");
    }
    open.delete(call);
    call.session?.open.delete(call);
    noteEvents(call, answer.events);
    checkTime(call, answer);
    check("errors and logs without secrets", call, !answer.leak, answer.leak);
    if (answer.error) failed(call, answer.error);
    else answered(call, answer);
  }

  function answered(call, answer) {
    call.state = "done";
    settle(call);
    const { order } = call;
    for (const it of targets(call)) {
      // What it has ended is dead by now, and it ends nothing later.
      if (it.revokedBy !== call) it.enders.delete(call.n);
    }
    for (const person of widely(call)) person.wide.delete(call);
    const mayIssue = /^(create|insert|rotate|reauth|validate)/.test(order.call);
    check("cookies only when due", call, !answer.token || mayIssue, "a cookie that is not due");
    handlers[order.call](call, answer);
  }

  const handlers = {
    createSession: created,
    createGuestSession(call, answer) {
      const { token, order } = call;
      // What the headers present is the result, if it is live.
      if (order.headers && (answer.session ?? answer.guest)?.id === token?.session.id) {
        return presented(call, answer);
      }
      if (answer.reason === "guest") return created(call, { ...answer, session: answer.guest });
      fail(call, `no guest: ${answer.reason}`);
    },
    insertSession: created,
    validateSession: presented,
    rotateSession: presented,
    reauthenticateSession: presented,
    updateSession: presented,
    getUserId(call, { value }) {
      check("own user", call, value === call.person?.id, `the key of another user: ${value}`);
    },
    listSessions: listed,
    revokeSession(call, { session: revoked }) {
      const { token, session, order } = call;
      if (token) die(token, call, "its sign-out");
      if (revoked) {
        check("own session", call, revoked.id === session?.id, "revoked another session");
        checkOwner(call, session, revoked);
        check("reasons", call, revoked.revokedReason === order.reason, "another reason");
        check("events", call, session?.revokedBy === call, "no event of the revocation");
      }
    },
    revokeSessions(call, { sessions: revoked }) {
      const all = selected(call.order.target);
      const ids = new Set(revoked.map(({ id }) => id));
      for (const it of all) {
        // Created for certain before it began.
        if (it.since > call.begin) continue;
        const isLive = isCertainlyLive(it, call);
        check(
          "revoked all",
          call,
          !isLive || ids.has(it.id),
          `${it.id} was live, and was not revoked`,
        );
        kill(it, call, "the revocation of the user's sessions");
      }
      for (const it of revoked) {
        const known = sessions.get(it.id);
        if (known) {
          check("own session", call, known.revokedBy === call, "revoked without an event");
          checkOwner(call, known, it);
        }
      }
    },
    sweepSessions() {},
    migrate(call, { value }) {
      // It makes triggers again that are switched off.
      const isSilent = silences.open > 0 || silences.lastEnd > call.begin;
      check("migrate", call, value === 0 || isSilent, `migrate has applied ${value} steps`);
    },
    revokeBySql() {},
  };

  /** Notes that the triggers are switched off; returns a function that notes that they are on again. */
  function silence() {
    silences.open++;
    return () => {
      silences.open--;
      silences.lastEnd = ++tick;
    };
  }

  function settle(call) {
    if (call.order.call !== "sweepSessions") return;
    sweeps.open.delete(call);
    sweeps.lastEnd = call.end;
  }

  /** An error: the call may have taken effect, or may still. */
  function failed(call, { code, sqlstate, text }) {
    const { order } = call;
    const isStore = code === "STORE_UNAVAILABLE" || code === "STORE_TIMEOUT";
    const isAsked = code === order.fails || sqlstate !== undefined && sqlstate === order.fails;
    const isExpected = isAsked ||
      faults && isStore && (sqlstate === undefined || EXPECTED_SQLSTATES.has(sqlstate));
    check("documented errors", call, isExpected, () => `${code} ${sqlstate ?? ""} ${text}`);
    if (isAsked) {
      call.state = "done";
      for (const person of widely(call)) person.wide.delete(call);
      for (const it of targets(call)) if (it.revokedBy !== call) it.enders.delete(call.n);
      return;
    }
    call.state = "ambiguous";
    // Until `close`.
    Object.assign(call, { end: Infinity, endAt: Infinity, failedAt: Date.now() });
    call.session?.ambiguous.add(call);
    if (/^(create|insert)/.test(order.call)) {
      failedCreations.set(call.n, call);
      if (call.person) call.person.failed++;
    }
  }

  /** Notes that a failed call can have no effect from now on. */
  function close(call) {
    if (call.state !== "ambiguous") return;
    Object.assign(call, { state: "closed", end: ++tick, endAt: Date.now() });
    for (const person of widely(call)) person.wide.delete(call);
    settle(call);
  }

  /** What the events say has happened, whatever the answer. */
  function noteEvents(call, events = []) {
    for (const { type, id, reason } of events) {
      if (type !== "revoked" && type !== "reused") continue;
      const known = sessions.get(id);
      if (!known) lateDeaths.set(id, call);
      else {
        const isTarget = type === "reused" ? known === call.session : known.enders.has(call.n);
        check("events", call, isTarget, `an event of another session: ${type} ${id}`);
        check(
          "events",
          call,
          !known.revokedBy,
          () => `revoked twice, before by #${known.revokedBy.n}`,
        );
        known.revokedBy = call;
        endRow(known, call);
        endIn(known, call);
        if (type === "reused") known.wasReused = true;
        if (reason === "limit") checkLimit(call, known);
        kill(known, call, `the event ${type}`);
      }
    }
  }

  /** A session over the limit: there must have been too many. */
  function checkLimit(call, { user }) {
    const { maxSessions } = call.policy;
    const person = people.get(user.id);
    // The new one, which the oracle does not know yet, and those of other calls.
    let most = 1 + person.failed;
    for (const it of open) {
      if (it !== call && it.person === person && /^(create|insert)/.test(it.order.call)) most++;
    }
    for (const it of person.sessions) if (!(it.deadSince <= call.begin)) most++;
    check("limits", call, most > maxSessions, `revoked a session of at most ${most}`);
  }

  // ── What ends ──────────────────────────────────────────────────────────────────────────────────

  /** From the end of this call on, nothing opens the session. */
  function kill(session, call, why) {
    if (session.deadSince === undefined) Object.assign(session, { deadBy: call, deadWhy: why });
    session.deadSince = Math.min(session.deadSince ?? Infinity, call.end);
    session.deadAt = Math.min(session.deadAt ?? Infinity, call.endAt);
    checkGrant(session);
    recent.push(session);
    if (recent.length > 400) recent.shift();
  }
  /** Sessions that have just ended: what asks for them finds the most. */
  const recent = [];

  /** From the end of this call on, its watches must be told. */
  function endRow(session, { endAt }) {
    session.endedAt = Math.min(session.endedAt, endAt);
  }

  /** From the end of this call on, this token opens nothing. */
  function die(token, call, why) {
    if (token.deadSince !== undefined) return;
    Object.assign(token, { deadSince: call.end, deadAt: call.endAt, deadWhy: why });
    checkGrant(token);
  }

  /** Checks what was granted before it was told that it had ended. */
  function checkGrant({ grant, deadAt, deadWhy }) {
    if (!grant) return;
    const isLate = grant.mustSee > deadAt + CLOCK;
    check("dead stays dead", grant.call, !isLate, () => granted(grant.call, deadAt, deadWhy));
  }

  const granted = ({ began, isFromMemory }, deadAt, why) =>
    `granted ${isFromMemory ? "from memory " : ""}${began - deadAt} ms after ${why} had ended it`;

  /** In the process of this call, a cache forgets the session, or the token, before the call is answered. */
  function endIn(it, { cache, endedTurn }) {
    it.endedIn.set(cache, Math.min(it.endedIn.get(cache) ?? Infinity, endedTurn));
  }

  // ── A session is created ───────────────────────────────────────────────────────────────────────

  function created(call, answer) {
    const { order, token: replaced, person } = call;
    const { session: seen, token } = answer;
    const isIssued = token?.startsWith(`${seen.id}.`);
    if (!check("cookies of new sessions", call, isIssued, "no cookie")) return;
    check("new sessions", call, !sessions.has(seen.id), `${seen.id} was created before`);
    const isGuest = order.call === "createGuestSession";
    const session = {
      id: seen.id,
      op: call.n,
      user: isGuest ? null : person,
      policyName: call.policyName,
      policy: call.policy,
      began: call.begin,
      since: call.end,
      createdAt: seen.createdAt,
      enders: new Map(),
      endedIn: new Map(),
      updatedIn: new Map(),
      open: new Set(),
      ambiguous: new Set(),
      reauthentications: new Set(),
      tokens: [],
      versions: new Map(),
      versionLow: 0,
      seenVersions: [],
      updates: 0,
      begun: 0,
      lastSeen: 0,
      expires: 0,
      authenticated: 0,
      wasReused: false,
      deadSince: undefined,
      endedAt: Infinity,
      writes: new Map(
        KEYS.map((key) => [key, [{ call, value: order.data[key], version: 0 }]]),
      ),
    };
    sessions.set(session.id, session);
    addToken(call, session, token, null, "created");
    if (order.replaces && replaced) die(replaced, call, "its replacement");
    if (order.keep && replaced && !replaced.session.user) checkKept(call, session, seen);
    check("versions", call, seen.version === 0, `begins with version ${seen.version}`);
    if (person && !isGuest) {
      person.sessions.add(session);
      // They may have seen it before its answer came, and ended it.
      for (const it of person.wide) {
        if (it !== call && it.order.target?.except !== session.id) session.enders.set(it.n, it);
      }
    }
    const early = lateDeaths.get(session.id);
    if (early) {
      session.enders.set(early.n, early);
      session.revokedBy = early;
      endRow(session, early);
      kill(session, call, "an event before its answer");
    }
    lateDeaths.delete(session.id);
    see({ ...call, versionLow: 0 }, session, seen);
  }

  /** A guest's data is kept if the guest was live; of one that was idle, nothing. */
  function checkKept(call, session, seen) {
    const { order, token, session: guest } = call;
    const isCertain = isCertainlyLive(guest, call) && guest.tokens.at(-1) === token;
    for (const key of order.keep) {
      const value = seen.data[key];
      if (order.data[key] !== undefined) continue;
      if (isCertain || value !== undefined) {
        checkKey(call, guest, key, value, Infinity, "the guest's");
      }
      session.writes.get(key)[0].value = value;
    }
  }

  function addToken(call, session, value, parent, how) {
    const known = tokens.get(value);
    if (known) {
      check("one lineage", call, known.parent === parent, "a secret of another lineage");
      return known;
    }
    const token = {
      value,
      session,
      parent,
      how,
      children: [],
      endedIn: new Map(),
      call,
      since: call.end,
    };
    tokens.set(value, token);
    session.tokens.push(token);
    if (parent) {
      const others = parent.children.filter((it) => it.how === how);
      check("no fork", call, others.length === 0, "two new secrets of one: a fork");
      parent.children.push(token);
      if (parent.deadByReauthentication) Object.assign(token, parent.deadByReauthentication);
    }
    return token;
  }

  // ── A token is presented ───────────────────────────────────────────────────────────────────────

  function presented(call, answer) {
    const { order, token, session } = call;
    const { reason } = answer;
    const seen = answer.session ?? answer.guest;
    if (!seen) return refused(call, answer);
    if (!check("unknown tokens", call, token, "a token that nobody was given opens a session")) {
      return;
    }
    check("own session", call, seen.id === session.id, () => `another session: ${seen.id}`);
    if (seen.id !== session.id) return;
    if (order.call === "reauthenticateSession" && !answer.session) {
      check("guests", call, !answer.token, "a guest has no identity to prove");
    }
    notDead(call);
    const { idleTimeout, rotationGrace } = call.policy;
    // From memory as well: what is remembered has the same deadlines, and each maxStaleness is shorter than
    // the grace period.
    const isOver = seen.expiresAt <= call.began - CLOCK ||
      seen.lastSeenAt + idleTimeout * 1000 <= call.began - CLOCK;
    check("timeouts", call, !isOver, "granted after a timeout");
    const settledAt = token.sightAt + rotationGrace * 1000;
    const isLate = call.began > settledAt + CLOCK;
    check("rotation grace", call, !isLate, "the previous secret opens after the grace period");
    // It was live after them, so they have not ended it. What comes from memory does not know.
    const isPast = (it) => !call.isFromMemory && it.state === "closed" && it.end < call.begin;
    for (const it of session.enders.values()) if (isPast(it)) session.enders.delete(it.n);
    // But it may have rotated: then the previous secret is granted, too.
    for (const it of session.ambiguous) {
      if (isPast(it) && !mayRotate(it)) session.ambiguous.delete(it);
    }
    if (order.call === "updateSession") updated(call, answer, seen);
    see(call, session, seen);
    if (answer.token) renewed(call, answer.token);
    else if (order.call === "reauthenticateSession" && answer.session) fail(call, "no new cookie");
    return reason;
  }

  /** Whether nothing has ended it before this call began. */
  function notDead(call) {
    const { token, session, began, beganTurn, cache, isFromMemory, staleness } = call;
    const mustSee = isFromMemory ? began - staleness : began;
    for (const it of [token, session]) {
      const isDead = it.deadAt + CLOCK < mustSee || !isFromMemory && it.deadSince < call.begin;
      const kind = isFromMemory ? "dead within maxStaleness" : "dead stays dead";
      check(kind, call, !isDead, () => granted(call, it.deadAt, it.deadWhy));
      if (!(it.grant?.mustSee >= mustSee)) it.grant = { call, mustSee };
      if (!isFromMemory) continue;
      const isOwn = it.endedIn.get(cache) < beganTurn;
      check("dead at once in its process", call, !isOwn, () => {
        return `granted from memory, and this process had ended it: ${it.deadWhy}`;
      });
      if (!(began > it.deadAt)) continue;
      memory.stale++;
      memory.longest = Math.max(memory.longest, began - it.deadAt);
    }
  }

  function renewed(call, value) {
    const { order, token, session } = call;
    if (!check("own cookie", call, value.startsWith(`${session.id}.`), "another's cookie")) return;
    const isNew = !tokens.has(value);
    const how = order.call === "reauthenticateSession" ? "reauthenticated" : "rotated";
    const added = addToken(call, session, value, token, how);
    for (let it = token.parent; it; it = it.parent) die(it, call, "a second rotation");
    if (how === "reauthenticated" && isNew) {
      session.reauthentications.add(call);
      for (const it of session.tokens) {
        if (it === added) continue;
        die(it, call, "a reauthentication");
        endIn(it, call);
        const { deadSince, deadAt, deadWhy } = it;
        it.deadByReauthentication = { deadSince, deadAt, deadWhy };
      }
    }
  }

  function updated(call, { reason }, seen) {
    const { session, order, versionLow } = call;
    if (reason === "conflict") {
      check(
        "conflicts",
        call,
        order.version !== undefined && order.version !== seen.version,
        "a conflict with the version that was given",
      );
      return unwrite(call);
    }
    check(
      "versions",
      call,
      seen.version > versionLow,
      `version ${seen.version} after ${versionLow}`,
    );
    const isGiven = order.version === undefined || seen.version === order.version + 1;
    check("conflicts", call, isGiven, "written in spite of a conflict");
    check("versions", call, !session.versions.has(seen.version), "a version that was given before");
    session.versions.set(seen.version, call);
    session.updatedIn.set(call.cache, { turn: call.endedTurn, version: seen.version });
    for (const writes of session.writes.values()) {
      for (const it of writes) if (it.call === call) it.version = seen.version;
    }
    // An update records the first sight of the secret that it presents.
    const { parent } = call.token;
    if (parent && call.token.how === "rotated") parent.sightAt ??= call.endAt;
  }

  function unwrite(call) {
    call.session.updates--;
    for (const [key, writes] of call.session.writes) {
      call.session.writes.set(key, writes.filter((it) => it.call !== call));
    }
  }

  /** Checks a session that was shown, and remembers what it says. */
  function see(call, session, seen) {
    checkOwner(call, session, seen);
    const low = call.isFromMemory ? rememberedLow(call, session) : call.versionLow ?? 0;
    check(
      call.isFromMemory ? "versions within maxStaleness" : "versions",
      call,
      seen.version >= low,
      () => `version ${seen.version} after ${low}`,
    );
    const most = session.updates;
    check(
      "versions",
      call,
      seen.version <= most,
      () => `version ${seen.version} of ${most} updates`,
    );
    check("times", call, seen.createdAt === session.createdAt, "another createdAt");
    for (const key of KEYS) checkKey(call, session, key, seen.data[key], seen.version, "the");
    const strange = Object.keys(seen.data).filter((key) => key !== "op" && !KEYS.includes(key));
    check("own data", call, strange.length === 0, () => `data of nobody: ${strange}`);
    if (seen.version > session.versionLow) {
      session.versionLow = seen.version;
      session.seenVersions.push({ version: seen.version, at: call.endAt });
    }
    session.lastSeen = Math.max(session.lastSeen, seen.lastSeenAt);
    session.expires = Math.max(session.expires, seen.expiresAt);
    session.authenticated = Math.max(session.authenticated, seen.authenticatedAt ?? 0);
  }

  /** The version that an answer from memory must have reached. */
  function rememberedLow({ began, staleness, cache, beganTurn }, session) {
    const seen = session.seenVersions.findLast(({ at }) => at + CLOCK < began - staleness);
    const own = session.updatedIn.get(cache);
    return Math.max(seen?.version ?? 0, own?.turn < beganTurn ? own.version : 0);
  }

  function checkOwner(call, session, seen) {
    if (!session) return;
    const isOwn = (seen.userId ?? null) === (session.user?.id ?? null) &&
      (seen.username ?? null) === (session.user?.name ?? null);
    check("own user", call, isOwn, () => `another user: ${seen.userId} ${seen.username}`);
    check("own data", call, seen.data.op === session.op, () => `data of call ${seen.data.op}`);
  }

  /** The last acknowledged write of a key is in the data, or one that may have followed. */
  function checkKey(call, session, key, value, version, whose) {
    const writes = session.writes.get(key);
    let last;
    for (const it of writes) {
      if (it.version === null || it.version > version) continue;
      // Of an overlapping call: it may have come later than what was read.
      if (version === Infinity && it.call.end > call.begin && it.value !== value) continue;
      if (!last || it.version > last.version) last = it;
    }
    const holds = last?.value === value ||
      writes.some((it) => it.version === null && it.value === value);
    check("updates are kept", call, holds, () => {
      return `${whose} key ${key} is ${value} at version ${version}, and was set to ${last?.value} by ` +
        `call ${last?.call.n} at version ${last?.version}`;
    });
  }

  // ── A refusal ──────────────────────────────────────────────────────────────────────────────────

  function refused(call, answer) {
    const { order, session, token } = call;
    const { reason } = answer;
    if (order.call === "updateSession" && session) unwrite(call);
    if (reason !== "stale") check("cookies only with a session", call, !answer.token, "a cookie");
    if (!token) {
      const isRight = order.expected.includes(reason);
      return check("refusals", call, isRight, `${reason} instead of ${order.expected}`);
    }
    const why = explain(call, answer);
    check("never lost", call, why, () => {
      return `${reason} ${answer.revokedReason ?? ""}, and nothing ended it: ${tell(session)}`;
    });
    if (reason === "stale") {
      notDead(call);
      if (answer.token) renewed(call, answer.token);
    } else if (reason === "unknown") die(token, call, "unknown");
    else if (reason === "reused") {
      session.wasReused ||= call.policy.touchInterval !== false;
      die(token, call, "reused");
    } else if (!/idle|expired/.test(reason) || !mayBeExtended(call)) {
      if (reason === "revoked") endRow(session, call);
      kill(session, call, `a refusal as ${reason}`);
    }
  }

  /** Whether a call that waits for the row, and began before the session was over, may still record a use or a proof. */
  function mayBeExtended({ session, begin, n }) {
    const isUse = ({ order }) => /^(validate|update|rotate|reauth|createGuest)/.test(order.call);
    return [...session.open, ...session.ambiguous].some((it) =>
      it.n !== n && it.end > begin && isUse(it)
    );
  }

  /** Whether something can have caused a refusal by now. */
  function explain(call, { reason, revokedReason }) {
    const { session, endAt, order } = call;
    switch (reason) {
      case "revoked":
        return isRevocation(session, revokedReason);
      case "idle":
        return endAt >= call.lastSeenLow + session.policy.idleTimeout * 1000 - CLOCK;
      case "expired":
        return endAt >= call.expiresLow - CLOCK;
      case "reused":
        return isReuse(call, call);
      case "stale":
        return order.authenticatedWithin !== undefined &&
          endAt >= call.authenticatedLow + order.authenticatedWithin * 1000 - CLOCK;
      case "unknown":
        return isSuperseded(call) || mayBeSwept(session);
      default:
        return false;
    }
  }

  function isRevocation(session, reason = "") {
    const ended = [...session.enders.values()];
    if (reason === "reused") return mayBeReused(session);
    if (reason === "limit") {
      return ended.some(({ policy, order }) => policy.maxSessions && order.user);
    }
    if (reason === "replaced") {
      return ended.some(({ order, session: it }) => order.replaces && it === session);
    }
    return ended.some(({ order }) => order.reason === reason);
  }

  /** Whether a call may have presented a previous secret after its grace period. */
  function isReuse({ token, policy, endAt }) {
    const now = Math.min(endAt, Date.now());
    return token.childSeenAt !== undefined &&
      now >= token.childSeenAt + policy.rotationGrace * 1000 - CLOCK;
  }

  function mayBeReused(session) {
    return session.wasReused || [...session.open, ...session.ambiguous].some((it) => isReuse(it));
  }

  /** Whether the secret may be neither the current nor the previous one any more. */
  function isSuperseded({ token, session, n }) {
    const others = [...session.open, ...session.ambiguous, ...session.reauthentications];
    const isLater = (it) => it.n !== n && it.end > token.call.begin && it !== token.call;
    if (others.some((it) => it.order.call === "reauthenticateSession" && isLater(it))) return true;
    if (token.children.some((it) => it.how === "reauthenticated" || it.children.length > 0)) {
      return true;
    }
    return [...session.open, ...session.ambiguous].some((it) =>
      mayRotate(it) && token.children.includes(it.token)
    );
  }

  function mayRotate({ order, policy }) {
    return order.call === "rotateSession" ||
      policy.rotateAfter && /validate|createGuest/.test(order.call);
  }

  /** Notes what a watch was told: its session has ended, also in the memory of that process. */
  function endWatch({ worker, session, cache, expiresAt, authenticatedAt }, at, turn) {
    const mayHaveEnded = session.enders.size > 0 || session.endedAt < Infinity ||
      mayBeReused(session) || at >= session.expires - CLOCK || mayBeSwept(session);
    // A proof of identity moves its deadline by as much as itself, and that of a session that was inserted further.
    const moved = Math.max(0, session.authenticated - (authenticatedAt ?? session.authenticated));
    if (!mayHaveEnded && at >= expiresAt + moved - CLOCK) return;
    check("watches", undefined, mayHaveEnded, () => {
      return `told of an end, and nothing ended it: ${worker.name}, ${tell(session)}`;
    });
    const end = { end: ++tick, endAt: at, cache, endedTurn: turn };
    endIn(session, end);
    kill(session, end, "the end that a watch was told");
  }

  function mayBeSwept(session) {
    const mayBeDead = session.enders.size > 0 || session.deadSince !== undefined ||
      mayBeReused(session) ||
      Date.now() >= session.lastSeen + session.policy.idleTimeout * 1000 - CLOCK ||
      Date.now() >= session.expires - CLOCK;
    return mayBeDead && (sweeps.open.size > 0 || sweeps.lastEnd > session.began);
  }

  /** Whether nothing can have ended it, until the end of this call. */
  function isCertainlyLive(session, call) {
    const now = Date.now();
    const { lastSeen, expires, policy } = session;
    return (session.deadBy === call || session.deadSince === undefined) &&
      [...session.enders.values()].every((it) => it === call) && !mayBeReused(session) &&
      now < lastSeen + policy.idleTimeout * 1000 - CLOCK && now < expires - CLOCK;
  }

  // ── A list ─────────────────────────────────────────────────────────────────────────────────────

  function listed(call, { sessions: seen }) {
    const { person, order } = call;
    const ids = new Set(seen.map(({ id }) => id));
    check("lists", call, ids.size === seen.length, "a session twice");
    for (const it of seen) {
      const session = sessions.get(it.id);
      if (!session) {
        check(
          "own user",
          call,
          it.userId === person.id && it.username === person.name,
          "another user",
        );
        continue;
      }
      const isDead = session.deadSince < call.begin;
      check("dead stays dead", call, !isDead, () => `lists what ${session.deadWhy} had ended`);
      check("own session", call, session.user === person, "lists another user's session");
      see({ ...call, versionLow: 0 }, session, it);
    }
    if (order.limit !== undefined) return;
    for (const it of person.sessions) {
      if (it.since > call.begin || !isCertainlyLive(it, call)) continue;
      check("lists", call, ids.has(it.id), () => `does not list ${tell(it)}`);
    }
  }

  // ── Time ───────────────────────────────────────────────────────────────────────────────────────

  function checkTime(call, { took, statements }) {
    const timeout = call.order.call === "migrate" ? 60 : queryTimeout;
    const most = timeout * 1000 * Math.max(statements, 1) + SLACK + (call.stoppedFor ?? 0);
    check("in time", call, took <= most, () => `took ${took} ms for ${statements} statements`);
    // Each session whose row another call holds takes three more.
    const rows = call.order.call === "revokeSessions" ? MAX_HELD : 0;
    const isFew = statements <= MAX_STATEMENTS + 3 * rows;
    check("statements", call, isFew, () => `${statements} statements`);
  }

  /** Forgets what ended long ago, where it is looked through. */
  function prune() {
    for (const { sessions: own } of people.values()) {
      for (const it of own) if (it.deadAt < Date.now() - 60_000) own.delete(it);
    }
  }

  function tell(session) {
    const { id, policyName, deadWhy, tokens: own, lastSeen, expires } = session;
    const now = Date.now();
    return JSON.stringify({
      id,
      policyName,
      deadWhy,
      tokens: own.length,
      lastSeen: now - lastSeen,
      expires: expires - now,
      enders: [...session.enders.values()].map(describe),
      ambiguous: [...session.ambiguous].map(describe),
    });
  }

  return {
    next,
    begin,
    end,
    close,
    endWatch,
    silence,
    memory,
    check,
    fail,
    violations,
    checks,
    sessions,
    people,
    open,
    recent,
    failedCreations,
    isCertainlyLive,
    prune,
  };
}

// What a busy machine takes beside the waiting.
const SLACK = 5000;
/** The most that a call sends: a sign-in that waits for the rows of a limit, and discards its own. */
const MAX_STATEMENTS = 24;
/** More sessions of one user than other calls hold at once. */
const MAX_HELD = 100;

/** A call in a line, without a token. */
export function describe(
  { n, order, worker, state, session, begin, end, beginAt, began, endAt, isFromMemory, policyName },
) {
  const { call, token: _, replaces, headers, expected: __, ...rest } = order;
  const args = JSON.stringify({ ...rest, ...((replaces || headers) && { presents: true }) });
  const took = Number.isFinite(endAt)
    ? `ordered at ${beginAt}, began ${began - beginAt} ms later, took ${endAt - began} ms` +
      `${isFromMemory ? ", from memory" : ""}`
    : state;
  return `#${n} ${call} ${policyName} on ${worker}, ${session?.id ?? "no session"}, ${args}, ` +
    `${begin} to ${end}, ${took}`;
}
