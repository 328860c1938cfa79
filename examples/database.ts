import process from "node:process";
import postgres, { type Sql } from "postgres";

/** Creates the client for the database at DATABASE_URL. */
export function openDatabase(): Sql {
  try {
    return postgres(process.env.DATABASE_URL!, { onnotice: () => {} });
  } catch {
    // The thrown error contains the URL, and so the password.
    console.error("DATABASE_URL must be a URL: postgres://user:password@host:port/database");
    process.exit(1);
  }
}
