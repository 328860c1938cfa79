import { SessionError, storeError } from "../errors.ts";
import { kindOf } from "../input.ts";
import { readNumber } from "../session.ts";
import { type Call, type Cell, query } from "../sql.ts";
import { between, type Clock, type Moment } from "./clock.ts";
import { BEAT_PREFIX, CHANNEL, PROBE } from "./statements.ts";

/**
 * Listens to a channel: sends `listen`, and passes each payload on, in order.
 *
 * It needs a connection of its own to the primary, without a pooler: a client or a pooler that connects again and
 * does not call `onListen` loses revocations unnoticed.
 *
 * @param channel The channel's name, to be written as an identifier.
 * @param onMessage To be called with the payload of each notification.
 * @param onListen To be called whenever the client has lost its connection and listens again: when the new `listen`
 * was answered.
 * @returns When `listen` was answered: a function that closes the connection, which is called when no beats come
 * back, to listen anew; or the client's own subscription with `unlisten`, if the client connects again by itself.
 */
export type Listen = (
  channel: string,
  onMessage: (payload: string) => void,
  onListen: () => void,
) => PromiseLike<Subscription>;

/** What {@linkcode Listen} returns. */
export type Subscription = (() => unknown) | { readonly unlisten: () => unknown };

/** The notifications of the database, and how far they have come. */
export interface Notifications {
  /** The moment up to which every notification has arrived; undefined if there is none. */
  readonly provenAt: () => Moment | undefined;
  /** How full the queue of the server was at the last probe: 0 to 1. */
  readonly queueUsage: () => number;
  readonly isListening: () => boolean;
  /**
   * Resolves when the first moment is proven.
   *
   * @throws {SessionError} If none is, within `queryTimeout`. Nothing is open then.
   */
  readonly ready: Promise<void>;
  readonly close: () => Promise<void>;
}

/** What {@linkcode openNotifications} needs. */
export interface NotificationOptions extends Call {
  readonly listen: Listen;
  /** Seconds. */
  readonly maxStaleness: number;
  readonly clock: Clock;
  /** Gets each payload that is not a beat. */
  readonly onMessage: (payload: string) => void;
  /** Notifications may have been lost. */
  readonly onGap: () => void;
  /** Called eight times in `maxStaleness`. */
  readonly onTick: () => void;
}

/** A question how far the transactions have come, which the beat of any process answers. */
interface Probe {
  readonly sentAt: Moment;
  /** The newest moment that had been reached when it was sent; undefined if none had. */
  readonly confirms: Moment | undefined;
  /** What the server has said. */
  answer?: Place;
  /** The newest beat that was heard meanwhile. */
  beat?: Place;
}

/** A place in the order of the transactions of a server. */
interface Place {
  readonly transaction: number;
  readonly server: Cell | undefined;
}

const BEAT = new RegExp(`^${BEAT_PREFIX}(\\d+) (.+)$`, "s");

// A statement that hangs keeps a connection of the pool.
const MAX_UNANSWERED = 2;

/**
 * Listens to the notifications of the database, and proves how far they have come.
 *
 * The proof: at a moment T, a probe asks for the newest transaction that has ended. When a beat of a later transaction
 * is heard, it was committed after T. PostgreSQL delivers notifications in the order of their commits, so those of all
 * transactions that were committed before T have arrived. It does not matter whose beat it is. The probe goes by
 * another connection than the one that listens, and a beat from before the last gap proves nothing.
 *
 * A client that has connected again may pass on a notification before it calls `onListen`, as postgres.js does:
 * the server sends those that are due before it says that `listen` is done. So a moment that was reached counts when
 * a probe that was sent after that has reached its own: before that, `onListen` was called.
 *
 * Each process probes eight times in `maxStaleness`. It sends a beat only if its last probe is still waiting: one
 * beat serves all processes, so what they cost grows with their number, and not with its square.
 *
 * The timer keeps no process of Bun or Node from its end.
 */
export function openNotifications(options: NotificationOptions): Notifications {
  const { caller, listen, maxStaleness, clock, queryTimeout, onMessage, onGap, onTick } = options;
  const limit = maxStaleness * 1000;
  let probes = new Set<Probe>();
  let unanswered = 0;
  let provenAt: Moment | undefined;
  // As provenAt, but not confirmed yet.
  let reached: Moment | undefined;
  let triggers: string | undefined;
  let queueUsage = 0;
  // Of the listening in use, to which late messages of an earlier one do not belong.
  let current: symbol | undefined;
  let subscription: Subscription | undefined;
  let startedAt = clock();
  let settleFirst: (error?: unknown) => void;
  const ready = new Promise<void>((resolve, reject) => {
    settleFirst = (error) => error === undefined ? resolve() : reject(error);
  });

  function lose(): void {
    probes = new Set();
    provenAt = reached = undefined;
    onGap();
  }

  async function start(): Promise<void> {
    const own = Symbol();
    void stop();
    current = own;
    startedAt = clock();
    lose();
    const receive = (payload: unknown) => {
      if (current === own) hear(String(payload));
    };
    const relisten = () => {
      if (current === own) lose();
    };
    try {
      const opened = await listen(CHANNEL, receive, relisten);
      if (current !== own) return await unsubscribe(opened);
      subscription = opened;
      // What was sent before it listens is lost, also to what was asked meanwhile.
      lose();
    } catch (error) {
      return settleFirst(storeError(caller, error, kindOf(error)));
    }
    await probe("beat");
  }

  async function stop(): Promise<void> {
    const old = subscription;
    current = undefined;
    subscription = undefined;
    if (old) await unsubscribe(old);
  }

  function hear(payload: string): void {
    if (!payload.startsWith(BEAT_PREFIX)) return onMessage(payload);
    const [, transaction, server] = BEAT.exec(payload) ?? [];
    for (const sent of probes) sent.beat = { transaction: Number(transaction), server };
    count();
  }

  async function probe(beat?: "beat"): Promise<void> {
    const sent: Probe = { sentAt: clock(), confirms: reached };
    probes.add(sent);
    unanswered++;
    try {
      const [row] = await query(options, PROBE, [beat ?? null]);
      if (!row) throw sharedConnection(caller);
      const [xmax, server, usage, fingerprint] = row;
      queueUsage = Number(usage);
      if (typeof fingerprint !== "string") throw noTriggers(caller);
      // A trigger may have been switched off and on again since the last one.
      if (fingerprint !== triggers) onGap();
      triggers = fingerprint;
      sent.answer = { transaction: readNumber(caller, xmax), server };
      count();
    } catch (error) {
      probes.delete(sent);
      settleFirst(error);
    } finally {
      unanswered--;
    }
  }

  /** Counts the probes whose moment has been reached. */
  function count(): void {
    const before = reached;
    for (const sent of probes) {
      if (!isReached(sent)) continue;
      probes.delete(sent);
      reached = newer(reached, sent.sentAt);
      provenAt = newer(provenAt, sent.confirms);
    }
    if (provenAt) settleFirst();
    else if (reached !== before && unanswered < MAX_UNANSWERED) void probe("beat");
  }

  function tick(): void {
    const now = clock();
    for (const sent of probes) {
      if (between(sent.sentAt, now) > limit) probes.delete(sent);
    }
    const isLost = [startedAt, provenAt ?? startedAt].every((it) => between(it, now) > 2 * limit);
    // A subscription of the client connects again by itself.
    if (isLost && typeof subscription !== "object") void start();
    else if (subscription && unanswered < MAX_UNANSWERED) {
      void probe(probes.size > 0 ? "beat" : undefined);
    }
    onTick();
  }

  async function close(): Promise<void> {
    clearInterval(timer);
    clearTimeout(deadline);
    const stopped = stop();
    lose();
    let last: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((resolve) => last = setTimeout(resolve, queryTimeout * 1000));
    // On a half-open connection, postgres.js waits forever for the answer to UNLISTEN.
    await Promise.race([stopped, late]);
    clearTimeout(last);
  }

  const timer = setInterval(tick, limit / 8);
  (timer as { unref?: () => void }).unref?.();
  const deadline = setTimeout(
    () => settleFirst(unheard(caller, queryTimeout)),
    queryTimeout * 1000,
  );
  ready.then(() => clearTimeout(deadline), () => void close());
  void start();
  return {
    provenAt: () => provenAt,
    queueUsage: () => queueUsage,
    isListening: () => subscription !== undefined,
    ready,
    close,
  };
}

/** Whether a probe is answered, and a later beat of the same server was heard. */
function isReached({ answer, beat }: Probe): boolean {
  return answer !== undefined && beat !== undefined && answer.server === beat.server &&
    beat.transaction >= answer.transaction;
}

function newer(one: Moment | undefined, other: Moment | undefined): Moment | undefined {
  if (!one || !other) return one ?? other;
  return one.monotonic < other.monotonic ? other : one;
}

/** Ends a subscription, whose connection may be lost: nothing depends on how that ends. */
async function unsubscribe(subscription: Subscription): Promise<void> {
  try {
    await (typeof subscription === "function" ? subscription() : subscription.unlisten());
  } catch {
    // As said above.
  }
}

function unheard(caller: string, seconds: number): SessionError {
  return new SessionError(
    "STORE_TIMEOUT",
    `${caller}: no notification came back within queryTimeout, ${seconds} s; ` +
      "listen needs a connection of its own to the same database, without a pooler in transaction mode",
  );
}

function sharedConnection(caller: string): SessionError {
  return new SessionError(
    "UNEXPECTED_RESULT",
    `${caller}: sql sends its statements on the connection that listens; listen needs one of its own`,
  );
}

function noTriggers(caller: string): SessionError {
  return new SessionError(
    "SCHEMA_MISSING",
    `${caller}: the triggers of coatcheck.sessions are missing or disabled; ` +
      "run migrate(sql, { notify: true })",
  );
}
