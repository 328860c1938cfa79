import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { createToken } from "../mod.ts";
import { deriveToken, keyOf, parseToken, renewToken, type Token } from "../src/token.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const hmac = (key: Uint8Array, message: Uint8Array) =>
  createHmac("sha256", key).update(message).digest();
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytesOf = (secret: string) => Buffer.from(secret, "base64url");
const random = (length = 32) => crypto.getRandomValues(new Uint8Array(length));

/** Runs with a stand-in for one function of an object, and takes it away again. */
function standingIn<Key extends string, Result>(
  object: Record<Key, unknown>,
  key: Key,
  value: unknown,
  run: () => Result,
): Result {
  const own = Object.getOwnPropertyDescriptor(object, key);
  Object.defineProperty(object, key, { value, configurable: true, writable: true });
  try {
    return run();
  } finally {
    if (own) Object.defineProperty(object, key, own);
    else delete object[key];
  }
}

describe("createToken", () => {
  test("makes a UUIDv4, a secret of 43 characters, and the token of both", () => {
    const { id, secret, token } = createToken();
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
    assert.equal(token, `${id}.${secret}`);
    assert.equal(token.length, 80);
    assert.deepEqual(Object.keys(createToken()).sort(), ["digest", "id", "secret", "token"]);
  });

  test("makes the digest that an independent SHA-256 makes of the secret's 32 bytes", () => {
    for (let i = 0; i < 100; i++) {
      const { secret, digest } = createToken();
      assert.ok(digest instanceof Uint8Array);
      assert.equal(bytesOf(secret).length, 32);
      assert.equal(hex(digest), sha256(bytesOf(secret)));
    }
  });

  test("makes 100,000 tokens without one id, secret or digest twice", () => {
    const ids = new Set<string>();
    const secrets = new Set<string>();
    const digests = new Set<string>();
    for (let i = 0; i < 1e5; i++) {
      const { id, secret, digest } = createToken();
      ids.add(id);
      secrets.add(secret);
      digests.add(String(digest));
    }
    assert.deepEqual([ids.size, secrets.size, digests.size], [1e5, 1e5, 1e5]);
  });

  test("carries each of the generator's 256 bits to the secret and to the digest", () => {
    for (let bit = 0; bit < 256; bit++) {
      const expected = new Uint8Array(32);
      expected[bit >> 3] = 1 << (bit & 7);
      let asked = 0;
      const generator = (bytes: Uint8Array) => {
        asked += bytes.length;
        bytes.set(expected);
        return bytes;
      };
      const { secret, digest } = standingIn(crypto, "getRandomValues", generator, createToken);
      assert.equal(asked, 32);
      assert.deepEqual([...bytesOf(secret)], [...expected], `bit ${bit}`);
      assert.equal(hex(digest), sha256(expected), `bit ${bit}`);
    }
  });

  test("never asks Math.random", () => {
    const guess = () => {
      throw new Error("Math.random was called");
    };
    assert.equal(standingIn(Math, "random", guess, createToken).token.length, 80);
  });

  test("derives neither the id from the secret, nor the secret from the id", () => {
    const same = (bytes: Uint8Array) => bytes.fill(7);
    const sameSecret = () => standingIn(crypto, "getRandomValues", same, createToken);
    const [one, two] = [sameSecret(), sameSecret()];
    assert.equal(one.secret, two.secret);
    assert.notEqual(one.id, two.id);

    const id = "11111111-1111-4111-8111-111111111111";
    const sameId = () => standingIn(crypto, "randomUUID", () => id, createToken);
    const [three, four] = [sameId(), sameId()];
    assert.deepEqual([three.id, four.id], [id, id]);
    assert.notEqual(three.secret, four.secret);
  });
});

describe("renewToken", () => {
  const id = "0123abcd-89ef-4012-8345-6789abcdef01";

  test("makes a token with the same id, in the form of every other", () => {
    const { secret, digest, token, ...rest } = renewToken(id);
    assert.deepEqual(rest, { id });
    assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
    assert.equal(token, `${id}.${secret}`);
    assert.equal(hex(digest), sha256(bytesOf(secret)));
    assert.equal(parseToken(token)?.digest, hex(digest));
  });

  test("makes a secret at random: 10,000 times for one id, and none twice", () => {
    const secrets = new Set<string>();
    for (let i = 0; i < 1e4; i++) secrets.add(renewToken(id).secret);
    assert.equal(secrets.size, 1e4);
  });

  test("takes all of its secret from the generator: 32 bytes, and no other id", () => {
    let asked = 0;
    const generator = (bytes: Uint8Array) => {
      asked += bytes.length;
      return bytes.fill(7);
    };
    const renew = () => standingIn(crypto, "getRandomValues", generator, () => renewToken(id));
    const noId = () => assert.fail("asked for another id");
    const { secret } = standingIn(crypto, "randomUUID", noId, renew);
    assert.equal(asked, 32);
    assert.deepEqual([...bytesOf(secret)], Array(32).fill(7));
  });
});

describe("deriveToken", () => {
  const id = "0123abcd-89ef-4012-8345-6789abcdef01";
  const presented = (secret: Uint8Array) => ({
    id,
    digest: sha256(secret),
    secret: Buffer.from(secret).toString("base64url"),
  });

  test("makes the secret that an independent HMAC-SHA256 makes of the salt, by the old secret as key", () => {
    for (let i = 0; i < 100; i++) {
      const [secret, salt] = [random(), random()];
      const derived = deriveToken(presented(secret), salt);
      assert.deepEqual([...bytesOf(derived.secret)], [...hmac(secret, salt)]);
      assert.notDeepEqual([...bytesOf(derived.secret)], [...hmac(salt, secret)]);
    }
  });

  // By openssl dgst -sha256 -mac hmac -macopt hexkey:0001…1f, of the bytes ff, fe … e0.
  test("makes what OpenSSL makes of a known secret and a known salt", () => {
    const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
    const salt = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);
    const known = "6FnpzPjJJtMNvdfp8aElbdK6BGtnvvCSpwNHFnvldP0";
    const { digest, ...derived } = deriveToken(presented(secret), salt);
    assert.deepEqual(derived, { id, secret: known, token: `${id}.${known}` });
    assert.equal(hex(digest), "8883b0b7810e717e6d1a8543edd6da93e03e7e770e27079826673e51ad6b7bdf");
  });

  test("keeps the id, and makes digest and token of the new secret, in the form of every other", () => {
    const { secret, digest, token, ...rest } = deriveToken(presented(random()), random());
    assert.deepEqual(rest, { id });
    assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
    assert.equal(token, `${id}.${secret}`);
    assert.equal(hex(digest), sha256(bytesOf(secret)));
    assert.deepEqual(parseToken(token), presented(Uint8Array.from(bytesOf(secret))));
  });

  test("makes the same secret of the same, so that all requests that rotate get one", () => {
    const [secret, salt] = [random(), random()];
    const generator = () => assert.fail("asked for random bytes");
    const derive = () => deriveToken(presented(secret.slice()), salt.slice());
    const one = standingIn(crypto, "getRandomValues", generator, derive);
    assert.deepEqual(derive(), one);
  });

  test("makes another secret by each bit of the old one, and by each bit of the salt", () => {
    const [secret, salt] = [random(), random()];
    const derived = new Set([deriveToken(presented(secret), salt).secret]);
    for (let bit = 0; bit < 256; bit++) {
      const flip = (bytes: Uint8Array) => {
        const flipped = bytes.slice();
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        return flipped;
      };
      derived.add(deriveToken(presented(flip(secret)), salt).secret);
      derived.add(deriveToken(presented(secret), flip(salt)).secret);
    }
    assert.equal(derived.size, 513);
  });

  test("depends on the secret and the salt alone: what the database stores derives nothing", () => {
    const [secret, salt] = [random(), random()];
    const derived = deriveToken(presented(secret), salt);
    const digest = Uint8Array.from(Buffer.from(sha256(secret), "hex"));
    assert.notEqual(deriveToken(presented(digest), salt).secret, derived.secret);
    const elsewhere = { ...presented(secret), id: crypto.randomUUID(), digest: sha256(salt) };
    assert.equal(deriveToken(elsewhere, salt).secret, derived.secret);
  });

  test("leaves the secret and the salt that it was given as they are", () => {
    const [secret, salt] = [random(), random()];
    const before = [hex(secret), hex(salt)];
    deriveToken(presented(secret), salt);
    assert.deepEqual([hex(secret), hex(salt)], before);
  });

  test("makes a chain of which no link is the one before", () => {
    const seen = new Set<string>();
    let token: Pick<Token, "token"> = createToken();
    for (let i = 0; i < 100; i++) {
      seen.add(token.token);
      token = deriveToken(parseToken(token.token)!, new Uint8Array(32));
    }
    assert.equal(seen.size, 100);
  });
});

describe("keyOf", () => {
  test("returns the id, and the digest as 64 hexadecimal digits, and nothing of the secret", () => {
    for (let i = 0; i < 100; i++) {
      const token = createToken();
      assert.deepEqual(keyOf(token), { id: token.id, digest: sha256(bytesOf(token.secret)) });
    }
    const digest = Uint8Array.from({ length: 32 }, (_, i) => i);
    assert.match(keyOf({ id: "", digest }).digest, /^000102030405060708090a0b0c0d0e0f10.{30}$/);
  });

  test("returns of a new token what parseToken returns of the same one when it is presented", () => {
    const token = createToken();
    const { secret: _, ...key } = parseToken(token.token)!;
    assert.deepEqual(keyOf(token), key);
  });
});

describe("parseToken", () => {
  const id = "0123abcd-89ef-4012-8345-6789abcdef01";
  const bytes = Uint8Array.from({ length: 32 }, (_, i) => i);
  const secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

  test("reads what createToken made: the id, the digest in hexadecimal, and the secret", () => {
    for (let i = 0; i < 100; i++) {
      const { id, secret, digest, token } = createToken();
      assert.deepEqual(parseToken(token), { id, digest: hex(digest), secret });
    }
    assert.deepEqual(parseToken(`${id}.${secret}`), { id, digest: sha256(bytes), secret });
  });

  test("reads each of the 256 bits of a secret", () => {
    for (let bit = 0; bit < 256; bit++) {
      const expected = new Uint8Array(32);
      expected[bit >> 3] = 1 << (bit & 7);
      const token = `${id}.${Buffer.from(expected).toString("base64url")}`;
      assert.equal(parseToken(token)?.digest, sha256(expected), `bit ${bit}`);
    }
  });

  const canonical = [
    { name: "32 bytes of zero", token: `${id}.${"A".repeat(43)}`, byte: 0x00 },
    { name: "32 bytes of ones, all underscores", token: `${id}.${"_".repeat(42)}8`, byte: 0xff },
    {
      name: "a UUID of another version",
      token: `${id.replace("-4", "-7")}.${"A".repeat(43)}`,
      byte: 0,
    },
    { name: "the nil UUID", token: `${id.replace(/\w/g, "0")}.${"A".repeat(43)}`, byte: 0 },
  ];
  for (const { name, token, byte } of canonical) {
    test(`reads ${name}`, () => {
      assert.deepEqual(parseToken(token), {
        id: token.slice(0, 36),
        digest: sha256(new Uint8Array(32).fill(byte)),
        secret: token.slice(37),
      });
    });
  }

  test("takes one spelling of a secret only, of the four that base64url has for its last bits", () => {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const accepted = [...alphabet].filter((last) =>
      parseToken(`${id}.${secret.slice(0, 42)}${last}`)
    );
    assert.equal(accepted.join(""), "AEIMQUYcgkosw048");
  });

  const standard = Buffer.from(new Uint8Array(32).fill(0xfb)).toString("base64");
  const hostile = [
    { name: "nothing", token: "" },
    { name: "the id alone", token: id },
    { name: "the id and a dot", token: `${id}.` },
    { name: "the secret alone", token: secret },
    { name: "a dot and the secret", token: `.${secret}` },
    { name: "the id twice", token: `${id}.${id}` },
    { name: "the digest as 64 hexadecimal digits", token: `${id}.${sha256(bytes)}` },
    { name: "the first 43 digits of the digest", token: `${id}.${sha256(bytes).slice(0, 43)}` },
    { name: "the secret as hexadecimal", token: `${id}.${Buffer.from(bytes).toString("hex")}` },
    { name: "one character too few", token: `${id}.${secret.slice(1)}` },
    { name: "one character too many", token: `${id}.${secret}A` },
    { name: "31 bytes", token: `${id}.${Buffer.from(bytes.slice(1)).toString("base64url")}` },
    { name: "33 bytes", token: `${id}.${Buffer.from([0, ...bytes]).toString("base64url")}` },
    { name: "padding", token: `${id}.${secret}=` },
    { name: "padding for the last character", token: `${id}.${secret.slice(0, 42)}=` },
    { name: "standard base64 with + and /", token: `${id}.${standard.replace("=", "")}` },
    { name: "standard base64 with padding", token: `${id}.${standard}` },
    { name: "a last character that is not canonical", token: `${id}.${secret.slice(0, 42)}9` },
    { name: "an id in upper case", token: `${id.toUpperCase()}.${secret}` },
    { name: "an id with one upper-case digit", token: `${id.replace("a", "A")}.${secret}` },
    { name: "an id in braces", token: `{${id}}.${secret}` },
    { name: "an id without hyphens", token: `${id.replaceAll("-", "")}.${secret}` },
    {
      name: "an id with hyphens elsewhere",
      token: `0123-abcd89ef-4012-8345-6789abcdef01.${secret}`,
    },
    { name: "an id as a URN", token: `urn:uuid:${id}.${secret}` },
    { name: "an id with a letter beyond f", token: `${id.replace("f", "g")}.${secret}` },
    { name: "a colon for the dot", token: `${id}:${secret}` },
    { name: "a hyphen for the dot", token: `${id}-${secret}` },
    { name: "two dots", token: `${id}..${secret}` },
    { name: "two dots in the right length", token: `${id}..${secret.slice(1)}` },
    { name: "three parts, as of a JWT", token: `${id}.${secret}.${secret}` },
    { name: "the halves exchanged", token: `${secret}.${id}` },
    { name: "a token twice", token: `${id}.${secret}${id}.${secret}` },
    { name: "NUL for a character", token: `${id}.${secret.slice(0, 20)}\0${secret.slice(21)}` },
    { name: "NUL at the end", token: `${id}.${secret}\0` },
    { name: "a line feed at the end, which a lenient $ would accept", token: `${id}.${secret}\n` },
    { name: "a line feed for the last character", token: `${id}.${secret.slice(0, 42)}\n` },
    { name: "a line feed after the id", token: `${id}\n.${secret}` },
    { name: "a space at the start", token: ` ${id}.${secret}` },
    { name: "a space at the end", token: `${id}.${secret} ` },
    {
      name: "a space within, which atob skips",
      token: `${id}.${secret.slice(0, 20)} ${secret.slice(21)}`,
    },
    { name: "a percent-encoded dot", token: `${id}%2E${secret}` },
    { name: "a percent-encoded character", token: `${id}.%41${secret.slice(1)}` },
    { name: "double quotes around", token: `"${id}.${secret}"` },
    { name: "double quotes around the secret", token: `${id}."${secret}"` },
    { name: "a Latin-1 letter", token: `${id}.${secret.slice(0, 42)}é` },
    { name: "a Cyrillic А for an A", token: `${id}.А${secret.slice(1)}` },
    { name: "fullwidth digits in the id", token: `${id.replace("0", "０")}.${secret}` },
    { name: "a fullwidth full stop", token: `${id}．${secret}` },
    { name: "a letter beyond the basic plane", token: `${id}.${"𝐀".repeat(21)}A` },
    { name: "SQL text", token: "' OR 1=1--" },
    { name: "SQL text in the length of a token", token: `${"' OR 1=1--".repeat(8)}` },
    { name: "SQL text after an id", token: `${id}.' or digest is not null or '${"A".repeat(12)}` },
    { name: "path traversal", token: "../../../../etc/passwd" },
    { name: "a property of every object", token: "__proto__" },
    { name: "64 KB of the alphabet", token: "A".repeat(65_536) },
  ];
  for (const { name, token } of hostile) {
    test(`refuses ${name}`, () => {
      assert.equal(parseToken(token), null);
    });
  }
});
