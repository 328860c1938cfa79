import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Policy } from "../mod.ts";
import { judgementOf } from "../src/judgement.ts";
import { rulesOf } from "../src/policy.ts";
import { query } from "../src/sql.ts";
import {
  type FoundRow,
  type Past,
  TOUCH,
  type TouchedRow,
  UPDATE,
  type UpdatedRow,
  VALIDATE,
} from "../src/statements.ts";
import { type Database, openDatabase } from "./runner/database.ts";

const POLICY = {
  absoluteTimeout: 1000,
  idleTimeout: 100,
  touchInterval: 10,
  rotateAfter: 50,
  rotationGrace: 5,
};
const CURRENT = "c".repeat(64);
const PREVIOUS = "d".repeat(64);
const NOW = 1_767_225_600.123456;
const MICROSECOND = 1e-6;

const row = (changes: Partial<FoundRow> = {}): FoundRow => ({
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
  digest: CURRENT,
  now: NOW,
  past: null,
  ...changes,
});
const rotated = (past: Partial<Past>): Partial<FoundRow> => ({
  past: {
    revoked: false,
    revokedReason: null,
    previousDigest: PREVIOUS,
    rotatedAt: NOW - 20,
    rotationSeenAt: NOW - 20,
    ...past,
  },
});
const ended = (past: Partial<Past> = {}) =>
  rotated({ revoked: true, revokedReason: "theft", ...past });
const infinite = (sign: string) => `${sign}Infinity` as unknown as number;

interface Case {
  readonly name: string;
  readonly row?: Partial<FoundRow>;
  readonly digest?: string;
  readonly policy?: Policy;
  readonly within?: number;
  readonly refusal?: string;
  readonly due?: string;
  readonly stale?: boolean;
}

const cases: Case[] = [
  { name: "lives, and nothing is due" },

  { name: "lives a microsecond before its deadline", row: { expiresAt: NOW + MICROSECOND } },
  { name: "is over at its deadline", row: { expiresAt: NOW }, refusal: "expired" },
  {
    name: "lives a microsecond before the absolute timeout",
    row: { authenticatedAt: NOW - 1000 + MICROSECOND },
    due: "rotation",
  },
  {
    name: "is over at the absolute timeout, whatever its deadline",
    row: { authenticatedAt: NOW - 1000 },
    refusal: "expired",
    due: "rotation",
  },
  {
    name: "lives a microsecond before it is idle",
    row: { lastSeenAt: NOW - 100 + MICROSECOND },
    due: "touch",
  },
  { name: "is idle", row: { lastSeenAt: NOW - 100 }, refusal: "idle", due: "touch" },
  {
    name: "is expired rather than idle",
    row: { lastSeenAt: NOW - 100, expiresAt: NOW },
    refusal: "expired",
    due: "touch",
  },
  { name: "was revoked", row: ended({ previousDigest: null }), refusal: "revoked" },
  {
    name: "was revoked, rather than expired, idle, reused or without its user",
    row: { ...ended(), expiresAt: NOW, lastSeenAt: NOW - 100, username: null },
    digest: PREVIOUS,
    refusal: "revoked",
    due: "touch",
  },
  { name: "has no user", row: { username: null }, refusal: "user" },
  {
    name: "is over where it was created at no instant",
    row: { createdAt: infinite("-") },
    refusal: "expired",
  },
  {
    name: "is over where it has no end",
    row: { expiresAt: infinite("") },
    refusal: "expired",
  },
  {
    name: "is over where its user proved who they are at no instant",
    row: { authenticatedAt: infinite("") },
    refusal: "expired",
  },
  {
    name: "is over where it will have been used last at no instant",
    row: { lastSeenAt: infinite("") },
    refusal: "expired",
  },
  {
    name: "is idle where it was never used",
    row: { lastSeenAt: infinite("-") },
    refusal: "idle",
    due: "touch",
  },

  {
    name: "needs no touch a microsecond before the interval",
    row: { lastSeenAt: NOW - 10 + MICROSECOND },
  },
  { name: "is due for a touch", row: { lastSeenAt: NOW - 10 }, due: "touch" },
  {
    name: "is never due for a touch where there is none",
    row: { lastSeenAt: NOW - 10 },
    policy: { touchInterval: false, rotateAfter: false },
  },
  {
    name: "is due for a touch where the new secret is seen for the first time",
    row: rotated({ rotationSeenAt: null }),
    due: "touch",
  },
  {
    name: "hands the new secret to the old one while nobody has come with it",
    row: rotated({ rotationSeenAt: null }),
    digest: PREVIOUS,
    due: "rotation",
  },
  {
    name: "lets the old secret in a microsecond before the grace is over",
    row: rotated({ rotationSeenAt: NOW - 5 + MICROSECOND }),
    digest: PREVIOUS,
  },
  {
    name: "was reused where the grace is over",
    row: rotated({ rotationSeenAt: NOW - 5 }),
    digest: PREVIOUS,
    refusal: "reused",
  },
  {
    name: "was reused rather than without its user",
    row: { ...rotated({}), username: null },
    digest: PREVIOUS,
    refusal: "reused",
  },
  {
    name: "needs no rotation a microsecond before it is due",
    row: { authenticatedAt: NOW - 50 + MICROSECOND },
  },
  { name: "is due for a rotation", row: { authenticatedAt: NOW - 50 }, due: "rotation" },
  {
    name: "is due for a rotation by the last one, where there was one",
    row: { ...rotated({ rotatedAt: NOW - 49 }), authenticatedAt: NOW - 100 },
  },
  {
    name: "is not rotated again before the last one has settled",
    row: rotated({ rotatedAt: NOW - 50, rotationSeenAt: NOW - 4 }),
  },
  {
    name: "is never due for a rotation where there is none",
    row: { authenticatedAt: NOW - 50 },
    policy: { rotateAfter: false },
  },

  {
    name: "is not stale a microsecond before",
    row: { authenticatedAt: NOW - 7 + MICROSECOND },
    within: 7,
  },
  { name: "is stale", row: { authenticatedAt: NOW - 7 }, within: 7, stale: true },
  { name: "is stale at once where a proof is asked for now", within: 0, stale: true },
];

describe("judgementOf", () => {
  for (const { name, row: changes, digest = CURRENT, policy, within, ...expected } of cases) {
    test(`says that a session ${name}`, () => {
      const rules = rulesOf({ ...POLICY, ...policy }, []);
      const found = row(changes);
      const { refusal, due, stale, ...judged } = judgementOf(
        found,
        { id: found.id, digest },
        rules,
        within,
      );
      assert.deepEqual({ refusal, due, stale }, {
        refusal: null,
        due: null,
        stale: false,
        ...expected,
      });
      assert.equal(judged.digest, digest);
      assert.equal(judged.revokedReason, found.past?.revokedReason ?? null);
      const [stored, byPolicy] = [Number(found.expiresAt), Number(found.authenticatedAt) + 1000];
      assert.equal(judged.expiresAt, Math.min(stored, byPolicy));
    });
  }

  test("takes no row for its own whose secret is another", () => {
    const key = { id: row().id, digest: "e".repeat(64) };
    for (const changes of [{}, rotated({}), rotated({ previousDigest: null })]) {
      assert.notEqual(judgementOf(row(changes), key, rulesOf({}, [])).digest, key.digest);
    }
  });
});

describe("judgementOf, and the statements that judge in SQL", () => {
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

  test("agree on 400 random rows", async () => {
    let state = 20_261_124;
    const pick = <Choice>(...choices: Choice[]): Choice => {
      state = Math.imul(state, 1_664_525) + 1_013_904_223 >>> 0;
      return choices[Math.floor(state / 2 ** 32 * choices.length)]!;
    };
    // Instants by seconds before now, half a second and more from every threshold of the policy. Most
    // rows are alive, else all would be refused for the first of several reasons.
    const at = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
    const recent = () => at(pick(-20.5, 2.5, 2.5, 6.5, 6.5, 12.5, 60.5));
    const any = () =>
      pick(recent(), recent(), recent(), at(150.5), at(1200.5), "-infinity", "infinity");
    const rows = Array.from({ length: 400 }, () => {
      const isRotated = pick(true, true, false);
      const isRevoked = pick(true, false, false, false, false);
      return {
        id: crypto.randomUUID(),
        user_id: pick(1, 1, 1, 3),
        previous_digest: isRotated ? `\\x${secrets[1]}` : null,
        rotated_at: isRotated ? recent() : null,
        rotation_seen_at: isRotated ? pick(null, recent(), recent()) : null,
        created_at: pick(recent(), recent(), recent(), any()),
        authenticated_at: any(),
        last_seen_at: any(),
        expires_at: pick(at(-900.5), at(-900.5), at(-900.5), any()),
        revoked_at: isRevoked ? recent() : null,
        revoked_reason: isRevoked ? pick("theft", null) : null,
      };
    });
    await db.sql`
      insert into coatcheck.sessions
      select r.* from jsonb_array_elements(${JSON.stringify(rows)}::text::jsonb) e
      cross join jsonb_populate_record(null::coatcheck.sessions, e.value || ${
      JSON.stringify({ digest: `\\x${secrets[0]}`, persistent: true, version: 0, data: {} })
    }::text::jsonb) r`;

    const rules = rulesOf(POLICY, []);
    const { absoluteTimeout, idleTimeout, rotationGrace, touchInterval } = POLICY;
    const said = new Map<string, number>();
    for (const { id } of rows) {
      for (const digest of secrets) {
        const [found] = await query<FoundRow>(db.sql, VALIDATE, [id, digest], 5);
        const policy = [id, digest, absoluteTimeout, idleTimeout, rotationGrace];
        // A version that nothing has, so that it judges and writes nothing.
        const updating = [...policy, "{}", "[]", 2 ** 31 - 1];
        const [updated] = await query<UpdatedRow>(db.sql, UPDATE, updating, 5);
        assert.equal(found === undefined, updated === undefined);
        if (!found || !updated) continue;

        const judged = judgementOf(found, { id, digest }, rules);
        assert.equal(judged.expiresAt, Number(updated.expiresAt));
        for (const key of ["refusal", "revokedReason", "digest"] as const) {
          assert.equal(judged[key], updated[key], `${key} of ${JSON.stringify(found)}`);
        }
        const outcome = judged.refusal ?? `due: ${judged.due}`;
        said.set(outcome, (said.get(outcome) ?? 0) + 1);
        if (judged.due === "rotation") continue;
        const touched = await query<TouchedRow>(db.sql, TOUCH, [...policy, touchInterval], 5);
        const isTouched = judged.refusal === null && judged.due === "touch";
        assert.equal(touched.length, isTouched ? 1 : 0, JSON.stringify(found));
      }
    }
    const outcomes = "due: null,due: rotation,due: touch,expired,idle,reused,revoked,user";
    assert.equal([...said.keys()].sort().join(), outcomes);
    for (const [outcome, times] of said) assert.ok(times >= 5, `${outcome}: ${times}`);
  });
});
