import { SessionError } from "@coatcheck/coatcheck";

/** Whether the database is out of reach: by a verb's error, or by postgres.js in a query of one's own. */
export function isOutage(error: unknown): boolean {
  if (error instanceof SessionError) return /^STORE_(UNAVAILABLE|TIMEOUT)$/.test(error.code);
  // ECONNREFUSED, CONNECTION_CLOSED, CONNECT_TIMEOUT; 57P01: the server is going down.
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === "string") return /^(ECONN|CONNECT|57P)/.test(code);
  // A Worker's socket has a message alone.
  return /^(proxy request failed|Network connection lost)/.test(String(message));
}
