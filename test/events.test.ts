import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import process from "node:process";
import {
  configure,
  createSession,
  createToken,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type SessionEvent,
  type SessionEventListener,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, secretOf, withCookie } from "./runner/database.ts";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

const listening = () => {
  const events: SessionEvent[] = [];
  return { events, onEvent: (event: SessionEvent) => void events.push(event) };
};
const signIn = async (user = "ada") => {
  const { session, headers } = await createSession(user, db.sql);
  return { id: session.id, headers: withCookie(headers) };
};

describe("onEvent", () => {
  test("gets the events of a session in order, with ids and reasons", async () => {
    const { events, onEvent } = listening();
    const sessions = configure({ onEvent });
    const before = await signIn("grace");
    const created = await sessions.createSession("ada", db.sql, { replaces: before.headers });
    const { id } = created.session;
    const rotated = await sessions.rotateSession(withCookie(created.headers), db.sql);
    const renewed = await sessions.reauthenticateSession(withCookie(rotated.headers), db.sql);
    const headers = withCookie(renewed.headers);
    await sessions.validateSession(headers, db.sql);
    await sessions.updateSession(headers, { a: 1 }, db.sql);
    await sessions.updateSession(headers, { a: 2 }, db.sql, { version: 0 });
    await sessions.revokeSession(headers, db.sql, { reason: "bye" });
    await sessions.revokeSession(headers, db.sql);
    await sessions.validateSession(headers, db.sql);
    assert.deepEqual(events, [
      { type: "created", id, userId: 1 },
      { type: "revoked", id: before.id, userId: 2, reason: "replaced" },
      { type: "rotated", id, userId: 1 },
      { type: "reauthenticated", id, userId: 1 },
      { type: "updated", id, userId: 1 },
      { type: "revoked", id, userId: 1, reason: "bye" },
      { type: "refused", reason: "revoked", id, userId: 1 },
    ]);
  });

  test("gets every refusal, with the user's key only if the secret was right", async () => {
    const { events, onEvent } = listening();
    const { id, headers } = await signIn();
    const { id: unknown, token } = createToken();
    const cookie = (value: string) => new Headers({ cookie: `__Host-session=${value}` });
    await validateSession(new Headers(), db.sql, { onEvent });
    assert.deepEqual(events, []);
    await validateSession(cookie("nonsense"), db.sql, { onEvent });
    await validateSession(cookie(token), db.sql, { onEvent });
    await validateSession(cookie(`${id}.${createToken().secret}`), db.sql, { onEvent });
    await validateSession(headers, db.sql, { onEvent, authenticatedWithin: 0 });
    await db.sql`update coatcheck.sessions
      set last_seen_at = last_seen_at - interval '8 days' where id = ${id}`;
    await validateSession(headers, db.sql, { onEvent });
    assert.deepEqual(events, [
      { type: "refused", reason: "malformed" },
      { type: "refused", reason: "unknown", id: unknown },
      { type: "refused", reason: "unknown", id },
      { type: "refused", reason: "stale", id, userId: 1 },
      { type: "refused", reason: "idle", id, userId: 1 },
    ]);
  });

  test("gets each session that maxSessions or revokeSessions revokes", async () => {
    const { events, onEvent } = listening();
    await revokeSessions({ userId: 2 }, db.sql);
    const first = await signIn("grace");
    const second = await createSession("grace", db.sql, { maxSessions: 1, onEvent });
    await revokeSessions({ userId: 2 }, db.sql, { onEvent, reason: "breach" });
    const { id } = second.session;
    assert.deepEqual(events, [
      { type: "created", id, userId: 2 },
      { type: "revoked", id: first.id, userId: 2, reason: "limit" },
      { type: "revoked", id, userId: 2, reason: "breach" },
    ]);
  });

  test("never gets a credential", async () => {
    const { events, onEvent } = listening();
    const created = await createSession("ada", db.sql, { onEvent });
    const rotated = await rotateSession(withCookie(created.headers), db.sql, { onEvent });
    const renewed = await reauthenticateSession(withCookie(rotated.headers), db.sql, { onEvent });
    await revokeSession(withCookie(renewed.headers), db.sql, { onEvent });
    const text = JSON.stringify(events);
    assert.equal(events.length, 4);
    for (const { headers } of [created, rotated, renewed]) {
      assert.ok(!text.includes(secretOf(headers)));
    }
    for (const event of events) {
      assert.deepEqual(
        Object.keys(event).filter((key) => !/^(type|id|userId|reason)$/.test(key)),
        [],
      );
    }
  });

  test("changes nothing if it throws or rejects, in any function", async () => {
    const strays: unknown[] = [];
    const note = (reason: unknown) => strays.push(reason);
    process.on("unhandledRejection", note);
    const listeners: SessionEventListener[] = [
      () => {
        throw new Error("listener");
      },
      () => Promise.reject(new Error("listener")),
      () => ({
        then() {
          throw new Error("listener");
        },
      }),
    ];
    for (const onEvent of listeners) {
      const created = await createSession("ada", db.sql, { onEvent, maxSessions: 1 });
      const rotated = await rotateSession(withCookie(created.headers), db.sql, { onEvent });
      const headers = withCookie(rotated.headers);
      assert.ok((await updateSession(headers, { a: 1 }, db.sql, { onEvent })).session);
      const renewed = withCookie(
        (await reauthenticateSession(headers, db.sql, { onEvent })).headers,
      );
      assert.equal((await validateSession(headers, db.sql, { onEvent })).reason, "unknown");
      assert.ok((await revokeSession(renewed, db.sql, { onEvent })).session);
    }
    await new Promise((resolve) => setTimeout(resolve, 0));
    process.off("unhandledRejection", note);
    assert.deepEqual(strays, []);
  });

  test("gets the event before the commit in a transaction of the caller", async () => {
    const { events, onEvent } = listening();
    await assert.rejects(
      db.sql.begin(async (transaction) => {
        await createSession("ada", transaction, { onEvent });
        assert.equal(events.length, 1);
        throw new Error("rolled back");
      }),
      { message: "rolled back" },
    );
  });

  test("gets no event of a call that failed", async () => {
    const { events, onEvent } = listening();
    await assert.rejects(createSession("nobody", db.sql, { onEvent }), { code: "USER_NOT_FOUND" });
    assert.deepEqual(events, []);
  });
});
