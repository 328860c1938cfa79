import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  createSession,
  createToken,
  reauthenticateSession,
  revokeSession,
  rotateSession,
  type Sql,
  updateSession,
  validateSession,
} from "../mod.ts";
import { clearCookie, issueCookie, type RequestHeaders } from "../src/cookie.ts";
import { type CookiePolicy, readOptions, type ResolvedPolicy } from "../src/policy.ts";
import { readTokens } from "../src/transport.ts";

const NAME = "__Host-session";
const ours = createToken();
const evil = createToken();
const good = `${NAME}=${ours.token}`;
const SUBJECT = "validateSession: headers";

/** Reads the cookies of a request, as every function does. */
const readCookies = (subject: string, headers: RequestHeaders, name: string) =>
  readTokens(subject, headers, { transport: "cookie", cookie: { name } } as ResolvedPolicy);

const read = (cookie: string, name = NAME) =>
  readCookies(SUBJECT, new Map([["cookie", cookie]]) as never, name);

/** What the reader makes of a Cookie header: which of two tokens it finds, or why none. */
function reads(cookie: string, name = NAME): string {
  const { tokens } = read(cookie, name);
  if (typeof tokens === "string") return tokens;
  return tokens.map((token) => {
    const { id, digest, secret } = token.id === ours.id ? ours : evil;
    assert.deepEqual(token, { id, digest: Buffer.from(digest).toString("hex"), secret });
    return token.id === ours.id ? "ours" : "evil";
  }).join(" and ");
}

describe("readCookies", () => {
  const headers = [
    { name: "an empty header", cookie: "", expected: "absent" },
    { name: "other cookies alone", cookie: "theme=dark; a=b", expected: "absent" },
    { name: "our name without a value", cookie: NAME, expected: "absent" },
    { name: "our name and a letter, without a value", cookie: `${NAME}x`, expected: "absent" },
    { name: "our cookie alone", cookie: good, expected: "ours" },
    { name: "ours first", cookie: `${good}; theme=dark`, expected: "ours" },
    { name: "ours last", cookie: `theme=dark; ${good}`, expected: "ours" },
    { name: "ours in the middle", cookie: `a=b; ${good}; theme=dark`, expected: "ours" },
    {
      name: "two fields, as HTTP/2 sends and servers join them",
      cookie: `a=b; ${good}`,
      expected: "ours",
    },
    { name: "no space after the semicolon", cookie: `a=b;${good};c=d`, expected: "ours" },
    { name: "stray separators", cookie: `;; ;${good};;;; ;`, expected: "ours" },
    { name: "ours as the last of 200", cookie: `${"a=b; ".repeat(199)}${good}`, expected: "ours" },
    { name: "another cookie with our token", cookie: `theme=${ours.token}`, expected: "absent" },

    // Only SP and HTAB are white space in this header.
    { name: "SP around the name", cookie: `a=b;   ${NAME}  =${ours.token}`, expected: "ours" },
    { name: "SP around the value", cookie: `${NAME}=  ${ours.token}  ; a=b`, expected: "ours" },
    { name: "HTAB around the name", cookie: `\t${NAME}\t=${ours.token}`, expected: "ours" },
    { name: "HTAB around the value", cookie: `${NAME}=\t${ours.token}\t`, expected: "ours" },
    {
      name: "SP and HTAB mixed",
      cookie: ` \t ${NAME} \t = \t ${ours.token} \t `,
      expected: "ours",
    },

    // CVE-2026-39410: a name that any page may set must not become the prefixed one.
    { name: "U+00A0 before the name", cookie: `\u00A0${good}`, expected: "absent" },
    { name: "U+00A0 after the name", cookie: `${NAME}\u00A0=${ours.token}`, expected: "absent" },
    { name: "U+FEFF before the name", cookie: `\uFEFF${good}`, expected: "absent" },
    { name: "U+FEFF after the name", cookie: `${NAME}\uFEFF=${ours.token}`, expected: "absent" },
    { name: "U+2000 before the name", cookie: `\u2000${good}`, expected: "absent" },
    { name: "U+3000 before the name", cookie: `\u3000${good}`, expected: "absent" },
    { name: "U+0085 before the name", cookie: `\u0085${good}`, expected: "absent" },
    { name: "U+1680 before the name", cookie: `\u1680${good}`, expected: "absent" },
    { name: "U+2028 before the name", cookie: `\u2028${good}`, expected: "absent" },
    { name: "U+200B before the name", cookie: `\u200B${good}`, expected: "absent" },
    {
      name: "the UTF-8 bytes of U+FEFF before the name",
      cookie: `\u00EF\u00BB\u00BF${good}`,
      expected: "absent",
    },
    {
      name: "the UTF-8 bytes of U+2000 before the name",
      cookie: `\u00E2\u0080\u0080${good}`,
      expected: "absent",
    },
    { name: "a vertical tab before the name", cookie: `\v${good}`, expected: "absent" },
    { name: "a form feed before the name", cookie: `\f${good}`, expected: "absent" },
    { name: "a line feed before the name", cookie: `\n${good}`, expected: "absent" },
    { name: "NUL before the name", cookie: `\0${good}`, expected: "absent" },
    { name: "NUL after the name", cookie: `${NAME}\0=${ours.token}`, expected: "absent" },
    {
      name: "U+00A0 before the name, evil, beside ours",
      cookie: `\u00A0${NAME}=${evil.token}; ${good}`,
      expected: "ours",
    },
    { name: "U+00A0 after the value", cookie: `${good}\u00A0`, expected: "malformed" },
    { name: "a line feed after the value", cookie: `${good}\n`, expected: "malformed" },
    { name: "NUL in the value", cookie: `${good}\0`, expected: "malformed" },

    // Names are compared byte for byte.
    { name: "the name in lower case", cookie: `__host-session=${ours.token}`, expected: "absent" },
    { name: "the name in upper case", cookie: `__HOST-SESSION=${ours.token}`, expected: "absent" },
    {
      name: "the name in another case, evil, beside ours",
      cookie: `__host-session=${evil.token}; ${good}`,
      expected: "ours",
    },
    { name: "the name without its prefix", cookie: `session=${ours.token}`, expected: "absent" },
    { name: "a longer name", cookie: `${NAME}2=${ours.token}`, expected: "absent" },
    { name: "a shorter name", cookie: `${NAME.slice(0, -1)}=${ours.token}`, expected: "absent" },
    {
      name: "a percent-encoded name",
      cookie: `%5F%5FHost-session=${ours.token}`,
      expected: "absent",
    },
    {
      name: "a fullwidth letter in the name",
      cookie: `__Host-ｓession=${ours.token}`,
      expected: "absent",
    },
    { name: "a quoted name", cookie: `"${NAME}"=${ours.token}`, expected: "absent" },
    { name: "a name in quotes across cookies", cookie: `"${good}"`, expected: "absent" },

    // Several of our name: the order does not tell which page set which, so all are read.
    {
      name: "evil before ours",
      cookie: `${NAME}=${evil.token}; ${good}`,
      expected: "evil and ours",
    },
    {
      name: "evil after ours",
      cookie: `${good}; ${NAME}=${evil.token}`,
      expected: "ours and evil",
    },
    {
      name: "evil, far from ours",
      cookie: `${NAME}=${evil.token}; ${"a=b; ".repeat(50)}${good}`,
      expected: "evil and ours",
    },
    { name: "the same token twice", cookie: `${good}; ${good}`, expected: "ours" },
    { name: "the same token nine times", cookie: `${good}; `.repeat(9), expected: "ours" },
    { name: "ours and an empty one", cookie: `${good}; ${NAME}=`, expected: "ours" },
    { name: "an empty one and ours", cookie: `${NAME}=; ${good}`, expected: "ours" },
    {
      name: "nine that are no tokens, and ours",
      cookie: `${Array.from({ length: 9 }, (_, i) => `${NAME}=${i}; `).join("")}${good}`,
      expected: "ours",
    },
    { name: "two that are no tokens", cookie: `${NAME}=x; ${NAME}=y`, expected: "malformed" },

    // Old and foreign grammars.
    { name: "ours after a comma", cookie: `x=1, ${good}`, expected: "absent" },
    { name: "ours before a comma", cookie: `${good}, x=1`, expected: "malformed" },
    {
      name: "two of ours joined by a comma",
      cookie: `${good}, ${NAME}=${evil.token}`,
      expected: "malformed",
    },
    { name: "$Version of RFC 2109", cookie: `$Version=1; ${good}; $Path=/`, expected: "ours" },
    { name: "ours after $Version and a comma", cookie: `$Version=1, ${good}`, expected: "absent" },
    { name: "ours within a quoted string", cookie: `y="a; ${good}"`, expected: "malformed" },
    {
      name: "ours within a quoted string that goes on",
      cookie: `y="a; ${good}; b"`,
      expected: "ours",
    },
    { name: "a quoted value", cookie: `${NAME}="${ours.token}"`, expected: "malformed" },
    {
      name: "a backslash before the value",
      cookie: `${NAME}=\\${ours.token}`,
      expected: "malformed",
    },
    {
      name: "a percent-encoded value",
      cookie: `${NAME}=${encodeURIComponent(`"${ours.token}"`)}`,
      expected: "malformed",
    },
    { name: "a percent-encoded dot", cookie: good.replace(".", "%2E"), expected: "malformed" },
    { name: "the name without =", cookie: NAME, expected: "absent" },
    { name: "the name without =, then ours", cookie: `${NAME}; ${good}`, expected: "ours" },
    { name: "the token without a name", cookie: ours.token, expected: "absent" },
    { name: "a nameless cookie that looks like ours", cookie: `=${good}`, expected: "absent" },
    {
      name: "a nameless cookie, at which @std/http throws, beside ours",
      cookie: `=x; ${good}`,
      expected: "ours",
    },
    { name: "two equals signs", cookie: `${NAME}==${ours.token}`, expected: "malformed" },
    { name: "an equals sign after the value", cookie: `${good}=`, expected: "malformed" },
    { name: "an empty value", cookie: `${NAME}=`, expected: "malformed" },
    { name: "a value of white space", cookie: `${NAME}= \t `, expected: "malformed" },
    { name: "the id alone", cookie: `${NAME}=${ours.id}`, expected: "malformed" },
    { name: "the id twice", cookie: `${NAME}=${ours.id}.${ours.id}`, expected: "malformed" },
    { name: "SQL text", cookie: `${NAME}=' or 1=1--`, expected: "malformed" },
    { name: "bytes beyond ASCII", cookie: `${good}é`, expected: "malformed" },
    { name: "nothing but separators", cookie: ";;;;;;", expected: "absent" },
    { name: "nothing but equals signs", cookie: "======", expected: "absent" },
  ];
  for (const { name, cookie, expected } of headers) {
    test(`reads ${expected === "ours" ? "our token" : expected} from ${name}`, () => {
      assert.equal(reads(cookie), expected);
    });
  }

  test("reads eight different tokens in their order, and none of nine", () => {
    const tokens = Array.from({ length: 9 }, () => createToken());
    const header = (count: number) =>
      tokens.slice(0, count).map(({ token }) => `${NAME}=${token}`).join("; ");
    const eight = read(header(8)).tokens as readonly { id: string }[];
    assert.deepEqual(eight.map(({ id }) => id), tokens.slice(0, 8).map(({ id }) => id));
    assert.equal(read(header(9)).tokens, "malformed");
    assert.equal(read(`${header(9)}; ${good}; ${good}`).tokens, "malformed");
  });

  test("reads two secrets of one id as two tokens", () => {
    const { tokens } = read(`${good}; ${NAME}=${ours.id}.${evil.secret}`);
    assert.equal(tokens.length, 2);
  });

  test("says whether there are several cookies of our name, tokens or not", () => {
    const several = (cookie: string) => read(cookie).areSeveral;
    for (const cookie of ["", "a=b; c=d", good, `${NAME}=`, `${good}; ${NAME}2=x; ${NAME}`]) {
      assert.equal(several(cookie), false, cookie);
    }
    for (const cookie of [`${good}; ${good}`, `${good}; ${NAME}=`, `${NAME}=x; ${NAME}=y`]) {
      assert.equal(several(cookie), true, cookie);
    }
  });

  test("reads two appended Cookie headers as the runtime joins them: Deno does so with a comma", () => {
    for (
      const [order, onDeno] of [[["a=b", good], "absent"], [[good, "a=b"], "malformed"]] as const
    ) {
      const headers = new Headers();
      for (const cookie of order) headers.append("cookie", cookie);
      assert.equal(reads(headers.get("cookie")!), "Deno" in globalThis ? onDeno : "ours");
      assert.equal(reads(order.join("; ")), "ours");
    }
  });

  test("takes the name as it is, and not as a pattern", () => {
    const odd = "a.b|c*$^+";
    assert.equal(reads(`${odd}=${ours.token}`, odd), "ours");
    assert.equal(reads(`aXb=${ours.token}`, odd), "absent");
    assert.equal(reads(`a=${ours.token}`, odd), "absent");
    assert.equal(reads(`__proto__=${ours.token}`, "__proto__"), "ours");
    assert.equal(reads(good, "__proto__"), "absent");
  });

  test("finishes a header of 64 KB and of 128 KB, whatever it is full of", () => {
    const fillers = [";", "=", `"`, "\\", " ", "\t", "\u00A0", NAME, "a=b;", `"\\`, `${NAME}=;`];
    for (const filler of fillers) {
      for (const size of [65_536, 131_072]) {
        const flood = filler.repeat(Math.ceil(size / filler.length));
        assert.ok(["absent", "malformed"].includes(reads(flood)));
        assert.equal(
          reads(`a=${flood};${good}`),
          "ours",
          `${filler} before`,
        );
        assert.ok(["absent", "malformed"].includes(reads(`${NAME}=${flood}`)));
      }
    }
    const tokens = Array.from({ length: 1400 }, () => `${NAME}=${createToken().token}`);
    assert.equal(reads(tokens.join(";")), "malformed");
    assert.equal(reads(`${good};`.repeat(1400)), "ours");
  });

  const carriers = [
    { name: "Headers", headers: new Headers({ cookie: good }) },
    {
      name: "the headers of a Request",
      headers: new Request("https://a.test", { headers: { cookie: good } }).headers,
    },
    { name: "a Map", headers: new Map([["cookie", good]]) },
    {
      name: "a wrapper like Hono's, whose get needs its this",
      headers: new class {
        #raw = new Headers({ cookie: good });
        get(name: string) {
          return this.#raw.get(name) ?? undefined;
        }
      }(),
    },
    {
      name: "an object with get",
      headers: { get: (name: string) => name === "cookie" ? good : null },
    },
  ];
  for (const { name, headers } of carriers) {
    test(`reads from ${name}`, () => {
      const { tokens } = readCookies(SUBJECT, headers as never, NAME);
      assert.equal((tokens as readonly { id: string }[])[0]?.id, ours.id);
    });
  }

  test("reads the Cookie header alone: a token in another header is no session", () => {
    const asked: string[] = [];
    const get = (name: string) => {
      asked.push(name.toLowerCase());
      return null;
    };
    assert.equal(readCookies(SUBJECT, { get }, NAME).tokens, "absent");
    assert.deepEqual(asked, ["cookie"]);
    const elsewhere = {
      authorization: `Bearer ${ours.token}`,
      "x-session": ours.token,
      cookie2: good,
    };
    assert.equal(readCookies(SUBJECT, new Headers(elsewhere), NAME).tokens, "absent");
  });

  type Reader = (headers: Headers, sql: Sql) => Promise<unknown>;
  const readers: { caller: string; call: Reader }[] = [
    { caller: "validateSession", call: validateSession },
    { caller: "rotateSession", call: rotateSession },
    { caller: "reauthenticateSession", call: reauthenticateSession },
    { caller: "updateSession", call: (headers, sql) => updateSession(headers, { a: 1 }, sql) },
    { caller: "revokeSession", call: revokeSession },
  ];

  class Jar {
    cookie = good;
  }
  const misfits = [
    {
      name: "a Request",
      headers: new Request("https://a.test", { headers: { cookie: good } }),
      received: "an instance of Request",
    },
    { name: "a plain object", headers: { cookie: good }, received: "an object" },
    { name: "an object without a prototype", headers: Object.create(null), received: "an object" },
    { name: "an object whose get is no function", headers: { get: good }, received: "an object" },
    { name: "an array of entries", headers: [["cookie", good]], received: "an instance of Array" },
    { name: "an instance of another class", headers: new Jar(), received: "an instance of Jar" },
    { name: "null", headers: null, received: "null" },
    { name: "undefined", headers: undefined, received: "undefined" },
    { name: "the header's text", headers: good, received: "string" },
    { name: "a function", headers: () => good, received: "function" },
    { name: "a number", headers: 1, received: "number" },
  ];
  for (const { name, headers, received } of misfits) {
    const refusal = (caller: string) => ({
      name: "TypeError",
      message: `${caller}: headers must have get(name), as request.headers has, got ${received}`,
    });

    test(`refuses ${name}, and says what to pass`, async () => {
      assert.throws(() => readCookies(SUBJECT, headers as never, NAME), refusal("validateSession"));
      const sql = () => assert.fail("sent SQL");
      for (const { caller, call } of readers) {
        await assert.rejects(call(headers as never, sql), refusal(caller), caller);
      }
    });
  }

  test("names replaces in the error if that has no get", async () => {
    const sql = () => assert.fail("sent SQL");
    await assert.rejects(createSession("ada", sql, { replaces: new Jar() as never }), {
      name: "TypeError",
      message:
        "createSession: replaces must have get(name), as request.headers has, got an instance of Jar",
    });
  });

  const strange = [
    { name: "a number", value: 1, received: "number" },
    {
      name: "an array, as Node has of repeated headers",
      value: [good],
      received: "an instance of Array",
    },
    {
      name: "a promise, as of an async get",
      value: Promise.resolve(good),
      received: "an instance of Promise",
    },
    {
      name: "a cookie object, as of a cookie jar",
      value: { name: "cookie", value: good },
      received: "an object",
    },
  ];
  for (const { name, value, received } of strange) {
    test(`refuses headers whose get returns ${name}`, async () => {
      const refusal = (caller: string) => ({
        name: "TypeError",
        message: `${caller}: headers.get("cookie") must return text or null, got ${received}`,
      });
      const headers = { get: () => value as never };
      assert.throws(() => readCookies(SUBJECT, headers, NAME), refusal("validateSession"));
      const sql = () => assert.fail("sent SQL");
      for (const { caller, call } of readers) {
        await assert.rejects(call(headers as never, sql), refusal(caller), caller);
      }
    });
  }
});

const resolve = (cookie?: CookiePolicy) =>
  readOptions("configure", { ...(cookie && { cookie }) }, []).policy.cookie;

const policies: { name: string; cookie: CookiePolicy; maxAge?: number; expected: string }[] = [
  {
    name: "the default",
    cookie: {},
    maxAge: 2_592_000,
    expected: `${NAME}=TOKEN; Secure; HttpOnly; Max-Age=2592000; SameSite=Lax; Path=/`,
  },
  {
    name: "a cookie that the browser drops when it closes",
    cookie: { persistent: false },
    expected: `${NAME}=TOKEN; Secure; HttpOnly; SameSite=Lax; Path=/`,
  },
  {
    name: "a domain",
    cookie: { domain: "example.com" },
    maxAge: 60,
    expected:
      "__Secure-session=TOKEN; Secure; HttpOnly; Max-Age=60; Domain=example.com; SameSite=Lax; Path=/",
  },
  {
    name: "a path",
    cookie: { path: "/app" },
    maxAge: 60,
    expected: "__Secure-session=TOKEN; Secure; HttpOnly; Max-Age=60; SameSite=Lax; Path=/app",
  },
  {
    name: "a domain and a path",
    cookie: { domain: "example.com", path: "/app" },
    maxAge: 60,
    expected:
      "__Secure-session=TOKEN; Secure; HttpOnly; Max-Age=60; Domain=example.com; SameSite=Lax; Path=/app",
  },
  {
    name: "plain http",
    cookie: { secure: false },
    maxAge: 60,
    expected: "session=TOKEN; HttpOnly; Max-Age=60; SameSite=Lax; Path=/",
  },
  {
    name: "SameSite=Strict",
    cookie: { sameSite: "Strict" },
    maxAge: 60,
    expected: `${NAME}=TOKEN; Secure; HttpOnly; Max-Age=60; SameSite=Strict; Path=/`,
  },
  {
    name: "SameSite=None",
    cookie: { sameSite: "None" },
    maxAge: 60,
    expected: `${NAME}=TOKEN; Secure; HttpOnly; Max-Age=60; SameSite=None; Path=/`,
  },
  {
    name: "a partitioned cookie",
    cookie: { sameSite: "None", partitioned: true },
    maxAge: 60,
    expected: `${NAME}=TOKEN; Secure; HttpOnly; Partitioned; Max-Age=60; SameSite=None; Path=/`,
  },
  {
    name: "another name",
    cookie: { name: "sid" },
    maxAge: 60,
    expected: "sid=TOKEN; Secure; HttpOnly; Max-Age=60; SameSite=Lax; Path=/",
  },
  {
    name: "the prefix that keeps scripts from setting it",
    cookie: { name: "__Host-Http-session" },
    maxAge: 60,
    expected: "__Host-Http-session=TOKEN; Secure; HttpOnly; Max-Age=60; SameSite=Lax; Path=/",
  },
  {
    name: "a name of every character that a token has",
    cookie: { name: "!#$%&'*+-.^_`|~09AZaz" },
    maxAge: 60,
    expected: "!#$%&'*+-.^_`|~09AZaz=TOKEN; Secure; HttpOnly; Max-Age=60; SameSite=Lax; Path=/",
  },
  {
    name: "the longest lifetime, 400 days",
    cookie: {},
    maxAge: 34_560_000,
    expected: `${NAME}=TOKEN; Secure; HttpOnly; Max-Age=34560000; SameSite=Lax; Path=/`,
  },
];

// RFC 6265bis, section 4.1.1, with each attribute by its own rule. A max-age-av begins with 1 to 9.
const octets = "[\\x21\\x23-\\x2B\\x2D-\\x3A\\x3C-\\x5B\\x5D-\\x7E]*";
const label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
const attributes = [
  "Secure",
  "HttpOnly",
  "Partitioned",
  "Max-Age=[1-9][0-9]*",
  "Expires=[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
  `Domain=${label}(?:\\.${label})*`,
  "SameSite=(?:Strict|Lax|None)",
  "Path=[\\x20-\\x3A\\x3C-\\x7E]*",
].join("|");
const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const setCookieString = new RegExp(`^${token}=${octets}(?:; (?:${attributes}))*$`);

const pairs = (line: string) =>
  line.split("; ").map((pair) => pair.split("=") as [string, string?]);

describe("issueCookie", () => {
  for (const { name, cookie, maxAge, expected } of policies) {
    test(`writes ${name}`, () => {
      const headers = issueCookie(resolve(cookie), ours.token, maxAge);
      assert.deepEqual(headers.getSetCookie(), [expected.replace("TOKEN", ours.token)]);
    });

    test(`writes ${name} by the grammar, with no attribute twice, and for HTTP alone`, () => {
      for (
        const headers of [
          issueCookie(resolve(cookie), ours.token, maxAge),
          clearCookie(resolve(cookie)),
        ]
      ) {
        const line = headers.get("set-cookie")!;
        assert.match(line, setCookieString);
        const names = pairs(line).slice(1).map(([attribute]) => attribute.toLowerCase());
        assert.equal(new Set(names).size, names.length);
        assert.ok(
          names.includes("httponly") && names.includes("samesite") && names.includes("path"),
        );
      }
    });

    test(`says beside ${name} that no cache may store the response, and nothing else`, () => {
      for (
        const headers of [
          issueCookie(resolve(cookie), ours.token, maxAge),
          clearCookie(resolve(cookie)),
        ]
      ) {
        assert.equal(headers.get("cache-control"), "no-store");
        assert.deepEqual([...headers.keys()].sort(), ["cache-control", "set-cookie"]);
      }
    });
  }

  test("keeps name and value within the 4096 bytes that browsers store", () => {
    const name = "n".repeat(4016);
    const [[, value]] = pairs(issueCookie(resolve({ name }), ours.token).get("set-cookie")!) as [
      [string, string],
    ];
    assert.equal(name.length + value.length, 4096);
  });

  test("returns new and mutable headers each time", () => {
    const attributes = resolve();
    const [one, two] = [issueCookie(attributes, ours.token), issueCookie(attributes, ours.token)];
    assert.notEqual(one, two);
    one.append("set-cookie", "theme=dark");
    one.set("cache-control", "private");
    one.delete("set-cookie");
    assert.equal(two.getSetCookie().length, 1);
    assert.equal(two.get("cache-control"), "no-store");
  });
});

describe("clearCookie", () => {
  for (const { name, cookie } of policies) {
    test(`repeats what browsers find the cookie by, for ${name}`, () => {
      const attributes = resolve(cookie);
      const [issued, cleared] = [issueCookie(attributes, ours.token, 60), clearCookie(attributes)]
        .map((headers) => pairs(headers.get("set-cookie")!)) as [
          [string, string?][],
          [string, string?][],
        ];
      assert.deepEqual(cleared[0], [issued[0]![0], ""]);
      assert.deepEqual(cleared.slice(1), [
        ...issued.slice(1).filter(([key]) => key !== "Max-Age"),
        ["Expires", "Thu, 01 Jan 1970 00:00:00 GMT"],
      ]);
    });
  }

  test("clears also the cookie that the browser drops when it closes", () => {
    assert.deepEqual(clearCookie(resolve({ persistent: false })).getSetCookie(), [
      `${NAME}=; Secure; HttpOnly; SameSite=Lax; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT`,
    ]);
  });
});

const CLEARED = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
const beside: { name: string; cookie: CookiePolicy; several?: boolean; expected: string[] }[] = [
  { name: "nothing else if the request has one cookie", cookie: {}, expected: [] },
  {
    name: "the partitioned one if the request has several",
    cookie: {},
    several: true,
    expected: [`${NAME}=; Secure; HttpOnly; Partitioned; SameSite=Lax; Path=/; ${CLEARED}`],
  },
  {
    name: "the one that is not partitioned if the request has several",
    cookie: { partitioned: true, sameSite: "None" },
    several: true,
    expected: [`${NAME}=; Secure; HttpOnly; SameSite=None; Path=/; ${CLEARED}`],
  },
  {
    name: "nothing else by http, where none is partitioned",
    cookie: { secure: false },
    several: true,
    expected: [],
  },
  {
    name: "the previous ones, whatever the request has",
    cookie: {
      name: "sid",
      previous: [{ domain: "example.com" }, { path: "/app" }, { partitioned: true }],
    },
    expected: [
      `sid=; Secure; HttpOnly; Domain=example.com; SameSite=Lax; Path=/; ${CLEARED}`,
      `sid=; Secure; HttpOnly; SameSite=Lax; Path=/app; ${CLEARED}`,
      `sid=; Secure; HttpOnly; Partitioned; SameSite=Lax; Path=/; ${CLEARED}`,
    ],
  },
  {
    name: "one of another name",
    cookie: { previous: [{ name: "__Secure-session", domain: "example.com" }] },
    expected: [
      `__Secure-session=; Secure; HttpOnly; Domain=example.com; SameSite=Lax; Path=/; ${CLEARED}`,
    ],
  },
  {
    name: "the host's own one before a domain was set, and the partitioned one",
    cookie: { domain: "example.com", previous: [{}] },
    several: true,
    expected: [
      `__Secure-session=; Secure; HttpOnly; Partitioned; Domain=example.com; SameSite=Lax; Path=/; ${CLEARED}`,
      `__Secure-session=; Secure; HttpOnly; SameSite=Lax; Path=/; ${CLEARED}`,
    ],
  },
  {
    name: "no cookie twice, and not the cookie itself, if previous names them",
    cookie: {
      name: "sid",
      domain: "example.com",
      previous: [
        { domain: "EXAMPLE.com" },
        { path: "/app" },
        { domain: "Example.com", partitioned: true },
        { path: "/app" },
      ],
    },
    several: true,
    expected: [
      `sid=; Secure; HttpOnly; Partitioned; Domain=example.com; SameSite=Lax; Path=/; ${CLEARED}`,
      `sid=; Secure; HttpOnly; SameSite=Lax; Path=/app; ${CLEARED}`,
    ],
  },
];
describe("a Set-Cookie of ours", () => {
  for (const { name, cookie, several, expected } of beside) {
    test(`clears ${name}, before it sets or clears the cookie itself`, () => {
      const attributes = resolve(cookie);
      for (
        const [headers, own] of [
          [
            issueCookie(attributes, ours.token, 60, several),
            issueCookie(resolve({ ...cookie, previous: [] }), ours.token, 60),
          ],
          [clearCookie(attributes, several), clearCookie(resolve({ ...cookie, previous: [] }))],
        ] as const
      ) {
        assert.deepEqual(headers.getSetCookie(), [...expected, ...own.getSetCookie()]);
        assert.equal(headers.get("cache-control"), "no-store");
        for (const line of headers.getSetCookie()) assert.match(line, setCookieString);
      }
    });
  }
});
