import { dev } from "$app/env";
import { configure } from "coatcheck";
import postgres from "postgres";

// `vite dev` runs this module again after each edit: without globalThis, each run would open another pool.
const kept = globalThis as { sql?: postgres.Sql };
export const sql = kept.sql ??= postgres(process.env.DATABASE_URL!);

// The app ends on SIGTERM only after the pool has closed its connections. `vite dev` needs no listener.
if (!dev) process.on("sveltekit:shutdown", () => sql.end({ timeout: 5 }));

export const { createSession, listSessions, revokeSession, revokeSessions, withSession } =
  configure({ rotateAfter: 3600 });
