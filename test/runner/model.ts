// What the verbs promise, on a list of plain objects. It is written from what is documented and not
// from the SQL, so that the two can contradict each other; it keeps no ids and no secrets but names
// for them, so that the same seed tells the same story.

/** A secret that was made: one is equal to itself alone. */
export interface Token {
  readonly name: string;
  /** The name of the session that it was made for. */
  readonly of: string;
}

/** What a browser presents. */
export type Presented = Token | "absent" | "malformed";

export interface Row {
  readonly name: string;
  readonly userId: number;
  readonly persistent: boolean;
  current: Token;
  previous: Token | null;
  // Instants, in milliseconds of the model's own clock.
  createdAt: number;
  authenticatedAt: number;
  lastSeenAt: number;
  expiresAt: number;
  rotatedAt: number | null;
  rotationSeenAt: number | null;
  revokedAt: number | null;
  revokedReason: string | null;
  version: number;
  data: Data;
}

export interface World {
  /** Moves by 1 a step, so that no two steps share an instant, and their order is known. */
  now: number;
  /** What comes between the two statements of a verb that sends two. */
  between: () => void;
  readonly users: Map<number, User>;
  rows: Row[];
  events: string[];
  /** How many names were given. */
  names: number;
}

export interface User {
  name: string;
  /** Whether the view `coatcheck.users` shows them. */
  inView: boolean;
}

export interface Rules {
  readonly idleTimeout: number;
  readonly absoluteTimeout: number;
  readonly rotationGrace: number;
  readonly touchInterval: number | false;
  readonly rotateAfter: number | false;
  readonly maxSessions: number | false;
}

type Data = Readonly<Record<string, unknown>>;

/** All that a caller and an observer are told. */
export interface Outcome {
  error?: string;
  swept?: number;
  sessions?: Seen[];
  session?: Seen | null;
  reason?: string | undefined;
  revokedReason?: string | undefined;
  cookie?: Cookie | "cleared" | undefined;
}

export interface Cookie {
  readonly token: Token;
  /** Seconds; unset until the browser ends. */
  readonly maxAge: number | undefined;
}

/** A session as a caller sees it; its instants are seconds from now. */
export interface Seen {
  readonly id: string;
  readonly userId: number;
  readonly username: string | null;
  readonly createdAt: number;
  readonly authenticatedAt: number;
  readonly lastSeenAt: number;
  readonly expiresAt: number;
  readonly persistent: boolean;
  readonly version: number;
  readonly data: Data;
  readonly revokedAt?: number;
  readonly revokedReason?: string;
}

// ── The way in ───────────────────────────────────────────────────────────────────────────────────

export function createSession(
  world: World,
  user: string | number,
  rules: Rules,
  { data, persistent, replaces }: { data: Data; persistent: boolean; replaces: Presented },
): Outcome {
  const userId = userOf(world, user);
  if (userId === undefined) return { error: "USER_NOT_FOUND" };
  const replaced = find(world, replaces);
  const row = store(world, userId, world.now, world.now + rules.absoluteTimeout * 1000, {
    data,
    persistent,
  });
  if (replaced) revoke(world, replaced, "replaced");
  const maxAge = persistent ? rules.absoluteTimeout : undefined;
  const outcome = { session: see(world, row), cookie: { token: row.current, maxAge } };
  if (rules.maxSessions !== false) {
    world.between();
    const live = liveSessions(world, userId, rules)
      .sort((a, b) => Number(b === row) - Number(a === row));
    for (const excess of live.slice(rules.maxSessions)) revoke(world, excess, "limit");
  }
  return outcome;
}

export function insertSession(
  world: World,
  record: { userId: number; createdAt: number; expiresAt: number; data: Data; exists: boolean },
): Outcome {
  const { userId, createdAt, expiresAt, data, exists } = record;
  if (userOf(world, userId) === undefined) return { error: "USER_NOT_FOUND" };
  if (exists) return { error: "STORE_REJECTED" };
  return {
    session: see(world, store(world, userId, createdAt, expiresAt, { data, persistent: true })),
  };
}

function store(
  world: World,
  userId: number,
  createdAt: number,
  expiresAt: number,
  given: { data: Data; persistent: boolean },
): Row {
  const name = `s${++world.names}`;
  const row: Row = {
    name,
    userId,
    ...given,
    current: makeToken(world, name),
    previous: null,
    createdAt,
    authenticatedAt: createdAt,
    lastSeenAt: world.now,
    expiresAt,
    rotatedAt: null,
    rotationSeenAt: null,
    revokedAt: null,
    revokedReason: null,
    version: 0,
  };
  world.rows.push(row);
  tell(world, "created", row);
  return row;
}

/** A token for a session; one that no row takes up opens nothing. */
export function makeToken(world: World, of: string): Token {
  return { name: `${of}.${++world.names}`, of };
}

function userOf(world: World, user: string | number): number | undefined {
  for (const [id, { name, inView }] of world.users) {
    if (inView && (user === id || user === name)) return id;
  }
  return undefined;
}

// ── Who is it ────────────────────────────────────────────────────────────────────────────────────

export function validateSession(
  world: World,
  presented: Presented,
  rules: Rules,
  authenticatedWithin = Infinity,
): Outcome {
  const mayWrite = rules.touchInterval !== false;
  const row = judge(world, presented, rules, mayWrite);
  if (!("current" in row)) return row;
  const read = { ...row };
  const visit = mayWrite ? note(world, read, presented, rules) : grant(world, read, rules);
  const isStale = world.now >= read.authenticatedAt + authenticatedWithin * 1000;
  if (visit.session === null || !isStale) return visit;
  return { ...refuse(world, "stale", read), cookie: visit.cookie };
}

/** Writes down what is due, if it still is by then. */
function note(world: World, read: Row, presented: Presented, rules: Rules): Outcome {
  if (isRotationDue(world, read, presented, rules)) {
    world.between();
    // Who has another secret by now was asked about before that.
    const isKnown = find(world, presented) !== undefined;
    return isKnown ? rotateSession(world, presented, rules) : grant(world, read, rules);
  }
  if (isTouchDue(world, read, presented, rules)) touch(world, read, presented, rules);
  return grant(world, read, rules);
}

function isRotationDue(world: World, row: Row, presented: Presented, rules: Rules): boolean {
  // The answer that carried the new secret was lost.
  if (presented !== row.current) return isUnseen(row);
  if (rules.rotateAfter === false || !isSettled(world, row, rules)) return false;
  return world.now >= (row.rotatedAt ?? row.authenticatedAt) + rules.rotateAfter * 1000;
}

function isTouchDue(world: World, row: Row, presented: Presented, rules: Rules): boolean {
  if (presented === row.current && isUnseen(row)) return true;
  const { touchInterval } = rules;
  return touchInterval !== false && world.now >= row.lastSeenAt + touchInterval * 1000;
}

function touch(world: World, read: Row, presented: Presented, rules: Rules): void {
  world.between();
  const row = find(world, presented);
  if (!row || refusalOf(world, row, presented, rules) !== undefined) return;
  if (!isTouchDue(world, row, presented, rules)) return;
  noteSight(world, row, presented);
  row.lastSeenAt = read.lastSeenAt = world.now;
}

/** From the first sight of the new secret on, the grace of the old one counts. */
function noteSight(world: World, row: Row, presented: Presented): void {
  if (presented === row.current && isUnseen(row)) row.rotationSeenAt = world.now;
}

export function rotateSession(world: World, presented: Presented, rules: Rules): Outcome {
  const row = judge(world, presented, rules);
  if (!("current" in row)) return row;
  if (presented === row.current && isSettled(world, row, rules)) {
    turn(world, row);
    return grant(world, row, rules, row.current);
  }
  const read = { ...row };
  touch(world, read, presented, rules);
  return grant(world, read, rules, presented === read.current ? null : read.current);
}

export function reauthenticateSession(world: World, presented: Presented, rules: Rules): Outcome {
  const row = judge(world, presented, rules);
  if (!("current" in row)) return row;
  row.current = makeToken(world, row.name);
  row.previous = row.rotatedAt = row.rotationSeenAt = null;
  row.authenticatedAt = row.lastSeenAt = world.now;
  row.expiresAt = world.now + rules.absoluteTimeout * 1000;
  tell(world, "reauthenticated", row);
  return grant(world, row, rules, row.current);
}

export function updateSession(
  world: World,
  presented: Presented,
  patch: Data,
  rules: Rules,
  version?: number,
): Outcome {
  const row = judge(world, presented, rules);
  if (!("current" in row)) return row;
  if (version !== undefined && version !== row.version) {
    return { ...grant(world, row, rules), reason: "conflict" };
  }
  const merged = Object.entries({ ...row.data, ...patch });
  row.data = Object.fromEntries(merged.filter(([, value]) => value !== undefined));
  row.version++;
  row.lastSeenAt = world.now;
  noteSight(world, row, presented);
  tell(world, "updated", row);
  return grant(world, row, rules);
}

function turn(world: World, row: Row): void {
  row.previous = row.current;
  row.current = makeToken(world, row.name);
  row.rotatedAt = row.lastSeenAt = world.now;
  row.rotationSeenAt = null;
  tell(world, "rotated", row);
}

function judge(
  world: World,
  presented: Presented,
  rules: Rules,
  mayWrite = true,
): Row | Outcome {
  if (presented === "absent") return { session: null, reason: presented };
  if (presented === "malformed") return refuse(world, presented);
  const row = find(world, presented);
  if (row === undefined) return refuse(world, "unknown", { name: presented.of });
  const reason = refusalOf(world, row, presented, rules);
  if (reason === undefined) return row;
  const revokedReason = row.revokedReason ?? undefined;
  if (reason === "reused" && mayWrite) {
    const { authenticatedAt } = row;
    world.between();
    const isShakenOff = row.authenticatedAt !== authenticatedAt;
    if (!isShakenOff && end(world, row, "reused")) tell(world, "reused", row);
  }
  return { ...refuse(world, reason, row), revokedReason };
}

function refusalOf(
  world: World,
  row: Row,
  presented: Presented,
  rules: Rules,
): string | undefined {
  if (row.revokedAt !== null) return "revoked";
  if (world.now >= deadlineOf(row, rules)) return "expired";
  if (world.now >= row.lastSeenAt + rules.idleTimeout * 1000) return "idle";
  if (presented !== row.current && isSettled(world, row, rules)) return "reused";
  return world.users.get(row.userId)!.inView ? undefined : "user";
}

function find(world: World, presented: Presented): Row | undefined {
  return world.rows.find(({ current, previous }) =>
    presented === current || presented === previous
  );
}

function isSettled(world: World, row: Row, { rotationGrace }: Rules): boolean {
  if (row.previous === null) return true;
  return row.rotationSeenAt !== null && world.now >= row.rotationSeenAt + rotationGrace * 1000;
}

function isUnseen({ previous, rotationSeenAt }: Row): boolean {
  return previous !== null && rotationSeenAt === null;
}

function deadlineOf(row: Row, { absoluteTimeout }: Rules): number {
  return Math.min(row.expiresAt, row.authenticatedAt + absoluteTimeout * 1000);
}

function isLive(world: World, row: Row, rules: Rules): boolean {
  return row.revokedAt === null && world.now < deadlineOf(row, rules) &&
    world.now < row.lastSeenAt + rules.idleTimeout * 1000;
}

// ── The way out ──────────────────────────────────────────────────────────────────────────────────

export function revokeSession(world: World, presented: Presented, reason: string): Outcome {
  const row = find(world, presented);
  const revoked = row !== undefined && revoke(world, row, reason);
  return { session: revoked ? see(world, row) : null, cookie: "cleared" };
}

/** RevokeTarget sessions: all of the users, or the one of that name, or all but that one. */
export interface Asked {
  readonly userIds: readonly number[];
  readonly id?: string;
  readonly except?: string;
}

export function revokeSessions(
  world: World,
  { userIds, id, except }: Asked,
  reason: string,
): Outcome {
  const rows = world.rows.filter((row) =>
    userIds.includes(row.userId) && row.revokedAt === null && world.now < row.expiresAt &&
    (id === undefined || row.name === id) && row.name !== except
  );
  for (const row of rows) revoke(world, row, reason);
  return { sessions: rows.map((row) => see(world, row)) };
}

export function listSessions(world: World, userId: number, rules: Rules): Outcome {
  if (userOf(world, userId) === undefined) return { sessions: [] };
  const rows = liveSessions(world, userId, rules);
  return { sessions: rows.map((row) => see(world, row, deadlineOf(row, rules))) };
}

function liveSessions(world: World, userId: number, rules: Rules): Row[] {
  return world.rows.filter((row) => row.userId === userId && isLive(world, row, rules))
    .sort((a, b) => b.lastSeenAt - a.lastSeenAt);
}

export function sweepSessions(
  world: World,
  { retention, idleTimeout = Infinity }: { retention: number; idleTimeout?: number },
): Outcome {
  const kept = world.rows.filter((row) =>
    row.revokedAt !== null
      ? world.now < row.revokedAt + retention * 1000
      : world.now < row.expiresAt && world.now < row.lastSeenAt + idleTimeout * 1000
  );
  const swept = world.rows.length - kept.length;
  world.rows = kept;
  return { swept };
}

function revoke(world: World, row: Row, reason: string): boolean {
  const ended = end(world, row, reason);
  if (ended) tell(world, "revoked", row, reason);
  return ended;
}

/** Ends a session; false where somebody has ended it before. */
function end(world: World, row: Row, reason: string): boolean {
  if (row.revokedAt !== null) return false;
  row.revokedAt = world.now;
  row.revokedReason = reason;
  return true;
}

// ── What happens to rows from outside ────────────────────────────────────────────────────────────

export function age(rows: readonly Row[], seconds: number): void {
  const passed = seconds * 1000;
  for (const row of rows) {
    row.createdAt -= passed;
    row.authenticatedAt -= passed;
    row.lastSeenAt -= passed;
    row.expiresAt -= passed;
    if (row.rotatedAt !== null) row.rotatedAt -= passed;
    if (row.rotationSeenAt !== null) row.rotationSeenAt -= passed;
    if (row.revokedAt !== null) row.revokedAt -= passed;
  }
}

export function deleteUser(world: World, userId: number): void {
  world.users.delete(userId);
  world.rows = world.rows.filter((row) => row.userId !== userId);
}

// ── What is told ─────────────────────────────────────────────────────────────────────────────────

function see(world: World, row: Row, expiresAt = row.expiresAt): Seen {
  const fromNow = (instant: number) => rounded((instant - world.now) / 1000);
  const { name, inView } = world.users.get(row.userId)!;
  return {
    id: row.name,
    userId: row.userId,
    username: inView ? name : null,
    createdAt: fromNow(row.createdAt),
    authenticatedAt: fromNow(row.authenticatedAt),
    lastSeenAt: fromNow(row.lastSeenAt),
    expiresAt: fromNow(expiresAt),
    persistent: row.persistent,
    version: row.version,
    data: row.data,
    ...(row.revokedAt !== null && {
      revokedAt: fromNow(row.revokedAt),
      revokedReason: row.revokedReason!,
    }),
  };
}

/** Seconds to the nearest 500: all instants are a multiple apart, but for what a run takes. */
export function rounded(seconds: number): number {
  // Without the sum, a moment ago is -0.
  return Math.round(seconds / 500) * 500 + 0;
}

function grant(world: World, row: Row, rules: Rules, token: Token | null = null): Outcome {
  const session = see(world, row, deadlineOf(row, rules));
  const maxAge = row.persistent ? session.expiresAt : undefined;
  return { session, ...(token && { cookie: { token, maxAge } }) };
}

function refuse(world: World, reason: string, row?: { name: string; userId?: number }): Outcome {
  tell(world, "refused", row, reason);
  return { session: null, reason };
}

function tell(
  world: World,
  type: string,
  row?: { name: string; userId?: number },
  reason?: string,
): void {
  world.events.push(eventText({ type, id: row?.name, userId: row?.userId, reason }));
}

/** An event in words; `id` is a name. */
export function eventText(
  { type, id, userId, reason }: {
    type: string;
    id?: string | undefined;
    userId?: string | number | undefined;
    reason?: string | undefined;
  },
): string {
  return `${type} ${id ?? "nothing"} of ${userId ?? "nobody"}${reason ? `: ${reason}` : ""}`;
}
