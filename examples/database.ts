import process from "node:process";
import postgres, { type Sql } from "postgres";

/** Creates the client for the database at DATABASE_URL. */
export function openDatabase(): Sql {
  try {
    return postgres(process.env.DATABASE_URL!, {
      onnotice: () => {},
      // Seconds until it connects again. By default they grow to 20, and calls wait with them after an outage.
      backoff: () => 0.1,
    });
  } catch {
    // The thrown error contains the URL, and so the password.
    console.error("DATABASE_URL must be a URL: postgres://user:password@host:port/database");
    process.exit(1);
  }
}
