// Sessions in OpenTelemetry: each event of coatcheck as an event of the active span and in a counter, and a
// call of coatcheck as a span. It needs @opentelemetry/api alone; your SDK exports what it makes.
import { type Attributes, metrics, SpanStatusCode, trace } from "@opentelemetry/api";
import { SessionError, type SessionEvent, type SessionEventListener } from "coatcheck";

// The names are those of the semantic conventions, 1.45, where these have one. `coatcheck.` marks our own.
const EVENT_NAMES: Partial<Record<SessionEvent["type"], string>> = {
  created: "session.start",
  revoked: "session.end",
  reused: "session.end",
};

/** Returns the listener for `onEvent`. Call it once, after your SDK has started. */
export function observeSessions(): SessionEventListener {
  const counter = metrics.getMeter("coatcheck").createCounter("coatcheck.session.events", {
    description: "Events of sessions",
    unit: "{event}",
  });
  return (event) => {
    // The counter gets no ids: each combination of values is a time series of its own.
    const kind: Attributes = { "coatcheck.event": event.type };
    if ("reason" in event) kind["coatcheck.reason"] = event.reason;
    counter.add(1, kind);
    const { id, userId = null } = event;
    trace.getActiveSpan()?.addEvent(EVENT_NAMES[event.type] ?? `coatcheck.session.${event.type}`, {
      ...kind,
      ...(id !== undefined && { "session.id": id }),
      ...(userId !== null && { "user.id": String(userId) }),
    });
  };
}

/** Runs a call of coatcheck in a span: `inSpan("validateSession", () => validateSession(headers, sql))`. */
export async function inSpan<Result>(
  name: string,
  call: () => Promise<Result>,
): Promise<Result> {
  return await trace.getTracer("coatcheck").startActiveSpan(name, async (span) => {
    try {
      return await call();
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      // Of other errors nothing is taken but the name: a message may hold what your app was given.
      const { code, sqlstate } = error instanceof SessionError ? error : {};
      span.setAttribute("error.type", code ?? (error instanceof Error ? error.name : "_OTHER"));
      if (sqlstate !== undefined) span.setAttribute("db.response.status_code", sqlstate);
      throw error;
    } finally {
      span.end();
    }
  });
}
