import type { Reading } from "../cached.ts";
import type { StoredState } from "../session.ts";
import type { TokenKey } from "../token.ts";
import { between, type Moment } from "./clock.ts";

/** The sessions in memory. */
export interface Entries {
  readonly size: () => number;
  /**
   * Finds the state that a token opens, with the database's clock as it must be now. The state is valid until
   * the next call.
   */
  readonly find: (key: TokenKey, now: Moment) => StoredState | undefined;
  /** Announces that a row will be read. */
  readonly read: (id: string, now: Moment) => Reading;
  /** Forgets a session, and what is being read of it. */
  readonly forget: (id: string) => void;
  /** Forgets all sessions, and all that is being read. */
  readonly clear: () => void;
}

/** A session, and when it was read. */
interface Entry extends Moment {
  readonly digest: string;
  /** The database's clock then. */
  readonly clock: number;
  /** As JSON, so that no caller can change what the next one gets. */
  readonly data: string;
  /** Changed in place for each answer, as a copy would take longer than the look-up. */
  readonly state: { -readonly [Field in keyof StoredState]: StoredState[Field] };
}

// On average. Data that is larger takes the place of other sessions.
const DATA_CHARACTERS = 1024;

/**
 * Makes an empty cache.
 *
 * A reading and a revocation may overlap: the row is read, then revoked, then the notification arrives, and then
 * the row would be kept. So a change of a session also voids what is being read of it.
 *
 * @param maxSessions How many sessions are kept. The one that was read first makes room, as it would be the
 * next to be too old.
 * @param maxAge Seconds that a session is kept.
 */
export function openEntries(
  { maxSessions, maxAge }: { readonly maxSessions: number; readonly maxAge: number },
): Entries {
  // In the order in which they were read.
  const entries = new Map<string, Entry>();
  const readings = new Map<string, Set<{ isVoid: boolean }>>();
  let characters = 0;

  function remove(id: string): void {
    const entry = entries.get(id);
    if (!entry) return;
    characters -= entry.data.length;
    entries.delete(id);
  }

  function add(id: string, entry: Entry): void {
    remove(id);
    entries.set(id, entry);
    characters += entry.data.length;
    for (const [first] of entries) {
      if (entries.size <= maxSessions && characters <= maxSessions * DATA_CHARACTERS) return;
      remove(first);
    }
  }

  function voidReadings(those: Iterable<{ isVoid: boolean }> | undefined): void {
    for (const reading of those ?? []) reading.isVoid = true;
  }

  return {
    size: () => entries.size,
    find({ id, digest }, now) {
      const entry = entries.get(id);
      // Another secret of the session is the database's to judge: it may be a reused one.
      if (!entry || !isSame(entry.digest, digest)) return undefined;
      const age = between(entry, now);
      if (age > maxAge * 1000) {
        remove(id);
        return undefined;
      }
      const { clock, data, state } = entry;
      state.clock = clock + age / 1000;
      state.data = data === "{}" ? {} : JSON.parse(data);
      return state;
    },
    read(id, now) {
      const reading = { isVoid: false };
      const ofSession = readings.get(id) ?? new Set();
      readings.set(id, ofSession.add(reading));
      return {
        keep({ digest }, state) {
          if (reading.isVoid || state.isStandby) return;
          const data = JSON.stringify(state.data);
          add(id, { ...now, digest, clock: state.clock, data, state: { ...state } });
        },
        end() {
          ofSession.delete(reading);
          if (ofSession.size === 0 && readings.get(id) === ofSession) readings.delete(id);
        },
      };
    },
    forget(id) {
      remove(id);
      voidReadings(readings.get(id));
    },
    clear() {
      entries.clear();
      characters = 0;
      for (const ofSession of readings.values()) voidReadings(ofSession);
    },
  };
}

/** Compares two digests in constant time (ASVS 5.0, 11.2.4). */
function isSame(one: string, other: string): boolean {
  let difference = one.length ^ other.length;
  for (let index = 0; index < one.length; index++) {
    difference |= one.charCodeAt(index) ^ other.charCodeAt(index);
  }
  return difference === 0;
}
