// Users who sign in, come back and sign out, and a model that knows what each answer may be.
import assert from "node:assert/strict";
import {
  createSession,
  revokeSession,
  rotateSession,
  SessionError,
  type Sql,
  updateSession,
  validateSession,
} from "../../mod.ts";
import { withCookie } from "./database.ts";

/** A session as its browser and the model know it. */
interface Known {
  headers: Headers;
  readonly id: string;
  readonly username: string;
  /** `unsure` if the answer of a revocation was lost. */
  state: "live" | "revoked" | "unsure";
  /** How often it was updated; undefined if the answer of an update was lost. */
  updates: number | undefined;
}

/** What the calls have shown. */
export interface Seen {
  calls: number;
  /** How many calls have failed, by the code of their error. */
  readonly errors: Map<string, number>;
  /** What must never be: another user's session, one that was revoked, one that is gone, a foreign error. */
  readonly wrong: string[];
  /** The longest time without a call that has succeeded, in ms. */
  longestGap: number;
  /** The slowest call, in ms. */
  slowest: number;
}

export interface Traffic {
  readonly seen: Seen;
  /** Resolves after so many more calls have succeeded; rejects if that takes longer than three minutes. */
  readonly succeeded: (calls: number) => Promise<void>;
  /** Ends it after the calls that are under way. */
  readonly stop: () => Promise<Seen>;
  /**
   * Asks for every session once more.
   *
   * @returns The live ones that are gone, and the revoked ones that are back.
   */
  readonly verify: (sql: Sql) => Promise<{ live: number; gone: string[]; back: string[] }>;
}

/** Starts workers who call without a pause. Users have the names that `userOf` gives. */
export function startTraffic(
  sql: Sql,
  { workers = 8, queryTimeout = 1, userOf = () => "ada" }: {
    workers?: number;
    queryTimeout?: number;
    userOf?: (worker: number) => string;
  } = {},
): Traffic {
  const policy = { queryTimeout };
  const seen: Seen = { calls: 0, errors: new Map(), wrong: [], longestGap: 0, slowest: 0 };
  const all: Known[] = [];
  let isOver = false;
  let successes = 0;
  let lastSuccess = performance.now();
  const waiting: { at: number; resolve: () => void }[] = [];

  const succeed = () => {
    const now = performance.now();
    seen.longestGap = Math.max(seen.longestGap, now - lastSuccess);
    lastSuccess = now;
    successes++;
    for (const { at, resolve } of waiting) if (successes >= at) resolve();
  };

  /** Makes a call; returns undefined if the store has failed. */
  async function attempt<T>(call: Promise<T>): Promise<T | undefined> {
    const start = performance.now();
    seen.calls++;
    try {
      const result = await call;
      succeed();
      seen.slowest = Math.max(seen.slowest, performance.now() - start);
      return result;
    } catch (error) {
      const code = error instanceof SessionError
        ? [error.code, error.sqlstate].filter(Boolean).join(" ")
        : "foreign";
      seen.errors.set(code, (seen.errors.get(code) ?? 0) + 1);
      if (!/^STORE_(UNAVAILABLE|TIMEOUT)/.test(code)) seen.wrong.push(`${code}: ${error}`);
      seen.slowest = Math.max(seen.slowest, performance.now() - start);
      // As a browser does not call again at once.
      await new Promise((resolve) => setTimeout(resolve, 20));
      return undefined;
    }
  }

  async function ask(it: Known, sql: Sql): Promise<void> {
    const result = await attempt(validateSession(it.headers, sql, policy));
    if (!result) return;
    const { session, reason, headers } = result;
    if (session && session.username !== it.username) {
      seen.wrong.push(`a session of ${session.username}`);
    }
    if (session && session.id !== it.id) seen.wrong.push("another session");
    if (session && it.state === "revoked") seen.wrong.push("a revoked session");
    if (!session && it.state === "live") seen.wrong.push(`no session: ${reason}`);
    if (session && it.updates !== undefined && session.version !== it.updates) {
      seen.wrong.push(`version ${session.version} after ${it.updates} updates`);
    }
    if (headers.has("set-cookie")) it.headers = withCookie(headers);
  }

  async function step(own: Known[], username: string): Promise<void> {
    const chance = Math.random();
    const it = own[Math.floor(Math.random() * own.length)];
    if (!it || chance < 0.2) {
      const result = await attempt(createSession(username, sql, policy));
      if (!result) return;
      const { session, headers } = result;
      const created: Known = {
        headers: withCookie(headers),
        id: session.id,
        username,
        state: "live",
        updates: 0,
      };
      own.push(created);
      all.push(created);
    } else if (chance < 0.7 || it.state !== "live") {
      await ask(it, sql);
    } else if (chance < 0.8) {
      const result = await attempt(rotateSession(it.headers, sql, policy));
      if (result?.headers.has("set-cookie")) it.headers = withCookie(result.headers);
      if (result && !result.session) seen.wrong.push(`not rotated: ${result.reason}`);
    } else if (chance < 0.9) {
      const { updates } = it;
      it.updates = undefined;
      const result = await attempt(updateSession(it.headers, { a: chance }, sql, policy));
      if (result && !result.session) seen.wrong.push(`not updated: ${result.reason}`);
      if (result && updates !== undefined) it.updates = updates + 1;
    } else {
      it.state = "unsure";
      const result = await attempt(revokeSession(it.headers, sql, policy));
      if (result) it.state = "revoked";
    }
  }

  async function work(worker: number): Promise<void> {
    const own: Known[] = [];
    while (!isOver) await step(own, userOf(worker));
  }

  const working = Promise.all(Array.from({ length: workers }, (_, worker) => work(worker)));
  return {
    seen,
    succeeded: (calls) =>
      new Promise((resolve, reject) => {
        const late = new Error(`${calls} calls have not succeeded within three minutes`);
        const timer = setTimeout(reject, 180_000, late);
        waiting.push({
          at: successes + calls,
          resolve: () => {
            clearTimeout(timer);
            resolve();
          },
        });
      }),
    stop: async () => {
      isOver = true;
      await working;
      return seen;
    },
    verify: async (sql) => {
      const [gone, back]: [string[], string[]] = [[], []];
      let live = 0;
      for (const it of all) {
        const { session, reason } = await validateSession(it.headers, sql);
        if (session) assert.deepEqual([session.id, session.username], [it.id, it.username]);
        if (session && it.state === "revoked") back.push(it.id);
        if (!session && it.state === "live") gone.push(`${it.id}: ${reason}`);
        if (session) live++;
      }
      return { live, gone, back };
    },
  };
}
