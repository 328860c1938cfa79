import { configure, type SessionResult } from "coatcheck";
import postgres from "postgres";
import { createContext, type MiddlewareFunction } from "react-router";

// Hot reload runs this module again, and each run would open another pool.
const kept = globalThis as { sql?: postgres.Sql };
// `react-router-serve` ends on SIGTERM only after the pool has closed its idle connections.
export const sql = kept.sql ??= postgres(process.env.DATABASE_URL!, { idle_timeout: 5 });

export const { createSession, listSessions, revokeSession, revokeSessions, withSession } =
  configure({ rotateAfter: 3600 });

export const sessionContext = createContext<SessionResult>();

// Rejects cross-origin requests, validates the session, and sets its cookie if the action sets none.
export const sessionMiddleware: MiddlewareFunction<Response> = ({ request, context }, next) => {
  const handle = withSession(
    (_request, result) => {
      context.set(sessionContext, result);
      return next();
    },
    sql,
    { origin: process.env.ORIGIN },
  );
  return handle(request);
};
