import { notify } from "../events.ts";
import { arrayOf, type Call, query } from "../sql.ts";
import { FIND_LIVE } from "./statements.ts";

/** The sessions whose end is waited for. */
export interface Watches {
  readonly size: () => number;
  /** Adds a watch; returns a function that ends it. */
  readonly add: (id: string, expiresAt: Date, onEnd: () => unknown) => () => void;
  /** Reports that a session has ended. */
  readonly end: (id: string) => void;
  /** Reports that any session may have ended unnoticed. */
  readonly doubt: () => void;
  /** Ends the watches of sessions that are past their deadline. */
  readonly expire: () => void;
  /** Asks the database about the sessions that may have ended. To be called while notifications arrive. */
  readonly check: () => Promise<void>;
}

interface Watch {
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
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

  async function ask(ids: string[]): Promise<boolean> {
    for (const id of ids) doubtful.delete(id);
    try {
      const [[isStandby, live] = []] = await query(call, FIND_LIVE, [arrayOf(ids)]);
      if (isStandby !== "false") throw new Error("A standby may not know yet");
      const found = new Set(live?.split(" "));
      for (const id of ids) {
        if (found.has(id)) continue;
        onFound(id);
        end(id);
      }
      return true;
    } catch {
      for (const id of ids) if (watches.has(id)) doubtful.add(id);
      return false;
    }
  }

  return {
    size: () => watches.size,
    add(id, expiresAt, onEnd) {
      const watch = { expiresAt: expiresAt.getTime(), onEnd };
      const own = watches.get(id) ?? new Set();
      watches.set(id, own.add(watch));
      doubtful.add(id);
      return () => {
        own.delete(watch);
        if (own.size === 0 && watches.get(id) === own) remove(id);
      };
    },
    end,
    doubt() {
      for (const id of watches.keys()) doubtful.add(id);
    },
    expire() {
      const now = Date.now();
      for (const [id, own] of watches) {
        for (const { expiresAt } of own) {
          if (expiresAt <= now) end(id);
        }
      }
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
