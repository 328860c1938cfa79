import { configure } from "coatcheck";
import postgres from "postgres";

// On globalThis, as `bun --hot` runs this module again after each edit.
const kept = globalThis as { sql?: postgres.Sql };
export const sql = kept.sql ??= postgres(process.env.DATABASE_URL!);

export const { createSession, revokeSession, withSession } = configure({ rotateAfter: 3600 });
