import { SessionError } from "coatcheck";

/** Tells an unreachable database from a bug, by an error of coatcheck or of your own postgres.js query. */
export function isOutage(error: unknown): boolean {
  if (error instanceof SessionError) return /^STORE_(UNAVAILABLE|TIMEOUT)$/.test(error.code);
  // ECONNREFUSED, CONNECTION_CLOSED, CONNECT_TIMEOUT; 57P01: the server is going down.
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === "string") return /^(ECONN|CONNECT|57P)/.test(code);
  // The error of a Worker's socket has only a message.
  return /^(proxy request failed|Network connection lost)/.test(String(message));
}
