// What the functions promise, on a list of plain objects. It is written from the documentation and not
// from the SQL, so that the two can contradict each other. It has names instead of ids and secrets, so
// that the same seed tells the same story.

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
  /** Moves by 1 a step, and by a half between two statements, so that no two calls share an instant. */
  now: number;
  /** What happens between the first two statements of a call. */
  between: () => void;
  /** What happens after the second statement of a sign-in. */
  afterSecond: () => void;
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

/** All that a caller gets. */
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
  /** Unset for a revoked session. */
  readonly idleExpiresAt?: number;
  readonly persistent: boolean;
  readonly version: number;
  readonly data: Data;
  readonly revokedAt?: number;
  readonly revokedReason?: string;
}

// ── Create ───────────────────────────────────────────────────────────────────────────────────────

export function createSession(
  world: World,
  user: string | number,
  rules: Rules,
  { data, persistent, replaces }: { data: Data; persistent: boolean; replaces: Presented },
): Outcome {
  const userId = userOf(world, user);
  if (userId === undefined) return { error: "USER_NOT_FOUND" };
  const row = store(world, userId, world.now, world.now + rules.absoluteTimeout * 1000, {
    data,
    persistent,
  });
  const session = see(world, row, rules);
  if (typeof replaces === "object") {
    world.between();
    const replaced = find(world, replaces);
    if (replaced) revoke(world, replaced, "replaced");
    discardIfLost(world, row);
  }
  if (rules.maxSessions !== false) {
    world.between();
    const live = liveSessions(world, userId, rules)
      .sort((a, b) => Number(b === row) - Number(a === row));
    for (const excess of live.slice(rules.maxSessions)) revoke(world, excess, "limit");
    discardIfLost(world, row);
  }
  const maxAge = persistent ? rules.absoluteTimeout : undefined;
  return { session, cookie: { token: row.current, maxAge } };
}

/** A sign-in whose second statement failed leaves no session, as no cookie was issued for it. */
function discardIfLost(world: World, row: Row): void {
  try {
    world.afterSecond();
  } catch (error) {
    world.rows = world.rows.filter((other) => other !== row);
    throw error;
  }
}

export function insertSession(
  world: World,
  record: { userId: number; createdAt: number; expiresAt: number; data: Data; exists: boolean },
  rules: Rules,
): Outcome {
  const { userId, createdAt, expiresAt, data, exists } = record;
  if (userOf(world, userId) === undefined) return { error: "USER_NOT_FOUND" };
  if (exists) return { error: "STORE_REJECTED" };
  const row = store(world, userId, createdAt, expiresAt, { data, persistent: true });
  return { session: see(world, row, rules) };
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
  emit(world, "created", row);
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

// ── Validate ─────────────────────────────────────────────────────────────────────────────────────

export function validateSession(
  world: World,
  presented: Presented,
  rules: Rules,
  authenticatedWithin = Infinity,
): Outcome {
  if (typeof presented === "string") return refusePresented(world, presented);
  const row = find(world, presented);
  if (row === undefined) return refuse(world, "unknown", { name: presented.of });
  const mayWrite = rules.touchInterval !== false;
  const refusal = refusalOf(world, row, presented, rules);
  if (refusal !== undefined) return refuseRow(world, row, refusal, mayWrite);
  const read = { ...row };
  const result = mayWrite ? writeDue(world, read, presented, rules) : grant(world, read, rules);
  const isStale = world.now >= read.authenticatedAt + authenticatedWithin * 1000;
  if (result.session === null || !isStale) return result;
  return { ...refuse(world, "stale", read), cookie: result.cookie };
}

/** Writes what is due, if it still is by then. */
function writeDue(world: World, read: Row, presented: Token, rules: Rules): Outcome {
  if (isRotationDue(world, read, presented, rules)) {
    world.between();
    // With another secret by now, the session is as it was read.
    const row = find(world, presented);
    if (row === undefined) return grant(world, read, rules);
    const refusal = refusalOf(world, row, presented, rules);
    if (refusal !== undefined) return refuseRow(world, row, refusal);
    return rotateRow(world, row, presented, rules) ?? handOut(world, row, presented, rules);
  }
  if (isTouchDue(world, read, presented, rules)) touch(world, read, presented, rules);
  return grant(world, read, rules);
}

function isRotationDue(world: World, row: Row, presented: Token, rules: Rules): boolean {
  // The answer that carried the new secret was lost.
  if (presented !== row.current) return isUnseen(row);
  if (rules.rotateAfter === false || !isSettled(world, row, rules)) return false;
  return world.now >= (row.rotatedAt ?? row.authenticatedAt) + rules.rotateAfter * 1000;
}

function isTouchDue(world: World, row: Row, presented: Token, rules: Rules): boolean {
  if (presented === row.current && isUnseen(row)) return true;
  const { touchInterval } = rules;
  return touchInterval !== false && world.now >= row.lastSeenAt + touchInterval * 1000;
}

function touch(world: World, read: Row, presented: Token, rules: Rules): void {
  world.between();
  const row = find(world, presented);
  if (!row || refusalOf(world, row, presented, rules) !== undefined) return;
  if (!isTouchDue(world, row, presented, rules)) return;
  recordSight(world, row, presented);
  row.lastSeenAt = read.lastSeenAt = world.now;
}

/** The grace period of the previous secret begins when the new one is first seen. */
function recordSight(world: World, row: Row, presented: Token): void {
  if (presented === row.current && isUnseen(row)) row.rotationSeenAt = world.now;
}

// ── Rotate, reauthenticate, update ───────────────────────────────────────────────────────────────

export function rotateSession(world: World, presented: Presented, rules: Rules): Outcome {
  return write(world, presented, rules, {
    change: (row, token) => rotateRow(world, row, token, rules),
    unchanged: (row, token) =>
      token === row.current && isSettled(world, row, rules)
        ? undefined
        : handOut(world, row, token, rules),
  });
}

export function reauthenticateSession(world: World, presented: Presented, rules: Rules): Outcome {
  return write(world, presented, rules, {
    change: (row) => {
      row.current = makeToken(world, row.name);
      row.previous = row.rotatedAt = row.rotationSeenAt = null;
      row.authenticatedAt = row.lastSeenAt = world.now;
      row.expiresAt = world.now + rules.absoluteTimeout * 1000;
      emit(world, "reauthenticated", row);
      return grant(world, row, rules, row.current);
    },
    unchanged: () => undefined,
  });
}

export function updateSession(
  world: World,
  presented: Presented,
  patch: Data,
  rules: Rules,
  version?: number,
): Outcome {
  const isConflict = (row: Row) => version !== undefined && version !== row.version;
  return write(world, presented, rules, {
    change: (row, token) => {
      if (isConflict(row)) return undefined;
      const merged = Object.entries({ ...row.data, ...patch });
      row.data = Object.fromEntries(merged.filter(([, value]) => value !== undefined));
      row.version++;
      row.lastSeenAt = world.now;
      recordSight(world, row, token);
      emit(world, "updated", row);
      return grant(world, row, rules);
    },
    unchanged: (row) =>
      isConflict(row) ? { ...grant(world, row, rules), reason: "conflict" } : undefined,
  });
}

/** Changes a live session, or else tells why it is not live by then. */
function write(
  world: World,
  presented: Presented,
  rules: Rules,
  { change, unchanged }: {
    change: (row: Row, presented: Token) => Outcome | undefined;
    unchanged: (row: Row, presented: Token) => Outcome | undefined;
  },
): Outcome {
  if (typeof presented === "string") return refusePresented(world, presented);
  for (let attempt = 0; attempt < 2; attempt++) {
    const row = find(world, presented);
    const isLive = row && refusalOf(world, row, presented, rules) === undefined;
    const changed = isLive && change(row, presented);
    if (changed) return changed;
    world.between();
    const read = find(world, presented);
    if (read === undefined) return refuse(world, "unknown", { name: presented.of });
    const refusal = refusalOf(world, read, presented, rules);
    const result = refusal === undefined
      ? unchanged(read, presented)
      : refuseRow(world, read, refusal);
    if (result) return result;
  }
  return { error: "STORE_UNAVAILABLE" };
}

/** Gives a session another secret, if the presented one is the current one and none is unsettled. */
function rotateRow(world: World, row: Row, presented: Token, rules: Rules): Outcome | undefined {
  if (presented !== row.current || !isSettled(world, row, rules)) return undefined;
  row.previous = row.current;
  row.current = makeToken(world, row.name);
  row.rotatedAt = row.lastSeenAt = world.now;
  row.rotationSeenAt = null;
  emit(world, "rotated", row);
  return grant(world, row, rules, row.current);
}

/** Gives the secret of an earlier rotation to the holder of the one before. */
function handOut(world: World, row: Row, presented: Token, rules: Rules): Outcome {
  const read = { ...row };
  touch(world, read, presented, rules);
  return grant(world, read, rules, presented === read.current ? null : read.current);
}

function refusePresented(world: World, presented: "absent" | "malformed"): Outcome {
  return presented === "absent" ? { session: null, reason: presented } : refuse(world, presented);
}

function refuseRow(world: World, row: Row, reason: string, mayWrite = true): Outcome {
  const revokedReason = row.revokedReason ?? undefined;
  const { name, userId, authenticatedAt } = row;
  if (reason === "reused" && mayWrite) {
    world.between();
    const isLockedOut = row.authenticatedAt !== authenticatedAt;
    if (!isLockedOut && markRevoked(world, row, "reused")) emit(world, "reused", row);
  }
  return { ...refuse(world, reason, { name, userId }), revokedReason };
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

// ── Revoke, list, sweep ───────────────────────────────────────────────────────────────────────────

export function revokeSession(world: World, presented: Presented, reason: string): Outcome {
  const row = find(world, presented);
  const isRevoked = row !== undefined && revoke(world, row, reason);
  return { session: isRevoked ? seeRevoked(world, row) : null, cookie: "cleared" };
}

/** The sessions to revoke: all of the users, the one of that name, or all but that one. */
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
  return { sessions: rows.map((row) => seeRevoked(world, row)) };
}

/** `after` is the name of a session of that user. */
export function listSessions(
  world: World,
  userId: number,
  rules: Rules,
  { limit, after }: { limit?: number; after?: string } = {},
): Outcome {
  if (userOf(world, userId) === undefined) return { sessions: [] };
  const last = world.rows.find(({ name }) => name === after)?.lastSeenAt ?? Infinity;
  const rows = liveSessions(world, userId, rules).filter(({ lastSeenAt }) => lastSeenAt < last);
  const sessions = rows.slice(0, limit)
    .map((row) => see(world, row, rules, deadlineOf(row, rules)));
  return { sessions };
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
  const isRevoked = markRevoked(world, row, reason);
  if (isRevoked) emit(world, "revoked", row, reason);
  return isRevoked;
}

/** Revokes a session; false if it was revoked before. */
function markRevoked(world: World, row: Row, reason: string): boolean {
  if (row.revokedAt !== null) return false;
  row.revokedAt = world.now;
  row.revokedReason = reason;
  return true;
}

// ── Rows change without a call ───────────────────────────────────────────────────────────────────

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

// ── Results and events ───────────────────────────────────────────────────────────────────────────

function see(world: World, row: Row, rules: Rules, expiresAt = row.expiresAt): Seen {
  const idleExpiresAt = Math.min(expiresAt, row.lastSeenAt + rules.idleTimeout * 1000);
  return { ...seeStored(world, row, expiresAt), idleExpiresAt: fromNow(world, idleExpiresAt) };
}

function seeRevoked(world: World, row: Row): Seen {
  return {
    ...seeStored(world, row, row.expiresAt),
    revokedAt: fromNow(world, row.revokedAt!),
    revokedReason: row.revokedReason!,
  };
}

function seeStored(world: World, row: Row, expiresAt: number): Seen {
  const { name, inView } = world.users.get(row.userId)!;
  return {
    id: row.name,
    userId: row.userId,
    username: inView ? name : null,
    createdAt: fromNow(world, row.createdAt),
    authenticatedAt: fromNow(world, row.authenticatedAt),
    lastSeenAt: fromNow(world, row.lastSeenAt),
    expiresAt: fromNow(world, expiresAt),
    persistent: row.persistent,
    version: row.version,
    data: row.data,
  };
}

function fromNow(world: World, instant: number): number {
  return rounded((instant - world.now) / 1000);
}

/** Seconds to the nearest 500: all instants are a multiple apart, but for what a run takes. */
export function rounded(seconds: number): number {
  // Without the sum, a moment ago is -0.
  return Math.round(seconds / 500) * 500 + 0;
}

function grant(world: World, row: Row, rules: Rules, token: Token | null = null): Outcome {
  const session = see(world, row, rules, deadlineOf(row, rules));
  const maxAge = row.persistent ? session.expiresAt : undefined;
  return { session, ...(token && { cookie: { token, maxAge } }) };
}

function refuse(world: World, reason: string, row?: { name: string; userId?: number }): Outcome {
  emit(world, "refused", row, reason);
  return { session: null, reason };
}

function emit(
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
  return `${type} ${id ?? "no id"} of user ${userId ?? "unknown"}${reason ? `: ${reason}` : ""}`;
}
