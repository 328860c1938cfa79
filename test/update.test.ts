import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import {
  createSession,
  createToken,
  revokeSession,
  rotateSession,
  updateSession,
  validateSession,
} from "../mod.ts";
import { counted, type Database, openDatabase, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const signedIn = async (data: Record<string, unknown> = {}) => {
  const { session, headers } = await createSession("ada", db.sql, { data });
  return { id: session.id, session, headers: withCookie(headers) };
};

describe("updateSession", () => {
  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`merges keys into the data in one statement, through ${client}`, async () => {
      const { session, headers } = await signedIn({ cart: [1], theme: "dark", gone: true });
      const { sql, statements } = counted(db.clients[client]!);
      const patch = { cart: [2, { three: null }], "ключ": "\"'\\ $1", gone: undefined };
      const result = await updateSession(headers, patch, sql);
      assert.equal(statements.length, 1);
      const data = { cart: [2, { three: null }], theme: "dark", "ключ": "\"'\\ $1" };
      const { lastSeenAt } = result.session!;
      assert.ok(lastSeenAt >= session.lastSeenAt);
      const idleExpiresAt = new Date(lastSeenAt.getTime() + 7 * 86_400_000);
      const expected = { ...session, lastSeenAt, idleExpiresAt, data, version: 1 };
      assert.deepEqual(result.session, expected);
      assert.deepEqual([...result.headers], []);
      assert.deepEqual((await validateSession(headers, sql)).session, result.session);
    });
  }

  test("sets null as a value, and removes a key that is undefined", async () => {
    const { headers } = await signedIn({ a: 1, b: 2 });
    const { session } = await updateSession(
      headers,
      { a: null, b: undefined, c: undefined },
      db.sql,
    );
    assert.deepEqual(session?.data, { a: null });
  });

  test("replaces a value as a whole, even an object", async () => {
    const { headers } = await signedIn({ address: { city: "Paris", street: "1" } });
    const { session } = await updateSession(headers, { address: { city: "Rome" } }, db.sql);
    assert.deepEqual(session?.data, { address: { city: "Rome" } });
  });

  test("treats special names as plain keys", async () => {
    const { headers } = await signedIn({ toString: 1, "": 2 });
    const patch = JSON.parse(`{ "__proto__": 1, "constructor": 2, "data - 'a'": 3 }`);
    const { session } = await updateSession(headers, { ...patch, "": undefined }, db.sql);
    assert.deepEqual(
      Object.entries(session!.data).sort(),
      [["__proto__", 1], ["constructor", 2], ["data - 'a'", 3], ["toString", 1]],
    );
  });

  test("keeps what 20 parallel requests write to different keys", async () => {
    const { headers } = await signedIn();
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => updateSession(headers, { [`key${i}`]: i }, db.sql)),
    );
    const { session } = await validateSession(headers, db.sql);
    assert.equal(Object.keys(session!.data).length, 20);
    assert.equal(session!.version, 20);
  });

  test("accepts data of 131,072 bytes as PostgreSQL writes JSON, and not one more", async () => {
    const { headers } = await signedIn({ a: "a".repeat(65_528) });
    const rest = "b".repeat(65_526);
    const { session } = await updateSession(headers, { b: rest }, db.sql);
    assert.equal(session?.version, 1);
    await assert.rejects(updateSession(headers, { b: `${rest}b` }, db.sql), {
      name: "RangeError",
      message: "updateSession: patch must leave at most 131072 bytes of data, got 131073 bytes",
    });
  });

  test("writes nothing if the version has changed, and returns the current data", async () => {
    const { headers } = await signedIn({ cart: 1 });
    const first = await updateSession(headers, { cart: 2 }, db.sql, { version: 0 });
    assert.deepEqual([first.session?.version, first.reason], [1, undefined]);
    const second = await updateSession(headers, { cart: 3 }, db.sql, { version: 0 });
    assert.equal(second.reason, "conflict");
    assert.deepEqual([second.session?.version, second.session?.data], [1, { cart: 2 }]);
    const third = await updateSession(headers, { cart: 3 }, db.sql, { version: 1 });
    assert.deepEqual([third.session?.version, third.session?.data], [2, { cart: 3 }]);
  });

  test("lets exactly one of 20 parallel requests win that have seen the same version", async () => {
    const { headers } = await signedIn();
    const results = await Promise.all(
      Array.from(
        { length: 20 },
        (_, i) => updateSession(headers, { winner: i }, db.sql, { version: 0 }),
      ),
    );
    assert.equal(results.filter(({ reason }) => reason === undefined).length, 1);
    assert.equal(results.filter(({ reason }) => reason === "conflict").length, 19);
  });

  test("counts only changes of data in the version", async () => {
    const { headers } = await signedIn();
    await rotateSession(headers, db.sql);
    await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour'`;
    assert.equal((await validateSession(headers, db.sql)).session?.version, 0);
  });

  test("writes nothing to a session that has ended, nor for another secret", async () => {
    const { id, headers } = await signedIn({ a: 1 });
    const forged = new Headers({ cookie: `__Host-session=${id}.${createToken().secret}` });
    assert.equal((await updateSession(forged, { a: 2 }, db.sql)).reason, "unknown");
    await revokeSession(headers, db.sql);
    const result = await updateSession(headers, { a: 2 }, db.sql);
    assert.deepEqual([result.session, result.reason], [null, "revoked"]);
    const [row] = await db.sql`select data, version from coatcheck.sessions where id = ${id}`;
    assert.deepEqual({ ...row }, { data: { a: 1 }, version: 0 });
    assert.equal((await updateSession(new Headers(), { a: 2 }, db.sql)).reason, "absent");
  });

  test("rejects a merge that would be too large, and leaves the data as it was", async () => {
    const { headers } = await signedIn();
    const half = "x".repeat(60_000);
    await updateSession(headers, { a: half }, db.sql);
    await updateSession(headers, { b: half }, db.sql);
    await assert.rejects(updateSession(headers, { c: half }, db.sql), {
      name: "RangeError",
      message: "updateSession: patch must leave at most 131072 bytes of data, got 180027 bytes",
    });
    const { session } = await updateSession(headers, { a: undefined }, db.sql);
    assert.deepEqual(Object.keys(session!.data), ["b"]);
  });
});
