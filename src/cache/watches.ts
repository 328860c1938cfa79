import type { SessionCache } from "../cached.ts";
import { notify } from "../events.ts";
import { readNumber, toDate } from "../session.ts";
import { arrayOf, type Call, type Cell, query } from "../sql.ts";
import { between, clock, type Moment } from "./clock.ts";
import { FIND_LIVE } from "./statements.ts";

/** The sessions whose end is waited for. */
export interface Watches {
  readonly size: () => number;
  /** Adds a watch; returns a function that ends it. */
  readonly add: (session: Parameters<SessionCache["watch"]>[0], onEnd: () => unknown) => () => void;
  /** Reports that a session has ended. */
  readonly end: (id: string) => void;
  /** Reports that a session may have ended unnoticed, or have another deadline; unset: any session. */
  readonly doubt: (id?: string) => void;
  /** Whether sessions are past their deadline, unless a re-authentication has moved it: they may have ended. */
  readonly expire: () => boolean;
  /** Asks the database about the sessions that may have ended. */
  readonly check: () => Promise<void>;
}

/** A watch. Instants in milliseconds since 1970, by the database's clock. */
interface Watch {
  /** The deadline of whoever watches, which a re-authentication moves. A policy may have lowered it. */
  ownDeadline: number;
  /** The earlier one of that and the deadline of the row; unset if the database must say it. */
  expiresAt?: number;
  /** When the user last proved their identity, as far as the deadline says; unset if the database must say it. */
  authenticatedAt?: number;
  readonly onEnd: () => unknown;
}

const MAX_ASKED = 1000;

/**
 * Makes an empty list of watches.
 *
 * @param onFound Gets each session whose end the database has told, perhaps before the notification.
 */
export function openWatches(call: Call, onFound: (id: string) => void): Watches {
  const watches = new Map<string, Set<Watch>>();
  // A new one is among them, as its session may have ended before it was watched.
  const doubtful = new Set<string>();
  let isChecking = false;
  // What the database's clock said, and when it was asked.
  let told: Moment & { readonly clock: number } | undefined;

  function remove(id: string): void {
    watches.delete(id);
    doubtful.delete(id);
  }

  function end(id: string): void {
    const ended = watches.get(id) ?? [];
    remove(id);
    for (const { onEnd } of ended) notify(onEnd);
  }

  /** Moves the deadlines as far as the last proof of identity has moved, and ends what is past its own. */
  function move(
    asked: ReadonlySet<Watch>,
    id: string,
    expiresAt: number,
    authenticatedAt: number,
    now: number,
  ): void {
    for (const watch of watches.get(id) ?? []) {
      // One that was added meanwhile may know of a later proof, and is asked about next.
      if (!asked.has(watch)) continue;
      const by = authenticatedAt - (watch.authenticatedAt ?? authenticatedAt);
      watch.ownDeadline += by;
      watch.expiresAt = Math.min(expiresAt, watch.ownDeadline);
      watch.authenticatedAt = authenticatedAt;
      if (watch.expiresAt > now) continue;
      stop(id, watch);
      notify(watch.onEnd);
    }
  }

  function stop(id: string, watch: Watch): void {
    const own = watches.get(id);
    if (own?.delete(watch) && own.size === 0) remove(id);
  }

  function readInstant(cell: Cell | undefined): number {
    return Number(toDate(readNumber(call.caller, cell)));
  }

  async function ask(ids: string[]): Promise<boolean> {
    for (const id of ids) doubtful.delete(id);
    const asked = new Set(ids.flatMap((id) => [...watches.get(id) ?? []]));
    const askedAt = clock();
    try {
      const [[isStandby, time, live] = []] = await query(call, FIND_LIVE, [arrayOf(ids)]);
      if (isStandby !== "false") throw new Error("A standby may not know yet");
      const now = readInstant(time);
      told = { ...askedAt, clock: now };
      const found = new Map(
        live?.split(",").map((it) => {
          const [id, ...instants] = it.split(" ");
          return [id, instants.map(readInstant)];
        }),
      );
      for (const id of ids) {
        const [expiresAt, authenticatedAt] = found.get(id) ?? [];
        if (expiresAt !== undefined && authenticatedAt !== undefined) {
          move(asked, id, expiresAt, authenticatedAt, now);
        } else {
          onFound(id);
          end(id);
        }
      }
      return true;
    } catch {
      for (const id of ids) if (watches.has(id)) doubtful.add(id);
      return false;
    }
  }

  return {
    size: () => watches.size,
    add({ id, expiresAt, authenticatedAt }, onEnd) {
      const watch: Watch = { ownDeadline: expiresAt.getTime(), onEnd };
      if (authenticatedAt) watch.authenticatedAt = authenticatedAt.getTime();
      const own = watches.get(id) ?? new Set();
      watches.set(id, own.add(watch));
      doubtful.add(id);
      return () => stop(id, watch);
    },
    end,
    doubt(id) {
      for (const it of id === undefined ? watches.keys() : [id]) {
        if (watches.has(it)) doubtful.add(it);
      }
    },
    expire() {
      if (!told) return false;
      const now = told.clock + between(told, clock());
      let isOver = false;
      for (const [id, own] of watches) {
        for (const { expiresAt } of own) {
          // One without a deadline is doubtful, as it is new.
          if (expiresAt === undefined || expiresAt > now) continue;
          doubtful.add(id);
          isOver = true;
        }
      }
      return isOver;
    },
    async check() {
      if (isChecking) return;
      isChecking = true;
      // Also about what is added meanwhile. What failed waits for the next call.
      let isAnswered = true;
      while (isAnswered && doubtful.size > 0) {
        isAnswered = await ask([...doubtful].slice(0, MAX_ASKED));
      }
      isChecking = false;
    },
  };
}
