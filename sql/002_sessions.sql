-- The sessions. What a touch or a rotation changes is in no index, and the fillfactor leaves room on
-- the page, so those updates are heap-only.
do $coatcheck$
declare
  -- The table and the column that user_id refers to, written as in SQL; null for no foreign key.
  users_table constant pg_catalog.text := null;
  users_id constant pg_catalog.text := null;
  users pg_catalog.oid;
  callers_path pg_catalog.text;
  foreign_object pg_catalog.text;
  id_type pg_catalog.oid;
  id_length pg_catalog.int4;
  id_collation pg_catalog.oid;
  user_id pg_catalog.text;
  id_column pg_catalog.name;
  foreign_key pg_catalog.name;
  has_sessions pg_catalog.bool;
  same_key pg_catalog.text;
begin
  users := pg_catalog.to_regclass(users_table);
  callers_path := pg_catalog.current_setting('search_path');
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  perform pg_advisory_xact_lock(427819008);

  -- An object of another role may hold a trigger, a rule or a function that would run with your rights.
  -- Trusted are superusers, you, and the roles whose rights you have as a member. A superuser has the
  -- rights of every role, so membership says nothing there.
  select object.name into foreign_object
    from (
      select 'the schema coatcheck', nspowner from pg_namespace where nspname = 'coatcheck'
      union all
      select 'coatcheck.' || relname, relowner from pg_class
        where relnamespace = to_regnamespace('coatcheck')
          and relname in ('migrations', 'users', 'sessions')
    ) object (name, owner)
    join pg_roles owner on owner.oid = object.owner
    join pg_roles me on me.rolname = current_user
    where not owner.rolsuper and owner.oid <> me.oid
      and (me.rolsuper or not pg_has_role(me.oid, owner.oid, 'USAGE'))
    order by object.name desc
    limit 1;
  if foreign_object is not null then
    raise exception using errcode = 'CC004', message =
      'migrate: ' || foreign_object || ' is owned by another role; '
      'run migrate as that role, or drop it if that role is not yours';
  end if;
  has_sessions := array(
      select attname::text from pg_class c join pg_attribute a on a.attrelid = c.oid
      where c.oid = to_regclass('coatcheck.sessions') and relkind in ('r', 'p')
        and attnum > 0 and not attisdropped
    ) @> array['id', 'user_id', 'digest', 'previous_digest', 'rotation_salt', 'rotated_at',
      'rotation_seen_at', 'created_at', 'authenticated_at', 'last_seen_at', 'expires_at', 'revoked_at',
      'revoked_reason', 'persistent', 'version', 'data'];
  if not has_sessions then
    if to_regclass('coatcheck.sessions') is not null or to_regtype('coatcheck.sessions') is not null then
      raise exception using errcode = 'CC001', message =
        'migrate: coatcheck.sessions exists and was not created by coatcheck; rename or drop it';
    end if;
    if to_regclass('coatcheck.sessions_user_id') is not null then
      raise exception using errcode = 'CC001', message =
        'migrate: coatcheck.sessions_user_id exists and was not created by coatcheck; rename or drop it';
    end if;
  end if;

  if (select relkind in ('r', 'p') from pg_class where oid = users) then
    select attname into id_column from pg_attribute
      where attrelid = users and attnum > 0 and not attisdropped
        and attname in (users_id, trim(both '"' from users_id), lower(users_id))
      order by attname = users_id desc limit 1;
    if not found then
      raise exception using errcode = 'CC003', message =
        'migrate: the users table has no such column for id; name yours in migrate(sql, { users })';
    end if;
  end if;

  if not has_sessions then
  select atttypid, atttypmod, attcollation into id_type, id_length, id_collation
    from pg_attribute where attrelid = 'coatcheck.users'::regclass and attname = 'id';
  while (select typtype = 'd' from pg_type where oid = id_type) loop
    select typbasetype, typtypmod into id_type, id_length from pg_type where oid = id_type;
  end loop;
  user_id := format_type(id_type, id_length);
  if id_collation <> (select typcollation from pg_type where oid = id_type) then
    user_id := user_id || ' collate ' || id_collation::regcollation;
  end if;
    execute format('create table coatcheck.sessions (
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
  end if;

  if id_column is not null then
    if not exists (
        select from pg_constraint join pg_attribute on attrelid = conrelid and conkey = array[attnum]
        where conrelid = 'coatcheck.sessions'::regclass and contype = 'f' and attname = 'user_id') then
      begin
        execute format('alter table coatcheck.sessions add constraint sessions_user_id_fkey
          foreign key (user_id) references %s (%I) on delete cascade %s', users::regclass, id_column,
          case when has_sessions then 'not valid' end);
      exception
        when invalid_foreign_key or object_not_in_prerequisite_state then
          raise exception using errcode = 'CC010', message = format(
            'migrate: users.id must be a primary key or unique; run: alter table %s add %s (%I)',
            users::regclass, case
              when exists (select from pg_index where indrelid = users and indisprimary) then 'unique'
              else 'primary key'
            end, id_column);
        when datatype_mismatch then
          raise exception using errcode = 'CC010', message =
            'migrate: users.id must have the type of coatcheck.users.id; '
            'write the view without a cast, or leave users.id out';
      end;
    end if;
    -- A session without a user would be in the way of the foreign key, and is deleted, as the foreign key
    -- would have done. The operator is that of the foreign key: that of a citext is in another schema.
    for foreign_key, id_column, same_key in
      select conname, r.attname, format('operator(%I.%s)', nspname, oprname)
        from pg_constraint c
        join pg_attribute a on a.attrelid = conrelid and conkey = array[a.attnum]
        join pg_attribute r on r.attrelid = confrelid and confkey = array[r.attnum]
        join pg_operator o on o.oid = conpfeqop[1]
        join pg_namespace n on n.oid = oprnamespace
        where conrelid = 'coatcheck.sessions'::regclass and contype = 'f' and a.attname = 'user_id'
          and confrelid = users and confdeltype = 'c' and not convalidated and conparentid = 0
          and exists (select from pg_trigger where tgconstraint = c.oid)
    loop
      execute format('delete from coatcheck.sessions s
        where s.user_id is not null
          and not exists (select from %s u where u.%I %s s.user_id)', users::regclass, id_column, same_key);
      execute format('alter table coatcheck.sessions validate constraint %I', foreign_key);
    end loop;
  end if;

  -- A dump may be restored without its indexes and keys. Citus adds them after a foreign key, not before it.
  if not exists (
      select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
      where indrelid = 'coatcheck.sessions'::regclass and attname = 'id'
        and indisunique and indisvalid and indpred is null) then
    begin
      alter table coatcheck.sessions add primary key (id);
    exception when unique_violation then
      raise exception using errcode = 'CC009', message =
        'migrate: coatcheck.sessions has several rows with the same id; run: '
        'delete from coatcheck.sessions where id in '
        '(select id from coatcheck.sessions group by id having count(*) > 1)';
    end;
  end if;
  if not exists (
      select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
      where indrelid = 'coatcheck.sessions'::regclass and attname = 'user_id'
        and indisvalid and indpred is null) then
    -- One that was not finished, as by create index concurrently.
    if exists (
        select from pg_index
        where indexrelid = to_regclass('coatcheck.sessions_user_id')
          and indrelid = 'coatcheck.sessions'::regclass and not indisvalid) then
      drop index coatcheck.sessions_user_id;
    end if;
    if exists (select from pg_class where oid = to_regclass('coatcheck.sessions_user_id')) then
      create index on coatcheck.sessions (user_id);
    else
      -- Fails if another server has made it, and the snapshot is older.
      create index sessions_user_id on coatcheck.sessions (user_id);
    end if;
  end if;

  insert into coatcheck.migrations (name) values ('002_sessions') on conflict do nothing;
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
