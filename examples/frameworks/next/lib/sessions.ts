import { configure } from "coatcheck";
import { headers } from "next/headers";
import postgres from "postgres";
import { cache } from "react";

// `next dev` runs this module again after each edit, and each run would open another pool.
const kept = globalThis as { sql?: postgres.Sql };
export const sql = kept.sql ??= postgres(process.env.DATABASE_URL!);

export const { createSession, listSessions, revokeSession, revokeSessions, validateSession } =
  configure({ rotateAfter: 3600 });

/** Validates the session once for all components of a page. Its headers are those that proxy.ts has sent. */
export const getSession = cache(async () => await validateSession(await headers(), sql));
