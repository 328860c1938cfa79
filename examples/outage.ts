import { SessionError } from "@coatcheck/coatcheck";

/** Whether the database is out of reach: by a verb's error, or by postgres.js in a query of one's own. */
export function isOutage(error: unknown): boolean {
  if (error instanceof SessionError) return /^STORE_(UNAVAILABLE|TIMEOUT)$/.test(error.code);
  // ECONNREFUSED, CONNECTION_CLOSED, CONNECT_TIMEOUT; 57P01: the server is going down.
  const { code } = error as { code?: unknown };
  return typeof code === "string" && /^(ECONN|CONNECT|57P)/.test(code);
}
