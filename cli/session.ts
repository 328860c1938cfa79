// A session as the commands show it. Its digests are never read.
import { escape, plural, quote, span, wrap } from "./text.ts";

/** A row of `show` and `listAll` in queries.ts. Instants are seconds since 1970. */
export interface Row {
  readonly id: string;
  /** Null for a guest. */
  readonly user_id: string | null;
  /** Null if the user is not in the view, or was not asked for. */
  readonly username: string | null;
  readonly status: "live" | "idle" | "expired" | "revoked";
  readonly created: number;
  readonly authenticated: number;
  readonly last_seen: number;
  readonly expires: number;
  readonly revoked: number | null;
  readonly reason: string | null;
  readonly rotated: number | null;
  readonly persistent: boolean;
  readonly version: number;
  readonly bytes: number;
  readonly data: string;
  /** When the database has read the row. */
  readonly clock: number;
}

/** The timeouts of the policy, for the status of a row. */
export const DEFAULTS = { idleTimeout: 604_800, absoluteTimeout: 2_592_000 } as const;

/** `2026-01-31 12:00:00Z, 3 h ago`. */
export function instant(seconds: number | null, clock: number): string {
  if (seconds === null) return "never";
  if (!Number.isFinite(seconds) || Math.abs(seconds) > 8.64e12) return "infinite";
  const date = new Date(seconds * 1000).toISOString().replace("T", " ").replace(/\.\d+Z/, "Z");
  const age = clock - seconds;
  return `${date}, ${age < 0 ? `in ${span(age)}` : `${span(age)} ago`}`;
}

const iso = (seconds: number | null) =>
  seconds === null || !Number.isFinite(seconds) || Math.abs(seconds) > 8.64e12
    ? null
    : new Date(seconds * 1000).toISOString();

/** What JSON says of a session. */
export function documentOf(row: Row, idleTimeout: number, withData: boolean): object {
  const data = JSON.parse(row.data);
  return {
    id: row.id,
    userId: row.user_id,
    status: row.status,
    createdAt: iso(row.created),
    authenticatedAt: iso(row.authenticated),
    lastSeenAt: iso(row.last_seen),
    expiresAt: iso(row.expires),
    idleExpiresAt: iso(endOf(row, idleTimeout)),
    revokedAt: iso(row.revoked),
    revokedReason: row.reason,
    rotatedAt: iso(row.rotated),
    persistent: row.persistent,
    version: row.version,
    dataBytes: row.bytes,
    dataKeys: keysOf(data),
    ...(withData && { data }),
  };
}

/** When a session ends if it is not used. */
const endOf = ({ last_seen, expires }: Row, idleTimeout: number) =>
  Math.min(expires, last_seen + idleTimeout);

/** Some lines about a session, for a list. */
export function linesOf(
  row: Row,
  idleTimeout: number,
  { columns, withData }: { readonly columns: number; readonly withData: boolean },
): string[] {
  const { clock } = row;
  const ago = (seconds: number) => {
    const age = clock - seconds;
    return age < 0 ? `in ${span(age)}` : `${span(age)} ago`;
  };
  const ends = endOf(row, idleTimeout);
  const end = row.revoked === null
    ? `${ends <= clock ? "ended" : "ends"} ${ago(ends)}`
    : `revoked ${ago(row.revoked)}`;
  return [
    row.id,
    `  ${row.status}, used ${ago(row.last_seen)}, created ${ago(row.created)}`,
    `  ${end}`,
    ...(row.reason === null ? [] : [`  reason ${quote(row.reason, 40)}`]),
    ...(withData ? [wrap(`  data ${escape(row.data)}`, columns, "    ")] : []),
  ];
}

/** What is said of the data without `--data`: an app may keep secrets there. */
export function dataOf(row: Row, withData: boolean): string {
  if (withData) return escape(row.data);
  const keys = keysOf(JSON.parse(row.data));
  const named = keys.slice(0, 10).map((key) => quote(key, 30)).join(", ");
  const more = keys.length > 10 ? ` and ${keys.length - 10} more` : "";
  return keys.length ? `${plural(row.bytes, "byte")}, keys ${named}${more}` : "none";
}

const keysOf = (data: unknown) =>
  typeof data === "object" && data !== null && !Array.isArray(data) ? Object.keys(data) : [];
