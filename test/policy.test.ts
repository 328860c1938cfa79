import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  AAL1,
  AAL2,
  AAL3,
  configure,
  type CookiePolicy,
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
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
  type SessionResult,
  withSession,
} from "../mod.ts";
import { rulesOf } from "../src/policy.ts";

const DAY = 86_400;
const POLICY =
  "idleTimeout, absoluteTimeout, touchInterval, rotateAfter, rotationGrace, maxSessions, queryTimeout, cookie, onEvent";
const COOKIE = "name, domain, path, secure, sameSite, partitioned, persistent";
const rules = (policy?: Policy) => rulesOf(policy, []);

/** The values of a statement, but for the number of the call, which no policy decides. */
const isNumber = (value: unknown) => /^q\d+_\d+$/.test(String(value));
const withoutNumber = (values: unknown[]) => values.filter((value) => !isNumber(value));

describe("the defaults", () => {
  test("are 7 days without use, 30 days in all, one touch in 5 minutes, and 5 seconds for the database", () => {
    const { idleTimeout, absoluteTimeout, touchInterval, queryTimeout } = rules();
    assert.deepEqual({ idleTimeout, absoluteTimeout, touchInterval, queryTimeout }, {
      idleTimeout: 7 * DAY,
      absoluteTimeout: 30 * DAY,
      touchInterval: 300,
      queryTimeout: 5,
    });
    assert.deepEqual(rules({}), rules());
    assert.deepEqual(rules({ cookie: {} }), rules());
  });

  test("are no rotation by itself, 30 seconds of grace for one, no limit of sessions, and no observer", () => {
    const { rotateAfter, rotationGrace, maxSessions, onEvent } = rules();
    assert.deepEqual({ rotateAfter, rotationGrace, maxSessions, onEvent }, {
      rotateAfter: false,
      rotationGrace: 30,
      maxSessions: false,
      onEvent: undefined,
    });
  });

  test("are all the settings that there are", () => {
    assert.deepEqual(Object.keys(rules()).sort(), POLICY.split(", ").sort());
    assert.deepEqual(Object.keys(rules().cookie).sort(), COOKIE.split(", ").sort());
  });

  test("are the safe attributes of a cookie", () => {
    assert.deepEqual(rules().cookie, {
      name: "__Host-session",
      domain: undefined,
      path: "/",
      secure: true,
      sameSite: "Lax",
      partitioned: false,
      persistent: true,
    });
  });

  test("stand for every setting that is given as undefined", () => {
    const unset = (keys: string) =>
      Object.fromEntries(keys.split(", ").map((key) => [key, undefined]));
    assert.deepEqual(rules(unset(POLICY) as never), rules());
    assert.deepEqual(rules({ cookie: unset(COOKIE) as never }), rules());
  });

  const times: { name: string; policy: Policy; expected: unknown[] }[] = [
    {
      name: "idle as the absolute deadline, where that is sooner",
      policy: { absoluteTimeout: 1800 },
      expected: [1800, 180],
    },
    {
      name: "idle as it is, where the deadline is later",
      policy: { absoluteTimeout: 400 * DAY },
      expected: [7 * DAY, 300],
    },
    { name: "a touch as a tenth of idle", policy: { idleTimeout: 900 }, expected: [900, 90] },
    {
      name: "a touch of 300 seconds at most",
      policy: { idleTimeout: 3600 },
      expected: [3600, 300],
    },
    {
      name: "a touch in whole seconds, rounded down",
      policy: { idleTimeout: 19 },
      expected: [19, 1],
    },
    {
      name: "a touch each time, where idle is seconds",
      policy: { idleTimeout: 9 },
      expected: [9, 0],
    },
    {
      name: "a touch each time, where idle is one second",
      policy: { idleTimeout: 1 },
      expected: [1, 0],
    },
    { name: "both from the deadline alone", policy: { absoluteTimeout: 1 }, expected: [1, 0] },
    {
      name: "no touch, where it is switched off",
      policy: { touchInterval: false },
      expected: [7 * DAY, false],
    },
    {
      name: "a touch as long as it may be",
      policy: { idleTimeout: 60, touchInterval: 59 },
      expected: [60, 59],
    },
  ];
  for (const { name, policy, expected } of times) {
    test(`derive ${name}`, () => {
      const { idleTimeout, touchInterval } = rules(policy);
      assert.deepEqual([idleTimeout, touchInterval], expected);
    });
  }

  const names: { name: string; cookie: CookiePolicy; expected: string }[] = [
    { name: "everything default", cookie: {}, expected: "__Host-session" },
    { name: "path / by hand", cookie: { path: "/" }, expected: "__Host-session" },
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
    { name: "a name by hand", cookie: { name: "sid", domain: "example.com" }, expected: "sid" },
  ];
  for (const { name, cookie, expected } of names) {
    test(`name the cookie ${expected} with ${name}`, () => {
      assert.equal(rules({ cookie }).cookie.name, expected);
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
      const { absoluteTimeout, idleTimeout } = rules(preset);
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
  { name: "rotationGrace", what: SECONDS, least: 0, most: 3600 },
  { name: "maxSessions", what: "a whole number", least: 1, most: 10_000 },
  { name: "queryTimeout", what: SECONDS, least: 1, most: DAY },
];
for (const { name: setting, what, least, most } of settings) {
  for (const { name, value, error, received } of misfits(least, most)) {
    refused.push({
      name: `${setting} that is ${name}`,
      policy: { [setting]: value },
      error,
      message:
        `Cannot proceed as ${setting} must be ${what} from ${least} to ${most}, got ${received}`,
    });
  }
}
for (const [setting, most] of [["absoluteTimeout", 400 * DAY], ["queryTimeout", DAY]] as const) {
  refused.push({
    name: `${setting} switched off`,
    policy: { [setting]: false },
    error: "TypeError",
    message:
      `Cannot proceed as ${setting} must be whole seconds from 1 to ${most}, got boolean`,
  });
}

refused.push(
  {
    name: "idleTimeout beyond absoluteTimeout",
    policy: { idleTimeout: 3601, absoluteTimeout: 3600 },
    error: "RangeError",
    message: "Cannot proceed as idleTimeout must be whole seconds from 1 to 3600, got 3601",
  },
  {
    name: "touchInterval as long as idleTimeout",
    policy: { idleTimeout: 60, touchInterval: 60 },
    error: "RangeError",
    message: "Cannot proceed as touchInterval must be whole seconds from 0 to 59, got 60",
  },
  {
    name: "touchInterval as long as the idleTimeout that follows from absoluteTimeout",
    policy: { absoluteTimeout: 60, touchInterval: 60 },
    error: "RangeError",
    message: "Cannot proceed as touchInterval must be whole seconds from 0 to 59, got 60",
  },
  {
    name: "idleTimeout switched off",
    policy: { idleTimeout: false },
    error: "TypeError",
    message:
      "Cannot proceed as idleTimeout must be whole seconds from 1 to 2592000, got boolean",
  },
  {
    name: "rotationGrace switched off, which is 0",
    policy: { rotationGrace: false },
    error: "TypeError",
    message:
      "Cannot proceed as rotationGrace must be whole seconds from 0 to 3600, got boolean",
  },
  {
    name: "rotateAfter as long as rotationGrace",
    policy: { rotateAfter: 60, rotationGrace: 60 },
    error: "RangeError",
    message: "Cannot proceed as rotateAfter must be whole seconds from 61 to 2592000, got 60",
  },
  {
    name: "rotateAfter of 0 without a grace, which would rotate at every request",
    policy: { rotateAfter: 0, rotationGrace: 0 },
    error: "RangeError",
    message: "Cannot proceed as rotateAfter must be whole seconds from 1 to 2592000, got 0",
  },
  {
    name: "rotateAfter beyond absoluteTimeout, when there is nothing left to rotate",
    policy: { rotateAfter: 3601, absoluteTimeout: 3600 },
    error: "RangeError",
    message: "Cannot proceed as rotateAfter must be whole seconds from 31 to 3600, got 3601",
  },
  {
    name: "rotateAfter in a session that ends within the grace",
    policy: { rotateAfter: 25, absoluteTimeout: 25 },
    error: "RangeError",
    message: "Cannot proceed as rotateAfter must be whole seconds from 31 to 25, got 25",
  },
  {
    name: "rotateAfter where touchInterval is switched off, so that a validation writes nothing",
    policy: { rotateAfter: 3600, touchInterval: false },
    error: "RangeError",
    message: "Cannot proceed as rotateAfter must be false where touchInterval is, got 3600",
  },
);

const observers = [
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
for (const { name, value, received } of observers) {
  refused.push({
    name: `onEvent that is ${name}`,
    policy: { onEvent: value },
    error: "TypeError",
    message: `Cannot proceed as onEvent must be a function, got ${received}`,
  });
}

for (
  const key of ["idletimeout", "maxAge", "ttl", "", "__proto__x", "name", "data", "rolling\r\n"]
) {
  refused.push({
    name: `an unknown key ${JSON.stringify(key)}`,
    policy: { [key]: 1 },
    error: "TypeError",
    message: `Cannot proceed as options must have no keys but ${POLICY}, got ${
      JSON.stringify(key)
    }`,
  });
}
for (const key of ["samesite", "httpOnly", "maxAge", "expires", "Secure", "priority", "unparsed"]) {
  refused.push({
    name: `an unknown key ${key} of the cookie`,
    policy: { cookie: { [key]: false } },
    error: "TypeError",
    message: `Cannot proceed as cookie must have no keys but ${COOKIE}, got "${key}"`,
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
      message: `Cannot proceed as cookie.${setting} must be a string, got ${received}`,
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
      message: `Cannot proceed as cookie.${setting} must be true or false, got ${received}`,
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
    message: `Cannot proceed as cookie.sameSite must be Strict, Lax or None, got ${received}`,
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
      message: `Cannot proceed as cookie.${setting} must ${message}`,
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
    message: `Cannot proceed as ${message}`,
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
      message: `Cannot proceed as options must be an object, got ${received}`,
    },
    {
      name: `a cookie that is ${name}`,
      policy: { cookie: value },
      error: "TypeError",
      message: `Cannot proceed as cookie must be an object, got ${received}`,
    },
  );
}

describe("a policy", () => {
  for (const { name, policy, error, message } of refused) {
    test(`is refused for ${name}`, () => {
      assert.throws(() => configure(policy as never), { name: error, message });
    });
  }

  const accepted: { name: string; policy: Policy }[] = [
    {
      name: "the least of everything",
      policy: {
        idleTimeout: 1,
        absoluteTimeout: 1,
        touchInterval: 0,
        rotateAfter: 1,
        rotationGrace: 0,
        maxSessions: 1,
        queryTimeout: 1,
      },
    },
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
    { name: "an observer that is async", policy: { onEvent: async () => await Promise.reject() } },
    { name: "an observer that takes nothing", policy: { onEvent: () => {} } },
    { name: "an observer that is a method", policy: { onEvent: console.log } },
    {
      name: "idleTimeout as long as absoluteTimeout",
      policy: { idleTimeout: 60, absoluteTimeout: 60 },
    },
    { name: "a domain of one label", policy: { cookie: { domain: "localhost" } } },
    { name: "a domain in capitals", policy: { cookie: { domain: "Example.COM" } } },
    { name: "a punycode domain", policy: { cookie: { domain: "xn--exmple-cua.com" } } },
    {
      name: "a path with all that a path may have",
      policy: { cookie: { path: "/a/%20b!$&'()*+-.:=@_~" } },
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
const record = { id, digest, userId: 1, createdAt, expiresAt };

type Call = (...args: unknown[]) => Promise<unknown>;
/** withSession in the form of the verbs: it makes a handler, which is asked once. */
const asked = (make: typeof withSession): Call => async (headers, sql, options) => {
  const handle = make(() => new Response(), sql as Sql, options as Policy);
  return await handle(new Request("https://app.example/", { headers: headers as Headers }));
};
const unbound: Record<string, unknown> = {
  createSession,
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
  withSession: asked(withSession),
};

/** Every verb that takes a policy: what it is about, and the options of the call alone. */
const verbs: { name: string; own: string; about: unknown[] }[] = [
  { name: "createSession", own: "data, persistent, replaces", about: ["ada"] },
  { name: "insertSession", own: "", about: [record] },
  { name: "getUserId", own: "", about: ["ada"] },
  { name: "validateSession", own: "authenticatedWithin", about: [headers] },
  { name: "rotateSession", own: "", about: [headers] },
  { name: "reauthenticateSession", own: "", about: [headers] },
  { name: "updateSession", own: "version", about: [headers, { theme: "dark" }] },
  { name: "listSessions", own: "", about: [1] },
  { name: "revokeSession", own: "reason", about: [headers] },
  { name: "revokeSessions", own: "reason", about: [{ userId: 1 }] },
  { name: "sweepSessions", own: "retention, idleTimeout, onProgress, signal", about: [] },
  { name: "withSession", own: "authenticatedWithin, origin, trustedOrigins", about: [headers] },
];
const keysOf = (list: string) => list === "" ? [] : list.split(", ");
const OWN = [...new Set(verbs.flatMap(({ own }) => keysOf(own)))];

let calls = 0;
const sql: Sql = () => {
  calls++;
  return Promise.resolve([]);
};

for (const { name: verb, own, about } of verbs) {
  const call = (options: unknown) => (unbound[verb] as Call)(...about, sql, options);
  const known = [...new Set([...keysOf(POLICY), ...keysOf(own)])];

  describe(`the policy of ${verb}`, () => {
    test("is refused as a rejection, like that of configure, before any SQL", async () => {
      calls = 0;
      for (const { name, policy, error, message } of refused) {
        // What belongs to the call is no stranger here.
        if (own.includes("data") && name.includes(`"data"`)) continue;
        const promise = call(policy);
        assert.ok(promise instanceof Promise, name);
        const expected = message.replace(POLICY, known.join(", "));
        await assert.rejects(promise, { name: error, message: expected }, name);
      }
      assert.equal(calls, 0);
    });

    test("has no place for what belongs to a call of another verb", async () => {
      calls = 0;
      for (const key of OWN) {
        if (known.includes(key)) continue;
        await assert.rejects(call({ [key]: undefined }), {
          name: "TypeError",
          message: `Cannot proceed as options must have no keys but ${
            known.join(", ")
          }, got "${key}"`,
        }, key);
      }
      assert.equal(calls, 0);
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
    test(`is refused where it is ${name}, bound or not, before any SQL`, async () => {
      calls = 0;
      for (const validate of [validateSession, bound.validateSession] as unknown as Call[]) {
        for (const { name, call } of both) {
          await assert.rejects(validate(...call({ authenticatedWithin: value })), {
            name: error,
            message:
              `Cannot proceed as authenticatedWithin must be whole seconds from 0 to 34560000, got ${received}`,
          }, name);
        }
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
    test(`judges the last proof, bound or not, where it is ${name}`, async () => {
      const answering: Sql = (_, ...values) => {
        const [of, id, digest] = [values.find(isNumber), ...values.filter((it) => !isNumber(it))];
        const now = 1_767_225_600;
        const session = { userId: 1, username: "ada", createdAt: now, lastSeenAt: now };
        const lasting = { persistent: true, version: 0, data: {}, expiresAt: now + 60, past: null };
        const row = { of, id, digest, now, authenticatedAt: now - ago, ...session, ...lasting };
        return Promise.resolve([{ json: JSON.stringify(row) }]);
      };
      for (const validate of [validateSession, bound.validateSession] as unknown as Call[]) {
        const visit = await validate(headers, answering, { authenticatedWithin: value });
        assert.equal((visit as Visit).reason, reason);
      }
    });
  }

  test("is nothing that a policy could hold", () => {
    assert.throws(() => configure({ authenticatedWithin: 60 } as never), {
      name: "TypeError",
      message: `Cannot proceed as options must have no keys but ${POLICY}: ` +
        `received "authenticatedWithin"`,
    });
  });
});

describe("configure", () => {
  const bind = (policy: Policy) => {
    const sessions = configure(policy);
    const handled = asked(sessions.withSession as typeof withSession);
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

  test("returns the verbs, and nothing else", () => {
    assert.deepEqual(Object.keys(bound).sort(), verbs.map(({ name }) => name).sort());
    assert.deepEqual(Object.keys(bound).sort(), Object.keys(unbound).sort());
  });

  test("asks nothing of a database", () => {
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

  // What the first statement of each has of the policy.
  const numbers: Record<string, number[]> = {
    createSession: [120],
    insertSession: [120],
    getUserId: [],
    validateSession: [],
    withSession: [],
    rotateSession: [120, 60, 7],
    reauthenticateSession: [120, 60, 7],
    updateSession: [120, 60, 7],
    listSessions: [120, 60],
    revokeSession: [],
    revokeSessions: [],
    sweepSessions: [30 * DAY],
  };
  for (const { name, about } of verbs) {
    test(`binds the policy of ${name}, and never the client`, async () => {
      const asked: string[] = [];
      const client = (name: string): Sql => () => {
        asked.push(name);
        return Promise.resolve([]);
      };
      await bound[name]!(...about, client("one")).catch(() => {});
      await bound[name]!(...about, client("two")).catch(() => {});
      assert.deepEqual(asked, ["one", "two"]);
    });

    test(`sends the bound numbers of ${name} to the database`, async () => {
      let sent: unknown[] = [];
      await bound[name]!(...about, (_: unknown, ...values: unknown[]) => {
        sent = withoutNumber(values);
        return Promise.resolve([]);
      }).catch(() => {});
      assert.deepEqual(sent.filter((value) => typeof value === "number"), numbers[name]);
    });

    test(`gives the database of ${name} the bound queryTimeout`, async () => {
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
      assert.deepEqual(waits, [9000]);
    });
  }

  for (const { name, about } of verbs.filter(({ about }) => about[0] === headers)) {
    test(`lets ${name} read the cookie of the bound name alone`, async () => {
      const theirs = new Headers({ cookie: `__Host-session=${token}` });
      calls = 0;
      await bound[name]!(theirs, ...about.slice(1), sql);
      assert.equal(calls, 0);
      await bind({})[name]!(theirs, ...about.slice(1), sql);
      assert.equal(calls, 1);
    });
  }

  test("tells each policy's own observer", async () => {
    const told: string[] = [];
    const malformed = new Headers({ cookie: "__Host-session=x" });
    for (const who of ["one", "two"]) {
      const { validateSession } = configure({
        onEvent: (event) => told.push(`${who}: ${event.type}`),
      });
      await validateSession(malformed, sql);
    }
    await configure().validateSession(malformed, sql);
    assert.deepEqual(told, ["one: refused", "two: refused"]);
  });

  test("lets sweepSessions name an idleTimeout of its own, up to the bound absoluteTimeout", async () => {
    let sent: unknown[] = [];
    const answering = (_: unknown, ...values: unknown[]) => {
      sent = withoutNumber(values);
      const of = values.find((value) => /^q/.test(String(value)));
      return Promise.resolve([{ json: JSON.stringify({ of, swept: 0, blocks: 0 }) }]);
    };
    await bound.sweepSessions!(answering);
    assert.deepEqual(sent.slice(2), [30 * DAY, null]);
    await bound.sweepSessions!(answering, { idleTimeout: 120, retention: 0 });
    assert.deepEqual(sent.slice(2), [0, 120]);
    calls = 0;
    await assert.rejects(bound.sweepSessions!(sql, { idleTimeout: 121 }), {
      name: "RangeError",
      message: "Cannot proceed as idleTimeout must be whole seconds from 1 to 120, got 121",
    });
    assert.equal(calls, 0);
  });

  for (const { name, own, about } of verbs) {
    test(`lets ${name} refuse settings of the policy, and all else that it does not know`, async () => {
      calls = 0;
      const desired = own === "" ? "have no keys" : `have no keys but ${own}`;
      for (const key of [...keysOf(POLICY), ...OWN, "presistent"]) {
        if (keysOf(own).includes(key)) continue;
        for (const value of [60, undefined]) {
          await assert.rejects(bound[name]!(...about, sql, { [key]: value }), {
            name: "TypeError",
            message: `Cannot proceed as options must ${desired}, got "${key}"`,
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
          message: `Cannot proceed as options must be an object, got ${received}`,
        }, kind);
      }
      assert.equal(calls, 0);
    });
  }
});
