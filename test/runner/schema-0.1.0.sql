-- What coatcheck 0.1.0 sends in migrate(sql): the schema that an installation of it has.
-- The schema, and the view through which it sees your users: the one place where your tables and
-- ours meet. Change the view to sign in by e-mail, or to leave out disabled users; id and username
-- must stay unique in it. A view that you made before is left as it is.
do $coatcheck$
declare
  -- Your users' table, written as in SQL, and its columns.
  users_table constant text := 'users';
  users_id constant text := 'id';
  users_username constant text := 'username';
  users constant oid := to_regclass(users_table);
  id_column name;
  username_column name;
begin
  perform pg_catalog.pg_advisory_xact_lock(427819008);

  if not exists (select from pg_namespace where nspname = 'coatcheck') then
    create schema coatcheck;
  end if;
  if to_regclass('coatcheck.migrations') is null then
    create table coatcheck.migrations (
      name text primary key,
      applied_at timestamptz not null default statement_timestamp()
    );
    comment on table coatcheck.migrations is 'coatcheck: the migrations that were applied';
  elsif pg_catalog.obj_description('coatcheck.migrations'::regclass, 'pg_class')
      is distinct from 'coatcheck: the migrations that were applied' then
    raise exception using errcode = 'CC001', message =
      'Cannot apply 001_users as coatcheck.migrations must be free: received a foreign object';
  end if;
  if exists (select from coatcheck.migrations where name = '001_users') then
    return;
  end if;

  if to_regclass('coatcheck.users') is null and to_regtype('coatcheck.users') is null then
    if users is null then
      raise exception using errcode = 'CC002', message =
        'Cannot apply 001_users as your table of users must exist: received no such table; '
        'name yours in migrate(sql, { users })';
    end if;
    select attname into id_column from pg_attribute
      where attrelid = users and attnum > 0 and not attisdropped
        and attname in (users_id, trim(both '"' from users_id), lower(users_id))
      order by attname = users_id desc limit 1;
    select attname into username_column from pg_attribute
      where attrelid = users and attnum > 0 and not attisdropped
        and attname in (users_username, trim(both '"' from users_username), lower(users_username))
      order by attname = users_username desc limit 1;
    if id_column is null or username_column is null then
      raise exception using errcode = 'CC003', message =
        'Cannot apply 001_users as your table of users must have the two columns: '
        'received no such column; name yours in migrate(sql, { users })';
    end if;
    execute pg_catalog.format(
      'create view coatcheck.users as select %I as id, %I as username from %s',
      id_column, username_column, users::regclass);
  elsif 2 <> (
      select count(*) from pg_class c join pg_attribute on attrelid = c.oid
      where c.oid = to_regclass('coatcheck.users') and relkind = 'v'
        and attname in ('id', 'username')) then
    raise exception using errcode = 'CC001', message =
      'Cannot apply 001_users as coatcheck.users must be a view with id and username: '
      'received a foreign object';
  end if;

  insert into coatcheck.migrations (name) values ('001_users');
end
$coatcheck$;
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
$coatcheck$;
