import { cacheOf, type SessionCache, type ValidationCache } from "./cached.ts";
import type { SessionEventListener } from "./events.ts";
import {
  copyOptions,
  kindOf,
  refuse,
  requireBoolean,
  requireFunction,
  requireSeconds,
  requireText,
  requireWhole,
} from "./input.ts";

/**
 * The cookie's attributes. `HttpOnly` is always set.
 *
 * A name that contradicts the attributes, such as `__Host-` with a `domain`, is a `RangeError`: browsers
 * would drop the cookie.
 */
export interface CookiePolicy {
  /**
   * The cookie's name: a token of RFC 9110.
   *
   * @default {"__Host-session"}, or `"__Secure-session"` if `domain` is set or `path` is not `/`, or
   * `"session"` if `secure` is false: Safari stores no Secure cookie of http://localhost.
   */
  readonly name?: string;
  /** The host whose subdomains get the cookie too, without a leading dot. Unset: this host only. */
  readonly domain?: string;
  /** The path that the cookie is sent to, with all paths below it. @default {"/"} */
  readonly path?: string;
  /** Whether browsers send the cookie over https only. @default {true} */
  readonly secure?: boolean;
  /** Which cross-site requests carry the cookie. `"None"` needs `secure`. @default {"Lax"} */
  readonly sameSite?: "Strict" | "Lax" | "None";
  /** Whether an embedded page has its own cookie for each top-level site (CHIPS). @default {false} */
  readonly partitioned?: boolean;
  /**
   * Whether the cookie outlives the browser. `persistent` of `createSession` overrides it. @default {true}
   */
  readonly persistent?: boolean;
  /**
   * What the cookie had before you changed its name, domain, path or `partitioned`: to a browser, the old and
   * the new one are two cookies. Each response that sets or clears the cookie also clears these. `revokeSession` and
   * `replaces` also revoke what they would open. Remove an entry `absoluteTimeout` after the change.
   *
   * @default {[]}
   */
  readonly previous?: readonly PreviousCookie[];
}

/** What a browser finds a cookie by, as it was before a change. */
export interface PreviousCookie {
  /** The name. Unset: as it is now. */
  readonly name?: string;
  /** The host whose subdomains got the cookie too. Unset: this host only. */
  readonly domain?: string;
  /** The path that the cookie was sent to. @default {"/"} */
  readonly path?: string;
  /** Whether it was partitioned. @default {false} */
  readonly partitioned?: boolean;
}

/** The settings of an app's sessions. All durations are whole seconds. */
export interface Policy {
  /**
   * Seconds without use after which a session ends; 1 to `absoluteTimeout`.
   *
   * If set, {@linkcode sweepSessions} with this policy also deletes the sessions that are idle for as long.
   *
   * @default {604800}, 7 days, or `absoluteTimeout` if that is shorter.
   */
  readonly idleTimeout?: number;
  /**
   * Seconds after sign-in at which a session ends regardless of use; 1 to 34,560,000, the 400 days after
   * which browsers drop any cookie (RFC 6265bis, section 5.5). A shorter value also ends stored sessions
   * earlier; a longer one never extends them.
   *
   * @default {2592000}, 30 days.
   */
  readonly absoluteTimeout?: number;
  /**
   * Minimum seconds between updates of `last_seen_at`; 0 to less than `idleTimeout`. An idle session may end
   * that much early, never late. `false`: a validation never writes, for a standby or a REPEATABLE READ
   * transaction.
   *
   * @default {300}, or a tenth of `idleTimeout` if that is shorter.
   */
  readonly touchInterval?: number | false;
  /**
   * Age of a secret in seconds at which a validation rotates it; more than `rotationGrace`, at most
   * `absoluteTimeout`. `false`: only {@linkcode rotateSession} rotates.
   *
   * @default {false}
   */
  readonly rotateAfter?: number | false;
  /**
   * Rotation grace period: seconds for which the previous secret is accepted after the new one was first
   * presented, for requests in flight; 5 to 3,600. After it, the previous secret revokes the session, as two
   * parties hold it. Below 5, parallel requests of one browser would do that.
   *
   * A proxy that buffers request bodies passes on a slow upload with the cookie from its beginning. If that
   * can take longer than this, beside a rotation by another tab, set a longer period, or let the proxy stream.
   *
   * @default {30}
   */
  readonly rotationGrace?: number;
  /**
   * Maximum number of a user's live sessions, 1 to 10,000. A sign-in above it revokes the least recently used
   * session. `false`: no limit.
   *
   * @default {false}
   */
  readonly maxSessions?: number | false;
  /** Seconds to wait for the answer to each statement, 1 to 86,400. @default {5} */
  readonly queryTimeout?: number;
  /**
   * What carries the token. The other one is never read.
   *
   * - `"cookie"`: the session cookie.
   * - `"bearer"`: `Authorization: Bearer <token>` (RFC 6750), for mobile apps, command lines and services. No
   *   cookie is set; a result has `token` whenever there is a new one.
   *
   * @default {"cookie"}
   */
  readonly transport?: "cookie" | "bearer";
  /** The cookie's attributes. */
  readonly cookie?: CookiePolicy;
  /**
   * Gets the events, for an audit log. What it throws changes nothing. In a transaction of yours, it is
   * called before the commit.
   */
  readonly onEvent?: SessionEventListener;
  /**
   * Answers validations from memory, if they are made with the cache's own SQL client: what `createSessionCache`
   * of `coatcheck/cache` returns. Unset: each validation asks the database.
   */
  readonly cache?: SessionCache;
}

/** A checked policy, with every default filled in. */
export interface ResolvedPolicy {
  readonly idleTimeout: number;
  readonly absoluteTimeout: number;
  readonly touchInterval: number | false;
  readonly rotateAfter: number | false;
  readonly rotationGrace: number;
  readonly maxSessions: number | false;
  readonly queryTimeout: number;
  readonly transport: "cookie" | "bearer";
  readonly cookie: ResolvedCookie;
  readonly onEvent: SessionEventListener | undefined;
  readonly cache: ValidationCache | undefined;
  /**
   * Seconds without use after which a sweep deletes a session: `idleTimeout`, if the app set it. Unset: a
   * sweep deletes no idle session, as another policy may call it live.
   */
  readonly sweepIdleAfter: number | undefined;
}

/** The cookie's part of {@linkcode ResolvedPolicy}. */
export type ResolvedCookie = Required<Omit<CookiePolicy, "domain" | "previous">> & {
  readonly domain: string | undefined;
  /** The cookies to clear beside it. */
  readonly previous: readonly ResolvedCookie[];
};

const DAY = 86_400;

const defaults = {
  idleTimeout: 7 * DAY,
  absoluteTimeout: 30 * DAY,
  touchInterval: 300,
  rotateAfter: false,
  rotationGrace: 30,
  maxSessions: false,
  queryTimeout: 5,
  transport: "cookie",
  cookie: { path: "/", secure: true, sameSite: "Lax", partitioned: false, persistent: true },
} as const;

/**
 * The overall timeout of NIST SP 800-63B-4 for AAL1, section 2.1.3: 30 days. `configure({ ...AAL1 })` sets
 * it.
 */
export const AAL1: Policy = { absoluteTimeout: 30 * DAY };

/**
 * The timeouts of NIST SP 800-63B-4 for AAL2, section 2.2.3: 24 hours, and 1 hour without use.
 * `configure({ ...AAL2 })` sets them.
 */
export const AAL2: Policy = { absoluteTimeout: DAY, idleTimeout: 3600 };

/**
 * The timeouts of NIST SP 800-63B-4 for AAL3, section 2.3.3: 12 hours, and 15 minutes without use.
 * `configure({ ...AAL3 })` sets them.
 */
export const AAL3: Policy = { absoluteTimeout: 12 * 3600, idleTimeout: 900 };

const POLICY_KEYS: readonly (keyof Policy)[] = [
  "idleTimeout",
  "absoluteTimeout",
  "touchInterval",
  "rotateAfter",
  "rotationGrace",
  "maxSessions",
  "queryTimeout",
  "transport",
  "cookie",
  "onEvent",
  "cache",
];
const PREVIOUS_KEYS = ["name", "domain", "path", "partitioned"];
const COOKIE_KEYS = [
  "name",
  "domain",
  "path",
  "secure",
  "sameSite",
  "partitioned",
  "persistent",
  "previous",
];

/** The seconds after which browsers drop any cookie: 400 days (RFC 6265bis, section 5.5). */
export const MAX_COOKIE_AGE: number = 400 * DAY;

const MIN_ROTATION_GRACE = 5;
// RFC 6265bis, section 5.6, allows 4,096 bytes for name and value; the token takes 80.
const MAX_NAME_BYTES = 4016;
const MAX_ATTRIBUTE_BYTES = 1024;

/** Splits the options of a call into its policy and the options of that call alone. */
export function readOptions<Own extends object>(
  caller: string,
  options: (Policy & Own) | undefined,
  ownKeys: readonly (keyof Own & string)[],
): { readonly policy: ResolvedPolicy; readonly own: Own } {
  if (options === undefined) return { policy: defaultPolicy, own: noOptions as Own };
  const given = copyOptions(`${caller}: options`, options, [...POLICY_KEYS, ...ownKeys]);
  const policy = POLICY_KEYS.some((key) => key in given)
    ? resolvePolicy(caller, given)
    : defaultPolicy;
  return { policy, own: given };
}

/** Reads the options of a call with a configured policy. */
export function readOwnOptions<Own extends object>(
  caller: string,
  options: Own | undefined,
  ownKeys: readonly (keyof Own & string)[],
): Own {
  return options === undefined
    ? noOptions as Own
    : copyOptions(`${caller}: options`, options, ownKeys);
}

/**
 * Checks a policy, and fills in the defaults.
 *
 * @throws {TypeError} If a name is unknown, or a value has the wrong type.
 * @throws {RangeError} If a value is out of range, or contradicts another.
 */
function resolvePolicy(caller: string, policy: Policy): ResolvedPolicy {
  const subject = (setting: keyof Policy) => `${caller}: ${setting}`;
  const { absoluteTimeout = defaults.absoluteTimeout } = policy;
  requireSeconds(subject("absoluteTimeout"), absoluteTimeout, 1, MAX_COOKIE_AGE);
  const { idleTimeout = Math.min(defaults.idleTimeout, absoluteTimeout) } = policy;
  requireSeconds(subject("idleTimeout"), idleTimeout, 1, absoluteTimeout);
  const { touchInterval = Math.min(defaults.touchInterval, Math.floor(idleTimeout / 10)) } = policy;
  if (touchInterval !== false) {
    requireSeconds(subject("touchInterval"), touchInterval, 0, idleTimeout - 1);
  }
  const {
    rotateAfter = defaults.rotateAfter,
    rotationGrace = defaults.rotationGrace,
    maxSessions = defaults.maxSessions,
    queryTimeout = defaults.queryTimeout,
    transport = defaults.transport,
    cookie = {},
    onEvent,
  } = policy;
  requireSeconds(subject("rotationGrace"), rotationGrace, MIN_ROTATION_GRACE, 3600);
  if (rotateAfter !== false) {
    requireSeconds(subject("rotateAfter"), rotateAfter, rotationGrace + 1, absoluteTimeout);
    if (touchInterval === false) {
      const desired = "be false if touchInterval is false";
      refuse(RangeError, subject("rotateAfter"), desired, String(rotateAfter));
    }
  }
  if (maxSessions !== false) requireWhole(subject("maxSessions"), maxSessions, 1, 10_000);
  requireSeconds(subject("queryTimeout"), queryTimeout, 1, DAY);
  if (transport !== "cookie" && transport !== "bearer") {
    refuse(TypeError, subject("transport"), "be cookie or bearer", kindOf(transport));
  }
  if (transport === "bearer" && policy.cookie !== undefined) {
    refuse(RangeError, subject("cookie"), "be unset if transport is bearer", "a value");
  }
  if (onEvent !== undefined) requireFunction(subject("onEvent"), onEvent);
  const cache = policy.cache === undefined ? undefined : cacheOf(subject("cache"), policy.cache);
  return {
    idleTimeout,
    absoluteTimeout,
    touchInterval,
    rotateAfter,
    rotationGrace,
    maxSessions,
    queryTimeout,
    transport,
    cookie: resolveCookie(subject("cookie"), cookie),
    onEvent: cache ? cache.hearing(onEvent) : onEvent,
    cache,
    sweepIdleAfter: policy.idleTimeout === undefined ? undefined : idleTimeout,
  };
}

function resolveCookie(subject: string, cookie: CookiePolicy): ResolvedCookie {
  const given = copyOptions(subject, cookie, COOKIE_KEYS);
  const {
    domain,
    path = defaults.cookie.path,
    secure = defaults.cookie.secure,
    sameSite = defaults.cookie.sameSite,
    partitioned = defaults.cookie.partitioned,
    persistent = defaults.cookie.persistent,
    previous = [],
  } = given;
  requireBoolean(`${subject}.secure`, secure);
  requireBoolean(`${subject}.partitioned`, partitioned);
  requireBoolean(`${subject}.persistent`, persistent);

  // @std/http writes some of these as they are, and silently drops others. A `;` in one of them would let an
  // attacker add an attribute (CVE-2024-47764, CVE-2026-47675).
  const everywhere = domain === undefined && path === "/";
  const { name = !secure ? "session" : everywhere ? "__Host-session" : "__Secure-session" } = given;
  requireForm(
    `${subject}.name`,
    name,
    /^[\w!#$%&'*+.^`|~-]+$/,
    MAX_NAME_BYTES,
    "a token of RFC 9110",
  );
  requireForm(
    `${subject}.path`,
    path,
    PATH,
    MAX_ATTRIBUTE_BYTES,
    "a path such as /app",
  );
  if (domain !== undefined) {
    requireForm(
      `${subject}.domain`,
      domain,
      HOST,
      MAX_ATTRIBUTE_BYTES,
      "a host such as example.com",
    );
  }
  if (sameSite !== "Strict" && sameSite !== "Lax" && sameSite !== "None") {
    refuse(TypeError, `${subject}.sameSite`, "be Strict, Lax or None", kindOf(sameSite));
  }

  // Browsers match the prefixes in any letter case (RFC 6265bis, section 5.4).
  if (!secure) {
    if (sameSite === "None") {
      refuse(RangeError, `${subject}.secure`, "be true for SameSite=None", "false");
    }
    if (partitioned) {
      refuse(RangeError, `${subject}.secure`, "be true for a partitioned cookie", "false");
    }
    if (/^__(host|secure|http)/i.test(name)) {
      refuse(RangeError, `${subject}.secure`, "be true for a name with that prefix", "false");
    }
  }
  if (!everywhere && /^__host/i.test(name)) {
    refuse(RangeError, `${subject}.name`, "have no __Host prefix beside a domain or a path", "one");
  }
  if (!Array.isArray(previous)) {
    refuse(TypeError, `${subject}.previous`, "be an array", kindOf(previous));
  }
  const attributes = {
    name,
    domain: domain?.toLowerCase(),
    path,
    secure,
    sameSite,
    partitioned,
    persistent,
  };
  return {
    ...attributes,
    previous: Array.from(previous, (before: PreviousCookie, index) => {
      const place = `${subject}.previous[${index}]`;
      const { name: was = name, ...changed } = copyOptions(place, before, PREVIOUS_KEYS);
      return resolveCookie(place, { ...changed, name: was, secure, sameSite });
    }),
  };
}

// What a URL has in its path: other characters are sent encoded, and `..` is resolved, so that no request would
// carry the cookie.
const PATH = /^(?!.*\/(?:\.|%2e){1,2}(?:\/|$))\/[!$-+\--:=@-[\]_a-z|~]*$/i;

const HOST = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i;

function requireForm(
  subject: string,
  value: unknown,
  form: RegExp,
  maxBytes: number,
  desired: string,
): void {
  requireText(subject, value, maxBytes);
  if (!form.test(value)) refuse(RangeError, subject, `be ${desired}`, "something else");
}

const noOptions: object = Object.freeze(Object.create(null));
const defaultPolicy: ResolvedPolicy = resolvePolicy("configure", {});
