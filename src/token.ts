import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { fromBase64url, toBase64url, toHex } from "./bytes.ts";
import { kindOf, refuse } from "./input.ts";

/** The credential of a new session, and the digest to store. */
export interface Token {
  /** The session id: a UUIDv4. It is public. */
  readonly id: string;
  /** 32 random bytes as 43 characters of base64url. It belongs in the cookie and nowhere else. */
  readonly secret: string;
  /** SHA-256 of the secret's 32 bytes: what the row holds. */
  readonly digest: Uint8Array;
  /** What the cookie carries: `<id>.<secret>`, 80 characters. */
  readonly token: string;
}

/** What the database gets of a token: the id of the row, and the digest that must be in it. */
export interface TokenKey {
  readonly id: string;
  /** 64 hexadecimal digits. */
  readonly digest: string;
}

/** A token as a client presented it. Only {@linkcode deriveToken} uses the secret. */
export interface PresentedToken extends TokenKey {
  /** 43 characters of base64url. */
  readonly secret: string;
}

export const UUID: RegExp = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

// Only one spelling: 43 characters carry 258 bits, so the last character of a 32-byte secret ends in two zero
// bits. Without this check, four cookies would open the same session.
const TOKEN = new RegExp(
  `${UUID.source.slice(0, -1)}\\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$`,
);

/**
 * Makes the token of a new session: a UUIDv4 as id, and a secret of 32 random bytes from WebCrypto.
 *
 * {@linkcode createSession} calls it. Call it yourself to store a session with {@linkcode insertSession}. The
 * id alone opens nothing: a UUID must not be a capability (RFC 9562, section 8), and it has fewer random bits
 * than a session token needs (ASVS 5.0, 7.2.3).
 *
 * @example
 * ```ts
 * import { createToken } from "coatcheck";
 * import assert from "node:assert/strict";
 *
 * const { id, secret, digest, token } = createToken();
 * assert.equal(token, `${id}.${secret}`);
 * assert.equal(token.length, 80);
 * assert.equal(digest.length, 32);
 * ```
 *
 * @returns The id, the secret, the digest of the secret (32 bytes), and the token `<id>.<secret>`.
 */
export function createToken(): Token {
  return renewToken(crypto.randomUUID());
}

/** Makes a token with a new random secret for an existing session. */
export function renewToken(id: string): Token {
  return tokenOf(id, crypto.getRandomValues(new Uint8Array(32)));
}

/**
 * Makes the token that follows a presented one: its secret is HMAC-SHA256 of the salt, with the old secret as
 * the key.
 *
 * All callers that rotate the same secret with the same salt get the same new one, so a lost answer can be
 * repeated. The salt alone, which the row holds, reveals nothing.
 */
export function deriveToken({ id, secret }: PresentedToken, salt: Uint8Array): Token {
  return tokenOf(id, hmac(sha256, fromBase64url(secret), salt));
}

function tokenOf(id: string, bytes: Uint8Array): Token {
  const secret = toBase64url(bytes);
  return { id, secret, digest: sha256(bytes), token: `${id}.${secret}` };
}

/** Takes from a token what the database gets. */
export function keyOf({ id, digest }: Pick<Token, "id" | "digest">): TokenKey {
  return { id, digest: toHex(digest) };
}

/**
 * Reads a token as a client presented it; null for any other text than `<id>.<secret>` in its only spelling.
 */
export function parseToken(token: string): PresentedToken | null {
  if (!TOKEN.test(token)) return null;
  const secret = token.slice(37);
  return { id: token.slice(0, 36), digest: digestOf(secret), secret };
}

// One array for all secrets, as a new one takes as long as the hash on Deno.
const bytes = /* @__PURE__ */ new Uint8Array(32);

// Node, Bun and Deno have a one-shot hash, which takes a third of the time. It is looked up when the first token
// comes, so that an import does nothing, and not imported, as other runtimes lack it.
type NativeHash = (algorithm: "sha256", bytes: Uint8Array, encoding: "hex") => string;
let nativeHash: NativeHash | null | undefined;

function digestOf(secret: string): string {
  if (nativeHash === undefined) {
    const { process } = globalThis as {
      process?: { getBuiltinModule?: (name: string) => { hash?: NativeHash } | undefined };
    };
    nativeHash = process?.getBuiltinModule?.("crypto")?.hash ?? null;
  }
  fromBase64url(secret, bytes);
  const digest = nativeHash ? nativeHash("sha256", bytes, "hex") : toHex(sha256(bytes));
  bytes.fill(0);
  return digest;
}

/** Refuses what is not a session id. Any letter case is accepted, as PostgreSQL compares it as a uuid. */
export function requireSessionId(subject: string, id: unknown): asserts id is string {
  if (typeof id !== "string") refuse(TypeError, subject, "be a string", kindOf(id));
  if (!UUID.test(id.toLowerCase())) refuse(RangeError, subject, "be a UUID", "something else");
}
