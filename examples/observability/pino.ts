// Sessions in the log of pino: one line for each event, and no credential in any line.
import { SessionError, type SessionEventListener } from "coatcheck";
import type { Logger, LoggerOptions } from "pino";

/** For `pino(options)`: the headers that carry a credential, as pino-http and Fastify log them. */
export const redact: NonNullable<LoggerOptions["redact"]> = [
  "req.headers.cookie",
  "req.headers.authorization",
  `res.headers["set-cookie"]`,
];

/** Returns the listener for `onEvent`. */
export function logSessions(logger: Logger): SessionEventListener {
  return ({ type, ...event }) => {
    // `reused`: two parties may have had one session. A refusal is daily life, but its number is not.
    const level = type === "reused" ? "warn" : type === "refused" ? "debug" : "info";
    logger[level]({ event: `session.${type}`, ...event }, `session ${type}`);
  };
}

/** Logs an error that a call threw: an outage as a warning, all others as an error. */
export function logError(logger: Logger, error: unknown): void {
  const isOutage = error instanceof SessionError &&
    /^STORE_(UNAVAILABLE|TIMEOUT)$/.test(error.code);
  logger[isOutage ? "warn" : "error"]({ err: error }, "session call failed");
}
