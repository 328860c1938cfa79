import { configure } from "coatcheck";
import process from "node:process";
import postgres from "postgres";

export const sql = postgres(process.env.DATABASE_URL!);

export const { createSession, listSessions, revokeSession, revokeSessions, validateSession } =
  configure({ rotateAfter: 3600 });
