// What a cache sends by itself. sql/statements.sql has these statements too.
import { type Statement, statement } from "../sql.ts";

/** The channel that the triggers of sql/005_notify.sql notify. */
export const CHANNEL = "coatcheck";

/** What the payload of a beat begins with. */
export const BEAT_PREFIX = "beat:";

/**
 * Sends a beat to every listener of the channel. Returns a fingerprint of the triggers, which changes if one
 * of them is switched off and on again; null if one is missing. On the connection that listens, it sends
 * nothing and returns no row: behind a pooler, a beat comes back there while other notifications are lost.
 * pg_notification_queue_usage also frees what all have read: without it, a queue that was full stays full.
 *
 * $1 the call; $2 the beat.
 */
export const BEAT: Statement = statement(
  4,
  `select $1::text as call,
  pg_catalog.pg_notify('${CHANNEL}', '${BEAT_PREFIX}' || $2::text)::text as sent,
  pg_catalog.pg_notification_queue_usage()::text as queue_usage,
  (
    select case when count(*) = 3 then
      pg_catalog.string_agg(t.oid::text || ':' || t.xmin::text || ':' || p.xmin::text, ' ' order by t.oid)
    end
    from pg_catalog.pg_trigger t
    join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = pg_catalog.to_regclass('coatcheck.sessions')::oid
      and p.oid = pg_catalog.to_regprocedure('coatcheck.notify()')::oid
      and t.tgenabled = 'A'
  ) as triggers
where not exists (
  select from pg_catalog.pg_listening_channels() c where c = '${CHANNEL}'
)`,
);

/**
 * Finds which of some sessions have not ended. Takes no lock. One row, which says too whether a standby has
 * answered: it may not know of a session or of its end.
 *
 * $1 the call; $2 the session ids, as an array.
 */
export const FIND_LIVE: Statement = statement(
  3,
  `select $1::text as call,
  pg_is_in_recovery()::text as is_standby,
  (
    select pg_catalog.string_agg(s.id::text, ' ')
    from coatcheck.sessions s
    where s.id = any($2::text::uuid[])
      and s.revoked_at is null
      and s.expires_at > statement_timestamp()
  ) as live`,
);
