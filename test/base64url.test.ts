import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { fromBase64url, toBase64url } from "../src/base64url.ts";

/** Bytes of every value, and of every length up to 128. */
const samples = [
  Uint8Array.from({ length: 256 }, (_, byte) => byte),
  Uint8Array.from({ length: 256 }, (_, byte) => 255 - byte),
  ...Array.from({ length: 129 }, (_, length) => crypto.getRandomValues(new Uint8Array(length))),
];

describe("base64url", () => {
  test("is spelt as Node spells it", () => {
    for (const bytes of samples) {
      assert.equal(toBase64url(bytes), Buffer.from(bytes).toString("base64url"));
    }
  });

  test("is read as it was spelt", () => {
    for (const bytes of samples) assert.deepEqual(fromBase64url(toBase64url(bytes)), bytes);
  });
});
