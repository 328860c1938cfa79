import { issueCookie, readToken, type RequestHeaders } from "./cookie.ts";
import { tell } from "./events.ts";
import type { Rules } from "./policy.ts";
import { requireRow, type Session, toSession } from "./session.ts";
import { query, requireSql, type Sql, type SqlValue, type Statement } from "./sql.ts";
import { type PresentedRow, REVOKE_REUSED } from "./statements.ts";
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

/** A token that opens a session, and the row of that. */
export interface Opened<Row> {
  readonly token: PresentedToken;
  readonly row: Row;
}

/**
 * Reads the token that a request presents, asks one statement about it, and refuses what opens nothing.
 *
 * @param own The values of the statement after `$5`.
 */
export async function present<Row extends PresentedRow>(
  headers: RequestHeaders,
  sql: Sql,
  rules: Rules,
  statement: Statement,
  own: (token: PresentedToken) => readonly SqlValue[],
): Promise<Opened<Row> | Refused> {
  requireSql(sql);
  const token = readToken(headers, rules.cookie.name);
  if (token === "absent") return { session: null, reason: token, headers: new Headers() };
  if (token === "malformed") return refuse(rules, { reason: token });
  const rows = await askOf<Row>(token, sql, rules, statement, own(token));
  return await judge(token, rows, sql, rules, statement);
}

/** Asks a statement about a presented token. */
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

/** Takes the answer of a statement about a presented token, and refuses what opens nothing. */
export async function judge<Row extends PresentedRow>(
  token: PresentedToken,
  rows: readonly Row[],
  sql: Sql,
  rules: Rules,
  { purpose }: Statement,
): Promise<Opened<Row> | Refused> {
  const { id } = token;
  if (rows.length === 0) return refuse(rules, { reason: "unknown", id });
  const row = requireRow(purpose, rows, token);
  if (row.refusal === null) return { token, row };
  const { refusal: reason, revokedReason, userId } = row;
  if (reason === "reused" && rules.touchInterval !== false) {
    const values = [id, row.authenticatedAt];
    const ended = await query(sql, REVOKE_REUSED, values, rules.queryTimeout);
    if (ended.length > 0) tell(rules.onEvent, { type: "reused", id, userId });
  }
  return refuse(rules, { reason, id, userId }, revokedReason);
}

/** A visit that ends without a session; the observer is told why. */
export function refuse(
  rules: Rules,
  event: { reason: Exclude<Reason, "absent">; id?: string; userId?: string | number },
  revokedReason?: string | null,
): Refused {
  tell(rules.onEvent, { type: "refused", ...event });
  const { reason } = event;
  return { session: null, reason, ...(revokedReason && { revokedReason }), headers: new Headers() };
}

/** A visit with the session of a row, and the cookie of its new token where there is one. */
export function grant<Data extends object>(
  rules: Rules,
  row: PresentedRow,
  token: Token | null = null,
): Granted<Data> {
  const session = toSession<Data>({ ...row, ...row.written });
  if (token === null) return { session, headers: new Headers() };
  return {
    session,
    headers: issueCookie(rules.cookie, token.token, row.persistent ? row.maxAge : undefined),
  };
}
