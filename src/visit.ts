import { issueCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { tell } from "./events.ts";
import { LONGEST_COOKIE, type Rules } from "./policy.ts";
import { requireRow, type Session, toSession } from "./session.ts";
import { query, requireSql, type Sql, type SqlValue, type Statement } from "./sql.ts";
import {
  type Instant,
  type PresentedRow,
  REVOKE_REUSED,
  TOUCH,
  type TouchedRow,
  VALIDATE,
} from "./statements.ts";
import type { PresentedToken, Token } from "./token.ts";

/**
 * Why there is no session.
 *
 * - `absent`: no cookie of our name. `malformed`: one that is no token of ours, or several.
 * - `unknown`: no session has that id and that secret.
 * - `idle`, `expired`: it ended by `idleTimeout`, or at its absolute deadline.
 * - `revoked`: it was ended; `revokedReason` says why.
 * - `reused`: its secret was rotated, and the old one came back after the grace. Two parties hold the
 *   session, so it was ended.
 * - `stale`: the session is alive, but the user proved who they are longer ago than
 *   `authenticatedWithin`.
 * - `user`: the user is not in the view `coatcheck.users` (any more).
 */
export type Reason =
  | "absent"
  | "malformed"
  | "unknown"
  | "idle"
  | "expired"
  | "revoked"
  | "reused"
  | "stale"
  | "user";

/** What a token opens: a session, or none and the reason. */
export type Visit<Data extends object = Record<string, unknown>> = Granted<Data> | Refused;

/** A visit with a session. */
export interface Granted<Data extends object = Record<string, unknown>> {
  /** The session, as its row holds it now. */
  readonly session: Session<Data>;
  /** None: it is there. */
  readonly reason?: undefined;
  /** None: it was not ended. */
  readonly revokedReason?: undefined;
  /** A `Set-Cookie` where the secret is a new one, and else nothing. Append each entry to your response. */
  readonly headers: Headers;
}

/** A visit without a session. */
export interface Refused {
  /** There is none. */
  readonly session: null;
  /** Why there is none. */
  readonly reason: Reason;
  /** Why it was ended, where the reason is `revoked`. */
  readonly revokedReason?: string;
  /** Empty, unless a stale session has a new secret: a refusal never clears the cookie. */
  readonly headers: Headers;
}

/**
 * Reads the token that a request presents.
 *
 * @returns The token, or a refusal where there is none: told apart by {@linkcode isRefused}.
 */
export function readVisitor(
  headers: RequestHeaders,
  sql: Sql,
  rules: Rules,
): PresentedToken | Refused {
  requireSql(sql);
  const token = readToken(headers, rules.cookie.name);
  if (token === "absent") return { session: null, reason: token, headers: new Headers() };
  if (token === "malformed") return refusal(rules, { reason: token });
  return token;
}

/** Tells a refusal from a token or a row. */
export function isRefused(it: object): it is Refused {
  return "session" in it;
}

/** Asks a statement that judges about a presented token, and refuses what opens nothing. */
export async function judge<Row extends PresentedRow>(
  token: PresentedToken,
  sql: Sql,
  rules: Rules,
  statement: Statement,
  own: readonly SqlValue[],
): Promise<Row | Refused> {
  const rows = await askOf<Row>(token, sql, rules, statement, own);
  return await admit(token, rows, sql, rules, statement);
}

/**
 * Asks a statement that judges about a presented token.
 *
 * @param own The values of the statement after `$5`.
 */
export async function askOf<Row>(
  token: PresentedToken,
  sql: Sql,
  rules: Rules,
  statement: Statement,
  own: readonly SqlValue[],
): Promise<Row[]> {
  const { absoluteTimeout, idleTimeout, rotationGrace, queryTimeout } = rules;
  const judging = [token.id, token.digest, absoluteTimeout, idleTimeout, rotationGrace];
  return await query<Row>(sql, statement, [...judging, ...own], queryTimeout);
}

/** Takes the row that a statement answered, and refuses what opens nothing. */
export async function admit<Row extends PresentedRow>(
  token: PresentedToken,
  rows: readonly Row[],
  sql: Sql,
  rules: Rules,
  statement: Statement,
): Promise<Row | Refused> {
  if (rows.length === 0) return refusal(rules, { reason: "unknown", id: token.id });
  const row = requireRow(statement.purpose, rows, token);
  const { id, userId, refusal: reason, revokedReason } = row;
  if (reason === null) return row;
  const mayWrite = statement !== VALIDATE || rules.touchInterval !== false;
  if (reason === "reused" && mayWrite) {
    // Two parties hold the session, so it ends.
    const values = [id, String(row.authenticatedAt)];
    const ended = await query(sql, REVOKE_REUSED, values, rules.queryTimeout);
    if (ended.length > 0) tell(rules.onEvent, { type: "reused", id, userId });
  }
  return refusal(rules, { reason, id, userId }, revokedReason);
}

/**
 * Notes a use, and the first sight of a rotated secret, where one is due; gives the row as it is then.
 */
export async function touch<Row extends PresentedRow>(
  token: PresentedToken,
  row: Row,
  sql: Sql,
  rules: Rules,
): Promise<Row> {
  const own = [rules.touchInterval === false ? null : rules.touchInterval];
  const [touched] = await askOf<TouchedRow>(token, sql, rules, TOUCH, own);
  // None where somebody holds the row, or it was touched or ended meanwhile.
  return touched ? { ...row, lastSeenAt: touched.lastSeenAt } : row;
}

/** A visit that ends without a session; the observer is told why. */
export function refusal(
  rules: Rules,
  event: { reason: Exclude<Reason, "absent">; id?: string; userId?: string | number },
  revokedReason?: string | null,
): Refused {
  tell(rules.onEvent, { type: "refused", ...event });
  const { reason } = event;
  return { session: null, reason, ...(revokedReason && { revokedReason }), headers: new Headers() };
}

/**
 * A visit with the session of a row, and the cookie of a new token where there is one.
 *
 * @param now When it was handed out, by the database's clock, in seconds since 1970.
 */
export function grant<Data extends object>(
  rules: Rules,
  row: PresentedRow,
  token?: Token | null,
  now: Instant = 0,
): Granted<Data> {
  const session = toSession<Data>(row.written ? { ...row, ...row.written } : row);
  if (!token) return { session, headers: new Headers() };
  // At most as long as a browser keeps a cookie. The millisecond is what a Date has lost.
  const left = Math.floor(session.expiresAt.getTime() / 1000 - Number(now) + 0.001);
  const maxAge = session.persistent ? Math.min(Math.max(left, 1), LONGEST_COOKIE) : undefined;
  return { session, headers: issueCookie(rules.cookie, token.token, maxAge) };
}
