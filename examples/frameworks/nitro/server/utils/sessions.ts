import { configure } from "coatcheck";
import postgres from "postgres";

export const sql = postgres(process.env.DATABASE_URL!);

export const { createSession, listSessions, revokeSession, revokeSessions, withSession } =
  configure({ rotateAfter: 3600 });
