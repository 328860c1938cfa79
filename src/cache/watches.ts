import type { SessionCache } from "../cached.ts";
import { notify } from "../events.ts";
import { readNumber, toDate } from "../session.ts";
import { arrayOf, type Call, query } from "../sql.ts";
import { FIND_LIVE } from "./statements.ts";

/** The sessions whose end is waited for. */
export interface Watches {
  readonly size: () => number;
  /** Adds a watch; returns a function that ends it. */
  readonly add: (session: Parameters<SessionCache["watch"]>[0], onEnd: () => unknown) => () => void;
  /** Reports that a session has ended. */
  readonly end: (id: string) => void;
  /** Reports that any session may have ended unnoticed. */
  readonly doubt: () => void;
  /** Whether sessions are past their deadline, unless a re-authentication has moved it: they may have ended. */
  readonly expire: () => boolean;
  /** Asks the database about the sessions that may have ended. */
  readonly check: () => Promise<void>;
}

/** A watch. Instants in milliseconds since 1970. */
interface Watch {
  expiresAt: number;
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
  ): void {
    for (const watch of watches.get(id) ?? []) {
      // One that was added meanwhile may know of a later proof, and is asked about next.
      if (!asked.has(watch)) continue;
      const by = authenticatedAt - (watch.authenticatedAt ?? authenticatedAt);
      // A policy may have lowered it.
      watch.expiresAt = Math.min(expiresAt, watch.expiresAt + by);
      watch.authenticatedAt = authenticatedAt;
      if (watch.expiresAt > Date.now()) continue;
      stop(id, watch);
      notify(watch.onEnd);
    }
  }

  function stop(id: string, watch: Watch): void {
    const own = watches.get(id);
    if (own?.delete(watch) && own.size === 0) remove(id);
  }

  async function ask(ids: string[]): Promise<boolean> {
    for (const id of ids) doubtful.delete(id);
    const asked = new Set(ids.flatMap((id) => [...watches.get(id) ?? []]));
    try {
      const [[isStandby, live] = []] = await query(call, FIND_LIVE, [arrayOf(ids)]);
      if (isStandby !== "false") throw new Error("A standby may not know yet");
      const found = new Map(
        live?.split(",").map((it) => {
          const [id, ...instants] = it.split(" ");
          return [id, instants.map((instant) => Number(toDate(readNumber(call.caller, instant))))];
        }),
      );
      for (const id of ids) {
        const [expiresAt, authenticatedAt] = found.get(id) ?? [];
        if (expiresAt !== undefined && authenticatedAt !== undefined) {
          move(asked, id, expiresAt, authenticatedAt);
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
      const watch: Watch = { expiresAt: expiresAt.getTime(), onEnd };
      if (authenticatedAt) watch.authenticatedAt = authenticatedAt.getTime();
      const own = watches.get(id) ?? new Set();
      watches.set(id, own.add(watch));
      doubtful.add(id);
      return () => stop(id, watch);
    },
    end,
    doubt() {
      for (const id of watches.keys()) doubtful.add(id);
    },
    expire() {
      const now = Date.now();
      const isOver = ({ expiresAt }: Watch) => !(expiresAt > now);
      const ids = [...watches.keys()].filter((id) => [...watches.get(id)!].some(isOver));
      for (const id of ids) doubtful.add(id);
      return ids.length > 0;
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
