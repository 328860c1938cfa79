import type { Handle } from "@sveltejs/kit/hooks";
import { sql, withSession } from "#lib/server/sessions.ts";

// Rejects cross-origin requests, validates the session, and sets its cookie if no action sets one.
export const handle: Handle = ({ event, resolve }) =>
  withSession(
    (_request, { session, reason }) => {
      event.locals.session = session;
      event.locals.reason = reason;
      return resolve(event);
    },
    sql,
    { origin: process.env.ORIGIN },
  )(event.request);
