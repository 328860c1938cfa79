import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  AAL1,
  AAL2,
  AAL3,
  configure,
  type CookiePolicy,
  createGuestSession,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  type Policy,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type SessionResult,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
  withSession,
} from "../mod.ts";
import { readOptions } from "../src/policy.ts";
import type { Statement } from "../src/sql.ts";
import * as statements from "../src/statements.ts";

const DAY = 86_400;
const POLICY =
  "idleTimeout, absoluteTimeout, touchInterval, rotateAfter, rotationGrace, maxSessions, queryTimeout, transport, cookie, onEvent, cache";
const COOKIE = "name, domain, path, secure, sameSite, partitioned, persistent, previous";
const resolve = (policy?: Policy) => readOptions("configure", policy, []).policy;

const known = Object.values(statements)
  .filter((value): value is Statement => typeof value === "object");

/** The values of `$1`, `$2` … of a statement that was sent. */
function valuesOf(strings: TemplateStringsArray, parameters: readonly unknown[]): unknown[] {
  const { order } = known.find((it) => it.strings === strings)!;
  const values: unknown[] = [];
  for (const [place, number] of order.entries()) values[number - 1] = parameters[place];
  return values;
}

describe("the defaults", () => {
  test("are 7 days without use, 30 days in all, one touch in 5 minutes, and 5 seconds for the database", () => {
    const { idleTimeout, absoluteTimeout, touchInterval, queryTimeout } = resolve();
    assert.deepEqual({ idleTimeout, absoluteTimeout, touchInterval, queryTimeout }, {
      idleTimeout: 7 * DAY,
      absoluteTimeout: 30 * DAY,
      touchInterval: 300,
      queryTimeout: 5,
    });
    assert.deepEqual(resolve({}), resolve());
    assert.deepEqual(resolve({ cookie: {} }), resolve());
  });

  test("are no automatic rotation, 30 seconds of grace, no limit of sessions, and no event listener", () => {
    const { rotateAfter, rotationGrace, maxSessions, onEvent } = resolve();
    assert.deepEqual({ rotateAfter, rotationGrace, maxSessions, onEvent }, {
      rotateAfter: false,
      rotationGrace: 30,
      maxSessions: false,
      onEvent: undefined,
    });
  });

  test("are all the settings that there are, and the idle timeout of a sweep", () => {
    const settings = [...POLICY.split(", "), "sweepIdleAfter"];
    assert.deepEqual(Object.keys(resolve()).sort(), settings.sort());
    assert.deepEqual(Object.keys(resolve().cookie).sort(), COOKIE.split(", ").sort());
  });

  test("are the safe attributes of a cookie", () => {
    assert.deepEqual(resolve().cookie, {
      name: "__Host-session",
      domain: undefined,
      path: "/",
      secure: true,
      sameSite: "Lax",
      partitioned: false,
      persistent: true,
      previous: [],
    });
  });

  test("sweep no idle session unless idleTimeout is set explicitly", () => {
    const sweeps = (policy?: Policy) => resolve(policy).sweepIdleAfter;
    assert.equal(sweeps(), undefined);
    assert.equal(sweeps({}), undefined);
    assert.equal(sweeps({ absoluteTimeout: 60 }), undefined);
    assert.equal(sweeps({ idleTimeout: undefined } as object), undefined);
    assert.equal(sweeps({ idleTimeout: 604_800 }), 604_800);
    assert.equal(sweeps({ idleTimeout: 60 }), 60);
    assert.deepEqual([AAL1, AAL2, AAL3].map(sweeps), [undefined, 3600, 900]);
  });

  test("stand for every setting that is given as undefined", () => {
    const unset = (keys: string) =>
      Object.fromEntries(keys.split(", ").map((key) => [key, undefined]));
    assert.deepEqual(resolve(unset(POLICY) as never), resolve());
    assert.deepEqual(resolve({ cookie: unset(COOKIE) as never }), resolve());
  });

  const times: { name: string; policy: Policy; expected: unknown[] }[] = [
    {
      name: "idleTimeout as absoluteTimeout, if that is shorter",
      policy: { absoluteTimeout: 1800 },
      expected: [1800, 180],
    },
    {
      name: "idleTimeout as 7 days, if absoluteTimeout is longer",
      policy: { absoluteTimeout: 400 * DAY },
      expected: [7 * DAY, 300],
    },
    {
      name: "touchInterval as a tenth of idleTimeout",
      policy: { idleTimeout: 900 },
      expected: [900, 90],
    },
    {
      name: "touchInterval as 300 seconds at most",
      policy: { idleTimeout: 3600 },
      expected: [3600, 300],
    },
    {
      name: "touchInterval in whole seconds, rounded down",
      policy: { idleTimeout: 19 },
      expected: [19, 1],
    },
    {
      name: "touchInterval as 0, if idleTimeout is a few seconds",
      policy: { idleTimeout: 9 },
      expected: [9, 0],
    },
    {
      name: "touchInterval as 0, if idleTimeout is one second",
      policy: { idleTimeout: 1 },
      expected: [1, 0],
    },
    { name: "both from absoluteTimeout alone", policy: { absoluteTimeout: 1 }, expected: [1, 0] },
    {
      name: "no touchInterval, if it is switched off",
      policy: { touchInterval: false },
      expected: [7 * DAY, false],
    },
    {
      name: "touchInterval as it was given, up to a second less than idleTimeout",
      policy: { idleTimeout: 60, touchInterval: 59 },
      expected: [60, 59],
    },
  ];
  for (const { name, policy, expected } of times) {
    test(`derive ${name}`, () => {
      const { idleTimeout, touchInterval } = resolve(policy);
      assert.deepEqual([idleTimeout, touchInterval], expected);
    });
  }

  const names: { name: string; cookie: CookiePolicy; expected: string }[] = [
    { name: "every default", cookie: {}, expected: "__Host-session" },
    { name: "path / set explicitly", cookie: { path: "/" }, expected: "__Host-session" },
    {
      name: "another SameSite",
      cookie: { sameSite: "None", partitioned: true },
      expected: "__Host-session",
    },
    { name: "a domain", cookie: { domain: "example.com" }, expected: "__Secure-session" },
    { name: "a path", cookie: { path: "/app" }, expected: "__Secure-session" },
    { name: "plain http", cookie: { secure: false }, expected: "session" },
    {
      name: "plain http and a domain",
      cookie: { secure: false, domain: "example.com" },
      expected: "session",
    },
    { name: "plain http and a path", cookie: { secure: false, path: "/app" }, expected: "session" },
    {
      name: "a name set explicitly",
      cookie: { name: "sid", domain: "example.com" },
      expected: "sid",
    },
  ];
  for (const { name, cookie, expected } of names) {
    test(`name the cookie ${expected} with ${name}`, () => {
      assert.equal(resolve({ cookie }).cookie.name, expected);
    });
  }
});

describe("the presets", () => {
  const presets = [
    {
      name: "AAL1 (NIST SP 800-63B-4, 2.1.3): 30 days",
      preset: AAL1,
      expected: [30 * DAY, 7 * DAY],
    },
    { name: "AAL2 (2.2.3): 24 hours, an hour without use", preset: AAL2, expected: [DAY, 3600] },
    {
      name: "AAL3 (2.3.3): 12 hours, 15 minutes without use",
      preset: AAL3,
      expected: [DAY / 2, 900],
    },
  ];
  for (const { name, preset, expected } of presets) {
    test(`hold the numbers of ${name}`, () => {
      const { absoluteTimeout, idleTimeout } = resolve(preset);
      assert.deepEqual([absoluteTimeout, idleTimeout], expected);
    });
  }
});

interface Refused {
  readonly name: string;
  readonly policy: unknown;
  readonly error: "TypeError" | "RangeError";
  readonly message: string;
}
const refused: Refused[] = [];

/** Every value that is no whole number in a range. */
function misfits(least: number, most: number) {
  return [
    {
      name: "less than its least",
      value: least - 1,
      error: "RangeError",
      received: `${least - 1}`,
    },
    { name: "more than its most", value: most + 1, error: "RangeError", received: `${most + 1}` },
    { name: "negative", value: -3600, error: "RangeError", received: "-3600" },
    { name: "NaN", value: NaN, error: "RangeError", received: "NaN" },
    { name: "Infinity", value: Infinity, error: "RangeError", received: "Infinity" },
    { name: "minus Infinity", value: -Infinity, error: "RangeError", received: "-Infinity" },
    { name: "1e21", value: 1e21, error: "RangeError", received: "1e+21" },
    { name: "a fraction", value: 1.5, error: "RangeError", received: "1.5" },
    { name: "a fraction in milliseconds", value: 0.001, error: "RangeError", received: "0.001" },
    { name: "text", value: "3600", error: "TypeError", received: "string" },
    { name: "null", value: null, error: "TypeError", received: "null" },
    { name: "a bigint", value: 3600n, error: "TypeError", received: "bigint" },
    { name: "true", value: true, error: "TypeError", received: "boolean" },
    {
      name: "an object",
      value: { valueOf: () => 3600 },
      error: "TypeError",
      received: "an object",
    },
    {
      name: "a Number object",
      value: Object(3600),
      error: "TypeError",
      received: "an instance of Number",
    },
    { name: "an array", value: [3600], error: "TypeError", received: "an instance of Array" },
    { name: "a Date", value: new Date(0), error: "TypeError", received: "an instance of Date" },
    { name: "a symbol", value: Symbol("3600"), error: "TypeError", received: "symbol" },
    { name: "a function", value: () => 3600, error: "TypeError", received: "function" },
  ] as const;
}

const SECONDS = "whole seconds";
const settings = [
  { name: "idleTimeout", what: SECONDS, least: 1, most: 30 * DAY },
  { name: "absoluteTimeout", what: SECONDS, least: 1, most: 400 * DAY },
  { name: "touchInterval", what: SECONDS, least: 0, most: 7 * DAY - 1 },
  { name: "rotateAfter", what: SECONDS, least: 31, most: 30 * DAY },
  { name: "rotationGrace", what: SECONDS, least: 5, most: 3600 },
  { name: "maxSessions", what: "a whole number", least: 1, most: 10_000 },
  { name: "queryTimeout", what: SECONDS, least: 1, most: DAY },
];
for (const { name: setting, what, least, most } of settings) {
  for (const { name, value, error, received } of misfits(least, most)) {
    refused.push({
      name: `${setting} that is ${name}`,
      policy: { [setting]: value },
      error,
      message: `${setting} must be ${what} from ${least} to ${most}, got ${received}`,
    });
  }
}
for (const [setting, most] of [["absoluteTimeout", 400 * DAY], ["queryTimeout", DAY]] as const) {
  refused.push({
    name: `${setting} switched off`,
    policy: { [setting]: false },
    error: "TypeError",
    message: `${setting} must be whole seconds from 1 to ${most}, got boolean`,
  });
}

refused.push(
  {
    name: "idleTimeout beyond absoluteTimeout",
    policy: { idleTimeout: 3601, absoluteTimeout: 3600 },
    error: "RangeError",
    message: "idleTimeout must be whole seconds from 1 to 3600, got 3601",
  },
  {
    name: "touchInterval as long as idleTimeout",
    policy: { idleTimeout: 60, touchInterval: 60 },
    error: "RangeError",
    message: "touchInterval must be whole seconds from 0 to 59, got 60",
  },
  {
    name: "touchInterval as long as the idleTimeout that follows from absoluteTimeout",
    policy: { absoluteTimeout: 60, touchInterval: 60 },
    error: "RangeError",
    message: "touchInterval must be whole seconds from 0 to 59, got 60",
  },
  {
    name: "idleTimeout switched off",
    policy: { idleTimeout: false },
    error: "TypeError",
    message: "idleTimeout must be whole seconds from 1 to 2592000, got boolean",
  },
  {
    name: "rotationGrace switched off",
    policy: { rotationGrace: false },
    error: "TypeError",
    message: "rotationGrace must be whole seconds from 5 to 3600, got boolean",
  },
  {
    name: "rotateAfter as long as rotationGrace",
    policy: { rotateAfter: 60, rotationGrace: 60 },
    error: "RangeError",
    message: "rotateAfter must be whole seconds from 61 to 2592000, got 60",
  },
  ...[0, 1, 2, 3, 4].map((rotationGrace): Refused => ({
    name: `rotationGrace of ${rotationGrace}, which would revoke sessions of parallel requests`,
    policy: { rotationGrace, rotateAfter: 3600 },
    error: "RangeError",
    message: `rotationGrace must be whole seconds from 5 to 3600, got ${rotationGrace}`,
  })),
  {
    name: "rotateAfter of 0, which would rotate at every request",
    policy: { rotateAfter: 0, rotationGrace: 5 },
    error: "RangeError",
    message: "rotateAfter must be whole seconds from 6 to 2592000, got 0",
  },
  {
    name: "rotateAfter as long as the least rotationGrace",
    policy: { rotateAfter: 5, rotationGrace: 5 },
    error: "RangeError",
    message: "rotateAfter must be whole seconds from 6 to 2592000, got 5",
  },
  {
    name: "rotateAfter beyond absoluteTimeout, when there is nothing left to rotate",
    policy: { rotateAfter: 3601, absoluteTimeout: 3600 },
    error: "RangeError",
    message: "rotateAfter must be whole seconds from 31 to 3600, got 3601",
  },
  {
    name: "rotateAfter in a session that ends within the grace",
    policy: { rotateAfter: 25, absoluteTimeout: 25 },
    error: "RangeError",
    message: "rotateAfter must be whole seconds from 31 to 25, got 25",
  },
  {
    name: "rotateAfter if touchInterval is switched off, so that a validation writes nothing",
    policy: { rotateAfter: 3600, touchInterval: false },
    error: "RangeError",
    message: "rotateAfter must be false if touchInterval is false, got 3600",
  },
);

const listeners = [
  { name: "null", value: null, received: "null" },
  { name: "text", value: "console.log", received: "string" },
  { name: "a number", value: 1, received: "number" },
  { name: "false", value: false, received: "boolean" },
  { name: "a symbol", value: Symbol("x"), received: "symbol" },
  { name: "an object", value: {}, received: "an object" },
  { name: "a logger", value: { log() {}, info() {} }, received: "an object" },
  { name: "an array of functions", value: [() => {}], received: "an instance of Array" },
  {
    name: "a promise of a function",
    value: Promise.resolve(() => {}),
    received: "an instance of Promise",
  },
  { name: "an EventTarget", value: new EventTarget(), received: "an instance of EventTarget" },
];
for (const { name, value, received } of listeners) {
  refused.push({
    name: `onEvent that is ${name}`,
    policy: { onEvent: value },
    error: "TypeError",
    message: `onEvent must be a function, got ${received}`,
  });
}

for (
  const key of ["idletimeout", "maxAge", "ttl", "", "__proto__x", "name", "data", "rolling\r\n"]
) {
  refused.push({
    name: `an unknown key ${JSON.stringify(key)}`,
    policy: { [key]: 1 },
    error: "TypeError",
    message: `options must have no keys but ${POLICY}, got ${JSON.stringify(key)}`,
  });
}
for (const key of ["samesite", "httpOnly", "maxAge", "expires", "Secure", "priority", "unparsed"]) {
  refused.push({
    name: `an unknown key ${key} of the cookie`,
    policy: { cookie: { [key]: false } },
    error: "TypeError",
    message: `cookie must have no keys but ${COOKIE}, got "${key}"`,
  });
}

const strangers = [
  { name: "null", value: null, received: "null" },
  { name: "a number", value: 1, received: "number" },
  { name: "a symbol", value: Symbol("x"), received: "symbol" },
  { name: "a bigint", value: 1n, received: "bigint" },
  { name: "an array", value: ["x"], received: "an instance of Array" },
  { name: "an object with toString", value: { toString: () => "/" }, received: "an object" },
  { name: "a String object", value: Object("/"), received: "an instance of String" },
];
for (
  const { name, value, received } of [...strangers, {
    name: "true",
    value: true,
    received: "boolean",
  }]
) {
  for (const setting of ["name", "domain", "path"]) {
    refused.push({
      name: `cookie.${setting} that is ${name}`,
      policy: { cookie: { [setting]: value } },
      error: "TypeError",
      message: `cookie.${setting} must be a string, got ${received}`,
    });
  }
}
for (
  const { name, value, received } of [...strangers, {
    name: "text",
    value: "true",
    received: "string",
  }]
) {
  for (const setting of ["secure", "partitioned", "persistent"]) {
    refused.push({
      name: `cookie.${setting} that is ${name}`,
      policy: { cookie: { [setting]: value } },
      error: "TypeError",
      message: `cookie.${setting} must be true or false, got ${received}`,
    });
  }
}
const sameSites = [
  ...strangers,
  ...["lax", "none", "LAX", "STRICT", "", "Lax; Domain=evil.example", "Lax\r\n", " Lax"]
    .map((value) => ({ name: JSON.stringify(value), value, received: "string" })),
  { name: "true, which other libraries take for Strict", value: true, received: "boolean" },
  { name: "false", value: false, received: "boolean" },
];
for (const { name, value, received } of sameSites) {
  refused.push({
    name: `cookie.sameSite that is ${name}`,
    policy: { cookie: { sameSite: value } },
    error: "TypeError",
    message: `cookie.sameSite must be Strict, Lax or None, got ${received}`,
  });
}

const forms = [
  {
    setting: "name",
    desired: "a token of RFC 9110",
    most: 4016,
    bad: [
      { name: "a semicolon", value: "a; Domain=evil.example" },
      { name: "a comma", value: "a,b" },
      { name: "an equals sign", value: "a=b" },
      { name: "CR and LF", value: "a\r\nSet-Cookie: b" },
      { name: "LF at the end", value: "a\n" },
      { name: "a space", value: "a b" },
      { name: "a space before", value: " a" },
      { name: "a tab", value: "a\tb" },
      { name: "DEL", value: "a\x7f" },
      { name: "double quotes", value: `"a"` },
      { name: "a slash", value: "a/b" },
      { name: "brackets", value: "a[b]" },
      { name: "parentheses", value: "a(b)" },
      { name: "a backslash", value: "a\\b" },
      { name: "a colon", value: "a:b" },
      { name: "an at sign", value: "a@b" },
      { name: "a question mark", value: "a?" },
      { name: "braces", value: "{a}" },
      { name: "angle brackets", value: "<a>" },
      { name: "a letter beyond ASCII", value: "sesión" },
      { name: "U+00A0", value: "\u00A0session" },
      { name: "U+FEFF", value: "\uFEFFsession" },
    ],
  },
  {
    setting: "path",
    desired: "a path such as /app",
    most: 1024,
    bad: [
      { name: "no slash at the start", value: "app" },
      { name: "a relative path", value: "./app" },
      { name: "a URL", value: "https://example.com/" },
      { name: "a semicolon", value: "/; Domain=evil.example" },
      { name: "a comma", value: "/a,b" },
      { name: "CR and LF", value: "/\r\nSet-Cookie: b=c" },
      { name: "LF at the end", value: "/\n" },
      { name: "a space", value: "/a b" },
      { name: "a space after", value: "/ " },
      { name: "a tab", value: "/\t" },
      { name: "DEL", value: "/\x7f" },
      { name: "a letter beyond ASCII", value: "/ñ" },
      // No request would carry the cookie: a URL has these encoded or resolved, or its path ends before them.
      { name: "a query", value: "/app?tab=1" },
      { name: "a fragment", value: "/app#top" },
      { name: "a quote", value: '/"app"' },
      { name: "a backslash", value: "/app\\page" },
      { name: "a brace", value: "/users/{id}" },
      { name: "an angle bracket", value: "/<app>" },
      { name: "a caret", value: "/a^b" },
      { name: "a backtick", value: "/`app`" },
      { name: "a dot for a part", value: "/app/./page" },
      { name: "two dots for a part", value: "/app/.." },
      { name: "encoded dots for a part", value: "/%2E%2e/app" },
    ],
  },
  {
    setting: "domain",
    desired: "a host such as example.com",
    most: 1024,
    bad: [
      { name: "a dot at the start", value: ".example.com" },
      { name: "a dot at the end", value: "example.com." },
      { name: "two dots", value: "example..com" },
      { name: "a hyphen at the start", value: "-example.com" },
      { name: "a hyphen at the end of a label", value: "example-.com" },
      { name: "a semicolon", value: "example.com; Path=/" },
      { name: "a comma", value: "example.com,evil.example" },
      { name: "CR and LF", value: "example.com\r\nSet-Cookie: b=c" },
      { name: "LF at the end", value: "example.com\n" },
      { name: "a space", value: "example com" },
      { name: "a space before", value: " example.com" },
      { name: "a port", value: "example.com:443" },
      { name: "a URL", value: "https://example.com" },
      { name: "a wildcard", value: "*.example.com" },
      { name: "an underscore", value: "a_b.example.com" },
      { name: "an IPv6 address", value: "[::1]" },
      { name: "a letter beyond ASCII", value: "exámple.com" },
    ],
  },
];
for (const { setting, desired, most, bad } of forms) {
  const refuse = (name: string, value: string, message: string) =>
    refused.push({
      name: `cookie.${setting} with ${name}`,
      policy: { cookie: { [setting]: value } },
      error: "RangeError",
      message: `cookie.${setting} must ${message}`,
    });
  const start = setting === "path" ? "/" : "a";
  for (const { name, value } of bad) refuse(name, value, `be ${desired}, got something else`);
  refuse("nothing in it", "", `be 1 to ${most} bytes, got 0 bytes`);
  refuse(
    "a byte too many",
    start.repeat(most + 1),
    `be 1 to ${most} bytes, got ${most + 1} bytes`,
  );
  refuse("NUL", `${start}\0`, "be free of NUL, got one");
  refuse("a lone surrogate", `${start}\uD800`, "be well-formed, got a lone surrogate");
}

const contradictions = [
  ...[
    "__Secure-s",
    "__secure-s",
    "__SECURE-S",
    "__Host-s",
    "__host-s",
    "__HOST-S",
    "__Http-s",
    "__hTTp-s",
  ].map((name) => ({
    name: `the name ${name} without secure`,
    cookie: { name, secure: false },
    message: "cookie.secure must be true for a name with that prefix, got false",
  })),
  ...["__Host-s", "__host-s", "__HOST-S", "__Host-Http-s", "__hOST-hTTP-s"].flatMap((name) => [
    {
      name: `the name ${name} with a domain`,
      cookie: { name, domain: "example.com" },
      message: "cookie.name must have no __Host prefix beside a domain or a path, got one",
    },
    {
      name: `the name ${name} with a path`,
      cookie: { name, path: "/app" },
      message: "cookie.name must have no __Host prefix beside a domain or a path, got one",
    },
  ]),
  {
    name: "SameSite=None without secure",
    cookie: { sameSite: "None", secure: false },
    message: "cookie.secure must be true for SameSite=None, got false",
  },
  {
    name: "a partitioned cookie without secure",
    cookie: { partitioned: true, secure: false },
    message: "cookie.secure must be true for a partitioned cookie, got false",
  },
];
for (const { name, cookie, message } of contradictions) {
  refused.push({
    name,
    policy: { cookie },
    error: "RangeError",
    message: `${message}`,
  });
}

const PREVIOUS = "name, domain, path, partitioned";
const previous: {
  name: string;
  item: unknown;
  cookie?: object;
  error?: "TypeError";
  message: string;
}[] = [
  {
    name: "that is null",
    item: null,
    error: "TypeError",
    message: "must be an object, got null",
  },
  {
    name: "with an unknown key",
    item: { secure: true },
    error: "TypeError",
    message: `must have no keys but ${PREVIOUS}, got "secure"`,
  },
  {
    name: "with a partitioned that is no boolean",
    item: { partitioned: "yes" },
    error: "TypeError",
    message: ".partitioned must be true or false, got string",
  },
  {
    name: "that injects an attribute by its path",
    item: { path: "/; Domain=evil.example" },
    message: ".path must be a path such as /app, got something else",
  },
  {
    name: "that injects an attribute by its domain",
    item: { domain: "a.example; Path=/x" },
    message: ".domain must be a host such as example.com, got something else",
  },
  {
    name: "that injects an attribute by its name",
    item: { name: "a=b; Path" },
    message: ".name must be a token of RFC 9110, got something else",
  },
  {
    name: "that no browser has stored",
    item: { domain: "example.com" },
    message: ".name must have no __Host prefix beside a domain or a path, got one",
  },
  {
    name: "that is partitioned, by http",
    item: { partitioned: true },
    cookie: { secure: false },
    message: ".secure must be true for a partitioned cookie, got false",
  },
];
for (const { name, item, cookie, error = "RangeError", message } of previous) {
  const at = message.startsWith(".") ? "" : " ";
  refused.push({
    name: `a previous cookie ${name}`,
    policy: { cookie: { ...cookie, previous: [{}, item] } },
    error,
    message: `cookie.previous[1]${at}${message}`,
  });
}
for (const value of [null, {}, "domain"]) {
  refused.push({
    name: `a list of previous cookies that is ${JSON.stringify(value)}`,
    policy: { cookie: { previous: value } },
    error: "TypeError",
    message: `cookie.previous must be an array, got ${
      value === null ? "null" : value === "domain" ? "string" : "an object"
    }`,
  });
}

const kinds = [
  { name: "null", value: null, received: "null" },
  { name: "text", value: "strict", received: "string" },
  { name: "a number", value: 3600, received: "number" },
  { name: "true", value: true, received: "boolean" },
  { name: "an array", value: [], received: "an instance of Array" },
  { name: "a function", value: () => {}, received: "function" },
];
for (const { name, value, received } of kinds) {
  refused.push(
    {
      name: `a policy that is ${name}`,
      policy: value,
      error: "TypeError",
      message: `options must be an object, got ${received}`,
    },
    {
      name: `a cookie that is ${name}`,
      policy: { cookie: value },
      error: "TypeError",
      message: `cookie must be an object, got ${received}`,
    },
  );
}

describe("a policy", () => {
  for (const { name, policy, error, message } of refused) {
    test(`is refused for ${name}`, () => {
      const expected = { name: error, message: `configure: ${message}` };
      assert.throws(() => configure(policy as never), expected);
    });
  }

  const accepted: { name: string; policy: Policy }[] = [
    {
      name: "the least of everything",
      policy: {
        idleTimeout: 1,
        absoluteTimeout: 6,
        touchInterval: 0,
        rotateAfter: 6,
        rotationGrace: 5,
        maxSessions: 1,
        queryTimeout: 1,
      },
    },
    { name: "the least of both timeouts", policy: { idleTimeout: 1, absoluteTimeout: 1 } },
    {
      name: "the most of everything",
      policy: {
        idleTimeout: 400 * DAY,
        absoluteTimeout: 400 * DAY,
        touchInterval: 400 * DAY - 1,
        rotateAfter: 400 * DAY,
        rotationGrace: 3600,
        maxSessions: 10_000,
        queryTimeout: DAY,
      },
    },
    {
      name: "all switched off that can be",
      policy: { touchInterval: false, rotateAfter: false, maxSessions: false },
    },
    {
      name: "rotateAfter a second longer than rotationGrace",
      policy: { rotateAfter: 3601, rotationGrace: 3600 },
    },
    {
      name: "rotateAfter beyond idleTimeout, as a session in use goes on",
      policy: { rotateAfter: 3600, idleTimeout: 60 },
    },
    { name: "rotateAfter and a touch each time", policy: { rotateAfter: 60, touchInterval: 0 } },
    {
      name: "an event listener that is async",
      policy: { onEvent: async () => await Promise.reject() },
    },
    { name: "an event listener that takes nothing", policy: { onEvent: () => {} } },
    { name: "an event listener that is a method", policy: { onEvent: console.log } },
    {
      name: "idleTimeout as long as absoluteTimeout",
      policy: { idleTimeout: 60, absoluteTimeout: 60 },
    },
    { name: "a domain of one label", policy: { cookie: { domain: "localhost" } } },
    { name: "a domain in capitals", policy: { cookie: { domain: "Example.COM" } } },
    { name: "a punycode domain", policy: { cookie: { domain: "xn--exmple-cua.com" } } },
    {
      name: "a path with all that a path may have",
      policy: { cookie: { path: "/a/%20b!$&'()*+-.:=@_~[]|" } },
    },
    {
      name: "a path with dots that are no part of their own",
      policy: { cookie: { path: "/.well-known/..a/b../...//%2e%2f" } },
    },
    {
      name: "a prefix's letters within a name, without secure",
      policy: { cookie: { name: "id__Host-", secure: false } },
    },
    {
      name: "a prefix's letters within a name, beside a domain",
      policy: { cookie: { name: "id__Host-", domain: "example.com" } },
    },
    { name: "__Host beside path / alone", policy: { cookie: { name: "__Host-id", path: "/" } } },
    {
      name: "__Secure beside a domain",
      policy: { cookie: { name: "__Secure-id", domain: "example.com" } },
    },
    {
      name: "a plain name beside anything",
      policy: { cookie: { name: "id", domain: "example.com", path: "/a", secure: false } },
    },
    { name: "the longest name", policy: { cookie: { name: "n".repeat(4016) } } },
    {
      name: "an object without a prototype",
      policy: Object.assign(Object.create(null), { idleTimeout: 60 }),
    },
  ];
  for (const { name, policy } of accepted) {
    test(`is accepted with ${name}`, () => {
      assert.doesNotThrow(() => configure(policy));
    });
  }
});

const { id, digest, token } = createToken();
const headers = new Headers({ cookie: `__Host-session=${token}; session=${token}` });
const [createdAt, expiresAt] = [new Date("2026-01-01"), new Date("2027-01-01")];
// A key that is no number, so that the numbers of a statement are those of its policy.
const userId = "key";
const record = { id, digest, userId, createdAt, expiresAt };

type Call = (...args: unknown[]) => Promise<unknown>;
/** withSession in the form of the others: it makes a handler, which is called once. */
const handledBy = (make: typeof withSession): Call => async (headers, sql, options) => {
  const handle = make(() => new Response(), sql as Sql, options as Policy);
  return await handle(new Request("https://app.example/", { headers: headers as Headers }));
};
const unbound: Record<string, unknown> = {
  createSession,
  createGuestSession,
  insertSession,
  getUserId,
  validateSession,
  rotateSession,
  reauthenticateSession,
  updateSession,
  listSessions,
  revokeSession,
  revokeSessions,
  sweepSessions,
  withSession: handledBy(withSession),
};

/**
 * Every function that takes a policy: its first arguments, the options of the call alone, and what it
 * sends of a policy to a database that returns no rows.
 */
const functions: {
  readonly name: string;
  readonly own: string;
  readonly about: unknown[];
  readonly sent: readonly (readonly string[])[];
}[] = [
  {
    name: "createSession",
    own: "data, persistent, replaces, keep",
    about: ["ada"],
    sent: [["120"]],
  },
  {
    name: "createGuestSession",
    own: "data, persistent, headers",
    about: [],
    sent: [["120"]],
  },
  { name: "insertSession", own: "", about: [record], sent: [["120"]] },
  { name: "getUserId", own: "", about: ["ada"], sent: [[]] },
  { name: "validateSession", own: "authenticatedWithin", about: [headers], sent: [[]] },
  // A write that changes no row is followed by a statement that reads why.
  { name: "rotateSession", own: "", about: [headers], sent: [["120", "60", "7"], []] },
  { name: "reauthenticateSession", own: "", about: [headers], sent: [["120", "60", "7"], []] },
  {
    name: "updateSession",
    own: "version",
    about: [headers, { theme: "dark" }],
    sent: [["120", "60", "7"], []],
  },
  { name: "listSessions", own: "limit, after", about: [userId], sent: [["10000", "120", "60"]] },
  { name: "revokeSession", own: "reason", about: [headers], sent: [[]] },
  { name: "revokeSessions", own: "reason", about: [{ userId }], sent: [[]] },
  {
    name: "sweepSessions",
    own: "retention, guestIdleTimeout, onProgress, signal",
    about: [],
    sent: [["2592000", "60", "60"]],
  },
  {
    name: "withSession",
    own: "authenticatedWithin, origin, trustedOrigins",
    about: [headers],
    sent: [[]],
  },
];
const keysOf = (list: string) => list === "" ? [] : list.split(", ");
const OWN = [...new Set(functions.flatMap(({ own }) => keysOf(own)))];

let calls = 0;
const sql: Sql = () => {
  calls++;
  return Promise.resolve([]);
};

for (const { name: caller, own, about } of functions) {
  const call = (options: unknown) => (unbound[caller] as Call)(...about, sql, options);
  const keys = [...new Set([...keysOf(POLICY), ...keysOf(own)])];

  describe(`the policy of ${caller}`, () => {
    test("is refused as a rejection, by the rules of configure, before any SQL", async () => {
      calls = 0;
      for (const { name, policy, error, message } of refused) {
        // What belongs to the call is not unknown here.
        if (own.includes("data") && name.includes(`"data"`)) continue;
        const promise = call(policy);
        assert.ok(promise instanceof Promise, name);
        const expected = `${caller}: ${message.replace(POLICY, keys.join(", "))}`;
        await assert.rejects(promise, { name: error, message: expected }, name);
      }
      assert.equal(calls, 0);
    });

    test("has no place for the options of another function", async () => {
      calls = 0;
      for (const key of OWN) {
        if (keys.includes(key)) continue;
        await assert.rejects(call({ [key]: undefined }), {
          name: "TypeError",
          message: `${caller}: options must have no keys but ${keys.join(", ")}, got "${key}"`,
        }, key);
      }
      assert.equal(calls, 0);
    });

    test("is read once, so that what was checked is what counts", async () => {
      const once = (values: object, reads: string[]) =>
        Object.defineProperties(
          {},
          Object.fromEntries(
            Object.entries(values).map(([key, value]) => [key, {
              enumerable: true,
              get: () => reads.push(key) && reads.indexOf(key) === reads.length - 1 ? value : -1,
            }]),
          ),
        );
      const [reads, cookieReads]: [string[], string[]] = [[], []];
      const cookie = once(resolve().cookie, cookieReads);
      const { sweepIdleAfter: _, ...policy } = resolve({ cookie: {}, onEvent: () => {} });
      const given = once({ ...policy, cookie }, reads);
      const configured: Call = (policy) => configure(policy as Policy).listSessions(userId, sql);
      for (const read of [call, configured]) {
        reads.length = cookieReads.length = 0;
        await read(given).catch((error: Error) => assert.equal(error.name, "SessionError"));
        assert.deepEqual(reads.sort(), POLICY.split(", ").sort());
        assert.deepEqual(cookieReads.sort(), COOKIE.split(", ").sort());
      }
    });
  });
}

describe("authenticatedWithin", () => {
  const bound = configure();
  const both = [
    { name: "validateSession", call: (options: unknown) => [headers, sql, options] },
    {
      name: "validateSession without a cookie",
      call: (options: unknown) => [new Headers(), sql, options],
    },
  ];
  const bad = [...misfits(0, 400 * DAY), {
    name: "false",
    value: false,
    error: "TypeError",
    received: "boolean",
  }];
  for (const { name, value, error, received } of bad) {
    test(`is refused if it is ${name}, configured or not, before any SQL`, async () => {
      calls = 0;
      const desired = "authenticatedWithin must be whole seconds from 0 to 34560000";
      for (const validate of [validateSession, bound.validateSession] as unknown as Call[]) {
        for (const { name, call } of both) {
          await assert.rejects(validate(...call({ authenticatedWithin: value })), {
            name: error,
            message: `validateSession: ${desired}, got ${received}`,
          }, name);
        }
      }
      for (const make of [withSession, bound.withSession] as unknown as (typeof withSession)[]) {
        const options = { authenticatedWithin: value } as object;
        assert.throws(() => make(() => new Response(), sql, options), {
          name: error,
          message: `withSession: ${desired}, got ${received}`,
        });
      }
      assert.equal(calls, 0);
    });
  }

  const accepted = [
    { name: "0, which is stale at once", value: 0, ago: 0, reason: "stale" },
    { name: "a second more than the proof is old", value: 60, ago: 59, reason: undefined },
    { name: "as many seconds as the proof is old", value: 60, ago: 60, reason: "stale" },
    { name: "400 days", value: 400 * DAY, ago: 60, reason: undefined },
    {
      name: "beyond absoluteTimeout, which comes first",
      value: 31 * DAY,
      ago: 30 * DAY,
      reason: "expired",
    },
    { name: "undefined, which asks for nothing", value: undefined, ago: DAY, reason: undefined },
  ];
  for (const { name, value, ago, reason } of accepted) {
    test(`is compared with authenticatedAt, configured or not, if it is ${name}`, async () => {
      const answering: Sql = (strings, ...parameters) => {
        const [call, id] = valuesOf(strings, parameters);
        const now = 1_767_225_600;
        const session = [id, "1", "true", "ada", now, now - ago, now, now + 60, "true", 0, "{}"];
        const state = [now, "false", null, "false", null, null, "false", "true"];
        const row = [call, ...session, ...state].map((it) => it === null ? null : `${it}`);
        return Promise.resolve([row]);
      };
      for (const validate of [validateSession, bound.validateSession] as unknown as Call[]) {
        const result = await validate(headers, answering, { authenticatedWithin: value });
        assert.equal((result as SessionResult).reason, reason);
      }
    });
  }

  test("is no setting of a policy", () => {
    assert.throws(() => configure({ authenticatedWithin: 60 } as never), {
      name: "TypeError",
      message: `configure: options must have no keys but ${POLICY}, got "authenticatedWithin"`,
    });
  });
});

describe("configure", () => {
  const bind = (policy: Policy) => {
    const sessions = configure(policy);
    const handled = handledBy(sessions.withSession as typeof withSession);
    return { ...sessions, withSession: handled } as unknown as Record<string, Call>;
  };
  const bound = bind({
    idleTimeout: 60,
    absoluteTimeout: 120,
    touchInterval: 11,
    rotateAfter: 90,
    rotationGrace: 7,
    maxSessions: 3,
    queryTimeout: 9,
    cookie: { secure: false },
  });

  test("returns the functions, and nothing else", () => {
    const names = functions.map(({ name }) => name);
    assert.deepEqual(Object.keys(bound).sort(), [...names, "completeResponse"].sort());
    assert.deepEqual(Object.keys(unbound).sort(), names.sort());
  });

  test("sends no SQL", () => {
    calls = 0;
    configure(AAL3);
    assert.equal(calls, 0);
  });

  test("binds what the policy says now: a later change of the object changes nothing", async () => {
    const cookie = { secure: false };
    const policy = { idleTimeout: 60, cookie };
    const { revokeSession } = configure(policy);
    policy.idleTimeout = 0;
    cookie.secure = true;
    const { headers } = await revokeSession(new Headers(), sql);
    assert.match(headers.get("set-cookie")!, /^session=;/);
  });

  for (const { name, about, sent: expected } of functions) {
    test(`binds the policy of ${name}, and never the client`, async () => {
      const asked: string[] = [];
      const client = (name: string): Sql => () => {
        asked.push(name);
        return Promise.resolve([]);
      };
      await bound[name]!(...about, client("one")).catch(() => {});
      await bound[name]!(...about, client("two")).catch(() => {});
      assert.deepEqual(asked, [...expected.map(() => "one"), ...expected.map(() => "two")]);
    });

    test(`sends the configured numbers of ${name} to the database`, async () => {
      const sent: unknown[][] = [];
      const client: Sql = (strings, ...parameters) => {
        sent.push(valuesOf(strings, parameters));
        return Promise.resolve([]);
      };
      await bound[name]!(...about, client).catch(() => {});
      const numbers = sent.map((values) => values.filter((value) => /^\d+$/.test(`${value}`)));
      assert.deepEqual(numbers, expected);
    });

    test(`gives the database of ${name} the configured queryTimeout`, async () => {
      const { setTimeout } = globalThis;
      const waits: unknown[] = [];
      const noting = (...args: Parameters<typeof setTimeout>) => {
        waits.push(args[1]);
        return setTimeout(...args);
      };
      Object.assign(globalThis, { setTimeout: noting });
      try {
        await bound[name]!(...about, sql).catch(() => {});
      } finally {
        Object.assign(globalThis, { setTimeout });
      }
      assert.deepEqual(waits, expected.map(() => 9000));
    });
  }

  for (const { name, about, sent } of functions.filter(({ about }) => about[0] === headers)) {
    test(`lets ${name} read the cookie of the configured name alone`, async () => {
      const theirs = new Headers({ cookie: `__Host-session=${token}` });
      calls = 0;
      await bound[name]!(theirs, ...about.slice(1), sql);
      assert.equal(calls, 0);
      await bind({})[name]!(theirs, ...about.slice(1), sql);
      assert.equal(calls, sent.length);
    });
  }

  test("emits to each policy's own event listener", async () => {
    const emitted: string[] = [];
    const malformed = new Headers({ cookie: "__Host-session=x" });
    for (const name of ["one", "two"]) {
      const { validateSession } = configure({
        onEvent: (event) => emitted.push(`${name}: ${event.type}`),
      });
      await validateSession(malformed, sql);
    }
    await configure().validateSession(malformed, sql);
    assert.deepEqual(emitted, ["one: refused", "two: refused"]);
  });

  const sweeps: { name: string; policy: Policy; expected: string | null }[] = [
    { name: "no policy", policy: {}, expected: null },
    { name: "an idleTimeout", policy: { idleTimeout: 60 }, expected: "60" },
    { name: "an idleTimeout of its default", policy: { idleTimeout: 7 * DAY }, expected: "604800" },
    { name: "an absoluteTimeout alone", policy: { absoluteTimeout: 60 }, expected: null },
    {
      name: "an idleTimeout of undefined",
      policy: { idleTimeout: undefined } as object,
      expected: null,
    },
    { name: "AAL2", policy: AAL2, expected: "3600" },
  ];
  for (const { name, policy, expected } of sweeps) {
    test(`lets sweepSessions delete by ${name} what the same policy in its options deletes`, async () => {
      const sent: unknown[] = [];
      const client: Sql = (strings, ...parameters) => {
        const [call, ...values] = valuesOf(strings, parameters);
        sent.push(values);
        return Promise.resolve([[call, "0", "0"]]);
      };
      await configure(policy).sweepSessions(client);
      await sweepSessions(client, policy);
      const guests = String(resolve(policy).idleTimeout);
      const values = ["(0,0)", "(100,0)", "2592000", expected, guests];
      assert.deepEqual(sent, [values, values]);
    });
  }

  for (const { name, own, about } of functions) {
    test(`lets ${name} refuse settings of the policy, and any unknown option`, async () => {
      calls = 0;
      const desired = own === "" ? "have no keys" : `have no keys but ${own}`;
      for (const key of [...keysOf(POLICY), ...OWN, "presistent"]) {
        if (keysOf(own).includes(key)) continue;
        for (const value of [60, undefined]) {
          await assert.rejects(bound[name]!(...about, sql, { [key]: value }), {
            name: "TypeError",
            message: `${name}: options must ${desired}, got "${key}"`,
          }, key);
        }
      }
      assert.equal(calls, 0);
    });

    test(`lets ${name} refuse options that are no object`, async () => {
      calls = 0;
      for (const { name: kind, value, received } of kinds) {
        await assert.rejects(bound[name]!(...about, sql, value), {
          name: "TypeError",
          message: `${name}: options must be an object, got ${received}`,
        }, kind);
      }
      assert.equal(calls, 0);
    });
  }
});
