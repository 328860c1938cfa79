// What a cache sends by itself. sql/statements.sql has these statements too.
import { type Statement, statement } from "../sql.ts";

/** The channel that the triggers of sql/005_notify.sql notify. */
export const CHANNEL = "coatcheck";

/** What the payload of a beat begins with. The transaction that has sent it follows, and its server. */
export const BEAT_PREFIX = "beat:";

/**
 * Asks how far the transactions have come, and sends a beat to all that listen, if told to. `xmax` is one
 * more than the newest transaction that has ended, so a beat of that one or a later one is committed
 * afterwards. As each server and database has transactions of its own, `server` names both.
 *
 * `triggers` is a fingerprint of the triggers, which changes if one of them is switched off and on again;
 * null if one is missing. On the connection that listens, it sends nothing and returns no row: behind a
 * pooler, a beat comes back there while other notifications are lost. pg_notification_queue_usage also
 * frees what all have read: without it, a queue that was full stays full.
 *
 * $1 the call; $2 `beat`, or null.
 */
export const PROBE: Statement = statement(
  6,
  `select $1::text as call,
  pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text as xmax,
  here.server,
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
  ) as triggers,
  case when $2::text = 'beat' then pg_catalog.pg_notify(
    '${CHANNEL}',
    '${BEAT_PREFIX}' || pg_catalog.pg_current_xact_id()::text || ' ' || here.server
  )::text end as sent
from (
  select extract(epoch from pg_catalog.pg_postmaster_start_time())::text || ' '
    || pg_catalog.current_database()::text as server
) here
where not exists (
  select from pg_catalog.pg_listening_channels() c where c = '${CHANNEL}'
)`,
);

/**
 * Finds which of some sessions have not ended, with their deadline and the last proof of identity. Takes no
 * lock. One row, which says too what time it is, and whether a standby has answered: it may not know of a
 * session or of its end.
 *
 * $1 the call; $2 the session ids, as an array.
 */
export const FIND_LIVE: Statement = statement(
  4,
  `select $1::text as call,
  pg_is_in_recovery()::text as is_standby,
  extract(epoch from statement_timestamp())::text as clock,
  (
    select pg_catalog.string_agg(
      pg_catalog.concat_ws(
        ' ', s.id, extract(epoch from s.expires_at), extract(epoch from s.authenticated_at)
      ),
      ','
    )
    from coatcheck.sessions s
    where s.id = any($2::text::uuid[])
      and s.revoked_at is null
      and s.expires_at > statement_timestamp()
  ) as live`,
);
