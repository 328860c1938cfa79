import { describe, test } from "bun:test";
import assert from "node:assert/strict";
import { between, clock, type Moment } from "../src/cache/clock.ts";
import { type Entries, openEntries } from "../src/cache/entries.ts";
import type { StoredState } from "../src/session.ts";

const ID = "9f0c3a52-5d5b-4f0e-9d0a-0c8a4a6e1b11";
const DIGEST = "5a".repeat(32);
const START: Moment = { monotonic: 1000, wall: 1_800_000_000_000 };

const later = (milliseconds: number): Moment => ({
  monotonic: START.monotonic + milliseconds,
  wall: START.wall + milliseconds,
});

const stateOf = (data: object, id = ID): StoredState => ({
  id,
  userId: 1,
  username: "ada",
  createdAt: 1_800_000_000,
  authenticatedAt: 1_800_000_000,
  lastSeenAt: 1_800_000_000,
  expiresAt: 1_900_000_000,
  persistent: true,
  version: 0,
  data,
  clock: 1_800_000_000,
  isRevoked: false,
  revokedReason: null,
  isRotated: false,
  rotatedAt: null,
  rotationSeenAt: null,
  isStandby: false,
  isCurrent: true,
  authenticated: "2027-01-15 08:00:00+00",
});

const open = (options: Partial<Parameters<typeof openEntries>[0]> = {}) =>
  openEntries({ maxSessions: 10, maxAge: 60, ...options });

/** Reads a session and keeps it. */
function fill(
  entries: Entries,
  { id = ID, digest = DIGEST, data = {}, at = START }: {
    id?: string;
    digest?: string;
    data?: object;
    at?: Moment;
  } = {},
) {
  const reading = entries.read(id, at);
  reading.keep({ id, digest }, stateOf(data, id));
  reading.end();
}

const find = (entries: Entries, now = START, id = ID, digest = DIGEST) =>
  entries.find({ id, digest }, now);

/** All orders of the steps of several actors, each of which keeps its own order. */
function* interleavings<Step>(actors: readonly (readonly Step[])[]): Generator<Step[]> {
  if (actors.every(({ length }) => length === 0)) return yield [];
  for (const [index, [step, ...rest]] of actors.entries()) {
    if (step === undefined) continue;
    const left = actors.map((actor, other) => other === index ? rest : actor);
    for (const others of interleavings(left)) yield [step, ...others];
  }
}

type Step =
  | `${"begin" | "snapshot" | "keep"} ${1 | 2}`
  | "commit"
  | "notification"
  | "gap"
  | "forget";

const FILLS: Step[][] = [
  ["begin 1", "snapshot 1", "keep 1"],
  ["begin 2", "snapshot 2", "keep 2"],
];

/** Plays an order on the real entries, and says after each step what is found, and what may be. */
function play(order: readonly Step[]): void {
  const entries = open();
  const readings: Record<string, ReturnType<Entries["read"]>> = {};
  const snapshots: Record<string, "old" | "new"> = {};
  // The fills that nothing has disturbed between their beginning and now.
  const undisturbed = new Set<string>();
  let expected: "old" | "new" | undefined;
  let isCommitted = false;
  let isKnown = false;
  for (const step of order) {
    const [what, number = ""] = step.split(" ");
    if (what === "begin") {
      readings[number] = entries.read(ID, START);
      undisturbed.add(number);
    } else if (what === "snapshot") {
      snapshots[number] = isCommitted ? "new" : "old";
    } else if (what === "keep") {
      readings[number]!.keep({ id: ID, digest: DIGEST }, stateOf({ is: snapshots[number] }));
      readings[number]!.end();
      if (undisturbed.has(number)) expected = snapshots[number];
    } else if (what === "commit") {
      isCommitted = true;
    } else {
      if (what === "gap") entries.clear();
      else entries.forget(ID);
      undisturbed.clear();
      expected = undefined;
      // A process that has changed the session itself forgets it after the commit, or knows nothing of it.
      if (what === "notification" || isCommitted) isKnown = true;
    }
    const found = (find(entries)?.data as { is?: string } | undefined)?.is;
    // Nor may it keep nothing, or the rule would hold of an empty cache.
    if (isKnown && found === "old" || found !== expected) {
      assert.fail(`${order.join(", ")}: ${step} leaves ${found} instead of ${expected}`);
    }
  }
  assert.equal(entries.size(), expected ? 1 : 0);
}

describe("a state that was read before a change was committed", () => {
  const worlds: { name: string; actors: Step[][]; orders: number }[] = [
    {
      name: "the notification",
      actors: [...FILLS, ["commit", "notification"]],
      orders: 560,
    },
    {
      name: "a gap in which the notification was lost",
      actors: [...FILLS, ["commit", "gap"]],
      orders: 560,
    },
    {
      name: "the notification, with a gap and a forgetting at any moment",
      actors: [...FILLS, ["commit", "notification"], ["gap"], ["forget"]],
      orders: 50_400,
    },
  ];
  for (const { name, actors, orders } of worlds) {
    test(`is never found after ${name}, in any order of two fills`, () => {
      let played = 0;
      for (const order of interleavings(actors)) {
        play(order);
        played++;
      }
      assert.equal(played, orders);
    });
  }

  test("is not kept either if a third reading ended in between", () => {
    const entries = open();
    const slow = entries.read(ID, START);
    entries.read(ID, START).end();
    entries.forget(ID);
    entries.read(ID, START).end();
    slow.keep({ id: ID, digest: DIGEST }, stateOf({}));
    assert.equal(find(entries), undefined);
    slow.end();
    slow.end();
    fill(entries);
    assert.ok(find(entries));
  });

  test("is that session's alone: a change of another one voids no reading", () => {
    const entries = open();
    const reading = entries.read(ID, START);
    entries.forget(crypto.randomUUID());
    reading.keep({ id: ID, digest: DIGEST }, stateOf({}));
    assert.ok(find(entries));
  });
});

describe("a kept session", () => {
  test("is none of a standby, which may not know of a revocation", () => {
    const entries = open();
    entries.read(ID, START).keep({ id: ID, digest: DIGEST }, { ...stateOf({}), isStandby: true });
    assert.equal(entries.size(), 0);
    assert.equal(find(entries), undefined);
  });

  test("is found by the whole digest alone", () => {
    const entries = open();
    fill(entries);
    assert.ok(find(entries));
    const wrong = [
      "",
      DIGEST.slice(1),
      DIGEST.slice(0, -1),
      `${DIGEST}5`,
      DIGEST + DIGEST,
      DIGEST.toUpperCase(),
      ...Array.from(DIGEST, (digit, at) => {
        const other = digit === "5" ? "4" : "b";
        return DIGEST.slice(0, at) + other + DIGEST.slice(at + 1);
      }),
    ];
    for (const digest of wrong) assert.equal(find(entries, START, ID, digest), undefined, digest);
    assert.ok(find(entries));
  });

  test("has the database's clock as it must be now, by the larger of two ages", () => {
    const entries = open();
    fill(entries, { data: { a: 1 } });
    const seconds = (now: Moment) => find(entries, now)!.clock - 1_800_000_000;
    assert.equal(seconds(START), 0);
    assert.equal(seconds(later(1500)), 1.5);
    assert.equal(seconds({ ...later(1500), wall: START.wall - 3600_000 }), 1.5);
    assert.equal(seconds({ ...later(1500), monotonic: START.monotonic }), 1.5);
    assert.equal(seconds({ ...later(0), wall: START.wall + 20_000 }), 20);
  });

  const ages: { name: string; now: Moment; isFound: boolean }[] = [
    { name: "as old as maxAge", now: later(60_000), isFound: true },
    { name: "older than maxAge", now: later(60_001), isFound: false },
    {
      name: "older by the wall clock alone: the machine was suspended",
      now: { monotonic: START.monotonic, wall: START.wall + 60_001 },
      isFound: false,
    },
    {
      name: "older by the monotonic clock alone: the wall clock was set back",
      now: { monotonic: START.monotonic + 60_001, wall: START.wall - 3600_000 },
      isFound: false,
    },
  ];
  for (const { name, now, isFound } of ages) {
    test(`is ${isFound ? "found" : "forgotten"} if it is ${name}`, () => {
      const entries = open();
      fill(entries);
      assert.equal(find(entries, now) !== undefined, isFound);
      assert.equal(entries.size(), isFound ? 1 : 0);
    });
  }

  test("is as old as the beginning of its reading, however late the answer", () => {
    const entries = open();
    const reading = entries.read(ID, START);
    reading.keep({ id: ID, digest: DIGEST }, stateOf({}));
    assert.equal(find(entries, later(60_001)), undefined);
  });

  test("has data of its own for each call", () => {
    const entries = open();
    const data = { list: [1], empty: {} };
    fill(entries, { data });
    data.list.push(2);
    const one = find(entries)!.data;
    assert.deepEqual(one, { list: [1], empty: {} });
    Object.assign(one, { list: [] });
    assert.deepEqual(find(entries)!.data, { list: [1], empty: {} });
    fill(entries, { data: {} });
    Object.assign(find(entries)!.data, { a: 1 });
    assert.deepEqual(find(entries)!.data, {});
  });
});

describe("the memory", () => {
  const ids = Array.from({ length: 8 }, (_, index) => `${ID.slice(0, -1)}${index}`);
  const found = (entries: Entries) =>
    ids.map((id) => find(entries, START, id) ? 1 : 0).join("").replace(/0+$/, "");

  test("holds maxSessions; the one that was read first makes room", () => {
    const entries = open({ maxSessions: 3 });
    for (const id of ids.slice(0, 5)) {
      fill(entries, { id });
      assert.ok(entries.size() <= 3);
    }
    assert.equal(found(entries), "00111");
    // Read again, it is the newest.
    fill(entries, { id: ids[2]! });
    fill(entries, { id: ids[5]! });
    assert.equal(found(entries), "001011");
  });

  // As JSON: {"text":"…"} is 11 characters more than its text.
  const sized = (characters: number) => ({ text: "x".repeat(characters - 11) });

  test("holds 1,024 characters of data for each of maxSessions, and no more", () => {
    const entries = open({ maxSessions: 4 });
    fill(entries, { id: ids[0]!, data: sized(2048) });
    fill(entries, { id: ids[1]!, data: sized(2048) });
    assert.equal(found(entries), "11");
    fill(entries, { id: ids[2]!, data: sized(11) });
    assert.equal(found(entries), "011");
    // What is larger than all is not kept, and empties it.
    fill(entries, { id: ids[3]!, data: sized(4097) });
    assert.equal(entries.size(), 0);
    fill(entries, { id: ids[3]!, data: sized(4096) });
    assert.equal(found(entries), "0001");
  });

  test("is given back by each way in which a session is forgotten", () => {
    const entries = open({ maxSessions: 2 });
    const [one, other] = ids as [string, string];
    const full = sized(2048);
    const ways: Record<string, () => void> = {
      "is forgotten": () => entries.forget(one),
      "is too old": () => void find(entries, later(60_001), one),
      "is read again": () => fill(entries, { id: one, data: {} }),
      "is forgotten with all others": () => entries.clear(),
    };
    for (const [name, forget] of Object.entries(ways)) {
      for (let round = 0; round < 3; round++) {
        fill(entries, { id: one, data: full });
        assert.equal(found(entries), "1", name);
        forget();
        fill(entries, { id: other, data: sized(2000) });
        assert.ok(find(entries, START, other), name);
        entries.forget(other);
        entries.forget(one);
        assert.equal(entries.size(), 0);
      }
    }
    // Nothing is counted twice, nor left over: it still holds all that it may.
    fill(entries, { id: one, data: sized(1024) });
    fill(entries, { id: other, data: sized(1024) });
    assert.equal(found(entries), "11");
  });
});

describe("the time between two moments", () => {
  const cases: { name: string; now: Moment; milliseconds: number }[] = [
    { name: "the same moment", now: START, milliseconds: 0 },
    { name: "both clocks go on", now: later(250), milliseconds: 250 },
    {
      name: "the wall clock is set ahead",
      now: { ...later(250), wall: START.wall + 3600_000 },
      milliseconds: 3600_000,
    },
    {
      name: "the wall clock is set back",
      now: { ...later(250), wall: START.wall - 3600_000 },
      milliseconds: 250,
    },
    {
      name: "the machine was suspended, in which the monotonic clock stops",
      now: { monotonic: START.monotonic + 1, wall: START.wall + 60_000 },
      milliseconds: 60_000,
    },
    {
      name: "less than a millisecond",
      now: { monotonic: START.monotonic + 0.25, wall: START.wall },
      milliseconds: 0.25,
    },
  ];
  for (const { name, now, milliseconds } of cases) {
    test(`is what the clock says on which more has passed: ${name}`, () => {
      assert.equal(between(START, now), milliseconds);
    });
  }

  test("is never less than what has passed, by the clocks of this runtime", async () => {
    let then = clock();
    const first = then;
    const hours = Math.abs(then.wall - Date.UTC(2026, 0)) / 3600_000;
    assert.ok(Number.isFinite(hours) && then.monotonic >= 0);
    for (let round = 0; round < 10; round++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      const now = clock();
      assert.ok(now.monotonic > then.monotonic, "the monotonic clock goes on");
      assert.ok(between(then, now) > 0);
      assert.ok(between(first, now) >= between(first, then));
      then = now;
    }
  });
});
