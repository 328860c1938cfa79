import { configure } from "coatcheck";
import process from "node:process";
import postgres from "postgres";

// `serve` ends on SIGTERM only after the pool has closed its idle connections.
export const sql = postgres(process.env.DATABASE_URL!, { idle_timeout: 5 });

export const { createSession, revokeSession, withSession } = configure({ rotateAfter: 3600 });
