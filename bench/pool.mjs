import pg from "pg";

/**
 * Makes a pool of pg that keeps idle connections.
 *
 * By default pg closes them after ten seconds. A contestant waits longer than that for its turn; an app under
 * load does not.
 */
export function openPool(url, max) {
  return new pg.Pool({ connectionString: url, max, idleTimeoutMillis: 0 });
}
