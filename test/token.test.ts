import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createToken } from "../mod.ts";
import { parseToken } from "../src/token.ts";

describe("createToken", () => {
  test("makes a UUIDv4, a secret of 43 characters, and the token of both", () => {
    const { id, secret, token } = createToken();
    assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
    assert.equal(token, `${id}.${secret}`);
  });
});
