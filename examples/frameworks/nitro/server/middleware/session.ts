import type { SessionResult } from "coatcheck";
import { defineMiddleware } from "nitro";
import { toResponse } from "nitro/h3";
import { sql, withSession } from "../utils/sessions.ts";

declare module "nitro/h3" {
  interface H3EventContext {
    result: SessionResult;
  }
}

// Rejects cross-origin requests, validates the session, and sets its cookie if the handler sets none.
export default defineMiddleware((event, next) => {
  const handle = withSession(
    async (_request, result) => {
      event.context.result = result;
      // With `onError`, a path without a route gets Nitro's own 404.
      return await toResponse(await next(), event, { onError: event.app?.config.onError });
    },
    sql,
    process.env.ORIGIN ? { origin: process.env.ORIGIN } : {},
  );
  return handle(event.req);
});
