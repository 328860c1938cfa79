import { configure } from "coatcheck";
import process from "node:process";
import postgres from "postgres";

export const sql = postgres(process.env.DATABASE_URL!);

export const { createSession, revokeSession, validateSession } = configure({ rotateAfter: 3600 });
