// The credentials of a seeded session follow from its number. SQL makes a million of them, and a contestant
// makes any of them again without a query.
import { createHash } from "node:crypto";

export const USERS = 10_000;

export const md5 = (text) => createHash("md5").update(text).digest("hex");
export const sha256 = (data) => createHash("sha256").update(data).digest();

/** The user of a session, from 1 to {@linkcode USERS}. */
export const userOf = (session) => 1 + session % USERS;

/** Returns up to `count` different numbers from 1 to `most`; the same seed gives the same numbers. */
export function sample(count, most, seed) {
  const random = randomFrom(seed);
  const found = new Set();
  while (found.size < Math.min(count, most)) found.add(1 + Math.floor(random() * most));
  return [...found];
}

/** Shuffles a copy of the list; the same seed gives the same order. */
export function shuffled(list, seed) {
  const random = randomFrom(seed);
  const copy = [...list];
  for (let last = copy.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [copy[last], copy[other]] = [copy[other], copy[last]];
  }
  return copy;
}

// xorshift32: it only has to be repeatable.
function randomFrom(seed) {
  let state = (seed * 2_654_435_761 + 1) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}
