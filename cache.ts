/**
 * A cache that answers validations from memory, and learns of each revocation within milliseconds.
 *
 * @module
 */

export { createSessionCache, type SessionCacheOptions } from "./src/cache/cache.ts";
export type { Listen, Subscription } from "./src/cache/notifications.ts";
export type { SessionCache, SessionCacheStats } from "./src/cached.ts";
