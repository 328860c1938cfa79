// examples/observability/pino.ts with pino, which writes to a stream of the test.
import { configure } from "coatcheck";
import { age, keepCookies } from "coatcheck/testing";
import assert from "node:assert/strict";
import { after, beforeEach, describe, test } from "node:test";
import { pino } from "pino";
import postgres from "postgres";
import { logError, logSessions, redact } from "./pino.ts";

const lines = [];
const stream = { write: (line) => lines.push(line) };
const logger = pino({ level: "trace", redact }, stream);
const sql = postgres(process.env.DATABASE_URL);
const sessions = configure({ onEvent: logSessions(logger), rotateAfter: 3600, queryTimeout: 1 });

/** The lines of this test, without what pino adds to each. */
const logged = () =>
  lines.map((line) => {
    assert.ok(line.endsWith("\n") && line.indexOf("\n") === line.length - 1, line);
    const { time, pid, hostname, level, ...rest } = JSON.parse(line);
    assert.ok(time && pid && hostname);
    return { level: pino.levels.labels[level], ...rest };
  });

beforeEach(() => {
  lines.length = 0;
});
after(() => sql.end());

describe("pino.ts", () => {
  test("logs each event on one line, at its level", async () => {
    const created = await sessions.createSession("ada", sql);
    const { id } = created.session;
    const old = keepCookies(created);
    await age(id, 3600, sql);
    const headers = keepCookies(await sessions.validateSession(old, sql));
    await sessions.validateSession(headers, sql);
    await age(id, 31, sql);
    await sessions.validateSession(old, sql);
    await sessions.revokeSession(keepCookies(await sessions.createSession("grace", sql)), sql, {
      reason: "\u001b[2Ja\nb",
    });
    const who = { id, userId: 1 };
    const [event, , ...rest] = logged();
    assert.deepEqual(event, {
      level: "info",
      event: "session.created",
      ...who,
      msg: "session created",
    });
    assert.deepEqual(rest.slice(0, 2), [
      { level: "warn", event: "session.reused", ...who, msg: "session reused" },
      {
        level: "debug",
        event: "session.refused",
        reason: "reused",
        ...who,
        msg: "session refused",
      },
    ]);
    // A reason begins no line of its own, and sends a terminal no escape sequence.
    const revoked = lines.find((line) => line.includes("session.revoked"));
    assert.ok(!revoked.includes("\u001b"));
    assert.equal(JSON.parse(revoked).reason, "\u001b[2Ja\nb");
  });

  test("logs an outage as a warning, and another error as an error, with its code", async () => {
    const broken = postgres("postgres://ada:top-secret@127.0.0.1:1/none", { max: 1 });
    for (const [user, client] of [["ada", broken], ["nobody", sql]]) {
      await sessions.createSession(user, client).catch((error) => logError(logger, error));
    }
    await broken.end();
    const found = logged();
    assert.deepEqual(found.map(({ level, err }) => [level, err.code]), [
      ["warn", "STORE_UNAVAILABLE"],
      ["error", "USER_NOT_FOUND"],
    ]);
    assert.ok(!lines.join("").includes("top-secret"));
  });

  test("logs no credential, also where a request and a response are logged", async () => {
    const created = await sessions.createSession("ada", sql);
    const request = Object.fromEntries(keepCookies(created));
    const response = { "set-cookie": created.headers.getSetCookie() };
    const authorization = `Bearer ${request.cookie.split("=")[1]}`;
    logger.info({ req: { headers: { ...request, authorization } }, res: { headers: response } });
    const [, secret] = request.cookie.split(".");
    assert.ok(lines.at(-1).includes("[Redacted]"));
    assert.equal(secret.length, 43);
    assert.ok(!lines.join("").includes(secret));
  });
});
