import { SessionError, storeError } from "../errors.ts";
import { kindOf } from "../input.ts";
import { type Call, query } from "../sql.ts";
import { between, type Clock, type Moment } from "./clock.ts";
import { BEAT, BEAT_PREFIX, CHANNEL } from "./statements.ts";

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
  /** How full the queue of the server was at the last beat: 0 to 1. */
  readonly queueUsage: () => number;
  readonly isListening: () => boolean;
  /**
   * Resolves when the first beat has come back.
   *
   * @throws {SessionError} If it does not, within `queryTimeout`. Nothing is open then.
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
  /** Called four times in `maxStaleness`. */
  readonly onTick: () => void;
}

/** A notification of our own on its way through the database. */
interface Beat {
  readonly sentAt: Moment;
  /** When the newest beat was sent that had come back before; undefined if none had. */
  readonly confirms: Moment | undefined;
  readonly isHeard: boolean;
  /** The fingerprint of the triggers; undefined until the statement is answered. */
  readonly triggers?: string;
}

// A statement that hangs keeps a connection of the pool.
const MAX_UNANSWERED = 2;

/**
 * Listens to the notifications of the database, and proves how far they have come.
 *
 * The proof: PostgreSQL delivers notifications in the order of their commits. So when a notification that was sent
 * at a moment T comes back, all of the transactions that were committed before T have arrived. It is sent on another
 * connection than the one that listens, and cannot be guessed. One that was sent before the last gap proves nothing.
 *
 * A client that has connected again may pass on a notification before it calls `onListen`, as postgres.js does:
 * the server sends those that are due before it says that `listen` is done. So a beat counts when the next one, sent
 * after it had come back, comes back as well: before that, `onListen` was called.
 *
 * The timer of the beats keeps no process of Bun or Node from its end.
 */
export function openNotifications(options: NotificationOptions): Notifications {
  const { caller, listen, maxStaleness, clock, queryTimeout, onMessage, onGap, onTick } = options;
  const limit = maxStaleness * 1000;
  let beats = new Map<string, Beat>();
  let unanswered = 0;
  let provenAt: Moment | undefined;
  // When the newest beat was sent that has come back.
  let cameBack: Moment | undefined;
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
    beats = new Map();
    provenAt = cameBack = undefined;
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
    } catch (error) {
      return settleFirst(storeError(caller, error, kindOf(error)));
    }
    await beat();
  }

  async function stop(): Promise<void> {
    const old = subscription;
    current = undefined;
    subscription = undefined;
    if (old) await unsubscribe(old);
  }

  function hear(payload: string): void {
    if (!payload.startsWith(BEAT_PREFIX)) return onMessage(payload);
    const id = payload.slice(BEAT_PREFIX.length);
    const sent = beats.get(id);
    if (sent) count(id, { ...sent, isHeard: true });
  }

  async function beat(): Promise<void> {
    const own = beats;
    const id = crypto.randomUUID();
    own.set(id, { sentAt: clock(), confirms: cameBack, isHeard: false });
    unanswered++;
    try {
      const [row] = await query(options, BEAT, [id]);
      if (!row) throw sharedConnection(caller);
      const [, usage, fingerprint] = row;
      queueUsage = Number(usage);
      if (typeof fingerprint !== "string") throw noTriggers(caller);
      const sent = own.get(id);
      if (sent && own === beats) count(id, { ...sent, triggers: fingerprint });
    } catch (error) {
      own.delete(id);
      settleFirst(error);
    } finally {
      unanswered--;
    }
  }

  /** Counts a beat once it has come back and its statement has seen the triggers. */
  function count(id: string, sent: Beat): void {
    beats.set(id, sent);
    if (!sent.isHeard || sent.triggers === undefined) return;
    beats.delete(id);
    // A trigger may have been switched off and on again since the last one.
    if (sent.triggers !== triggers) onGap();
    triggers = sent.triggers;
    cameBack = newer(cameBack, sent.sentAt);
    provenAt = newer(provenAt, sent.confirms);
    if (provenAt) settleFirst();
    else if (unanswered < MAX_UNANSWERED) void beat();
  }

  function tick(): void {
    const now = clock();
    for (const [id, { sentAt }] of beats) {
      if (between(sentAt, now) > limit) beats.delete(id);
    }
    const isLost = [startedAt, provenAt ?? startedAt].every((it) => between(it, now) > 2 * limit);
    // A subscription of the client connects again by itself.
    if (isLost && typeof subscription !== "object") void start();
    else if (subscription && unanswered < MAX_UNANSWERED) void beat();
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

  const timer = setInterval(tick, limit / 4);
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
