// Every statement of the command line's own. They run with the search_path pg_catalog; see `read` in
// database.ts. All of them read. Numbers are float8 or int4, and lists json, as postgres.js reads these without
// asking the server for its types. Times are seconds.

/** The server, and the role of this connection. */
export const SERVER = `
select current_setting('server_version') as version,
  current_setting('server_version_num')::int4 as number,
  current_setting('server_encoding') as encoding,
  pg_is_in_recovery() as is_replica,
  extract(epoch from statement_timestamp() - pg_last_xact_replay_timestamp())::float8 as lag,
  current_setting('default_transaction_read_only') = 'on' as is_read_only,
  current_setting('fsync') = 'on' as has_fsync,
  (select s.source from pg_settings s where s.name = 'default_transaction_read_only') as read_only_source,
  quote_ident(current_database()) as quoted_database,
  current_user::text as role, quote_ident(current_user::text) as quoted_role,
  (select r.rolsuper from pg_roles r where r.rolname = current_user) as is_superuser,
  pg_backend_pid() as pid`;

/** The clock of the server. It runs with the search_path of the connection, as the next one does. */
export const CLOCK =
  "select extract(epoch from pg_catalog.clock_timestamp())::pg_catalog.float8 as now";

/** The process of the server that works for this connection. */
export const PROCESS = "select pg_catalog.pg_backend_pid() as pid";

/** What there is of the schema: itself, and its relations by name. */
export const PARTS = `
select o.name, o.kind, r.rolname::text as owner, o.owner::text::float8 as owner_id,
  quote_ident(r.rolname::text) as quoted_owner, r.rolsuper as is_superuser,
  r.rolcanlogin or exists (select from pg_auth_members m where m.roleid = o.owner) as is_usable,
  has_schema_privilege(current_user, o.schema, 'USAGE') as is_visible,
  o.is_unlogged, o.has_row_security, o.is_invoker
from (
  select 'schema' as name, 'n' as kind, n.nspowner as owner, n.oid as schema, false as is_unlogged,
    false as has_row_security, false as is_invoker
  from pg_namespace n
  where n.nspname = 'coatcheck'
  union all
  select c.relname::text, c.relkind::text, c.relowner, c.relnamespace, c.relpersistence = 'u',
    c.relrowsecurity,
    coalesce(array_to_string(c.reloptions, ' ') ~ '\\msecurity_invoker=(true|on|1|yes)\\M', false)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'coatcheck' and c.relname in ('migrations', 'users', 'sessions')
) o
join pg_roles r on r.oid = o.owner`;

/** The columns of the table and of the view, with the operator that compares two values of their type. */
export const COLUMNS = `
select c.relname::text as part, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
  a.atttypid::text::float8 as type_id,
  tn.nspname::text as type_schema,
  t.typtype = 'd' as is_domain,
  case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) end as base,
  a.attnotnull and not a.atthasdef as is_required,
  exists (
    select from pg_operator o
    where o.oprname = '=' and o.oprnamespace = 'pg_catalog'::regnamespace
      and o.oprleft = a.atttypid and o.oprright = a.atttypid
  ) as has_exact_operator,
  coalesce(
    (
      select format('operator(%I.%s)', n.nspname, o.oprname)
      from pg_opclass k
      join pg_amop p on p.amopfamily = k.opcfamily and p.amopstrategy = 3
        and p.amoplefttype = k.opcintype and p.amoprighttype = k.opcintype
      join pg_operator o on o.oid = p.amopopr
      join pg_namespace n on n.oid = o.oprnamespace
      where k.opcintype = case when t.typtype = 'd' then t.typbasetype else t.oid end
        and k.opcdefault and k.opcmethod = (select m.oid from pg_am m where m.amname = 'btree')
      limit 1
    ),
    'operator(pg_catalog.=)'
  ) as equal
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid
join pg_type t on t.oid = a.atttypid
join pg_namespace tn on tn.oid = t.typnamespace
where n.nspname = 'coatcheck' and c.relname in ('users', 'sessions')
  and a.attnum > 0 and not a.attisdropped
order by c.relname, a.attnum`;

/** The steps that were applied, and how many seconds ahead of the clock the last one is. */
export const LEDGER = `
select m.name::text as name,
  extract(epoch from m.applied_at - statement_timestamp())::float8 as ahead
from coatcheck.migrations m
order by m.name`;

/** The indexes of the table of sessions. */
export const INDEXES = `
select i.indexrelid::regclass::text as name, i.indisprimary as is_primary, i.indisunique as is_unique,
  i.indisvalid and i.indisready as is_valid,
  i.indpred is null and i.indexprs is null as is_plain, i.indpred is not null as is_partial,
  (
    select quote_ident(c.conname) from pg_constraint c
    where c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x')
  ) as of_constraint,
  (
    select json_agg(a.attname::text order by k.place)
    from unnest(i.indkey) with ordinality k (number, place)
    left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
  ) as columns,
  pg_relation_size(i.indexrelid)::float8 as size
from pg_index i
where i.indrelid = to_regclass('coatcheck.sessions')
order by 1`;

/** The foreign keys of user_id, and whether their triggers are switched off on either side. */
export const FOREIGN_KEYS = `
select quote_ident(f.conname) as name, f.confrelid::regclass::text as target,
  f.confdeltype = 'c' as is_cascade, f.confdeltype in ('n', 'd') as is_emptied, f.convalidated as is_valid,
  (
    select json_agg(distinct t.tgrelid::regclass::text)
    from pg_trigger t
    where t.tgconstraint = f.oid and t.tgenabled in ('D', 'R')
  ) as disabled_on,
  f.confrelid::text::float8 as target_id
from pg_constraint f
join pg_attribute a on a.attrelid = f.conrelid and a.attnum = any (f.conkey)
where f.conrelid = to_regclass('coatcheck.sessions') and f.contype = 'f' and a.attname = 'user_id'`;

/** The tables that the view reads, also through other views. */
export const SOURCES = `
with recursive reads (oid) as (
  select to_regclass('coatcheck.users')::oid
  union
  select d.refobjid
  from reads r
  join pg_rewrite w on w.ev_class = r.oid
  join pg_depend d on d.objid = w.oid
  where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
)
select c.oid::regclass::text as name, c.relkind::text as kind, c.oid::text::float8 as id
from reads r
join pg_class c on c.oid = r.oid
where c.relkind in ('r', 'p', 'f', 'm')
order by 1`;

/** The relations that the view reads, or a view behind it, without a right of its owner. */
export const UNREADABLE = `
with recursive reads (oid, reader, number) as (
  select to_regclass('coatcheck.users')::oid, null::oid, 0
  union
  select d.refobjid, w.ev_class, d.refobjsubid
  from reads r
  join pg_rewrite w on w.ev_class = r.oid
  join pg_depend d on d.objid = w.oid
  where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
)
select distinct c.oid::regclass::text as name, o.rolname::text as owner,
  quote_ident(o.rolname::text) as quoted
from reads r
join pg_class c on c.oid = r.oid
join pg_class v on v.oid = r.reader
join pg_roles o on o.oid = v.relowner
where c.oid <> v.oid
  and coalesce(array_to_string(v.reloptions, ' ') !~ '\\msecurity_invoker=(true|on|1|yes)\\M', true)
  and not case
    when r.number = 0 then has_any_column_privilege(o.oid, c.oid, 'SELECT')
    else has_column_privilege(o.oid, c.oid, r.number::int2, 'SELECT')
  end
order by 1`;

/**
 * Your users table and its columns, written as in SQL: those of the view, if it reads one table and nothing else,
 * or those of the foreign key. No row if neither is known.
 */
export const USERS_TABLE = `
with entry as (
  select w.oid as rule, split_part(split_part(part, ':resname ', 2), ' ', 1) as name,
    substring(split_part(part, ':resname ', 1) from '\\{VAR :varno \\d+ :varattno (\\d+) ')::int2 as number
  from pg_rewrite w
  cross join lateral regexp_split_to_table(w.ev_action::text, '\\{TARGETENTRY ') part
  where w.ev_class = to_regclass('coatcheck.users')
), source as (
  select min(d.refobjid::text)::oid as oid, w.oid as rule
  from pg_rewrite w
  join pg_depend d on d.objid = w.oid
  where w.ev_class = to_regclass('coatcheck.users') and d.classid = 'pg_rewrite'::regclass
    and d.refclassid = 'pg_class'::regclass and d.refobjid <> w.ev_class
  group by w.oid
  having count(distinct d.refobjid) = 1
), known as (
  select 1 as place, s.oid,
    (select max(e.number) from entry e where e.rule = s.rule and e.name = 'id') as id,
    (select max(e.number) from entry e where e.rule = s.rule and e.name = 'username') as username
  from source s
  union all
  select 2, f.confrelid, f.confkey[1], null
  from pg_constraint f
  join pg_attribute a on a.attrelid = f.conrelid and f.conkey = array[a.attnum]
  where f.conrelid = to_regclass('coatcheck.sessions') and f.contype = 'f' and a.attname = 'user_id'
)
select c.oid::regclass::text as name, quote_ident(i.attname) as id, quote_ident(u.attname) as username
from known k
join pg_class c on c.oid = k.oid and c.relkind in ('r', 'p')
join pg_attribute i on i.attrelid = c.oid and i.attnum = k.id
left join lateral (
  select a.attname from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and (a.attnum = k.username or k.username is null and a.attname in ('username', 'email'))
  order by a.attname desc
  limit 1
) u on true
order by k.place
limit 1`;

/** The triggers of 005_notify, and whether each fires for every writer, also on the partitions of the table. */
export const NOTIFIERS = `
select t.tgname::text as name,
  t.tgenabled = 'A' and not exists (
    select from pg_trigger c where c.tgparentid = t.oid and c.tgenabled <> 'A'
  ) as is_always
from pg_trigger t
where t.tgrelid = to_regclass('coatcheck.sessions') and t.tgfoid = to_regprocedure('coatcheck.notify()')
  and t.tgname in ('coatcheck_notify_update', 'coatcheck_notify_delete', 'coatcheck_notify_truncate')`;

/** How full the queue of notifications is, 0 to 1. It is that of the whole server. */
export const QUEUE = "select pg_notification_queue_usage() as usage";

/** Triggers and rules of the app on the table of sessions. */
export const TRIGGERS = `
select t.tgname::text as name
from pg_trigger t
where t.tgrelid = to_regclass('coatcheck.sessions') and not t.tgisinternal and t.tgenabled <> 'D'
  and t.tgfoid is distinct from to_regprocedure('coatcheck.notify()')
union all
select r.rulename::text
from pg_rewrite r
where r.ev_class = to_regclass('coatcheck.sessions')
order by 1`;

/**
 * Who may do what with the schema and its relations, owners and superusers aside. A right on columns is written as in
 * SQL: `update (user_id)`. One row for each role that has granted; null for the owner.
 */
export const GRANTS = `
select o.name, coalesce(r.rolname::text, 'public') as grantee,
  case when r.oid is null then 'public' else quote_ident(r.rolname::text) end as quoted,
  g.rolname::text as grantor, quote_ident(g.rolname::text) as quoted_grantor,
  json_agg(o.privilege order by o.privilege) as privileges
from (
  select 'schema coatcheck' as name, n.nspowner as owner, a.grantor, a.grantee,
    lower(a.privilege_type) as privilege
  from pg_namespace n
  cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
  where n.nspname = 'coatcheck'
  union
  select 'coatcheck.' || c.relname::text, c.relowner, a.grantor, a.grantee, lower(a.privilege_type)
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  cross join lateral aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
  where n.nspname = 'coatcheck' and c.relname in ('migrations', 'users', 'sessions')
  union
  select 'coatcheck.' || c.relname::text, c.relowner, a.grantor, a.grantee,
    lower(a.privilege_type) || ' (' || string_agg(quote_ident(t.attname), ', ' order by t.attnum) || ')'
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute t on t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped
  cross join lateral aclexplode(t.attacl) a
  where n.nspname = 'coatcheck' and c.relname in ('migrations', 'users', 'sessions')
  group by c.relname, c.relowner, a.grantor, a.grantee, a.privilege_type
) o
left join pg_roles r on r.oid = o.grantee
left join pg_roles g on g.oid = o.grantor and g.oid <> o.owner
where o.grantee <> o.owner and not coalesce(r.rolsuper, false)
group by 1, 2, 3, 4, 5
order by 1, 2, 4`;

/** What a role may do, and the search_path that it gets. $1 the role, or null for that of the connection. */
export const ROLE = `
select r.rolname::text as name, quote_ident(r.rolname::text) as quoted, r.rolsuper as is_superuser,
  r.rolcanlogin as can_login,
  has_schema_privilege(r.oid, n.oid, 'USAGE') as schema_usage,
  has_table_privilege(r.oid, to_regclass('coatcheck.users'), 'SELECT') as users_select,
  has_table_privilege(r.oid, to_regclass('coatcheck.sessions'), 'SELECT') as sessions_select,
  has_table_privilege(r.oid, to_regclass('coatcheck.sessions'), 'INSERT') as sessions_insert,
  has_table_privilege(r.oid, to_regclass('coatcheck.sessions'), 'UPDATE') as sessions_update,
  has_table_privilege(r.oid, to_regclass('coatcheck.sessions'), 'DELETE') as sessions_delete,
  exists (
    select from pg_class c
    where c.relnamespace = n.oid and c.relname in ('users', 'sessions')
      and pg_has_role(r.oid, c.relowner, 'USAGE')
  ) as is_owner,
  p.search_path, p.in_database
from pg_roles r
join pg_database d on d.datname = current_database()
left join pg_namespace n on n.nspname = 'coatcheck'
left join lateral (
  select substr(setting, 13) as search_path,
    case when s.setdatabase <> 0 then quote_ident(d.datname::text) end as in_database
  from pg_db_role_setting s
  cross join lateral unnest(s.setconfig) setting
  where s.setrole in (r.oid, 0) and s.setdatabase in (d.oid, 0) and setting like 'search\\_path=%'
  order by s.setrole = 0, s.setdatabase = 0
  limit 1
) p on true
where r.rolname::text = coalesce($1::text, current_user::text)`;

/** The schemas in the order in which they are searched. $1 the search_path. */
export const SEARCHED = `
select pg_catalog.to_json(pg_catalog.current_schemas(true)) as schemas
from (select pg_catalog.set_config('search_path', $1::text, true) offset 0) path`;

/**
 * Functions and operators of other schemas that would be called in place of PostgreSQL's.
 *
 * $1 the schemas before pg_catalog, as JSON; $2 all schemas of the search_path, as JSON; $3 the types of keys and
 * names for which pg_catalog has no operator of their own, as JSON.
 */
export const DECOYS = `
with earlier as (
  select n.oid from pg_namespace n
  where n.nspname in (select value from json_array_elements_text($1::text::json) value)
), searched as (
  select n.oid from pg_namespace n
  where n.nspname in (select value from json_array_elements_text($2::text::json) value)
    and n.nspname <> 'pg_catalog'
), types as (
  select value::float8::int8::oid as oid from json_array_elements_text($3::text::json) value
)
select 'operator' as kind, o.oid::regoperator::text as name, r.rolname::text as owner
from pg_operator o
join pg_roles r on r.oid = o.oprowner
where o.oprnamespace in (select e.oid from earlier e)
    and exists (
      select from pg_operator c
      where c.oprname = o.oprname and c.oprnamespace = 'pg_catalog'::regnamespace
    )
  or o.oprname = '=' and o.oprnamespace in (select s.oid from searched s)
    and (o.oprleft in (select t.oid from types t) or o.oprright in (select t.oid from types t))
    and not exists (
      select from pg_depend d
      where d.classid = 'pg_operator'::regclass and d.objid = o.oid and d.deptype = 'e'
    )
union all
select 'function', p.oid::regprocedure::text, r.rolname::text
from pg_proc p
join pg_roles r on r.oid = p.proowner
where p.pronamespace in (select e.oid from earlier e)
  and exists (
    select from pg_proc c
    where c.proname = p.proname and c.pronamespace = 'pg_catalog'::regnamespace
  )
order by 1, 2
limit 10`;

/** The size of the table, its settings, and what the server has counted. */
export const STORAGE = `
select c.reltuples::float8 as rows, c.relpages::float8 as pages,
  pg_relation_size(c.oid)::float8 as size,
  current_setting('block_size')::float8 as block,
  (select option_value from pg_options_to_table(c.reloptions) where option_name = 'fillfactor') as fillfactor,
  (select option_value from pg_options_to_table(c.reloptions) where option_name = 'autovacuum_enabled')
    as autovacuum,
  current_setting('autovacuum') = 'on' as has_autovacuum,
  current_setting('track_counts') = 'on' as has_counts,
  age(c.relfrozenxid)::float8 as age,
  current_setting('autovacuum_freeze_max_age')::float8 as max_age,
  pg_stat_get_live_tuples(c.oid)::float8 as live,
  pg_stat_get_dead_tuples(c.oid)::float8 as dead,
  pg_stat_get_tuples_updated(c.oid)::float8 as updated,
  pg_stat_get_tuples_hot_updated(c.oid)::float8 as hot,
  extract(epoch from statement_timestamp() - greatest(pg_stat_get_last_autovacuum_time(c.oid),
    pg_stat_get_last_vacuum_time(c.oid)))::float8 as vacuumed,
  (
    select sum(s.avg_width * (1 - s.null_frac))::float8
    from pg_stats s
    where s.schemaname = 'coatcheck' and s.tablename = 'sessions'
  ) as width
from pg_class c
where c.oid = to_regclass('coatcheck.sessions')`;

/** What the server has counted of the whole database, and the oldest transaction that is open. */
export const ACTIVITY = `
select d.deadlocks::float8 as deadlocks, d.xact_commit::float8 as commits, d.xact_rollback::float8 as rollbacks,
  extract(epoch from statement_timestamp() - d.stats_reset)::float8 as since,
  (
    select extract(epoch from max(statement_timestamp() - a.xact_start))::float8
    from pg_stat_activity a
    where a.datname = current_database() and a.backend_type = 'client backend'
  ) as oldest,
  (
    select count(*)::float8
    from pg_stat_activity a
    where a.datname = current_database() and a.backend_type is null
  ) as hidden
from pg_stat_database d
where d.datname = current_database()`;

/** Whether Citus is installed. */
export const CITUS = "select e.extversion as version from pg_extension e where e.extname = 'citus'";

/** How the sessions are distributed; no row if they are a local table. */
export const DISTRIBUTION = `
select p.partmethod::text as method,
  case when p.partmethod = 'h' then pg_catalog.column_to_column_name(p.logicalrelid, p.partkey) end as key
from pg_catalog.pg_dist_partition p
where p.logicalrelid = to_regclass('coatcheck.sessions')`;

// Whether a row is live, by the names in stats and list. $2 idleTimeout, $3 absoluteTimeout, in seconds.
const STATUS = `case
    when s.revoked_at is not null then 'revoked'
    when s.expires_at <= statement_timestamp()
      or s.authenticated_at <= statement_timestamp() - $3::text::interval then 'expired'
    when s.last_seen_at <= statement_timestamp() - $2::text::interval then 'idle'
    else 'live'
  end`;

/**
 * Judges the rows with the lowest ids. Ids are random, so they are a fair sample, also on Citus.
 *
 * $1 how many rows, or null for all; $2 idleTimeout; $3 absoluteTimeout; $4 retention of revoked sessions.
 */
export const SAMPLE: string = `
with page as materialized (
  select s.id, ${STATUS} as status, s.revoked_reason as reason, s.created_at,
    s.user_id is null as is_guest,
    greatest(
      case when s.revoked_at is null and isfinite(s.expires_at) then statement_timestamp() - s.expires_at end,
      case when isfinite(s.revoked_at) then statement_timestamp() - s.revoked_at - $4::text::interval end
    ) as overdue
  from coatcheck.sessions s
  order by s.id
  limit $1::text::int8
)
select (select count(*) from page)::float8 as rows,
  (select p.id::text from page p order by p.id desc limit 1) as last,
  (select count(*) from page p where p.is_guest and p.status = 'live')::float8 as guests,
  (select count(*) from page p where p.overdue > interval '2 days')::float8 as overdue,
  (select extract(epoch from max(p.overdue)) from page p)::float8 as most_overdue,
  (
    select coalesce(json_object_agg(g.status, g.number), '{}')
    from (select p.status, count(*) as number from page p group by 1) g
  ) as statuses,
  (
    select coalesce(json_agg(json_build_array(g.reason, g.number) order by g.number desc, g.reason), '[]')
    from (
      select p.reason, count(*) as number from page p where p.status = 'revoked'
      group by 1 order by 2 desc, 1 limit 20
    ) g
  ) as reasons,
  (
    select coalesce(json_object_agg(g.age, g.number), '{}')
    from (
      select width_bucket(extract(epoch from statement_timestamp() - p.created_at)::float8,
          array[3600, 86400, 604800, 2592000]::float8[]) as age, count(*) as number
      from page p where p.status = 'live' and isfinite(p.created_at) group by 1
    ) g
  ) as ages,
  (
    select coalesce(json_agg(json_build_array(g.day, g.number) order by g.day desc), '[]')
    from (
      select (p.created_at at time zone 'utc')::date::text as day, count(*) as number from page p
      where p.created_at > statement_timestamp() - interval '14 days' and isfinite(p.created_at) group by 1
    ) g
  ) as days`;

const ROW = `s.id::text as id, s.user_id::text as user_id, u.username,
  ${STATUS} as status,
  extract(epoch from s.created_at)::float8 as created,
  extract(epoch from s.authenticated_at)::float8 as authenticated,
  extract(epoch from s.last_seen_at)::float8 as last_seen,
  extract(epoch from s.expires_at)::float8 as expires,
  extract(epoch from s.revoked_at)::float8 as revoked,
  s.revoked_reason as reason,
  extract(epoch from s.rotated_at)::float8 as rotated,
  s.persistent,
  s.version,
  octet_length(s.data::text) as bytes,
  s.data::text as data,
  extract(epoch from statement_timestamp())::float8 as clock`;

/**
 * One session, whatever its state. Without its digests. $1 its id; $2 idleTimeout; $3 absoluteTimeout.
 *
 * @param equal The operator of the type of user_id, from COLUMNS.
 */
export const show = (equal: string): string => `
select ${ROW}
from coatcheck.sessions s
left join lateral (
  select min(v.username::text) as username from coatcheck.users v where v.id ${equal} s.user_id
) u on true
where s.id = $1::text::uuid`;

/**
 * The sessions of a user, whatever their state, the last used first. Without their digests.
 *
 * $1 the user's key; $2 idleTimeout; $3 absoluteTimeout; $4 how many; $5 the session to continue after, or null.
 */
export const listAll = (equal: string): string => `
select ${ROW}
from coatcheck.sessions s
left join lateral (select null::text as username) u on true
where s.user_id ${equal} (
    select r.user_id
    from jsonb_populate_record(null::coatcheck.sessions, jsonb_build_object('user_id', $1::text)) r
  )
  and ($5::text is null or (s.last_seen_at, s.id) < (
    select o.last_seen_at, o.id from coatcheck.sessions o where o.id = $5::text::uuid
  ))
order by s.last_seen_at desc, s.id desc
limit $4::text::int8`;

/** How many sessions a revocation would revoke, up to 10,001. $1 the user's key. */
export const countUnrevoked = (equal: string): string => `
select count(*)::float8 as number
from (
  select from coatcheck.sessions s
  where s.user_id ${equal} (
      select r.user_id
      from jsonb_populate_record(null::coatcheck.sessions, jsonb_build_object('user_id', $1::text)) r
    )
    and s.revoked_at is null and s.expires_at > statement_timestamp()
  limit 10001
) s`;

/** A plan by which the view's column is unique, or not: see UNIQUE in src/migrations.ts. */
export const uniquePlan = (column: "id" | "username", equal: string): string => `
explain (format json)
select from coatcheck.users a
left join coatcheck.users b on b.${column} ${equal} a.${column}`;

/** The plan of a look-up, as coatcheck makes it. Run it with enable_seqscan off. */
export const lookUpPlan = (column: "id" | "username", equal: string): string => `
explain (format json)
select from coatcheck.users u
where u.${column} ${equal} (
  select a.${column} from jsonb_populate_record(null::coatcheck.users, '{}') a
)`;

/** Whether two users have the same value. It reads the whole view. */
export const duplicates = (column: "id" | "username"): string => `
select exists (
  select from coatcheck.users u where u.${column} is not null
  group by u.${column} having count(*) > 1
) as is_ambiguous`;

/** How many rows the planner expects of the view. */
export const VIEW_SIZE: string = "explain (format json) select from coatcheck.users";
