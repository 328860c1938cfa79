// examples/observability/opentelemetry.ts with the SDK and its exporters to memory.
import { context, metrics, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import {
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import * as conventions from "@opentelemetry/semantic-conventions/incubating";
import { configure } from "coatcheck";
import { age, keepCookies } from "coatcheck/testing";
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import postgres from "postgres";
import { inSpan, observeSessions } from "./opentelemetry.ts";

const spans = new InMemorySpanExporter();
const counts = new InMemoryMetricExporter(AggregationTemporality.DELTA);
const reader = new PeriodicExportingMetricReader({
  exporter: counts,
  exportIntervalMillis: 3_600_000,
  exportTimeoutMillis: 5_000,
});
const meters = new MeterProvider({ readers: [reader] });
const sql = postgres(process.env.DATABASE_URL);
let sessions;

before(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const spanProcessors = [new SimpleSpanProcessor({ exporter: spans })];
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors }));
  metrics.setGlobalMeterProvider(meters);
  sessions = configure({ onEvent: observeSessions(), rotateAfter: 3600, queryTimeout: 1 });
});
beforeEach(async () => {
  await meters.forceFlush();
  counts.reset();
  spans.reset();
});
after(async () => {
  await meters.shutdown();
  await sql.end();
});

/** What the counter has counted in this test, by event and reason. */
async function counted() {
  await meters.forceFlush();
  const found = {};
  for (const { scopeMetrics } of counts.getMetrics()) {
    for (const { descriptor, dataPoints } of scopeMetrics.flatMap((it) => it.metrics)) {
      assert.equal(descriptor.name, "coatcheck.session.events");
      for (const { attributes, value } of dataPoints) {
        const { "coatcheck.event": event, "coatcheck.reason": reason, ...others } = attributes;
        assert.deepEqual(others, {});
        if (value > 0) found[[event, reason].filter(Boolean).join(" ")] = value;
      }
    }
  }
  return found;
}

const finished = () =>
  spans.getFinishedSpans().map(({ name, events, attributes, status }) => ({
    name,
    attributes,
    status: status.code,
    events: events.map(({ name, attributes }) => ({ name, ...attributes })),
  }));

describe("opentelemetry.ts", () => {
  test("names events and attributes as the semantic conventions do", () => {
    const { EVENT_SESSION_START, EVENT_SESSION_END, ATTR_SESSION_ID, ATTR_USER_ID } = conventions;
    const { ATTR_ERROR_TYPE, ATTR_DB_RESPONSE_STATUS_CODE } = conventions;
    assert.deepEqual([EVENT_SESSION_START, EVENT_SESSION_END], ["session.start", "session.end"]);
    assert.deepEqual([ATTR_SESSION_ID, ATTR_USER_ID], ["session.id", "user.id"]);
    assert.equal(ATTR_ERROR_TYPE, "error.type");
    assert.equal(ATTR_DB_RESPONSE_STATUS_CODE, "db.response.status_code");
  });

  test("adds each event of a session to the span of its call, and counts it", async () => {
    const created = await inSpan("createSession", () => sessions.createSession("ada", sql));
    const { id } = created.session;
    let headers = keepCookies(created);
    await age(headers, 3600, sql);
    const old = headers;
    const validate = () => inSpan("validateSession", () => sessions.validateSession(headers, sql));
    headers = keepCookies(await validate(), headers);
    await validate();
    await age(headers, 31, sql);
    headers = old;
    await validate();
    const who = { "session.id": id, "user.id": "1" };
    const span = (name, ...events) => ({
      name,
      attributes: {},
      status: SpanStatusCode.UNSET,
      events: events.map((it) => ({ ...it, ...who })),
    });
    assert.deepEqual(finished(), [
      span("createSession", { name: "session.start", "coatcheck.event": "created" }),
      span("validateSession", { name: "coatcheck.session.rotated", "coatcheck.event": "rotated" }),
      span("validateSession"),
      span(
        "validateSession",
        { name: "session.end", "coatcheck.event": "reused" },
        {
          name: "coatcheck.session.refused",
          "coatcheck.event": "refused",
          "coatcheck.reason": "reused",
        },
      ),
    ]);
    assert.deepEqual(await counted(), { created: 1, rotated: 1, reused: 1, "refused reused": 1 });
  });

  test("keeps the events of concurrent calls in their own spans", async () => {
    const users = Array.from({ length: 20 }, (_, n) => n % 2 ? "ada" : "grace");
    await Promise.all(users.map((user) => inSpan(user, () => sessions.createSession(user, sql))));
    for (const { name, events } of finished()) {
      assert.deepEqual(events.map((it) => it["user.id"]), [name === "ada" ? "1" : "2"]);
    }
    assert.deepEqual(await counted(), { created: 20 });
  });

  test("counts without a span, and by reason", async () => {
    const { session, headers } = await sessions.createSession("ada", sql);
    const { userId, id } = session;
    await sessions.revokeSessions({ userId, id }, sql, { reason: "lost-device" });
    await sessions.validateSession(keepCookies({ headers }), sql);
    await sessions.validateSession(new Headers({ cookie: "__Host-session=x" }), sql);
    assert.deepEqual(finished(), []);
    assert.deepEqual(await counted(), {
      created: 1,
      "revoked lost-device": 1,
      "refused revoked": 1,
      "refused malformed": 1,
    });
  });

  test("ends the span of a call that throws, with the kind of the error and no message", async () => {
    const broken = postgres("postgres://127.0.0.1:1/none", { max: 1 });
    const call = (name, run) => assert.rejects(inSpan(name, run));
    await call("unreachable", () => sessions.createSession("ada", broken));
    await call("unknown user", () => sessions.createSession("nobody", sql));
    await call("rejected", () =>
      sql.begin(async (transaction) => {
        await transaction`select 1 / 0`.catch(() => {});
        await sessions.createSession("ada", transaction);
      }));
    await call("a bug", () => Promise.reject(new RangeError("ada's password")));
    await broken.end();
    const ended = spans.getFinishedSpans().map(({ name, attributes, status }) => [
      name,
      attributes,
      status,
    ]);
    const status = { code: SpanStatusCode.ERROR };
    // The transaction was aborted by an earlier statement.
    const rejected = { "error.type": "STORE_REJECTED", "db.response.status_code": "25P02" };
    assert.deepEqual(ended, [
      ["unreachable", { "error.type": "STORE_UNAVAILABLE" }, status],
      ["unknown user", { "error.type": "USER_NOT_FOUND" }, status],
      ["rejected", rejected, status],
      ["a bug", { "error.type": "RangeError" }, status],
    ]);
  });

  test("exports no credential", async () => {
    const created = await inSpan("createSession", () => sessions.createSession("ada", sql));
    const headers = keepCookies(created);
    await age(headers, 3600, sql);
    const rotated = await inSpan("validateSession", () => sessions.validateSession(headers, sql));
    await meters.forceFlush();
    const exported = JSON.stringify([finished(), counts.getMetrics()]);
    for (const it of [headers, keepCookies(rotated)]) {
      const [, secret] = it.get("cookie").split(".");
      assert.equal(secret.length, 43);
      assert.ok(!exported.includes(secret));
    }
  });
});
