// Properties, tried with many arbitrary inputs. What is expected is stated a second time here, from the RFCs and
// our documents, and not with the code of src/; and the jar of tough-cookie says what a client makes of a cookie.
import { afterAll, beforeAll, describe, test } from "bun:test";
import fc from "fast-check";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Cookie, CookieJar } from "tough-cookie";
import * as coatcheck from "../mod.ts";
import {
  completeResponse,
  configure,
  createSession,
  type CrossOriginOptions,
  isCrossOrigin,
  parseSetCookies,
  type Policy,
  SessionError,
  type Sql,
  updateSession,
  validateSession,
  withSession,
} from "../mod.ts";
import { fromBase64url, fromHex, toBase64url, toHex } from "../src/bytes.ts";
import { clearCookie, issueCookie, readCookies } from "../src/cookie.ts";
import { evaluate } from "../src/evaluate.ts";
import { readOptions, type ResolvedCookie, type ResolvedPolicy } from "../src/policy.ts";
import type { StoredState } from "../src/session.ts";
import { parseToken } from "../src/token.ts";
import { readTokens } from "../src/transport.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
import {
  covers,
  type DrawnToken,
  holds,
  holdsAsync,
  SECRET,
  texts,
  things,
  tokens,
} from "./runner/property.ts";

const resolve = (policy: Policy): ResolvedPolicy => readOptions("configure", policy, []).policy;

// ── Tokens ───────────────────────────────────────────────────────────────────────────────────────

const HEX = "0123456789abcdef";

/** Reads a token without an expression: a UUID in lower case, a dot, and 32 bytes as base64url writes them. */
function restateToken(text: string): { id: string; digest: string; secret: string } | null {
  if (text.length !== 80 || text[36] !== ".") return null;
  for (let index = 0; index < 36; index++) {
    const isDash = [8, 13, 18, 23].includes(index);
    if (isDash ? text[index] !== "-" : !HEX.includes(text[index]!)) return null;
  }
  const bytes = Buffer.from(text.slice(37), "base64url");
  if (bytes.length !== 32 || bytes.toString("base64url") !== text.slice(37)) return null;
  const digest = createHash("sha256").update(bytes).digest("hex");
  return { id: text.slice(0, 36), digest, secret: text.slice(37) };
}

describe("parseToken", () => {
  test("reads every token back as its id, its secret and the digest of the secret", () => {
    holds(fc.property(tokens, ({ id, bytes, token }) => {
      const digest = createHash("sha256").update(bytes).digest("hex");
      assert.deepEqual(parseToken(token), { id, digest, secret: token.slice(37) });
    }));
  });

  test("opens nothing with a token of which one character is changed, added or lost", () => {
    const character = fc.oneof(
      fc.constantFrom(...`${HEX}ABCDEFghz-_.=+/ \t\n\0\u00A0\uFEFFａ`),
      fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
    );
    holds(fc.property(tokens, fc.nat(80), fc.nat(1), character, ({ token }, at, cut, by) => {
      for (const changed of [by, ""]) {
        const other = token.slice(0, at) + changed + token.slice(at + cut);
        if (other === token) continue;
        const [right, wrong] = [parseToken(token)!, parseToken(other)];
        assert.ok(wrong === null || wrong.id !== right.id || wrong.digest !== right.digest);
      }
    }));
  });

  test("takes text only if it is the one spelling of an id and 32 bytes", () => {
    const near = fc.tuple(tokens, texts, fc.nat(80), fc.nat(80))
      .map(([{ token }, by, from, to]) => token.slice(0, from) + by + token.slice(to));
    const cased = tokens.map(({ token }) => token.toUpperCase());
    const shaped = fc.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[\w-]{43}$/);
    holds(fc.property(fc.oneof(texts, near, cased, shaped), (text) => {
      const parsed = parseToken(text);
      assert.deepEqual(parsed, restateToken(text));
      if (!parsed) return;
      assert.equal(`${parsed.id}.${parsed.secret}`, text);
    }));
  });
});

describe("bytes as text", () => {
  test("are what Buffer and btoa write, and read back as they were", () => {
    holds(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.equal(toHex(bytes), Buffer.from(bytes).toString("hex"));
      assert.equal(toBase64url(bytes), Buffer.from(bytes).toString("base64url"));
      const padded = btoa(String.fromCharCode(...bytes));
      const spelling = padded.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
      assert.equal(toBase64url(bytes), spelling);
      for (const read of [fromHex(toHex(bytes)), fromBase64url(toBase64url(bytes))]) {
        assert.deepEqual(read, Uint8Array.from(bytes));
      }
    }));
  });
});

// ── Cookies that come ────────────────────────────────────────────────────────────────────────────

/** Removes SP and HTAB from both ends, as RFC 6265bis, section 5.6, does; nothing else is white space. */
function strip(text: string): string {
  const units = text.split("");
  const isInk = (unit: string) => unit !== " " && unit !== "\t";
  const start = units.findIndex(isInk);
  return start === -1 ? "" : text.slice(start, units.findLastIndex(isInk) + 1);
}

/**
 * Reads a Cookie header character by character: a `;` ends a pair, the first `=` in it ends the name. Quotes,
 * commas, percent signs and `$Version` mean nothing.
 */
function restateCookies(header: string): { name: string; value: string }[] {
  const pairs = [];
  let name: string | undefined;
  let text: string[] = [];
  for (const unit of [...header.split(""), ";"]) {
    if (unit === ";") {
      if (name !== undefined) pairs.push({ name, value: strip(text.join("")) });
      [name, text] = [undefined, []];
    } else if (unit === "=" && name === undefined) {
      [name, text] = [strip(text.join("")), []];
    } else {
      text.push(unit);
    }
  }
  return pairs;
}

/** What a header presents: the different tokens in their order, at most eight. */
function restatePresented(header: string, names: readonly string[]) {
  const ours = restateCookies(header).filter(({ name }) => names.includes(name));
  const found = [...new Set(ours.map(({ value }) => value))]
    .map(restateToken).filter((it) => it !== null);
  const one = found.length > 0 && found.length <= 8 ? found : "malformed";
  return { tokens: ours.length === 0 ? "absent" : one, areSeveral: ours.length > 1 };
}

const cookieNames = fc.constantFrom(
  ["__Host-session"],
  ["__Host-session", "__Secure-session", "sid"],
  ["a.b"],
  ["__proto__"],
  ["toString", "$Version"],
);

// Numbers are places of a token: the n-th of a few, so that one token comes again.
const pieces = fc.oneof(
  fc.constantFrom(...';= ,"\\\t$%', "; ", "=", ";", "=", "; "),
  fc.constantFrom("__Host-session", "__Host-session=", "; __Host-session=", "sid=", "a.b=", "aXb="),
  fc.constantFrom("__host-session=", "__HOST-SESSION=", "__Host-session =", "%5F%5FHost-session="),
  fc.constantFrom(
    '$Version="1"; ',
    "$Path=/",
    "toString=",
    "__proto__=",
    "constructor=",
    "theme=dark",
  ),
  fc.constantFrom("\u00A0", "\uFEFF", "\u2000", "\u0085", "\0", "\n", "\r\n", "\v", "\u200B"),
  fc.nat(11),
  texts,
);
const inHeader = (pool: readonly DrawnToken[], parts: readonly (string | number)[]) =>
  parts.map((it) => typeof it === "number" ? pool[it % pool.length]!.token : it).join("");
const pools = fc.array(tokens, { minLength: 1, maxLength: 12 });
const soups = fc.tuple(pools, fc.array(pieces, { maxLength: 40 }))
  .map(([pool, parts]) => inHeader(pool, parts));

// What some parsers remove from a value.
const around = fc.constantFrom('"', '"', "'", "%22", "=", " ", "\t", "\u00A0", "\n", ",", "\\");
// Headers as a browser writes them, of which some characters are then changed.
const pairs = fc.record({
  name: fc.constantFrom("__Host-session", "__Secure-session", "sid", "a.b", "theme", "__proto__"),
  value: fc.oneof(
    { weight: 6, arbitrary: fc.nat(11).map((it) => [it]) },
    { weight: 2, arbitrary: fc.tuple(around, fc.nat(11), around) },
    { weight: 2, arbitrary: texts.map((it) => [it]) },
  ),
  space: fc.constantFrom(" ", " ", " ", "", "\t", "\u00A0"),
});
const headers = fc.tuple(pools, fc.array(pairs, { maxLength: 20 }))
  .map(([pool, all]) =>
    all.map((it) => `${it.name}=${inHeader(pool, it.value)};${it.space}`).join("")
  );
const edits = fc.array(fc.tuple(fc.nat(1000).map((it) => it / 1000), fc.nat(3), texts), {
  maxLength: 3,
});
const edited = fc.tuple(headers, edits).map(([header, changes]) => {
  for (const [place, cut, by] of changes) {
    const at = Math.floor(place * header.length);
    header = header.slice(0, at) + by + header.slice(at + cut);
  }
  return header;
});

describe("readCookies", () => {
  test("finds the tokens that the pairs of RFC 6265bis hold, by the exact name, in any header", () => {
    holds(
      fc.property(fc.oneof(soups, headers, edited, texts), cookieNames, (header, names) => {
        assert.deepEqual(readCookies(header, names), restatePresented(header, names));
      }),
      2000,
    );
  });

  test("finds the same in a header of 64 KB, and among thousands of cookies", () => {
    const long = fc.tuple(fc.oneof(soups, headers, pieces.map(String)), headers)
      .map(([part, end]) => (part || ";").repeat(65_536).slice(0, 65_536) + end);
    holds(
      fc.property(long, cookieNames, (header, names) => {
        assert.deepEqual(readCookies(header, names), restatePresented(header, names));
      }),
      10,
    );
  });

  test("finds a token wherever it stands among other cookies, and refuses more than eight", () => {
    const other = fc.stringMatching(/^[a-z]{1,8}=[\w."$,-]{0,20}$/);
    const many = fc.uniqueArray(tokens, { selector: ({ token }) => token, maxLength: 10 });
    holds(
      fc.property(many, fc.array(other, { maxLength: 200 }), (ours, others) => {
        const header = ours.map(({ token }) => `__Host-session=${token}`)
          .flatMap((it, index) => [...others.slice(0, index), it])
          .concat(others).join("; ");
        const { tokens: read, areSeveral } = readCookies(header, ["__Host-session"]);
        assert.equal(areSeveral, ours.length > 1);
        if (ours.length === 0) assert.equal(read, "absent");
        else if (ours.length > 8) assert.equal(read, "malformed");
        else assert.deepEqual([...read].map((it) => Object(it).id), ours.map(({ id }) => id));
      }),
      200,
    );
  });
});

describe("a bearer token", () => {
  test("is read by the grammar of RFC 6750 alone: the scheme, spaces and one token", () => {
    const policy = resolve({ transport: "bearer" });
    const scheme = fc.constantFrom("Bearer", "bearer", "BEARER", "Basic", "Bearerx", "", "Bearer,");
    const gap = fc.constantFrom(" ", "  ", "", "\t", "\u00A0", "=");
    const value = fc.oneof(tokens.map(({ token }) => token), texts);
    const near = fc.tuple(scheme, gap, value, fc.constantFrom("", "", "", " ", ",", "=="))
      .map((parts) => parts.join(""));
    holds(
      fc.property(fc.oneof(near, texts), (header) => {
        const isOurs = header.slice(0, 6).toLowerCase() === "bearer" &&
          (header.length === 6 || header[6] === " ");
        let start = 6;
        while (header[start] === " ") start++;
        const token = isOurs ? restateToken(header.slice(start)) : null;
        const { tokens: read } = readTokens("validateSession: headers", {
          get: () => header,
        }, policy);
        // A line break ends the text that can be ours.
        if (/[\n\r\u2028\u2029]/.test(header)) {
          assert.ok(typeof read === "string");
        } else assert.deepEqual(read, token ? [token] : isOurs ? "malformed" : "absent");
      }),
      1000,
    );
  });
});

// ── Cookies that go ──────────────────────────────────────────────────────────────────────────────

// RFC 6265bis, section 4.1.1, and what it takes from RFC 9110 and RFC 1034. Of extension-av, Partitioned alone.
const date =
  "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \\d\\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) " +
  "\\d{4} \\d\\d:\\d\\d:\\d\\d GMT";
const label = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?";
const attribute = [
  `Expires=${date}`,
  "Max-Age=[1-9][0-9]*",
  `Domain=${label}(?:\\.${label})*`,
  "Path=/[\\x20-\\x3A\\x3C-\\x7E]*",
  "Secure",
  "HttpOnly",
  "SameSite=(?:Strict|Lax|None)",
  "Partitioned",
].join("|");
const SET_COOKIE = new RegExp(
  "^[!#$%&'*+.^_`|~0-9A-Za-z-]+=[\\x21\\x23-\\x2B\\x2D-\\x3A\\x3C-\\x5B\\x5D-\\x7E]*" +
    `(?:; (?:${attribute}))*$`,
);

/** Checks one line: the grammar, no attribute twice, and the sizes that browsers accept (section 5.6). */
function requireLine(line: string): void {
  assert.match(line, SET_COOKIE);
  const [pair = "", ...rest] = line.split("; ");
  const names = rest.map((it) => it.split("=", 1)[0]!.toLowerCase());
  assert.equal(new Set(names).size, names.length, line);
  assert.ok(pair.length - 1 <= 4096, "name and value");
  for (const it of rest) assert.ok(it.length - it.indexOf("=") - 1 <= 1024, it);
  const has = (it: string) => names.includes(it);
  assert.ok(has("httponly") && has("samesite") && has("path"), line);
  // What browsers demand of these, in any letter case (section 5.4; CHIPS for Partitioned).
  if (/^__(?:secure|http|host)/i.test(pair)) assert.ok(has("secure"), line);
  if (/^__host/i.test(pair)) assert.ok(!has("domain") && line.includes("; Path=/"), line);
  if (/^__host/i.test(pair)) assert.ok(!/; Path=\/[^;]/.test(line), line);
  if (has("partitioned") || line.includes("SameSite=None")) assert.ok(has("secure"), line);
}

/** What a browser finds a cookie by. */
function keyOf(line: string): string {
  const value = (name: string) => line.match(new RegExp(`; ${name}=([^;]*)`))?.[1];
  const isPartitioned = line.includes("; Partitioned");
  return JSON.stringify([
    line.split("=", 1)[0],
    value("Domain")?.toLowerCase(),
    value("Path"),
    isPartitioned,
  ]);
}

const HOST = "www.app.example.com";
const optional = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const part = fc.stringMatching(/^[\w.~!$&'()*+@:=-]{1,8}$/).filter((it) => !/^\.\.?$/.test(it));
const cookiePaths = fc.oneof(
  fc.constantFrom("/", "/", "/app", "/app/", "/a//b"),
  fc.array(part, { maxLength: 4 }).map((parts) => `/${parts.join("/")}`),
);
// What HOST may set a cookie for.
const domains = fc.constantFrom("example.com", "app.example.com", "EXAMPLE.com", HOST);
const validNames = fc.oneof(
  fc.constantFrom(
    "sid",
    "__Secure-sid",
    "__secure-sid",
    "__Http-sid",
    "__proto__",
    "Path",
    "Secure",
  ),
  fc.constantFrom("__Host-sid", "__HOST-SID", "__Host-Http-sid"),
  fc.stringMatching(/^[\w!#$%&'*+.^`|~-]{1,12}$/),
);
const previousCookies = fc.record({
  name: optional(validNames),
  domain: optional(domains),
  path: optional(cookiePaths),
  partitioned: optional(fc.boolean()),
}, { requiredKeys: [] });
/** Cookies that mostly resolve. */
const plausible: fc.Arbitrary<object> = fc.record({
  name: optional(validNames),
  domain: optional(domains),
  path: optional(cookiePaths),
  secure: fc.constantFrom(true, true, true, undefined, false),
  sameSite: fc.constantFrom("Lax", "Strict", "None", undefined),
  partitioned: fc.constantFrom(false, true, undefined),
  persistent: optional(fc.boolean()),
  previous: fc.oneof(fc.constant([]), fc.array(previousCookies, { maxLength: 4 })),
}, { requiredKeys: [] });

const hostile = fc.oneof(
  texts,
  fc.tuple(
    fc.constantFrom("a", "/", "example.com", "__Host-"),
    fc.constantFrom(...'; ,\r\n\0="\\é\u00A0\t'),
  )
    .chain(([start, bad]) => texts.map((end) => `${start}${bad}${end}`)),
  fc.constantFrom(
    "a; Secure",
    "/; Domain=evil.example",
    "a\r\nSet-Cookie: b=c",
    ".example.com",
    "a.",
    "-",
  ),
  fc.string({ unit: fc.constantFrom("a"), minLength: 1000, maxLength: 4100, size: "max" }),
  things,
);
/** Cookies of which one part is whatever it may be. */
const broken = fc.tuple(
  plausible,
  fc.constantFrom("name", "domain", "path", "secure", "sameSite", "partitioned", "previous"),
  hostile,
  fc.boolean(),
).map(([cookie, key, value, isBefore]) => {
  if (!isBefore) return { ...cookie, [key]: value };
  return { ...cookie, previous: [{ [key]: value }] };
});

/** The cookie of a policy; undefined if the policy is refused, as it must be: by a TypeError or a RangeError. */
function resolveCookie(cookie: object): ResolvedCookie | undefined {
  try {
    return resolve({ cookie }).cookie;
  } catch (error) {
    assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
    assert.match(error.message, /^configure: cookie[.\w[\]]* must /);
    return undefined;
  }
}

const maxAges = optional(fc.integer({ min: 1, max: 34_560_000 }));

/** Every list of lines that a cookie has: set and cleared, to a request with one cookie and with several. */
function linesOf(cookie: ResolvedCookie, token: string, maxAge: number | undefined): string[][] {
  return [false, true].flatMap((areSeveral) => [
    issueCookie(cookie, token, maxAge, areSeveral).getSetCookie(),
    clearCookie(cookie, areSeveral).getSetCookie(),
  ]);
}

describe("a Set-Cookie of any policy", () => {
  test("has the grammar of RFC 6265bis and no attribute twice, or the policy is refused", () => {
    let resolved = 0;
    holds(
      fc.property(fc.oneof(plausible, broken), tokens, maxAges, (given, { token }, maxAge) => {
        const cookie = resolveCookie(given);
        if (!cookie) return;
        resolved++;
        for (const line of linesOf(cookie, token, maxAge).flat()) requireLine(line);
      }),
      2000,
    );
    covers(resolved, 500);
  });

  test("never names one cookie twice in a response: name, domain, path and partition", () => {
    holds(
      fc.property(plausible, tokens, maxAges, (given, { token }, maxAge) => {
        const cookie = resolveCookie(given);
        if (!cookie) return;
        for (const lines of linesOf(cookie, token, maxAge)) {
          const keys = lines.map(keyOf);
          assert.equal(new Set(keys).size, keys.length, lines.join("\n"));
        }
      }),
      2000,
    );
  });

  test("is stored by a client with these attributes, sent back, and gone after it is cleared", () => {
    const own = fc.tuple(plausible, tokens, tokens, maxAges, fc.boolean());
    holds(
      fc.property(own, ([given, before, after, maxAge, areSeveral]) => {
        const cookie = resolveCookie(given);
        if (!cookie) return;
        const jar = new JarOf(cookie);
        for (const it of cookie.previous) {
          jar.take(issueCookie({ ...it, previous: [] }, before.token));
        }
        jar.take(issueCookie(cookie, after.token, maxAge, areSeveral));
        const [stored, ...others] = jar.content();
        assert.deepEqual(others, []);
        const { name, domain, path, secure, sameSite, partitioned } = cookie;
        assert.deepEqual(stored, {
          name,
          value: after.token,
          domain: domain?.toLowerCase() ?? HOST,
          hostOnly: domain === undefined,
          path,
          secure,
          httpOnly: true,
          sameSite: sameSite.toLowerCase(),
          partitioned,
          maxAge,
        });
        assert.equal(jar.cookieHeader(), `${name}=${after.token}`);
        const { tokens: read } = readCookies(jar.cookieHeader(), [name]);
        assert.deepEqual([...read].map((it) => Object(it).id), [after.id]);
        jar.take(clearCookie(cookie, areSeveral));
        assert.deepEqual(jar.content(), []);
      }),
      1000,
    );
  });

  test("is the same for parseSetCookies as for tough-cookie", () => {
    holds(fc.property(plausible, tokens, maxAges, (given, { token }, maxAge) => {
      const cookie = resolveCookie(given);
      if (!cookie) return;
      for (const lines of linesOf(cookie, token, maxAge)) {
        const from = Date.now();
        const parsed = parseSetCookies({ getSetCookie: () => lines });
        const until = Date.now();
        assert.equal(parsed.length, lines.length);
        for (const [index, { name, value, attributes }] of parsed.entries()) {
          const it = Cookie.parse(lines[index]!)!;
          assert.deepEqual([name, value], [it.key, it.value]);
          const { expires, domain, partitioned, ...rest } = attributes;
          assert.deepEqual(rest, {
            path: it.path,
            httpOnly: it.httpOnly,
            secure: it.secure,
            sameSite: it.sameSite,
          });
          assert.equal(domain?.toLowerCase(), it.domain ?? undefined);
          assert.equal(partitioned ?? false, it.extensions?.includes("Partitioned") ?? false);
          if (typeof it.maxAge === "number") {
            const end = expires!.getTime() - it.maxAge * 1000;
            assert.ok(from <= end && end <= until);
          } else {
            assert.deepEqual(expires, it.expires instanceof Date ? it.expires : undefined);
          }
        }
      }
    }));
  });
});

/** The jar of a client of HOST, that looks at the path of a cookie. */
class JarOf {
  readonly #jar = new CookieJar(undefined, { prefixSecurity: "strict" });
  readonly #url: URL;

  constructor({ path }: { readonly path: string }) {
    this.#url = new URL(`https://${HOST}${path}`);
    // Encoded once more, as tough-cookie decodes the path of a URL, which no browser does.
    this.#url.pathname = this.#url.pathname.replaceAll("%", "%25");
  }

  /** Takes the lines of a response, and fails for one that a client refuses. */
  take(response: Headers): void {
    for (const line of response.getSetCookie()) this.#jar.setCookieSync(line, this.#url);
  }

  /** The cookies for every path. */
  content() {
    return this.#jar.getCookiesSync(this.#url, { allPaths: true }).map((it) => ({
      name: it.key,
      value: it.value,
      domain: it.domain,
      hostOnly: it.hostOnly,
      path: it.path,
      secure: it.secure,
      httpOnly: it.httpOnly,
      sameSite: it.sameSite,
      partitioned: it.extensions?.includes("Partitioned") ?? false,
      maxAge: it.maxAge ?? undefined,
    }));
  }

  cookieHeader(): string {
    return this.#jar.getCookieStringSync(this.#url);
  }
}

describe("cookie.path", () => {
  test("is a path whose requests carry the cookie, or is refused", () => {
    const character = fc.constantFrom(..."/.%2eE?#\"<>\\^`{|}[]'@:=~!$&()*+-_aZ09");
    const path = fc.oneof(
      fc.string({ unit: character, maxLength: 12 }).map((it) => `/${it}`),
      texts.map((it) => `/${it}`),
      cookiePaths,
    );
    let resolved = 0;
    holds(
      fc.property(path, tokens, (path, { token }) => {
        const cookie = resolveCookie({ name: "sid", path });
        if (!cookie) return;
        resolved++;
        assert.equal(new URL(`https://${HOST}${path}`).pathname, path);
        for (const target of [path, `${path.replace(/\/$/, "")}/below?a=b#c`]) {
          const jar = new JarOf({ path: target });
          jar.take(issueCookie(cookie, token));
          assert.equal(jar.cookieHeader(), `sid=${token}`, target);
        }
      }),
      2000,
    );
    covers(resolved, 200);
  });
});

// ── Responses ────────────────────────────────────────────────────────────────────────────────────

/** Whether Cache-Control says what a shared cache may do, by the grammar of RFC 9111, section 5.2. */
function saysWhatCachesMayDo(value: string): boolean {
  const directives: string[] = [];
  let [text, isQuoted] = ["", false];
  for (const unit of [...value.split(""), ","]) {
    if (unit === '"') isQuoted = !isQuoted;
    if (unit !== "," || isQuoted) text += unit;
    else [directives[directives.length], text] = [strip(text).toLowerCase(), ""];
  }
  return directives.some((it) =>
    ["private", "public", "no-store"].includes(it) || it.startsWith("s-maxage=")
  );
}

describe("completeResponse", () => {
  const directive = fc.constantFrom(
    ...[
      "private",
      "public",
      "no-store",
      "no-cache",
      "max-age=60",
      "s-maxage=60",
      "s-maxage",
      "Private",
    ],
    ...['private="set-cookie"', 'ext="a, private, b"', "privateer", "not-public", "S-MAXAGE=1", ""],
  );
  const caches = optional(
    fc.array(directive, { minLength: 1, maxLength: 4 }).map((it) => it.join(", ")),
  );
  const lines = fc.array(
    fc.oneof(
      fc.constantFrom(
        "theme=dark; Path=/",
        "sid=other; Path=/",
        "__host-session=x",
        "a=__Host-session=b",
      ),
      fc.constantFrom("__Host-session=own; Path=/; Secure", " __Host-session =own; Path=/; Secure"),
      fc.constantFrom(
        "__Host-session",
        "\u00A0__Host-session=x",
        "__Host-session2=x",
        "=__Host-session",
      ),
    ),
    { maxLength: 3 },
  );
  const responses = fc.record({
    status: fc.constantFrom(200, 201, 204, 303, 401, 403, 500),
    lines,
    caches,
    vary: fc.constantFrom(
      undefined,
      "Accept",
      "cookie",
      "*",
      "Accept, Cookie",
      "X-Cookie",
      "Cookies",
    ),
    targeted: fc.boolean(),
    isImmutable: fc.boolean(),
  });
  const results = fc.record({
    issued: optional(tokens),
    reason: fc.constantFrom(undefined, "absent", "malformed", "unknown", "idle", "conflict"),
  });
  const policy = resolve({});

  test("keeps every cookie of the handler, adds ours only beside none of our name, and lets no cache keep it", () => {
    holds(
      fc.property(responses, results, (given, { issued, reason }) => {
        const headers = new Headers();
        for (const line of given.lines) headers.append("set-cookie", line);
        if (given.caches !== undefined) headers.set("cache-control", given.caches);
        if (given.vary) headers.set("vary", given.vary);
        if (given.targeted) headers.set("cdn-cache-control", "public, max-age=60");
        const before = new Response(null, { status: given.status, headers });
        const kept = before.headers.getSetCookie();
        const caches = headers.get("cache-control");
        const response = given.isImmutable ? immutable(before) : before;
        const result = {
          headers: issued ? issueCookie(policy.cookie, issued.token, 60) : new Headers(),
          reason: reason as "unknown",
        };
        const completed = completeResponse(response, result);
        assert.equal(completed.status, given.status);
        const isOurs = (line: string) => {
          const pair = line.split(";", 1)[0]!;
          return pair.includes("=") && restateCookies(pair)[0]!.name === "__Host-session";
        };
        const isChosen = kept.some(isOurs);
        const added = isChosen ? [] : result.headers.getSetCookie();
        assert.deepEqual(completed.headers.getSetCookie(), [...kept, ...added]);
        const control = completed.headers.get("cache-control");
        if (isChosen || added.length > 0) {
          assert.equal(control, "no-store");
          assert.equal(completed.headers.get("cdn-cache-control"), null);
        } else if (reason === "absent" || saysWhatCachesMayDo(caches ?? "")) {
          assert.equal(control, caches);
        } else {
          assert.ok(saysWhatCachesMayDo(control!), control!);
        }
        const varies = completed.headers.get("vary")!.toLowerCase().split(",").map(strip);
        assert.ok(varies.includes("cookie") || varies.includes("*"));
        // The handler may return one constant response to every user.
        if (added.length > 0) assert.deepEqual(response.headers.getSetCookie(), kept);
      }),
      1000,
    );
  });

  /** A response whose headers cannot be changed, as that of `fetch`. */
  function immutable(response: Response): Response {
    const { headers } = response;
    for (const name of ["append", "set", "delete"] as const) {
      Object.defineProperty(headers, name, {
        value: () => {
          throw new TypeError("immutable");
        },
      });
    }
    return response;
  }
});

// ── The cross-origin check ───────────────────────────────────────────────────────────────────────

interface Place {
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number | undefined;
}

const defaultPort = (scheme: "http" | "https") => scheme === "http" ? 80 : 443;
const places: fc.Arbitrary<Place> = fc.record({
  scheme: fc.constantFrom("http", "https"),
  host: fc.constantFrom(
    ...["app.example", "app.example", "app.example", "evil.example", "app.example.evil.example"],
    ...["localhost", "127.0.0.1", "[::1]", "xn--bcher-kva.example", "pp.example"],
  ),
  port: fc.constantFrom(undefined, undefined, undefined, 80, 443, 8080),
});
/** An origin as browsers write it: without the default port. */
const written = ({ scheme, host, port }: Place) =>
  `${scheme}://${host}${port === undefined || port === defaultPort(scheme) ? "" : `:${port}`}`;

/** An Origin: its text, and where it is if a browser writes it so. */
interface Sent {
  readonly text: string | null;
  readonly place?: Place;
}
const strange = fc.oneof(
  fc.constantFrom(
    "null",
    "",
    "https://",
    "app.example",
    "https://app.example/",
    "HTTPS://app.example",
  ),
  fc.constantFrom(
    "https://APP.example",
    "https://app.example.",
    "https://a@app.example",
    "tauri://localhost",
  ),
  fc.constantFrom(
    "https://app.example:443",
    "http://app.example:80",
    "https:\\\\app.example",
    "https://app.example?",
  ),
  fc.constantFrom(
    "https://app.example https://evil.example",
    "https://app.example, https://evil.example",
  ),
  texts,
);
const origins: fc.Arbitrary<Sent> = fc.oneof(
  { weight: 6, arbitrary: places.map((place) => ({ text: written(place), place })) },
  { weight: 3, arbitrary: strange.map((text) => ({ text })) },
  { weight: 2, arbitrary: fc.constant({ text: null }) },
);
const trustable = fc.oneof(
  places.map(written),
  fc.constantFrom("tauri://localhost", "capacitor://localhost"),
);

const requests = fc.record({
  method: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom("POST", "PUT", "DELETE", "PATCH", "QUERY", "CONNECT") },
    { weight: 2, arbitrary: fc.constantFrom("GET", "HEAD", "OPTIONS") },
    { weight: 1, arbitrary: fc.constantFrom("get", "Head", "GET ", " GET", "", "TRACE", "GETS") },
    { weight: 1, arbitrary: texts },
  ),
  site: fc.oneof(
    { weight: 4, arbitrary: fc.constant(null) },
    { weight: 3, arbitrary: fc.constantFrom("same-origin", "none", "same-site", "cross-site", "") },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        "SAME-ORIGIN",
        "same-origin, cross-site",
        "none ",
        "same-origin;",
        "null",
      ),
    },
    { weight: 1, arbitrary: texts },
  ),
  upgrade: fc.oneof(
    { weight: 4, arbitrary: fc.constant(null) },
    {
      weight: 1,
      arbitrary: fc.constantFrom("websocket", "WebSocket", "h2c", "h2c, websocket", ""),
    },
  ),
  origin: origins,
  place: places,
  path: fc.constantFrom("/", "/a/b?c=d#e", "/https://evil.example", "/?origin=https://app.example"),
  own: optional(trustable),
  trusted: fc.array(trustable, { maxLength: 3 }),
});
type Asked = typeof requests extends fc.Arbitrary<infer Value> ? Value : never;

/** Whether a request is refused, as Go's CrossOriginProtection and the table of `isCrossOrigin` say it. */
function restateCrosses({ method, site, upgrade, origin, place, own, trusted }: Asked): boolean {
  const isSafe = method === "GET" || method === "HEAD" || method === "OPTIONS";
  if (isSafe && !(upgrade ?? "").toLowerCase().includes("websocket")) return false;
  if (site === "same-origin" || site === "none") return false;
  const from = origin.text === "" ? null : origin.text;
  if (from !== null && trusted.some((it) => it === from)) return false;
  if (site !== null && site !== "") return true;
  if (from === null) return false;
  if (own !== undefined) return from !== own;
  if (!origin.place) return true;
  // A URL of http may have been https before a proxy: its default port is that of the page's scheme.
  const page = origin.place;
  if (place.scheme === "https" && page.scheme === "http") return true;
  const isDefault = place.port === undefined || place.port === defaultPort(place.scheme);
  const here = isDefault ? defaultPort(page.scheme) : place.port;
  return page.host !== place.host || (page.port ?? defaultPort(page.scheme)) !== here;
}

const urlOf = ({ place: { scheme, host, port }, path }: Asked) =>
  `${scheme}://${host}${port === undefined ? "" : `:${port}`}${path}`;
function requestOf(asked: Asked, url = urlOf(asked)) {
  const { method, site, upgrade, origin } = asked;
  const fields: Record<string, string | null> = {
    "sec-fetch-site": site,
    upgrade,
    origin: origin.text,
    // Never read.
    host: "evil.example",
    referer: "https://evil.example/",
    "x-forwarded-host": "evil.example",
  };
  return { method, url, headers: { get: (name: string) => fields[name.toLowerCase()] ?? null } };
}

describe("the cross-origin check", () => {
  test("decides by the rules of Go's CrossOriginProtection and of our table, for any request", () => {
    const counts = [0, 0];
    holds(
      fc.property(requests, (asked) => {
        const expected = restateCrosses(asked);
        counts[Number(expected)]!++;
        const options: CrossOriginOptions = { origin: asked.own, trustedOrigins: asked.trusted };
        assert.equal(isCrossOrigin(requestOf(asked), options), expected);
      }),
      5000,
    );
    covers(Math.min(...counts), 500);
  });

  test("never lets a page of another origin through if the URL of the request is none", () => {
    const url = fc.oneof(
      texts,
      fc.constantFrom("http://", "https://a b/", "/path", "//app.example/"),
    );
    holds(
      fc.property(requests, url, (asked, url) => {
        // What an arbitrary text has in common with a URL is for the property before.
        fc.pre(!URL.canParse(url));
        const options = { origin: asked.own, trustedOrigins: asked.trusted };
        const isPath = url.startsWith("/") && asked.own === undefined;
        if (isPath) {
          assert.throws(() => isCrossOrigin(requestOf(asked, url), options), TypeError);
        } else {
          const nowhere = { ...asked, origin: { text: asked.origin.text } };
          assert.equal(isCrossOrigin(requestOf(asked, url), options), restateCrosses(nowhere));
        }
      }),
      1000,
    );
  });

  test("is made by withSession before the handler runs, and refuses with 403", async () => {
    const sql: Sql = () => Promise.reject(new Error("A request without a cookie needs no SQL"));
    await holdsAsync(
      fc.asyncProperty(requests, async (asked) => {
        let calls = 0;
        const handler = () => (calls++, new Response("ok"));
        const options = { origin: asked.own, trustedOrigins: asked.trusted };
        const wrapped = withSession(handler, sql, options);
        const { status } = await wrapped(requestOf(asked) as unknown as Request);
        const expected = restateCrosses(asked);
        assert.deepEqual([status, calls], expected ? [403, 0] : [200, 1]);
      }),
      500,
    );
  });

  test("trusts an origin only as browsers write it: scheme, host, and a port that is not the default", () => {
    const near = fc.tuple(places.map(written), fc.nat(30), fc.nat(2), texts)
      .map(([origin, at, cut, by]) => origin.slice(0, at) + by + origin.slice(at + cut));
    const extended = fc.tuple(
      trustable,
      fc.constantFrom("/", "?", "#", ".", ":", ":80", ":443", " ", "\\", "/a"),
    )
      .map((parts) => parts.join(""));
    const origin = fc.oneof(trustable, strange, near, extended, things);
    holds(
      fc.property(origin, fc.boolean(), (value, isOwn) => {
        fc.pre(!isOwn || value !== undefined);
        const options = isOwn ? { origin: value } : { trustedOrigins: [value] };
        const setting = isOwn ? "origin" : "trustedOrigins[0]";
        const post = { method: "POST", url: "https://other.example/", headers: new Headers() };
        try {
          isCrossOrigin(post, options as CrossOriginOptions);
        } catch (error) {
          assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
          assert.ok(error.message.startsWith(`isCrossOrigin: ${setting} must `), error.message);
          assert.ok(!error.message.includes(SECRET));
          return;
        }
        assert.ok(typeof value === "string");
        assert.match(value, /^[a-z][a-z0-9+.-]*:\/\/[^\s/?#@\\*]+$/);
        if (!/^https?:/.test(value)) return;
        assert.ok(isWritten(value), value);
      }),
      2000,
    );
  });

  /** Whether a value is an origin of http or https in its one spelling, with a host that a URL may have. */
  function isWritten(value: string): boolean {
    const [, scheme, host, port] = value.match(
      /^(https?):\/\/([!$&-).+,;=~a-z0-9_`{}"'-]+|\[[0-9a-f:]+\])(?::(0|[1-9]\d{0,4}))?$/,
    ) ?? [];
    if (!scheme || !host || host.endsWith(".") || Number(port ?? 1) > 65_535) return false;
    return Number(port) !== defaultPort(scheme as "http" | "https");
  }
});

// ── Policies and options ─────────────────────────────────────────────────────────────────────────

const seconds = fc.oneof(
  fc.integer({ min: -1, max: 40 }),
  fc.integer({ min: 1, max: 34_560_002 }),
  fc.constantFrom(34_560_000, 34_560_001, 86_400, 86_401, 3600, 3601, 10_000, 10_001, 1.5, NaN),
);
const limits = fc.oneof(
  { weight: 6, arbitrary: seconds },
  { weight: 2, arbitrary: fc.constantFrom(false, undefined) },
  { weight: 1, arbitrary: things },
);
const NUMBERS = [
  "idleTimeout",
  "absoluteTimeout",
  "touchInterval",
  "rotateAfter",
  "rotationGrace",
  "maxSessions",
  "queryTimeout",
] as const;
const OTHERS = ["transport", "cookie", "onEvent"] as const;
const settings: fc.Arbitrary<Record<string, unknown>> = fc.record({
  ...Object.fromEntries(NUMBERS.map((key) => [key, limits])),
  transport: fc.constantFrom("cookie", "bearer", undefined),
  cookie: fc.oneof(plausible, broken),
  onEvent: fc.constantFrom(undefined, () => {}),
}, { requiredKeys: [] });
const wild = fc.oneof(
  things,
  fc.dictionary(
    fc.oneof(fc.constantFrom(...NUMBERS, ...OTHERS, "__proto__", "constructor"), texts),
    things,
  ),
  fc.tuple(settings, fc.constantFrom(...NUMBERS, ...OTHERS, "ttl", "__proto__"), things)
    .map(([given, key, value]) =>
      Object.defineProperty(given, key, {
        value,
        enumerable: true,
        configurable: true,
      })
    ),
);
// Of few settings, as one that is refused hides what the others do.
const few = fc.tuple(settings, fc.subarray([...NUMBERS, ...OTHERS], { maxLength: 3 }))
  .map(([given, keys]) =>
    Object.fromEntries(
      Object.entries(given).filter(([key]) => keys.includes(key as "cookie")),
    )
  );

// Numbers that are the same, or beside each other, as some must be less than others.
const close = fc.tuple(
  fc.integer({ min: 1, max: 40 }),
  fc.subarray([...NUMBERS], { minLength: 2, maxLength: 3 }),
)
  .chain(([number, keys]) => {
    const value = fc.constantFrom(number - 1, number, number, number + 1);
    return fc.record(Object.fromEntries(keys.map((key) => [key, value])));
  });

/** What a program has for all its objects: it must be as it was. */
const prototypes = () =>
  JSON.stringify(
    [Object, Array, Function, String, Map, Headers].map(({ prototype }) =>
      Reflect.ownKeys(prototype).map(String)
    ),
  );

/** Checks how a call refuses its options: by the function's name, one of its settings, and no value. */
function requireRefusal(caller: string, error: unknown): string {
  assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
  const { message, stack = "", cause } = error;
  assert.ok(message.startsWith(`${caller}: `), message);
  assert.match(message, / must [^]+, got [^]+$/);
  assert.equal(cause, undefined);
  // Only a key that is unknown is quoted.
  const isKey = / must have no keys/.test(message);
  if (!isKey) { for (const it of [message, stack]) assert.ok(!it.includes(SECRET), message); }
  return message.slice(caller.length + 2).split(" must ", 1)[0]!;
}

/** Checks a resolved policy by the ranges that the reference documents. */
function requireRanges(policy: ResolvedPolicy, given: Record<string, unknown>): void {
  const within = (value: unknown, least: number, most: number, what: string) =>
    assert.ok(Number.isInteger(value) && Number(value) >= least && Number(value) <= most, what);
  const { idleTimeout, absoluteTimeout, rotationGrace, touchInterval, rotateAfter } = policy;
  within(absoluteTimeout, 1, 400 * 86_400, "absoluteTimeout");
  within(idleTimeout, 1, absoluteTimeout, "idleTimeout");
  within(rotationGrace, 5, 3600, "rotationGrace");
  within(policy.queryTimeout, 1, 86_400, "queryTimeout");
  if (touchInterval !== false) within(touchInterval, 0, idleTimeout - 1, "touchInterval");
  if (rotateAfter !== false) within(rotateAfter, rotationGrace + 1, absoluteTimeout, "rotateAfter");
  if (touchInterval === false) assert.equal(rotateAfter, false);
  if (policy.maxSessions !== false) within(policy.maxSessions, 1, 10_000, "maxSessions");
  assert.ok(policy.transport === "cookie" || policy.transport === "bearer");
  // A setting that no one knows would be ignored.
  const known: readonly string[] = [...NUMBERS, ...OTHERS];
  assert.deepEqual(Object.keys(given).filter((key) => !known.includes(key)), []);
  // What was given counts as it is; what was not given has its documented default.
  const defaults = {
    absoluteTimeout: 30 * 86_400,
    idleTimeout: Math.min(7 * 86_400, absoluteTimeout),
    touchInterval: Math.min(300, Math.floor(idleTimeout / 10)),
    rotateAfter: false,
    rotationGrace: 30,
    maxSessions: false,
    queryTimeout: 5,
    transport: "cookie",
  };
  for (const [key, value] of Object.entries(defaults)) {
    assert.equal(policy[key as keyof ResolvedPolicy], given[key] ?? value, key);
  }
  assert.equal(policy.sweepIdleAfter, given.idleTimeout);
}

describe("a policy", () => {
  test("is in the documented ranges, or refused by the name of a setting and without its value", () => {
    const before = prototypes();
    let resolved = 0;
    holds(
      fc.property(fc.oneof(few, close, settings, wild), (given) => {
        let policy;
        try {
          policy = resolve(given as Policy);
          configure(given as Policy);
        } catch (error) {
          const subject = requireRefusal("configure", error);
          const [setting] = subject.split(/[.[]/, 1);
          assert.ok(setting === "options" || Object.hasOwn(given as object, setting!), subject);
          return;
        }
        resolved++;
        requireRanges(policy, { ...given as object });
      }),
      3000,
    );
    covers(resolved, 500);
    assert.equal(prototypes(), before);
  });
});

describe("the options of every function", () => {
  const down: Sql = () => Promise.reject(new Error(SECRET));
  const { token } = coatcheck.createToken();
  const request = { headers: new Headers({ cookie: `__Host-session=${token}` }) };
  const record = {
    userId: 1,
    id: coatcheck.createToken().id,
    digest: new Uint8Array(32),
    createdAt: new Date(0),
    expiresAt: new Date(1),
  };
  const post = new Request("https://app.example/", { method: "POST" });
  const ok = () => new Response();
  type Call = (options: never) => unknown;
  const calls: Record<string, { own: string[]; call: Call }> = {
    createSession: {
      own: ["data", "persistent", "replaces", "keep"],
      call: (it) => createSession("ada", down, it),
    },
    createGuestSession: {
      own: ["data", "persistent", "headers"],
      call: (it) => coatcheck.createGuestSession(down, it),
    },
    insertSession: { own: [], call: (it) => coatcheck.insertSession(record, down, it) },
    getUserId: { own: [], call: (it) => coatcheck.getUserId("ada", down, it) },
    validateSession: {
      own: ["authenticatedWithin"],
      call: (it) => validateSession(request.headers, down, it),
    },
    rotateSession: { own: [], call: (it) => coatcheck.rotateSession(request.headers, down, it) },
    reauthenticateSession: {
      own: [],
      call: (it) => coatcheck.reauthenticateSession(request.headers, down, it),
    },
    updateSession: {
      own: ["version"],
      call: (it) => updateSession(request.headers, { a: 1 }, down, it),
    },
    listSessions: { own: ["limit", "after"], call: (it) => coatcheck.listSessions(1, down, it) },
    revokeSession: {
      own: ["reason"],
      call: (it) => coatcheck.revokeSession(request.headers, down, it),
    },
    revokeSessions: {
      own: ["reason"],
      call: (it) => coatcheck.revokeSessions({ userId: 1 }, down, it),
    },
    sweepSessions: {
      own: ["retention", "guestIdleTimeout", "onProgress", "signal"],
      call: (it) => coatcheck.sweepSessions(down, it),
    },
    withSession: {
      own: ["authenticatedWithin", "origin", "trustedOrigins"],
      call: (it) => withSession(ok, down, it),
    },
    isCrossOrigin: { own: ["origin", "trustedOrigins"], call: (it) => isCrossOrigin(post, it) },
    completeResponse: {
      own: [],
      call: (it) => completeResponse(new Response(), { headers: new Headers() }, it),
    },
  };

  test("are refused by a TypeError or RangeError that begins with its name and shows no value", async () => {
    const before = prototypes();
    const keys = [...new Set(Object.values(calls).flatMap(({ own }) => own))];
    const value = fc.oneof(
      things,
      fc.integer({ min: -1, max: 20_000 }),
      fc.constantFrom("a", {}, []),
    );
    const given = fc.tuple(
      fc.oneof(fc.constant({}), few),
      fc.dictionary(fc.constantFrom(...keys), value, { maxKeys: 2 }),
    ).map((parts) => Object.assign({}, ...parts));
    const options = fc.oneof({ weight: 4, arbitrary: given }, { weight: 1, arbitrary: wild });
    const outcomes = { refused: 0, accepted: 0 };
    await holdsAsync(
      fc.asyncProperty(fc.constantFrom(...Object.keys(calls)), options, async (name, given) => {
        try {
          await calls[name]!.call(given as never);
        } catch (error) {
          if (error instanceof SessionError) {
            // Everything was accepted, and the store has failed.
            assert.ok(!error.message.includes(SECRET));
            outcomes.accepted++;
          } else {
            requireRefusal(name, error);
            outcomes.refused++;
          }
          return;
        }
        outcomes.accepted++;
      }),
      3000,
    );
    covers(Math.min(outcomes.refused, outcomes.accepted), 300);
    assert.equal(prototypes(), before);
  });
});

// ── The end of a session ─────────────────────────────────────────────────────────────────────────

const NOW = 1_767_225_600;
const MICROSECOND = 1e-6;

const timeouts = fc.record({
  absoluteTimeout: fc.integer({ min: 200, max: 1000 }),
  idleTimeout: fc.integer({ min: 1, max: 200 }),
  rotationGrace: fc.integer({ min: 5, max: 49 }),
});
/** Seconds, also such as are a limit of a policy, twice a limit, or a microsecond beside it. */
const instants = (limits: readonly number[], least: number, most: number) =>
  fc.oneof(
    fc.integer({ min: least * 1e6, max: most * 1e6 }).map((it) => it / 1e6),
    fc.tuple(
      fc.constantFrom(0, ...limits.flatMap((it) => [it, -it, 2 * it, -2 * it])),
      fc.constantFrom(-MICROSECOND, 0, MICROSECOND),
    ).map(([limit, by]) => Math.min(Math.max(limit + by, least), most)),
  );
/** A policy, a session of which all instants are at most so far ahead of the clock, and later clocks. */
const lives = (ahead: number) =>
  timeouts.chain((policy) => {
    const near = instants(Object.values(policy), -150, ahead).map((it) => NOW + it);
    const end = instants(Object.values(policy), -50, 2000).map((it) => NOW + it);
    const infinite = (finite: fc.Arbitrary<number>, endless: number) =>
      fc.oneof({ weight: 30, arbitrary: finite }, { weight: 1, arbitrary: fc.constant(endless) });
    const state = fc.record({
      userId: fc.constantFrom(1, null),
      username: fc.constantFrom("ada", "ada", null),
      createdAt: infinite(near, -Infinity),
      authenticatedAt: infinite(near, -Infinity),
      lastSeenAt: infinite(near, -Infinity),
      expiresAt: infinite(end, Infinity),
      isRevoked: fc.nat(9).map((it) => it === 0),
      isRotated: fc.boolean(),
      rotatedAt: fc.option(near),
      rotationSeenAt: fc.option(near),
      isStandby: fc.boolean(),
      isCurrent: fc.boolean(),
    }).map((it): StoredState => ({
      id: "5e551011-0000-4000-8000-000000000000",
      persistent: true,
      version: 0,
      data: {},
      clock: NOW,
      revokedReason: it.isRevoked ? "theft" : null,
      authenticated: String(it.authenticatedAt),
      ...it,
    }));
    // As far as twice the longest limit.
    const later = fc.array(
      fc.oneof(instants(Object.values(policy), 0, 2000), instants([], 0, 300)),
      {
        minLength: 2,
        maxLength: 30,
      },
    );
    return fc.record({
      state,
      later,
      policy: fc.constant(resolve({ touchInterval: 0, ...policy })),
    });
  });

describe("evaluate", () => {
  test("never grants what it has refused, however far the clock moves on", () => {
    let died = 0;
    holds(
      fc.property(lives(0), ({ state, later, policy }) => {
        let refusal = evaluate(state, policy).refusal;
        const wasLive = refusal === null;
        for (const seconds of later.sort((a, b) => a - b)) {
          const then = evaluate({ ...state, clock: NOW + seconds }, policy).refusal;
          assert.ok(
            refusal === null || then !== null,
            `${refusal}, and ${seconds} seconds later live`,
          );
          refusal = then;
        }
        if (wasLive && refusal !== null) died++;
      }),
      3000,
    );
    covers(died, 100);
  });

  test("grants once, for at most twice each limit and never past the deadline, if the clock was ahead", () => {
    let seen = 0;
    holds(
      fc.property(lives(150), ({ state, later, policy }) => {
        const live = later.sort((a, b) => a - b).map((it) => NOW + it)
          .map((clock) => ({
            clock,
            isLive: evaluate({ ...state, clock }, policy).refusal === null,
          }));
        const first = live.findIndex(({ isLive }) => isLive);
        const last = live.findLastIndex(({ isLive }) => isLive);
        if (first === -1) return;
        seen++;
        assert.ok(
          live.slice(first, last + 1).every(({ isLive }) => isLive),
          "live, over, and live again",
        );
        const span = live[last]!.clock - live[first]!.clock;
        const { absoluteTimeout, idleTimeout, rotationGrace } = policy;
        const isBoundByGrace = !state.isCurrent && state.rotationSeenAt !== null;
        const limits = [absoluteTimeout, idleTimeout, ...(isBoundByGrace ? [rotationGrace] : [])];
        assert.ok(span < 2 * Math.min(...limits));
        assert.ok(live[last]!.clock < state.expiresAt);
        // Either limit by itself, before and after the instant that it counts from.
        for (const { clock, isLive } of live) {
          if (!isLive) continue;
          assert.ok(Math.abs(clock - state.authenticatedAt) < absoluteTimeout + MICROSECOND);
          assert.ok(Math.abs(clock - state.lastSeenAt) < idleTimeout + MICROSECOND);
        }
        assert.ok(state.isCurrent || state.isRotated);
      }),
      3000,
    );
    covers(seen, 200);
  });

  test("never grants under a stricter policy what it refuses under a more lenient one", () => {
    let stricter = 0;
    const less = fc.nat(100).map((it) => it / 100);
    holds(
      fc.property(lives(0), less, less, less, ({ state, policy }, a, b, c) => {
        if (evaluate(state, policy).refusal === null) return;
        const idleTimeout = Math.max(1, Math.floor(policy.idleTimeout * a));
        stricter++;
        const strict = {
          ...policy,
          idleTimeout,
          absoluteTimeout: Math.max(idleTimeout, Math.floor(policy.absoluteTimeout * b)),
          rotationGrace: Math.max(5, Math.floor(policy.rotationGrace * c)),
        };
        assert.notEqual(evaluate(state, strict).refusal, null);
      }),
      1000,
    );
    covers(stricter, 300);
  });
});

// ── With the database ────────────────────────────────────────────────────────────────────────────

describe("in the database", () => {
  let db: Database;
  beforeAll(async () => {
    db = await openDatabase();
  });
  afterAll(() => db.close());

  const canonical = (value: unknown): string =>
    JSON.stringify(value, (_, it) => {
      if (typeof it !== "object" || it === null || Array.isArray(it)) return it;
      // Entries, as an assignment to __proto__ would lose it.
      return Object.entries(it).sort(([a], [b]) => a < b ? -1 : 1);
    });
  const keys = fc.oneof(
    fc.string({ maxLength: 8 }),
    fc.constantFrom(
      "__proto__",
      "constructor",
      "toString",
      "",
      "a",
      "b",
      "1",
      "NULL",
      "{}",
      '"',
      "\\",
    ),
    fc.string({ unit: fc.constantFrom(..."{},\"\\ \t\n'"), maxLength: 4 }),
    texts,
  );
  const objectOf = <Value>(value: fc.Arbitrary<Value>) =>
    fc.array(fc.tuple(keys, value), { maxLength: 8 }).map((entries) => Object.fromEntries(entries));
  const json = objectOf(
    fc.oneof(
      fc.jsonValue(),
      fc.jsonValue(),
      texts,
      fc.double({ noNaN: true, noDefaultInfinity: true }),
    ),
  );
  /** What PostgreSQL cannot hold in jsonb. */
  const cannotBeHeld = (value: unknown) => {
    let isBad = false;
    JSON.stringify(value, (key, it) => {
      for (const text of [key, it]) {
        if (typeof text === "string") isBad ||= !text.isWellFormed() || text.includes("\0");
      }
      return it;
    });
    return isBad;
  };

  // V8 takes a key with an escape for one it has read before (nodejs/node #63785): here, `"` for a backslash.
  JSON.parse(String.raw`{"known":[],"\\":0}`);
  const misreadsKeys = !('"' in JSON.parse(String.raw`{"known":0,"\"":0}`));
  const hasEscapedKey = (value: unknown): boolean =>
    typeof value === "object" && value !== null &&
    Object.entries(value).some(([key, it]) =>
      JSON.stringify(key).includes("\\") || hasEscapedKey(it)
    );

  test("data of any JSON comes back the same from create, validate and update, or is refused", async () => {
    let stored = 0;
    const patches = objectOf(fc.oneof(fc.jsonValue(), fc.constant(undefined), texts));
    await holdsAsync(
      fc.asyncProperty(json, patches, async (data, patch) => {
        if (cannotBeHeld(data)) {
          return await assert.rejects(createSession("ada", db.sql, { data }), RangeError);
        }
        fc.pre(!misreadsKeys || !hasEscapedKey(data) && !hasEscapedKey(patch));
        const { session, headers } = await createSession("ada", db.sql, { data });
        assert.equal(canonical(session.data), canonical(data));
        const request = withCookie(headers);
        const read = await validateSession(request, db.sql);
        assert.equal(canonical(read.session!.data), canonical(data));
        const keysOf = Object.keys(patch).join("");
        if (cannotBeHeld(patch) || cannotBeHeld(keysOf)) {
          return await assert.rejects(updateSession(request, patch, db.sql), RangeError);
        }
        const merged = new Map([...Object.entries(data), ...Object.entries(patch)]);
        const left = Object.fromEntries([...merged].filter(([, value]) => value !== undefined));
        const updated = await updateSession(request, patch, db.sql);
        assert.equal(canonical(updated.session!.data), canonical(left));
        const again = await validateSession(request, db.sql);
        assert.equal(canonical(again.session!.data), canonical(left));
        stored++;
      }),
      150,
    );
    covers(stored, 20);
  });

  test("a sign-in under any policy is opened by what a client sends back, and a sign-out empties it", async () => {
    let opened = 0;
    await holdsAsync(
      fc.asyncProperty(plausible, timeouts, fc.boolean(), async (given, limits, persistent) => {
        if (!resolveCookie(given)) return;
        const cookie = resolveCookie(given)!;
        const sessions = configure({ ...limits, touchInterval: 0, cookie: given });
        const jar = new JarOf(cookie);
        const created = await sessions.createSession("ada", db.sql, { persistent });
        jar.take(created.headers);
        const [stored, ...others] = jar.content();
        assert.deepEqual(others, []);
        assert.equal(stored!.maxAge, persistent ? limits.absoluteTimeout : undefined);
        const request = new Headers({ cookie: jar.cookieHeader() });
        const { session } = await sessions.validateSession(request, db.sql);
        assert.equal(session?.id, created.session.id);
        const rotated = await sessions.rotateSession(request, db.sql);
        jar.take(rotated.headers);
        assert.notEqual(jar.cookieHeader(), request.get("cookie"));
        assert.equal(jar.content().length, 1);
        const now = new Headers({ cookie: jar.cookieHeader() });
        const out = await sessions.revokeSession(now, db.sql);
        assert.equal(out.session?.id, session!.id);
        jar.take(out.headers);
        assert.deepEqual(jar.content(), []);
        assert.equal((await sessions.validateSession(now, db.sql)).reason, "revoked");
        for (const { headers } of [created, rotated, out]) {
          headers.getSetCookie().forEach(requireLine);
        }
        opened++;
      }),
      40,
    );
    covers(opened, 10);
  });
});
