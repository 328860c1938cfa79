// examples/observability/audit.ts and audit.sql, with the app's role that sql/grants.sql makes.
import { configure, createSession, createToken, listSessions, revokeSession } from "coatcheck";
import { age, keepCookies } from "coatcheck/testing";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, beforeEach, describe, test } from "node:test";
import postgres from "postgres";
import { audited, auditSessions } from "./audit.ts";

const role = `coatcheck_audit_${crypto.randomUUID().slice(0, 8)}`;
const owner = postgres(process.env.DATABASE_URL, { onnotice: () => {} });
const url = Object.assign(new URL(process.env.DATABASE_URL), { username: role, password: "test" });
const sql = postgres(url.href, { max: 4 });
const script = (path) =>
  readFileSync(new URL(path, import.meta.url), "utf8").replaceAll(`:"app"`, role);

before(async () => {
  await owner.unsafe(`create role ${role} login password 'test'`);
  await owner.unsafe(script("node_modules/coatcheck/sql/grants.sql"));
  await owner.unsafe(script("audit.sql"));
});
beforeEach(() => owner`truncate session_audit`);
after(async () => {
  await sql.end();
  await owner.unsafe(`drop owned by ${role}`);
  await owner.unsafe(`drop role ${role}`);
  await owner.end();
});

const rows = async () =>
  (await owner`select event, session_id, user_id, reason from session_audit order by number`)
    .map((row) => ({ ...row }));

const signIn = (user, options) =>
  audited(sql, (transaction, onEvent) => createSession(user, transaction, { ...options, onEvent }));

describe("audit.ts", () => {
  test("stores a sign-in and its events together", async () => {
    const first = await signIn("ada");
    const second = await signIn("ada", { replaces: keepCookies(first) });
    const ids = [first, second].map(({ session }) => session.id);
    assert.deepEqual(await rows(), [
      { event: "created", session_id: ids[0], user_id: "1", reason: null },
      { event: "created", session_id: ids[1], user_id: "1", reason: null },
      { event: "revoked", session_id: ids[0], user_id: "1", reason: "replaced" },
    ]);
    const [{ late }] = await owner`
      select max(abs(extract(epoch from clock_timestamp() - at)))::float as late from session_audit`;
    assert.ok(late < 60);
  });

  test("stores neither the session nor its events if the transaction fails", async () => {
    const before = (await listSessions(2, sql)).length;
    const failing = audited(sql, async (transaction, onEvent) => {
      await createSession("grace", transaction, { onEvent });
      throw new Error("later step");
    });
    await assert.rejects(failing, { message: "later step" });
    assert.equal((await listSessions(2, sql)).length, before);
    assert.deepEqual(await rows(), []);
  });

  test("creates no session, and sets no cookie, if the log cannot be written", async () => {
    const before = (await listSessions(2, sql)).length;
    await owner.unsafe(`revoke all on session_audit from ${role}`);
    try {
      await assert.rejects(signIn("grace"), { code: "42501" });
    } finally {
      await owner.unsafe(script("audit.sql").match(/^grant[^;]*;/m)[0]);
    }
    assert.equal((await listSessions(2, sql)).length, before);
    assert.ok((await signIn("grace")).session);
  });

  test("returns what the call returned, also an array", async () => {
    assert.deepEqual(await audited(sql, () => Promise.resolve([1, [2]])), [1, [2]]);
    assert.equal(await audited(sql, () => Promise.resolve()), undefined);
  });

  test("writes the events of validations by themselves, but no refusal of a wrong secret", async () => {
    const failures = [];
    const writes = [];
    const listener = auditSessions(sql, (error) => failures.push(error));
    const onEvent = (event) => writes.push(listener(event));
    const sessions = configure({ onEvent, rotateAfter: 3600 });
    const { session, headers } = await sessions.createSession("ada", sql);
    const old = keepCookies({ headers });
    await age(session, 3600, owner);
    const next = keepCookies(await sessions.validateSession(old, sql));
    await sessions.validateSession(next, sql);
    await age(session, 31, owner);
    await sessions.validateSession(old, sql);
    const token = createToken();
    for (const it of ["x", token.token, `${session.id}.${token.secret}`]) {
      await sessions.validateSession(new Headers({ cookie: `__Host-session=${it}` }), sql);
    }
    await Promise.all(writes);
    const who = { session_id: session.id, user_id: "1" };
    const expected = [
      { event: "created", ...who, reason: null },
      { event: "rotated", ...who, reason: null },
      { event: "reused", ...who, reason: null },
      { event: "refused", ...who, reason: "reused" },
    ];
    const sorted = (list) => list.map((it) => JSON.stringify(it)).sort();
    assert.deepEqual(sorted(await rows()), sorted(expected));
    assert.deepEqual(failures, []);
  });

  test("reports an event that could not be written, and the call succeeds", async () => {
    const broken = postgres("postgres://127.0.0.1:1/none", { max: 1 });
    const failures = [];
    const writes = [];
    const listener = auditSessions(broken, (error, event) => failures.push([error.code, event]));
    const onEvent = (event) => writes.push(listener(event));
    const { session, headers } = await createSession("ada", sql, { onEvent });
    assert.ok((await revokeSession(keepCookies({ headers }), sql)).session);
    await Promise.all(writes);
    await broken.end();
    assert.deepEqual(failures, [
      ["ECONNREFUSED", { type: "created", id: session.id, userId: 1 }],
    ]);
  });

  const forbidden = [
    "select * from session_audit",
    "update session_audit set reason = 'x'",
    "delete from session_audit",
    "truncate session_audit",
    "drop table session_audit",
    "insert into session_audit (event, at) values ('created', '2000-01-01')",
    "insert into session_audit (event, number) overriding system value values ('created', 1)",
  ];
  for (const statement of forbidden) {
    test(`does not let the app's role run: ${statement}`, async () => {
      await signIn("ada");
      await assert.rejects(sql.unsafe(statement), { code: "42501" });
      assert.equal((await rows()).length, 1);
    });
  }
});
