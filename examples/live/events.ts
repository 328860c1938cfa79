// Server-sent events that end when the session ends, whichever process has revoked it. serve.ts serves them.
import type { Session } from "coatcheck";
import { answer, cache, sessions, sql, unavailable } from "./app.ts";

const open = sessions.withSession((_request, { session }) => {
  // An EventSource connects again when its stream has ended, and stops at an answer that is not 200.
  if (!session) return new Response("Sign in first\n", { status: 401 });
  const headers = { "content-type": "text/event-stream", "cache-control": "no-store" };
  return new Response(streamOf(session), { headers });
}, sql);

const script = `
  const events = new EventSource("/events");
  events.onmessage = ({ data }) => show(data);
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) show("Sign in");
  };
`;

/** Answers requests. */
export async function fetch(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  return pathname === "/events"
    ? await open(request).catch(unavailable)
    : await answer(request, script);
}

function streamOf(session: Session): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let stop: () => void;
  return new ReadableStream({
    start(controller) {
      const send = (text: string) => controller.enqueue(encoder.encode(`${text}\n\n`));
      const stopWatching = cache.watch(session, () => {
        stop();
        controller.close();
      });
      // A comment now and then, so that a client that has gone is noticed, and no proxy gives up.
      const timer = setInterval(() => send(":"), 15_000);
      stop = () => {
        stopWatching();
        clearInterval(timer);
      };
      send(`data: Hello ${session.username}`);
    },
    // The client has gone.
    cancel: () => stop(),
  });
}
