import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createSessionCache, type SessionCache } from "../cache.ts";
import { cacheOf } from "../src/cached.ts";
import type { Moment } from "../src/cache/clock.ts";
import {
  type Listen,
  type NotificationOptions,
  type Notifications,
  openNotifications,
  type Subscription,
} from "../src/cache/notifications.ts";
import type { StoredState } from "../src/session.ts";
import type { Sql } from "../mod.ts";

/** A statement that waits for its answer. */
interface Sent {
  /** Whether a beat is sent to all who listen. */
  readonly isBeat: boolean;
  /** A beat that is committed after it, by whomever. */
  readonly beat: string;
  /** Another one, of the transaction that is this much newer than the newest that has ended, on this server. */
  readonly beatOf: (newer: number, server?: string) => string;
  readonly answer: (triggers: string | null) => void;
  /** Answers as on the connection that listens. */
  readonly answerNone: () => void;
  readonly fail: () => void;
}

/** A `listen` that waits for its answer. */
interface Listening {
  readonly hear: (payload: unknown) => void;
  readonly relisten: () => void;
  readonly resolve: (subscription: Subscription) => void;
  readonly reject: (error: unknown) => void;
}

const F = "16400:731:729 16401:731:729 16402:731:729";
const SERVER = "1795799532.582596 app";
const LIMIT = 1000;

// The timer of the beats is driven by hand.
const { setInterval: realInterval, clearInterval: realClear } = globalThis;
let ticks: (() => void)[] = [];
beforeAll(() => {
  globalThis.setInterval = ((tick: () => void) => {
    ticks.push(tick);
    return tick;
  }) as never;
  globalThis.clearInterval = ((tick: () => void) => {
    ticks = ticks.filter((it) => it !== tick);
  }) as never;
});
const opened: { close: () => Promise<void> }[] = [];
afterAll(async () => {
  for (const it of opened) await it.close();
  globalThis.setInterval = realInterval;
  globalThis.clearInterval = realClear;
});

/** Resolves when all that follows from what has happened has been done: a lost connection is noted in a second turn. */
const settled = async () => {
  for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => setTimeout(resolve));
};

/** A scripted client: what it sends is answered by hand, and what it hears is said by hand. */
function scripted() {
  const statements: Sent[] = [];
  const listenings: Listening[] = [];
  const sql: Sql = (_strings, ...[call, beat]) =>
    new Promise((resolve, reject) => {
      const newest = 740 + 10 * statements.length;
      const beatOf = (newer: number, server = SERVER) => `beat:${newest + newer} ${server}`;
      statements.push({
        isBeat: beat === "beat",
        beat: beatOf(1),
        beatOf,
        answer: (triggers) => {
          const xmax = `${newest + 1}`;
          resolve([{ call, xmax, server: SERVER, queue_usage: "0", triggers, sent: null }]);
        },
        answerNone: () => resolve([]),
        fail: () => reject(Object.assign(new Error("gone"), { code: "ECONNRESET" })),
      });
    });
  const listen: Listen = (_channel, hear, relisten) =>
    new Promise((resolve, reject) => {
      listenings.push({ hear: hear as Listening["hear"], relisten, resolve, reject });
    });
  return { statements, listenings, sql, listen };
}

/** Opens notifications whose clock, timer, listener and client are moved by hand. */
function open(options: Partial<NotificationOptions> = {}) {
  const script = scripted();
  let now: Moment = { monotonic: 0, wall: 1_800_000_000_000 };
  const log: string[] = [];
  const own: Notifications = openNotifications({
    caller: "test",
    queryTimeout: 5,
    maxStaleness: LIMIT / 1000,
    ...script,
    clock: () => now,
    onMessage: (payload) => log.push(payload),
    onGap: () => log.push("gap"),
    onTick: () => {},
    ...options,
  });
  const tick = ticks.at(-1)!;
  const ready = own.ready.then(() => "ready", ({ code, message }) => `${code}: ${message}`);
  opened.push(own);
  const it = {
    ...script,
    ...own,
    ready,
    log,
    /** The moment up to which all is proven, in milliseconds since the start. */
    proven: () => own.provenAt()?.monotonic,
    advance(milliseconds: number, wall = milliseconds) {
      now = { monotonic: now.monotonic + milliseconds, wall: now.wall + wall };
    },
    async tick(milliseconds = LIMIT / 4) {
      it.advance(milliseconds);
      tick();
      await settled();
    },
    last: () => script.statements.at(-1)!,
    at: (index: number) => script.listenings.at(index)!,
    /** The last statement is answered, and its beat is heard. */
    async comesBack(sent: Sent = it.last(), listening: Listening = it.at(-1), triggers = F) {
      sent.answer(triggers);
      listening.hear(sent.beat);
      await settled();
    },
    /** Answers all that is sent from now on, and hears it, until this many ticks have passed. */
    async beats(count: number) {
      for (let beat = 0; beat < count; beat++) {
        await it.tick();
        await it.comesBack();
      }
    },
  };
  return {
    ...it,
    /** The first listening succeeds, and its first two beats come back. */
    async started(subscription: Subscription = () => {}) {
      it.at(-1).resolve(subscription);
      await settled();
      await it.comesBack();
      await it.comesBack();
      assert.equal(await ready, "ready");
      log.length = 0;
      return it;
    },
  };
}

type Opened = Omit<ReturnType<typeof open>, "started">;

describe("a beat", () => {
  test("is proof once the next one, sent after it had come back, has come back as well", async () => {
    const it = open();
    assert.equal(it.isListening(), false);
    it.at(0).resolve(() => {});
    await settled();
    assert.equal(it.isListening(), true);
    it.advance(10);
    assert.equal(it.statements.length, 1);
    await it.comesBack();
    assert.equal(it.proven(), undefined);
    // It is confirmed at once, not with the next tick.
    assert.equal(it.statements.length, 2);
    it.advance(10);
    await it.comesBack();
    assert.equal(it.proven(), 0);
    assert.equal(await it.ready, "ready");
    await it.beats(1);
    assert.equal(it.proven(), 10);
  });

  test("proves the moment when it was sent, not when it was answered or heard", async () => {
    const it = await open().started();
    await it.tick(100);
    const first = it.last();
    it.advance(200);
    await it.comesBack(first);
    it.advance(100);
    await it.tick(0);
    it.advance(400);
    await it.comesBack();
    assert.equal(it.proven(), 100);
  });

  const incomplete: { name: string; happens: (it: Opened) => unknown }[] = [
    {
      name: "was heard, but its statement is unanswered",
      happens: (it) => it.at(0).hear(it.last().beat),
    },
    { name: "was answered, but is not heard", happens: (it) => it.last().answer(F) },
    {
      name: "was heard, but its statement failed",
      happens: (it) => {
        it.at(0).hear(it.last().beat);
        it.last().fail();
      },
    },
    {
      name: "was heard, but its statement saw a trigger that is missing or disabled",
      happens: (it) => {
        it.at(0).hear(it.last().beat);
        it.last().answer(null);
      },
    },
    {
      name: "was heard, but was sent by the connection that listens",
      happens: (it) => {
        it.at(0).hear(it.last().beat);
        it.last().answerNone();
      },
    },
    {
      name: "was answered, but the beat that is heard may be older, of another server, or is none",
      happens: async (it) => {
        const { answer, beatOf } = it.last();
        answer(F);
        await settled();
        const others = [beatOf(0), beatOf(-1), beatOf(1, "1795799532.582597 app"), beatOf(1, "")];
        const none = ["", "NaN", "Infinity", `-1 ${SERVER}`, ` ${SERVER}`, SERVER, "__proto__ x"];
        for (const beat of [...others, ...none.map((it) => `beat:${it}`)]) it.at(0).hear(beat);
      },
    },
  ];
  for (const { name, happens } of incomplete) {
    test(`proves nothing if it ${name}; and the next ones do`, async () => {
      const it = await open().started();
      assert.equal(it.proven(), 0);
      await it.tick();
      await happens(it);
      await settled();
      await it.tick();
      await happens(it);
      await settled();
      await it.tick();
      assert.equal(it.proven(), 0);
      await it.beats(4);
      assert.ok(it.proven()! > 750, `${it.proven()}`);
    });
  }

  test("is sent only by a process whose last probe no beat has followed", async () => {
    const it = await open().started();
    const kinds = async (ticks: number, happens: () => unknown) => {
      const { length } = it.statements;
      for (let times = 0; times < ticks; times++) {
        await it.tick(LIMIT / 8);
        it.last().answer(F);
        await happens();
        await settled();
      }
      return it.statements.slice(length).map(({ isBeat }) => isBeat ? "beat" : "probe").join(
        " ",
      );
    };
    const hear = () => it.at(0).hear(it.last().beat);
    const hearOwn = () => it.last().isBeat && hear();
    assert.equal(await kinds(6, hearOwn), "probe beat probe beat probe beat");
    assert.equal(it.proven(), 500);
    // Another process sends them.
    assert.equal(await kinds(6, hear), "probe probe probe probe probe probe");
    assert.equal(it.proven(), 1375);
    assert.equal(await kinds(3, () => {}), "probe beat beat");
    assert.equal(it.proven(), 1375);
  });

  test("that was heard before a probe was sent proves nothing, however new its transaction is", async () => {
    const it = await open().started();
    it.at(0).hear(it.last().beatOf(1_000_000));
    for (let times = 0; times < 4; times++) {
      await it.tick();
      it.last().answer(F);
      await settled();
    }
    assert.equal(it.proven(), 0);
  });

  test("that was heard before its statement is answered counts when it is, and twice is once", async () => {
    const it = await open().started();
    await it.tick();
    const sent = it.last();
    for (let times = 0; times < 3; times++) it.at(0).hear(sent.beat);
    await settled();
    it.advance(100);
    sent.answer(F);
    await settled();
    await it.tick(150);
    it.last().answer(F);
    it.at(0).hear(it.last().beat);
    await settled();
    assert.equal(it.proven(), 250);
  });

  test("that is replayed after it has counted moves nothing", async () => {
    const it = await open().started();
    await it.beats(3);
    const proven = it.proven();
    const { length } = it.statements;
    for (const { beat } of it.statements) it.at(0).hear(beat);
    await settled();
    assert.equal(it.proven(), proven);
    assert.equal(it.statements.length, length);
    assert.deepEqual(it.log, []);
  });

  test("that comes back after a later one does not move the proof back", async () => {
    const it = await open().started();
    await it.beats(2);
    await it.tick(10);
    const slow = it.last();
    await it.tick(10);
    const quick = it.last();
    assert.notEqual(slow, quick);
    await it.comesBack(quick);
    await it.comesBack(slow);
    assert.equal(it.proven(), 500);
    await it.beats(1);
    // What the later one proves, not the slow one.
    assert.equal(it.proven(), 520);
  });

  test("that takes longer than maxStaleness is dropped", async () => {
    const it = await open().started();
    await it.tick();
    const slow = it.last();
    await it.tick(LIMIT + 1);
    await it.comesBack(slow);
    await it.beats(1);
    // The one of the second tick has not come back either.
    assert.equal(it.proven(), 0);
  });

  test("that hangs keeps at most two statements open; when they have failed, the next ones go out", async () => {
    const it = await open({ queryTimeout: 60 }).started({ unlisten: () => {} });
    for (let round = 0; round < 3; round++) {
      const before = it.statements.length;
      for (let times = 0; times < 50; times++) await it.tick();
      assert.equal(it.statements.length, before + 2);
      for (const { fail } of it.statements) fail();
      await settled();
    }
    const proven = it.proven()!;
    await it.beats(2);
    assert.ok(it.proven()! > proven);
  });
});

describe("a gap", () => {
  test("ends the proof, and empties: onListen", async () => {
    const it = await open().started();
    it.at(0).relisten();
    assert.equal(it.proven(), undefined);
    assert.deepEqual(it.log, ["gap"]);
    assert.equal(it.isListening(), true);
    await it.beats(1);
    await it.comesBack();
    assert.equal(it.proven(), 250);
  });

  for (const first of ["heard", "answered"] as const) {
    test(`between the two signs of a beat makes it worth nothing: ${first} first`, async () => {
      const it = await open().started();
      await it.tick();
      const sent = it.last();
      if (first === "heard") it.at(0).hear(sent.beat);
      else sent.answer(F);
      await settled();
      it.at(0).relisten();
      if (first === "heard") sent.answer(F);
      else it.at(0).hear(sent.beat);
      await settled();
      await it.tick();
      await it.comesBack();
      // That one was the first since the gap.
      assert.equal(it.proven(), undefined);
      await it.comesBack();
      assert.equal(it.proven(), 500);
    });
  }

  test("that the client reports after the first notifications of its new connection has proven nothing", async () => {
    const it = await open().started();
    await it.beats(2);
    assert.equal(it.proven(), 250);
    await it.tick();
    // The connection was lost, and the new one passes on what was due before its LISTEN is done.
    await it.comesBack();
    // What the old one had passed on, and no more.
    assert.equal(it.proven(), 500);
    await it.tick(10);
    const afterwards = it.last();
    it.at(0).relisten();
    await it.comesBack(afterwards);
    assert.equal(it.proven(), undefined);
  });

  test("is a fingerprint of the triggers that has changed; the proof goes on", async () => {
    const it = await open().started();
    await it.tick();
    await it.comesBack(it.last(), it.at(0), F.replace("731", "740"));
    assert.deepEqual(it.log, ["gap"]);
    await it.tick();
    await it.comesBack(it.last(), it.at(0), F.replace("731", "740"));
    assert.deepEqual(it.log, ["gap"]);
    assert.equal(it.proven(), 250);
  });

  test("is one fingerprint more than the last, also if the answers come in another order", async () => {
    const it = await open().started();
    await it.tick();
    const before = it.last();
    await it.tick();
    await it.comesBack(it.last(), it.at(0), "other");
    await it.comesBack(before);
    await it.tick();
    await it.comesBack(it.last(), it.at(0), "other");
    assert.deepEqual(it.log, ["gap", "gap", "gap"]);
  });

  test("is each payload that is no beat, as a text, in order, for who reads them", async () => {
    const it = await open().started();
    const payloads = ["revoked:x", "", "beats:1", 1, null, undefined, {}, new Uint8Array([98])];
    for (const payload of payloads) it.at(0).hear(payload);
    assert.deepEqual(it.log, payloads.map(String));
  });
});

describe("listening anew", () => {
  test("ends with a gap: what was sent until then is lost, whatever was asked meanwhile", async () => {
    const it = await open().started();
    await it.tick(2 * LIMIT + 1);
    it.log.length = 0;
    it.at(1).resolve(() => {});
    await settled();
    assert.deepEqual(it.log, ["gap"]);
  });

  test("is done if no beat comes back for twice maxStaleness, and a closing function was returned", async () => {
    const it = open();
    let closed = 0;
    await it.started(() => closed++);
    await it.tick(2 * LIMIT);
    assert.deepEqual([it.listenings.length, closed], [1, 0]);
    await it.tick(1);
    assert.deepEqual([it.listenings.length, closed], [2, 1]);
    assert.deepEqual([it.proven(), it.isListening()], [undefined, false]);
    assert.ok(it.log.includes("gap"));
    it.at(1).resolve(() => closed++);
    await settled();
    await it.comesBack();
    await it.beats(1);
    assert.equal(it.proven(), 2001);
    await it.beats(12);
    assert.deepEqual([it.listenings.length, closed], [2, 1]);
  });

  test("is never done for a client that connects again by itself", async () => {
    const it = open();
    let ended = 0;
    await it.started({ unlisten: () => ended++ });
    for (let times = 0; times < 100; times++) await it.tick();
    assert.deepEqual([it.listenings.length, ended], [1, 0]);
  });

  test("ignores what the earlier one still says: beats, revocations, and that it listens again", async () => {
    const it = await open().started();
    await it.tick();
    const early = it.last();
    early.answer(F);
    await it.tick(2 * LIMIT + 1);
    it.at(1).resolve(() => {});
    await settled();
    it.log.length = 0;
    const first = it.last();
    first.answer(F);
    it.at(0).hear(early.beat);
    it.at(0).hear(first.beat);
    it.at(0).hear("revoked:x");
    it.at(0).relisten();
    // Nor does a beat of the earlier listening count if the later one hears it.
    it.at(1).hear(early.beat);
    await settled();
    assert.deepEqual(it.log, []);
    await it.tick();
    await it.comesBack();
    assert.equal(it.proven(), undefined);
    await it.comesBack();
    assert.equal(it.proven(), 2251);
  });

  test("is tried again at most each twice maxStaleness while it hangs; one that is late is closed", async () => {
    const it = await open().started();
    let closed = 0;
    // It hangs for a minute.
    for (let times = 0; times < 240; times++) await it.tick();
    for (const { fail } of it.statements) fail();
    const { length } = it.listenings;
    assert.ok(length > 20 && length <= 31, `${length}`);
    for (const late of it.listenings.slice(1, -1)) late.resolve(() => closed++);
    await settled();
    assert.equal(closed, length - 2);
    assert.equal(it.isListening(), false);
    it.at(-1).resolve(() => closed++);
    await settled();
    assert.equal(it.isListening(), true);
    await it.comesBack();
    await it.beats(1);
    assert.equal(it.proven(), 60_000);
  });

  test("is tried again after it was refused, and sends no beats meanwhile", async () => {
    const it = await open().started();
    await it.tick(2 * LIMIT + 1);
    const { length } = it.statements;
    it.at(1).reject(new Error("refused"));
    await settled();
    for (let times = 0; times < 8; times++) await it.tick();
    assert.equal(it.statements.length, length);
    assert.equal(it.listenings.length, 2);
    await it.tick();
    assert.equal(it.listenings.length, 3);
    it.at(2).resolve(() => {});
    await settled();
    await it.comesBack();
    await it.comesBack();
    assert.ok(it.proven()! > 0);
  });

  const failures: { name: string; end: () => unknown }[] = [
    {
      name: "throws",
      end: () => {
        throw new Error("a connection that is lost");
      },
    },
    { name: "rejects", end: () => Promise.reject(new Error("a connection that is lost")) },
    { name: "never ends", end: () => new Promise(() => {}) },
  ];
  for (const { name, end } of failures) {
    test(`is done also if closing the earlier one ${name}`, async () => {
      const it = open({ queryTimeout: 2 });
      await it.started(end as () => unknown);
      await it.tick(2 * LIMIT + 1);
      it.at(1).resolve(() => {});
      await settled();
      await it.comesBack();
      await it.comesBack();
      assert.equal(it.proven(), 2001);
    });
  }
});

describe("the wall clock", () => {
  test("that is set back moves neither the proof nor the time of a beat", async () => {
    const it = await open().started({ unlisten: () => {} });
    it.advance(100, -3600_000);
    await it.beats(2);
    assert.equal(it.proven(), 350);
    it.advance(LIMIT, 3600_000);
    await it.beats(2);
    assert.ok(it.proven()! > 350);
  });

  test("that is set ahead drops the beats under way, and listens anew at once", async () => {
    const it = await open().started();
    await it.beats(2);
    await it.tick();
    const before = it.last();
    it.advance(0, 3600_000);
    await it.tick();
    assert.equal(it.listenings.length, 2);
    it.at(1).resolve(() => {});
    await settled();
    const { length } = it.statements;
    await it.comesBack(before, it.at(0));
    await it.comesBack(before, it.at(1));
    assert.deepEqual([it.proven(), it.statements.length], [undefined, length]);
    await it.comesBack(it.statements[length - 1]);
    await it.comesBack();
    assert.equal(it.proven(), 1000);
  });

  test("that jumps back and forth with each beat leaves the proof in order", async () => {
    const it = await open().started({ unlisten: () => {} });
    let last = 0;
    for (let times = 0; times < 20; times++) {
      it.advance(0, times % 2 ? 500 : -500);
      await it.beats(1);
      const proven = it.proven() ?? last;
      assert.ok(proven >= last && proven <= 250 * (times + 1));
      last = proven;
    }
    assert.ok(last > 4000);
  });
});

describe("the start", () => {
  const refused: {
    name: string;
    happens: (it: Opened) => unknown;
    says: RegExp;
  }[] = [
    {
      name: "listening is refused",
      happens: (it) =>
        it.at(0).reject(Object.assign(new Error("refused"), { code: "ECONNREFUSED" })),
      says: /^STORE_UNAVAILABLE: test: the database is unreachable \(ECONNREFUSED\)$/,
    },
    { name: "listening hangs", happens: () => {}, says: /^STORE_TIMEOUT: test: no notification/ },
    {
      name: "the beats are not heard",
      happens: async (it) => {
        it.at(0).resolve(() => {});
        await settled();
        it.last().answer(F);
      },
      says: /^STORE_TIMEOUT: test: no notification/,
    },
    {
      name: "the triggers are missing",
      happens: async (it) => {
        it.at(0).resolve(() => {});
        await settled();
        it.last().answer(null);
      },
      says: /^SCHEMA_MISSING: test: the triggers/,
    },
    {
      name: "one connection does both",
      happens: async (it) => {
        it.at(0).resolve(() => {});
        await settled();
        it.last().answerNone();
      },
      says: /^UNEXPECTED_RESULT: test: sql sends its statements on the connection that listens/,
    },
  ];
  for (const { name, happens, says } of refused) {
    test(`is refused if ${name}, and nothing is open then`, async () => {
      const it = open({ queryTimeout: 1 });
      const timers = ticks.length;
      await happens(it);
      assert.match(await it.ready, says);
      await settled();
      assert.equal(ticks.length, timers - 1);
      assert.equal(it.isListening(), false);
      let closed = 0;
      it.at(0).resolve(() => closed++);
      await settled();
      assert.equal(it.proven(), undefined);
      assert.ok(closed <= 1);
    });
  }

  test("is no start if it was closed before listening was answered: what comes late is closed", async () => {
    const it = open({ queryTimeout: 0.2 });
    await it.close();
    await it.close();
    let closed = 0;
    it.at(0).resolve(() => closed++);
    await settled();
    assert.deepEqual([closed, it.statements.length, it.isListening()], [1, 0, false]);
  });
});

describe("close", () => {
  test("ends the subscription once, the timer and the proof; what comes later is ignored", async () => {
    const it = open();
    let closed = 0;
    await it.started({ unlisten: () => closed++ });
    await it.tick();
    const sent = it.last();
    const timers = ticks.length;
    await Promise.all([it.close(), it.close()]);
    await it.close();
    assert.deepEqual([closed, ticks.length], [1, timers - 1]);
    assert.deepEqual([it.proven(), it.isListening()], [undefined, false]);
    const { length } = it.log;
    await it.comesBack(sent);
    it.at(0).hear("revoked:x");
    it.at(0).relisten();
    assert.equal(it.proven(), undefined);
    assert.equal(it.log.length, length);
    assert.equal(it.statements.at(-1), sent);
  });

  test("waits at most queryTimeout for a connection that never says that it is closed", async () => {
    const it = open({ queryTimeout: 1 });
    await it.started({ unlisten: () => new Promise(() => {}) });
    await it.close();
    assert.equal(it.isListening(), false);
  });
});

describe("a cache on notifications", () => {
  const key = { id: "9f0c3a52-5d5b-4f0e-9d0a-0c8a4a6e1b11", digest: "5a".repeat(32) };

  async function openCache() {
    const script = scripted();
    const { sql, statements, listenings } = script;
    const pending = createSessionCache({ sql, listen: script.listen, maxStaleness: 60 });
    listenings[0]!.resolve({ unlisten: () => {} });
    for (let times = 0; times < 2; times++) {
      await settled();
      const sent = statements.at(-1)!;
      sent.answer(F);
      listenings[0]!.hear(sent.beat);
    }
    const cache: SessionCache = await pending;
    opened.push(cache);
    const own = cacheOf("test", cache);
    const keep = () => {
      const reading = own.read(key.id, sql)!;
      reading.keep(key, { ...key, data: {}, clock: 0, isStandby: false } as unknown as StoredState);
      reading.end();
    };
    const has = () => own.find(key, sql, () => true) !== undefined;
    return { cache, own, sql, keep, has, ...listenings[0]! };
  }

  const payloads: { payload: unknown; forgets: boolean }[] = [
    { payload: `revoked:${key.id}`, forgets: true },
    { payload: `changed:${key.id}`, forgets: true },
    { payload: "revoked:11111111-2222-4333-8444-555555555555", forgets: false },
    { payload: "revoked:x", forgets: false },
    ...[
      "truncated",
      "",
      "revoked:",
      "revoked",
      "revoked:x\n",
      ` revoked:${key.id}`,
      `rotated:${key.id}`,
      `2:revoked:${key.id}`,
      `REVOKED:${key.id}`,
      "beats:1",
      null,
      undefined,
      {},
      0,
    ].map((payload) => ({ payload, forgets: true })),
    { payload: "beat:", forgets: false },
    { payload: "beat:of another process", forgets: false },
  ];
  for (const { payload, forgets } of payloads) {
    const shown = typeof payload === "string" ? JSON.stringify(payload) : String(payload);
    test(`${forgets ? "forgets the session" : "keeps it"} by ${shown}`, async () => {
      const { keep, has, hear, own, sql, cache } = await openCache();
      keep();
      assert.equal(has(), true);
      const reading = own.read(key.id, sql)!;
      hear(payload);
      assert.equal(has(), !forgets);
      // What was being read is void as well.
      reading.keep(
        key,
        { ...key, data: {}, clock: 0, isStandby: false } as unknown as StoredState,
      );
      assert.equal(has(), !forgets);
      keep();
      assert.equal(has(), true);
      await cache.close();
    });
  }

  const clocks: { name: string; of: { now: () => number } }[] = [
    { name: "the wall clock", of: Date },
    { name: "the monotonic clock", of: performance },
  ];
  for (const { name, of } of clocks) {
    test(`answers from memory for maxStaleness after the proof, and no longer, by ${name}`, async () => {
      const { keep, has, own, sql, cache } = await openCache();
      const now = of.now.bind(of);
      const at = (milliseconds: number) => {
        Object.defineProperty(of, "now", {
          value: () => now() + milliseconds,
          configurable: true,
          writable: true,
        });
        return has();
      };
      try {
        keep();
        assert.deepEqual([-3600_000, 0, 55_000].map(at), [true, true, true]);
        assert.deepEqual([60_001, 3600_000].map(at), [false, false]);
        // Nothing was forgotten, and what is read meanwhile may be kept.
        assert.equal(at(0), true);
        assert.ok(own.read(key.id, sql));
        assert.ok(cache.stats().staleness < 60);
      } finally {
        Object.defineProperty(of, "now", { value: now, configurable: true, writable: true });
      }
    });
  }

  test("keeps nothing of another client, and nothing once it is closed", async () => {
    const { keep, has, own, cache, sql } = await openCache();
    assert.equal(own.read(key.id, () => Promise.resolve([])), undefined);
    keep();
    assert.equal(own.find(key, () => Promise.resolve([]), () => true), undefined);
    assert.equal(has(), true);
    const reading = own.read(key.id, sql)!;
    await cache.close();
    reading.keep(key, { ...key, data: {}, clock: 0, isStandby: false } as unknown as StoredState);
    assert.deepEqual([has(), own.read(key.id, sql), cache.stats().sessions], [false, undefined, 0]);
  });
});
