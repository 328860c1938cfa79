import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Policy } from "../mod.ts";
import { contextOf } from "../src/context.ts";
import { unexpectedRow } from "../src/errors.ts";
import { evaluate, hasPassed } from "../src/evaluate.ts";
import { readOptions, type ResolvedPolicy } from "../src/policy.ts";
import { readState, type StoredState } from "../src/session.ts";
import type { Statement } from "../src/sql.ts";
import {
  EXPLAIN,
  EXPLAIN_UPDATE,
  REAUTHENTICATE,
  ROTATE,
  TOUCH,
  UPDATE,
  VALIDATE,
} from "../src/statements.ts";
import { queryPresented } from "../src/write.ts";
import { type Database, openDatabase } from "./runner/database.ts";

const POLICY = {
  absoluteTimeout: 1000,
  idleTimeout: 100,
  touchInterval: 10,
  rotateAfter: 50,
  rotationGrace: 5,
};
const NOW = 1_767_225_600.123456;
const MICROSECOND = 1e-6;

const resolve = (policy: Policy): ResolvedPolicy => readOptions("configure", policy, []).policy;

const state = (changes: Partial<StoredState> = {}): StoredState => ({
  id: "5e551011-0000-4000-8000-000000000000",
  userId: 1,
  username: "ada",
  createdAt: NOW - 1,
  authenticatedAt: NOW - 1,
  lastSeenAt: NOW - 1,
  expiresAt: NOW + 900,
  persistent: true,
  version: 0,
  data: {},
  clock: NOW,
  isRevoked: false,
  revokedReason: null,
  isRotated: false,
  rotatedAt: null,
  rotationSeenAt: null,
  isStandby: false,
  isCurrent: true,
  authenticated: String(NOW - 1),
  ...changes,
});
const rotated = (changes: Partial<StoredState> = {}): Partial<StoredState> => ({
  isRotated: true,
  rotatedAt: NOW - 20,
  rotationSeenAt: NOW - 20,
  ...changes,
});
const revoked = (changes: Partial<StoredState> = {}) =>
  rotated({ isRevoked: true, revokedReason: "theft", ...changes });

interface Case {
  readonly name: string;
  readonly state?: Partial<StoredState>;
  /** Whether the previous secret is presented. */
  readonly previous?: true;
  readonly policy?: Policy;
  readonly within?: number;
  readonly refusal?: string;
  readonly due?: string;
  readonly stale?: boolean;
}

const cases: Case[] = [
  { name: "lives, and nothing is due" },

  { name: "lives a microsecond before its deadline", state: { expiresAt: NOW + MICROSECOND } },
  { name: "is over at its deadline", state: { expiresAt: NOW }, refusal: "expired" },
  {
    name: "lives a microsecond before the absolute timeout",
    state: { authenticatedAt: NOW - 1000 + MICROSECOND },
    due: "rotation",
  },
  {
    name: "is over at the absolute timeout, whatever its deadline",
    state: { authenticatedAt: NOW - 1000 },
    refusal: "expired",
    due: "rotation",
  },
  {
    name: "lives a microsecond before it is idle",
    state: { lastSeenAt: NOW - 100 + MICROSECOND },
    due: "touch",
  },
  { name: "is idle", state: { lastSeenAt: NOW - 100 }, refusal: "idle", due: "touch" },
  {
    name: "is expired rather than idle",
    state: { lastSeenAt: NOW - 100, expiresAt: NOW },
    refusal: "expired",
    due: "touch",
  },
  { name: "was revoked", state: revoked({ isRotated: false }), refusal: "revoked" },
  {
    name: "was revoked, rather than expired, idle, reused or without its user",
    state: { ...revoked(), expiresAt: NOW, lastSeenAt: NOW - 100, username: null },
    previous: true,
    refusal: "revoked",
    due: "touch",
  },
  { name: "has no user", state: { username: null }, refusal: "user" },
  {
    name: "is over where it was created at no instant",
    state: { createdAt: -Infinity },
    refusal: "expired",
  },
  {
    name: "is over where it has no end",
    state: { expiresAt: Infinity },
    refusal: "expired",
  },
  {
    name: "is over where its user proved who they are at no instant",
    state: { authenticatedAt: Infinity },
    refusal: "expired",
    due: "rotation",
  },
  {
    name: "is over where it will have been used last at no instant",
    state: { lastSeenAt: Infinity },
    refusal: "expired",
    due: "touch",
  },
  {
    name: "is idle where it was never used",
    state: { lastSeenAt: -Infinity },
    refusal: "idle",
    due: "touch",
  },

  {
    name: "is over if it was created at its end",
    state: { createdAt: NOW + 900 },
    refusal: "expired",
  },
  {
    name: "lives if it was created a microsecond before its end",
    state: { createdAt: NOW + 900 - MICROSECOND },
  },
  {
    name: "is over if its user proved who they are after its end",
    state: { authenticatedAt: NOW + 901 },
    refusal: "expired",
    due: "rotation",
  },
  {
    name: "is over if it was used after its end",
    state: { lastSeenAt: NOW + 51, expiresAt: NOW + 50 },
    refusal: "expired",
    due: "touch",
  },

  {
    name: "is over if its user will have proved who they are in as long as the absolute timeout",
    state: { authenticatedAt: NOW + 1000, expiresAt: NOW + 2000 },
    refusal: "expired",
    due: "rotation",
  },
  {
    name: "lives a microsecond before that, and is due for a rotation",
    state: { authenticatedAt: NOW + 1000 - MICROSECOND, expiresAt: NOW + 2000 },
    due: "rotation",
  },
  {
    name: "is idle if it will have been used in as long as the idle timeout",
    state: { lastSeenAt: NOW + 100 },
    refusal: "idle",
    due: "touch",
  },
  {
    name: "lives a microsecond before that, and is due for a touch",
    state: { lastSeenAt: NOW + 100 - MICROSECOND },
    due: "touch",
  },
  {
    name: "needs no touch if it will have been used sooner than the interval",
    state: { lastSeenAt: NOW + 10 - MICROSECOND },
  },
  {
    name: "was reused if the new secret will have been seen in as long as the grace",
    state: rotated({ rotationSeenAt: NOW + 5 }),
    previous: true,
    refusal: "reused",
  },
  {
    name: "lets the old secret in a microsecond before that",
    state: rotated({ rotationSeenAt: NOW + 5 - MICROSECOND }),
    previous: true,
  },
  {
    name: "was reused if the new secret was seen at no instant",
    state: rotated({ rotationSeenAt: Infinity }),
    previous: true,
    refusal: "reused",
  },
  {
    name: "is due for a rotation if the last one will have been in as long as that",
    state: rotated({ rotatedAt: NOW + 50 }),
    due: "rotation",
  },
  {
    name: "is stale if the proof will have been in as long as that",
    state: { authenticatedAt: NOW + 7 },
    within: 7,
    stale: true,
  },
  {
    name: "is not stale a microsecond before that",
    state: { authenticatedAt: NOW + 7 - MICROSECOND },
    within: 7,
  },
  {
    name: "is over and stale if it is of a clock that was a year ahead",
    state: { authenticatedAt: NOW + 31_536_000, expiresAt: NOW + 34_128_000 },
    policy: { absoluteTimeout: 2_592_000, rotateAfter: false },
    within: 60,
    refusal: "expired",
    stale: true,
  },

  {
    name: "needs no touch a microsecond before the interval",
    state: { lastSeenAt: NOW - 10 + MICROSECOND },
  },
  { name: "is due for a touch", state: { lastSeenAt: NOW - 10 }, due: "touch" },
  {
    name: "is never due for a touch where there is none",
    state: { lastSeenAt: NOW - 10 },
    policy: { touchInterval: false, rotateAfter: false },
  },
  {
    name: "is due for a touch where the new secret is seen for the first time",
    state: rotated({ rotationSeenAt: null }),
    due: "touch",
  },
  {
    name: "hands the new secret to the old one while nobody has come with it",
    state: rotated({ rotationSeenAt: null }),
    previous: true,
    due: "reissue",
  },
  {
    name: "lets the old secret in a microsecond before the grace is over",
    state: rotated({ rotationSeenAt: NOW - 5 + MICROSECOND }),
    previous: true,
  },
  {
    name: "was reused where the grace is over",
    state: rotated({ rotationSeenAt: NOW - 5 }),
    previous: true,
    refusal: "reused",
  },
  {
    name: "was reused rather than without its user",
    state: { ...rotated(), username: null },
    previous: true,
    refusal: "reused",
  },
  {
    name: "needs no rotation a microsecond before it is due",
    state: { authenticatedAt: NOW - 50 + MICROSECOND },
  },
  { name: "is due for a rotation", state: { authenticatedAt: NOW - 50 }, due: "rotation" },
  {
    name: "is due for a rotation by the last one, where there was one",
    state: { ...rotated({ rotatedAt: NOW - 49 }), authenticatedAt: NOW - 100 },
  },
  {
    name: "is not rotated again before the last one has settled",
    state: rotated({ rotatedAt: NOW - 50, rotationSeenAt: NOW - 4 }),
  },
  {
    name: "is never due for a rotation where there is none",
    state: { authenticatedAt: NOW - 50 },
    policy: { rotateAfter: false },
  },

  {
    name: "is not stale a microsecond before",
    state: { authenticatedAt: NOW - 7 + MICROSECOND },
    within: 7,
  },
  { name: "is stale", state: { authenticatedAt: NOW - 7 }, within: 7, stale: true },
  { name: "is stale at once where a proof is asked for now", within: 0, stale: true },
];

describe("evaluate", () => {
  for (const { name, state: changes, previous, policy, within, ...expected } of cases) {
    test(`says that a session ${name}`, () => {
      const stored = { ...state(changes), isCurrent: previous === undefined };
      const { refusal, due } = evaluate(stored, resolve({ ...POLICY, ...policy }));
      const stale = within !== undefined && hasPassed(stored, stored.authenticatedAt, within);
      assert.deepEqual({ refusal, due, stale }, {
        refusal: null,
        due: null,
        stale: false,
        ...expected,
      });
    });
  }
});

type Presented = Parameters<typeof queryPresented>[1];

describe("evaluate, and the conditions in SQL", () => {
  let db: Database;
  beforeAll(async () => {
    db = await openDatabase();
    await db.sql`insert into users values (3, 'gone')`;
    await db.sql`
      create or replace view coatcheck.users as select id, username from users where id < 3`;
  });
  afterAll(() => db.close());

  const secrets = ["current", "previous"].map((secret) =>
    createHash("sha256").update(secret).digest("hex")
  ) as [string, string];

  test("agree on 500 random rows", async () => {
    let state = 20_261_124;
    const pick = <Choice>(...choices: Choice[]): Choice => {
      state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
      return choices[Math.floor(state / 2 ** 32 * choices.length)]!;
    };
    // Instants by seconds before now, half a second and more from every threshold of the policy. Most
    // rows are alive, else all would be refused for the first of several reasons.
    const at = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
    const recent = () => at(pick(-60.5, -20.5, -2.5, 2.5, 2.5, 6.5, 6.5, 12.5, 60.5));
    const any = () =>
      pick(
        ...[recent(), recent(), recent(), recent(), recent(), recent()],
        ...[at(150.5), at(1200.5), at(-150.5), at(-1200.5), "-infinity", "infinity"],
      );
    const rowNow = () => {
      const isRotated = pick(true, true, false);
      const isRevoked = pick(true, false, false, false, false);
      return {
        id: crypto.randomUUID(),
        user_id: pick(1, 1, 1, 3),
        previous_digest: isRotated ? `\\x${secrets[1]}` : null,
        rotated_at: isRotated ? recent() : null,
        rotation_seen_at: isRotated ? pick(null, recent(), recent(), any()) : null,
        created_at: pick(recent(), recent(), recent(), any()),
        authenticated_at: any(),
        last_seen_at: any(),
        expires_at: pick(at(-900.5), at(-900.5), at(-1500.5), at(-900.5), any()),
        revoked_at: isRevoked ? recent() : null,
        revoked_reason: isRevoked ? pick("theft", null) : null,
        digest: `\\x${secrets[0]}`,
        persistent: true,
        version: 0,
        data: pick<object>(...Array.from({ length: 15 }, () => ({})), []),
      };
    };

    const context = contextOf("test", db.sql, resolve(POLICY));
    const { touchInterval } = POLICY;
    const { message } = unexpectedRow("test");
    /** Runs a write, and takes it back; says whether it changed the row. */
    const writes = async (statement: Statement, token: Presented, own: (string | null)[] = []) => {
      let changed = false;
      const undone = new Error();
      await db.sql.begin(async (tx) => {
        changed =
          await queryPresented({ ...context, sql: tx }, token, statement, own) !== undefined;
        throw undone;
      }).catch((error: unknown) => assert.equal(error, undone));
      return changed;
    };
    const said = new Map<string, number>();
    for (let round = 0; round < 500; round++) {
      // One by one, so that no instant passes a threshold meanwhile.
      const row = rowNow();
      const { id } = row;
      await db.sql`
        insert into coatcheck.sessions select * from
        jsonb_populate_record(null::coatcheck.sessions, ${JSON.stringify(row)}::text::jsonb)`;
      for (const digest of secrets) {
        const token = { id, digest, secret: "" };
        const found = await queryPresented(context, token, VALIDATE);
        const explained = await queryPresented(context, token, EXPLAIN);
        const own = ["{}", "{}", null];
        const explainedUpdate = await queryPresented(context, token, EXPLAIN_UPDATE, own);
        assert.deepEqual(explained?.slice(0, 11), found?.slice(0, 11));
        assert.deepEqual(explainedUpdate?.slice(0, 11), found?.slice(0, 11));
        if (!found) continue;

        if (Array.isArray(row.data)) {
          assert.throws(() => readState("test", found, id), { message });
          for (const [statement, values] of [[TOUCH, ["0"]], [UPDATE, own]] as const) {
            assert.equal(await writes(statement, token, [...values]), false);
          }
          said.set("no object", (said.get("no object") ?? 0) + 1);
          continue;
        }
        const stored = readState("test", found, id);
        const { refusal, due, isSettled } = evaluate(stored, context.policy);
        const text = JSON.stringify(stored);
        const isLive = refusal === null;
        assert.equal(await writes(REAUTHENTICATE, token, [digest]), isLive, text);
        assert.equal(await writes(UPDATE, token, own), isLive, text);
        const mayRotate = isLive && stored.isCurrent && isSettled;
        assert.equal(await writes(ROTATE, token, [digest, "00"]), mayRotate, text);
        const outcome = refusal ?? `due: ${due}`;
        said.set(outcome, (said.get(outcome) ?? 0) + 1);
        // A rotation that is due is no touch, but its session may be due for one as well.
        if (due === "rotation" || due === "reissue") continue;
        const isTouched = await writes(TOUCH, token, [String(touchInterval)]);
        assert.equal(isTouched, isLive && due === "touch", text);
      }
    }
    const outcomes =
      "due: null,due: reissue,due: rotation,due: touch,expired,idle,no object,reused,revoked,user";
    assert.equal([...said.keys()].sort().join(), outcomes);
    for (const [outcome, times] of said) assert.ok(times >= 5, `${outcome}: ${times}`);
  });
});
