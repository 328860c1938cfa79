// Libraries that are wrong on purpose: the soak must find each of them. See --broken in run.mjs.
import { VALIDATION_CACHE } from "../../src/cached.ts";

/** What each gets wrong, by name: a function that wraps the functions of a policy. */
const broken = {
  /** A revoked session is granted for 300 ms more. */
  revoked: (functions) => ({
    validateSession: remembering(functions.validateSession, 300),
  }),

  /** Now and then, the session of another user. */
  stranger: (functions) => ({
    validateSession: async (headers, sql, options) => {
      const result = await functions.validateSession(headers, sql, options);
      const { session } = result;
      if (!session) return result;
      const other = seen.get("other");
      seen.set("other", result);
      const isOther = other && other.session.userId !== session.userId;
      return isOther && Math.random() < 0.1 ? other : result;
    },
  }),

  /** An error carries the cookie. */
  cookie: (functions) => ({
    createSession: async (...args) => {
      try {
        return await functions.createSession(...args);
      } catch (error) {
        const headers = new Headers({ "set-cookie": "__Host-session=a; Secure; HttpOnly; Path=/" });
        throw Object.assign(error, { headers });
      }
    },
  }),

  /** Now and then, an update is answered and not stored. */
  update: (functions) => ({
    updateSession: async (headers, patch, sql, options) => {
      if (Math.random() < 0.7) return await functions.updateSession(headers, patch, sql, options);
      const result = await functions.validateSession(headers, sql);
      const { session, guest } = result;
      const old = session ?? guest;
      if (!old || options?.version !== undefined && options.version !== old.version) return result;
      const stored = { ...old, version: old.version + 1, data: { ...old.data, ...patch } };
      const { reason: _, ...rest } = result;
      return {
        ...rest,
        headers: new Headers(),
        ...(session ? { session: stored } : { guest: stored }),
      };
    },
  }),

  /** A cookie whose secret is in no row. */
  unstored: (functions) => ({
    reauthenticateSession: async (headers, sql) => {
      const result = await functions.reauthenticateSession(headers, sql);
      const line = result.headers.get("set-cookie");
      if (!line) return result;
      const secret = btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))))
        .replaceAll("+", "-").replaceAll("/", "_").slice(0, 43);
      result.headers.set("set-cookie", line.replace(/\.[^;]{43};/, `.${secret};`));
      return result;
    },
  }),

  /** A live session is refused now and then. */
  lost: (functions) => ({
    validateSession: async (headers, sql, options) => {
      const result = await functions.validateSession(headers, sql, options);
      if (!result.session || Math.random() > 0.02) return result;
      return { session: null, reason: "unknown", headers: new Headers() };
    },
  }),

  /** A revocation is answered and not done. */
  kept: (functions) => ({
    revokeSessions: async (target, sql, options) =>
      Math.random() < 0.5 ? [] : await functions.revokeSessions(target, sql, options),
  }),

  /** A call takes longer than its statements may. */
  slow: (functions) => ({
    listSessions: async (...args) => {
      const result = await functions.listSessions(...args);
      await new Promise((resolve) => setTimeout(resolve, 16_000));
      return result;
    },
  }),

  /** A rejection that nobody handles. */
  stray: (functions) => ({
    getUserId: async (...args) => {
      void Promise.reject(new Error("Nobody handles this"));
      return await functions.getUserId(...args);
    },
  }),
};

/** Caches that are wrong: how each listens, what it does with what the functions ask, and how it watches. */
const brokenCaches = {
  /** It hears its beats, and no revocation. */
  deaf: {
    listen: (listen) => (channel, onMessage, onListen) =>
      listen(channel, (payload) => payload.startsWith("beat:") && onMessage(payload), onListen),
  },

  /** It answers from memory also when it has heard nothing for long. */
  boundless: {
    listen: (listen) => async (channel, onMessage, onListen) => {
      const began = performance.now();
      // Three seconds of eight.
      const hears = () => (performance.now() - began) % 8000 < 3000;
      const hear = (payload) => hears() && onMessage(payload);
      return await listen(channel, hear, onListen);
    },
    cache: (own) => ({
      find(key, sql, isEnough) {
        const state = own.find(key, sql, isEnough);
        if (state) seen.set(key.id, { digest: key.digest, state });
        const known = seen.get(key.id);
        return state ?? (known?.digest === key.digest ? known.state : undefined);
      },
      hearing: (onEvent) =>
        own.hearing((event) => {
          if (event.type !== "refused") seen.delete(event.id);
          onEvent?.(event);
        }),
    }),
  },

  /** It hears late of what its own process has revoked, as of any other. */
  late: {
    listen: (listen) => (channel, onMessage, onListen) =>
      listen(channel, (payload) => void setTimeout(onMessage, 400, payload), onListen),
    cache: () => ({ hearing: (onEvent) => onEvent ?? (() => {}) }),
  },

  /** It connects again every 3 s, and a watch from before that is told nothing. */
  forgetful: {
    listen: (listen) => (channel, onMessage, onListen) => {
      setInterval(() => {
        connections++;
        onListen();
      }, 3000);
      return listen(channel, onMessage, onListen);
    },
    watch: (watch) => (session, onEnd) => {
      const own = connections;
      return watch(session, () => own === connections && onEnd());
    },
  },

  /** It tells the watch that was begun before. */
  mistaken: {
    watch: (watch) => (session, onEnd) => {
      const other = previous ?? onEnd;
      previous = onEnd;
      return watch(session, other);
    },
  },

  /** A watch that was stopped is told all the same. */
  unstoppable: {
    watch: (watch) => (...args) => {
      watch(...args);
      return () => {};
    },
  },
};

let connections = 0;
let previous;

/** The wrong ones that need a cache. */
export const isCacheBroken = (name) => Object.hasOwn(brokenCaches, name);

/** The way to listen, broken or as it is. */
export const breakListen = (name, listen) => brokenCaches[name]?.listen?.(listen) ?? listen;

/** The cache, broken or as it is. */
export function breakCache(name, cache) {
  const own = cache[VALIDATION_CACHE];
  const { cache: breakOwn, watch = (it) => it } = brokenCaches[name] ?? {};
  return {
    ...cache,
    watch: watch(cache.watch),
    [VALIDATION_CACHE]: { ...own, ...breakOwn?.(own) },
  };
}

/** What the oracle says of each. */
export const findings = {
  deaf: /^granted from memory \d+ ms after .+ had ended it$/,
  boundless: /^granted from memory \d+ ms after .+ had ended it$/,
  forgetful: /^not told of an end for \d+ ms: /,
  mistaken: /^told of an end, and nothing ended it: /,
  unstoppable: /^told of an end when stopped: /,
  late: /^granted from memory, and this process had ended it: /,
  revoked: /^granted \d+ ms after .+ had ended it$/,
  stranger: /^another (session|user)/,
  cookie: /^a property headers$/,
  update: /^(the key|version|a version)/,
  unstored: /nothing ended it|without its row/,
  lost: /^unknown , and nothing ended it/,
  kept: /was live, and was not revoked|had ended/,
  slow: /^took \d+ ms for 1 statements$/,
  stray: /Nobody handles this/,
};

const seen = new Map();

/** Answers from memory for a while after a session was revoked. */
function remembering(validateSession, milliseconds) {
  return async (headers, sql, options) => {
    const key = headers.get("cookie") ?? headers.get("authorization");
    const result = await validateSession(headers, sql, options);
    if (result.session) seen.set(key, { result, since: undefined });
    const known = seen.get(key);
    if (result.reason !== "revoked" || !known) return result;
    known.since ??= performance.now();
    return performance.now() - known.since < milliseconds ? known.result : result;
  };
}

/** The functions of a policy, some of them broken. */
export function breakFunctions(name, functions) {
  return { ...functions, ...broken[name]?.(functions) };
}
