import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { fromBase64url, fromHex, toBase64url, toHex } from "../src/bytes.ts";

/** Bytes of every value, and of every length up to 128. */
const samples = [
  Uint8Array.from({ length: 256 }, (_, byte) => byte),
  Uint8Array.from({ length: 256 }, (_, byte) => 255 - byte),
  ...Array.from({ length: 129 }, (_, length) => crypto.getRandomValues(new Uint8Array(length))),
];

const spellings = [
  { name: "hexadecimal digits", encoding: "hex", spell: toHex, read: fromHex },
  { name: "base64url", encoding: "base64url", spell: toBase64url, read: fromBase64url },
] as const;
for (const { name, encoding, spell, read } of spellings) {
  describe(`bytes as ${name}`, () => {
    test("are written as Node writes them", () => {
      for (const bytes of samples) {
        assert.equal(spell(bytes), Buffer.from(bytes).toString(encoding));
      }
    });

    test("are read as they were written", () => {
      for (const bytes of samples) assert.deepEqual(read(spell(bytes)), bytes);
    });
  });
}
