// Serves a handler of test/bridge.test.ts through the bridge of the examples, on Node.
import { serve } from "../../examples/bridge.ts";
import { withSession } from "../../mod.ts";

/** What happened to bodies, for `GET /log`. */
const log: string[] = [];

const answers: Record<string, (request: Request) => Response | Promise<Response>> = {
  "/log": () => Response.json(log),
  "/form": async (request) => new Response(String((await request.formData()).get("name"))),
  "/length": async (request) => {
    try {
      return new Response(String((await request.arrayBuffer()).byteLength));
    } catch (error) {
      log.push(`request: ${(error as Error).message}`);
      throw error;
    }
  },
  "/chunk": async (request) => {
    const { value } = await request.body!.getReader().read();
    return new Response(value && "read");
  },
  "/cancel": async (request) => {
    await request.body!.cancel();
    return new Response("cancelled");
  },
  "/throw": () => Promise.reject(new Error("The handler has failed")),
  "/echo": (request) => new Response(request.body),
  // Like a stream of events: one, and then none for a long time.
  "/events": () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array(1000)),
        cancel: () => void log.push("response: cancelled"),
      }),
    ),
};

const sql = () => Promise.reject(new Error("A request without a cookie needs no SQL"));
serve(
  withSession(
    async (request) => await answers[new URL(request.url).pathname]?.(request) ?? new Response(),
    sql,
  ),
  0,
);
