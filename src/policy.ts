import type { Observer } from "./events.ts";
import {
  kindOf,
  refuse,
  requireBoolean,
  requireFunction,
  requireKeys,
  requireObject,
  requireSeconds,
  requireText,
  requireWhole,
} from "./input.ts";

/** The cookie's attributes. `HttpOnly` is always set. */
export interface CookiePolicy {
  /**
   * The cookie's name: a token of RFC 9110.
   *
   * @default {"__Host-session"}, `"__Secure-session"` where `domain` is set or `path` is not `/`, and
   * `"session"` where `secure` is false: Safari stores no Secure cookie of http://localhost.
   */
  readonly name?: string;
  /** The host and its subdomains that get the cookie, without a leading dot. Unset: this host alone. */
  readonly domain?: string;
  /** The path below which the cookie is sent. @default {"/"} */
  readonly path?: string;
  /** Whether the cookie travels over https alone. @default {true} */
  readonly secure?: boolean;
  /** Which cross-site requests carry the cookie. `"None"` needs `secure`. @default {"Lax"} */
  readonly sameSite?: "Strict" | "Lax" | "None";
  /** Whether each top-level site has a cookie jar of its own for an embedded page (CHIPS). @default {false} */
  readonly partitioned?: boolean;
  /** Whether the cookie outlives the browser; `persistent` of a single create comes first. @default {true} */
  readonly persistent?: boolean;
}

/** What an app decides once about its sessions. Every time is in whole seconds. */
export interface Policy {
  /**
   * Seconds without use after which a session ends; from 1 to `absoluteTimeout`.
   *
   * @default {604800}, 7 days, or `absoluteTimeout` where that is shorter.
   */
  readonly idleTimeout?: number;
  /**
   * Seconds after sign-in at which a session ends regardless of use; 1 to 34,560,000, the 400 days
   * after which browsers drop any cookie (RFC 6265bis, section 5.5). A session that is already
   * stored can end sooner by a shorter value, and never later by a longer one.
   *
   * @default {2592000}, 30 days.
   */
  readonly absoluteTimeout?: number;
  /**
   * Seconds for which a noted use stands, before the next one is written; from 0 to less than
   * `idleTimeout`. A session may end that much early, never late. `false` writes none at all, for
   * reading on a standby or inside a caller's REPEATABLE READ transaction.
   *
   * @default {300}, or a tenth of `idleTimeout` where that is shorter.
   */
  readonly touchInterval?: number | false;
  /**
   * Seconds after which a validation gives a session a new secret by itself; more than
   * `rotationGrace`, at most `absoluteTimeout`. `false` leaves it to {@linkcode rotateSession}.
   *
   * @default {false}
   */
  readonly rotateAfter?: number | false;
  /**
   * Seconds for which a rotated secret still opens the session after the new one was first seen, for
   * requests that were under way; 0 to 3,600. After that it ends the session: two parties hold it.
   *
   * @default {30}
   */
  readonly rotationGrace?: number;
  /**
   * How many live sessions a user may have, 1 to 10,000: a sign-in beyond that ends the one that was
   * not used for longest. `false` sets no limit.
   *
   * @default {false}
   */
  readonly maxSessions?: number | false;
  /** Seconds that the database has for its answer, 1 to 86,400. @default {5} */
  readonly queryTimeout?: number;
  /** The cookie's attributes. */
  readonly cookie?: CookiePolicy;
  /**
   * Is told what happens to sessions, for an audit log. What it throws changes nothing. Inside a
   * transaction of yours it is told before the commit.
   */
  readonly onEvent?: Observer;
}

/** A policy that was checked, with every default filled in. */
export interface Rules {
  readonly idleTimeout: number;
  readonly absoluteTimeout: number;
  readonly touchInterval: number | false;
  readonly rotateAfter: number | false;
  readonly rotationGrace: number;
  readonly maxSessions: number | false;
  readonly queryTimeout: number;
  readonly cookie: CookieRules;
  readonly onEvent: Observer | undefined;
}

/** The cookie's part of {@linkcode Rules}. */
export type CookieRules = Required<Omit<CookiePolicy, "domain">> & {
  readonly domain: string | undefined;
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
  cookie: { path: "/", secure: true, sameSite: "Lax", partitioned: false, persistent: true },
} as const;

/** The overall timeout of NIST SP 800-63B-4 for AAL1, section 2.1.3: 30 days. */
export const AAL1: Policy = { absoluteTimeout: 30 * DAY };

/** The timeouts of NIST SP 800-63B-4 for AAL2, section 2.2.3: 24 hours, and 1 hour without use. */
export const AAL2: Policy = { absoluteTimeout: DAY, idleTimeout: 3600 };

/** The timeouts of NIST SP 800-63B-4 for AAL3, section 2.3.3: 12 hours, and 15 minutes without use. */
export const AAL3: Policy = { absoluteTimeout: 12 * 3600, idleTimeout: 900 };

const POLICY_KEYS = [
  "idleTimeout",
  "absoluteTimeout",
  "touchInterval",
  "rotateAfter",
  "rotationGrace",
  "maxSessions",
  "queryTimeout",
  "cookie",
  "onEvent",
];
const COOKIE_KEYS = ["name", "domain", "path", "secure", "sameSite", "partitioned", "persistent"];
/** The seconds after which browsers drop any cookie: 400 days (RFC 6265bis, section 5.5). */
export const LONGEST_COOKIE: number = 400 * DAY;

// The 4096 bytes that RFC 6265bis, section 5.6, leaves to name and value, less the token's 80.
const LONGEST_NAME = 4016;
const LONGEST_ATTRIBUTE = 1024;

const bound = Symbol("policy");

/** Binds a checked policy to the options of one call, so that {@linkcode rulesOf} finds it there. */
export function bindRules<Call extends object>(rules: Rules, call?: Call): Call {
  if (call !== undefined) requireObject("options", call);
  return { ...call, [bound]: rules } as Call;
}

/**
 * Checks the options of one call, and fills in the defaults.
 *
 * A name that is neither a setting nor one of the call's own throws: a misspelt timeout that is
 * silently ignored would be a session that lasts too long. Where a policy was bound, only the call's
 * own names are left to give.
 *
 * @throws {TypeError} If a name is unknown, or a value has the wrong type.
 * @throws {RangeError} If a value is out of range.
 */
export function rulesOf(options: object | undefined, ownKeys: readonly string[]): Rules {
  if (options === undefined) return defaultRules;
  requireObject("options", options);
  const rules = (options as { [bound]?: Rules })[bound];
  requireKeys("options", options, rules ? ownKeys : [...new Set([...POLICY_KEYS, ...ownKeys])]);
  return rules ?? check(options);
}

function check(policy: Policy): Rules {
  const { absoluteTimeout = defaults.absoluteTimeout } = policy;
  requireSeconds("absoluteTimeout", absoluteTimeout, 1, LONGEST_COOKIE);
  const { idleTimeout = Math.min(defaults.idleTimeout, absoluteTimeout) } = policy;
  requireSeconds("idleTimeout", idleTimeout, 1, absoluteTimeout);
  const { touchInterval = Math.min(defaults.touchInterval, Math.floor(idleTimeout / 10)) } = policy;
  if (touchInterval !== false) requireSeconds("touchInterval", touchInterval, 0, idleTimeout - 1);
  const {
    rotateAfter = defaults.rotateAfter,
    rotationGrace = defaults.rotationGrace,
    maxSessions = defaults.maxSessions,
    queryTimeout = defaults.queryTimeout,
    cookie = {},
    onEvent,
  } = policy;
  requireSeconds("rotationGrace", rotationGrace, 0, 3600);
  if (rotateAfter !== false) {
    requireSeconds("rotateAfter", rotateAfter, rotationGrace + 1, absoluteTimeout);
    if (touchInterval === false) {
      refuse(RangeError, "rotateAfter", "be false where touchInterval is", String(rotateAfter));
    }
  }
  if (maxSessions !== false) requireWhole("maxSessions", maxSessions, 1, 10_000);
  requireSeconds("queryTimeout", queryTimeout, 1, DAY);
  if (onEvent !== undefined) requireFunction("onEvent", onEvent);
  return {
    idleTimeout,
    absoluteTimeout,
    touchInterval,
    rotateAfter,
    rotationGrace,
    maxSessions,
    queryTimeout,
    cookie: checkCookie(cookie),
    onEvent,
  };
}

function checkCookie(given: CookiePolicy): CookieRules {
  requireObject("cookie", given);
  requireKeys("cookie", given, COOKIE_KEYS);
  const {
    domain,
    path = defaults.cookie.path,
    secure = defaults.cookie.secure,
    sameSite = defaults.cookie.sameSite,
    partitioned = defaults.cookie.partitioned,
    persistent = defaults.cookie.persistent,
  } = given;
  requireBoolean("cookie.secure", secure);
  requireBoolean("cookie.partitioned", partitioned);
  requireBoolean("cookie.persistent", persistent);

  // What @std/http would write as it stands, or drop without a word, is refused here: a `;` in any
  // of these is an attribute of somebody else's choice (CVE-2024-47764, CVE-2026-47675).
  const everywhere = domain === undefined && path === "/";
  const { name = !secure ? "session" : everywhere ? "__Host-session" : "__Secure-session" } = given;
  requireForm("cookie.name", name, /^[\w!#$%&'*+.^`|~-]+$/, LONGEST_NAME, "a token of RFC 9110");
  requireForm("cookie.path", path, /^\/[!-+\--:<-~]*$/, LONGEST_ATTRIBUTE, "a path such as /app");
  if (domain !== undefined) {
    requireForm("cookie.domain", domain, HOST, LONGEST_ATTRIBUTE, "a host such as example.com");
  }
  if (sameSite !== "Strict" && sameSite !== "Lax" && sameSite !== "None") {
    refuse(TypeError, "cookie.sameSite", "be Strict, Lax or None", kindOf(sameSite));
  }

  // Browsers match the prefixes in any letter case (RFC 6265bis, section 5.4).
  if (!secure) {
    if (sameSite === "None") {
      refuse(RangeError, "cookie.secure", "be true for SameSite=None", "false");
    }
    if (partitioned) {
      refuse(RangeError, "cookie.secure", "be true for a partitioned cookie", "false");
    }
    if (/^__(host|secure|http)/i.test(name)) {
      refuse(RangeError, "cookie.secure", "be true for a name with that prefix", "false");
    }
  }
  if (!everywhere && /^__host/i.test(name)) {
    refuse(RangeError, "cookie.name", "have no __Host prefix beside a domain or a path", "one");
  }
  return { name, domain, path, secure, sameSite, partitioned, persistent };
}

const HOST = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i;

function requireForm(
  name: string,
  value: unknown,
  form: RegExp,
  most: number,
  desired: string,
): void {
  requireText(name, value, most);
  if (!form.test(value)) refuse(RangeError, name, `be ${desired}`, "something else");
}

const defaultRules: Rules = check({});
