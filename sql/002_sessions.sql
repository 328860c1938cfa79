-- The sessions. What a touch or a rotation changes is in no index, and the fillfactor leaves room on
-- the page, so that those updates are heap-only.
do $coatcheck$
declare
  -- The table and the column that user_id refers to, written as in SQL; null for no foreign key.
  users_table constant text := null;
  users_id constant text := null;
  users constant oid := to_regclass(users_table);
  id_type oid;
  id_length integer;
  id_collation oid;
  user_id text;
  id_column name;
begin
  perform pg_catalog.pg_advisory_xact_lock(427819008);

  if exists (select from coatcheck.migrations where name = '002_sessions') then
    return;
  end if;
  if to_regclass('coatcheck.sessions') is not null or to_regtype('coatcheck.sessions') is not null
      or to_regclass('coatcheck.sessions_user_id') is not null then
    raise exception using errcode = 'CC001', message =
      'Cannot apply 002_sessions as coatcheck.sessions must be free: received a foreign object';
  end if;

  -- The type and the collation of your users' key; of a domain, the type it stands for.
  select atttypid, atttypmod, attcollation into id_type, id_length, id_collation
    from pg_attribute where attrelid = 'coatcheck.users'::regclass and attname = 'id';
  while (select typtype = 'd' from pg_type where oid = id_type) loop
    select typbasetype, typtypmod into id_type, id_length from pg_type where oid = id_type;
  end loop;
  user_id := format_type(id_type, id_length);
  if id_collation <> (select typcollation from pg_type where oid = id_type) then
    user_id := user_id || ' collate ' || id_collation::regcollation;
  end if;

  if (select relkind in ('r', 'p') from pg_class where oid = users) then
    select attname into id_column from pg_attribute
      where attrelid = users and attnum > 0 and not attisdropped
        and attname in (users_id, trim(both '"' from users_id), lower(users_id))
      order by attname = users_id desc limit 1;
    user_id := user_id ||
      pg_catalog.format(' references %s (%I) on delete cascade', users::regclass, id_column);
  end if;

  execute pg_catalog.format('create table coatcheck.sessions (
    id uuid primary key,
    user_id %s not null,
    digest bytea not null,
    previous_digest bytea,
    rotation_salt bytea,
    rotated_at timestamptz,
    rotation_seen_at timestamptz,
    created_at timestamptz not null,
    authenticated_at timestamptz not null,
    last_seen_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    revoked_reason text,
    persistent boolean not null,
    version integer not null default 0,
    data jsonb not null
  ) with (fillfactor = 90)', user_id);
  create index sessions_user_id on coatcheck.sessions (user_id);

  insert into coatcheck.migrations (name) values ('002_sessions');
end
$coatcheck$
