import pg from "pg";

/**
 * A pool of pg. By its default it would close what was idle for ten seconds, and every contestant is
 * idle for longer while it waits for its turn, as no server in use is.
 */
export function openPool(url, max) {
  return new pg.Pool({ connectionString: url, max, idleTimeoutMillis: 0 });
}
