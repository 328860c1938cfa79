// The audit log of sessions, in the table of audit.sql.
import type { SessionEvent, SessionEventListener } from "coatcheck";
import type { ISql, Sql, TransactionSql } from "postgres";

/**
 * Runs calls of coatcheck in a transaction, and writes their events in it: both are stored, or neither. For
 * sign-in, sign-out and all that must never be missing in the log:
 *
 * audited(sql, (transaction, onEvent) => createSession("ada", transaction, { onEvent }))
 */
export async function audited<Result>(
  sql: Sql,
  call: (transaction: TransactionSql, onEvent: SessionEventListener) => Promise<Result>,
): Promise<Result> {
  const result = await sql.begin(async (transaction) => {
    const events: SessionEvent[] = [];
    const returned = await call(transaction, (event) => void events.push(event));
    for (const event of events) await write(event, transaction);
    return { returned };
  });
  return result.returned;
}

/**
 * Returns a listener for `onEvent` that writes each event by itself, after it has happened. For validations:
 * `reused`, `rotated` and `refused`. If the database fails in between, the event is missing in the log, so
 * report it.
 *
 * A refusal is written only if its secret was right. Anyone can send a wrong one, and each would be a row: count
 * those.
 */
export function auditSessions(
  sql: Sql,
  report: (error: unknown, event: SessionEvent) => void,
): SessionEventListener {
  return async (event) => {
    if (event.type === "refused" && /^(malformed|unknown)$/.test(event.reason)) return;
    await write(event, sql).catch((error) => report(error, event));
  };
}

async function write(event: SessionEvent, sql: ISql): Promise<void> {
  const { type, id = null, userId = null } = event;
  const reason = "reason" in event ? event.reason : null;
  await sql`insert into session_audit (event, session_id, user_id, reason)
    values (${type}, ${id}, ${userId === null ? null : String(userId)}, ${reason})`;
}
