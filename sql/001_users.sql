-- The schema, and the view through which coatcheck reads your users table. Replace the view to sign in
-- by e-mail or to leave out disabled users: id and username must stay unique, and a varchar is written
-- column::text. A view that exists already is kept.
do $coatcheck$
declare
  -- Your users table, written as in SQL, and its columns.
  users_table constant pg_catalog.text := 'users';
  users_id constant pg_catalog.text := 'id';
  users_username constant pg_catalog.text := 'username';
  users pg_catalog.oid;
  callers_path pg_catalog.text;
  foreign_object pg_catalog.text;
  view_column pg_catalog.text;
  table_column pg_catalog.text;
  found_column pg_catalog.name;
  column_type pg_catalog.oid;
  base_type pg_catalog.oid;
  columns pg_catalog.text[];
  plan pg_catalog.json;
  is_ambiguous pg_catalog.bool;
  is_ledger pg_catalog.bool;
  is_new pg_catalog.bool := false;
  has_sessions pg_catalog.bool;
  id_type pg_catalog.oid;
  id_length pg_catalog.int4;
  id_collation pg_catalog.oid;
  user_id pg_catalog.text;
  old_type pg_catalog.oid;
  notify_update pg_catalog.text;
  app_role pg_catalog.text;
begin
  -- Your search_path finds your table. What follows calls only functions and operators of pg_catalog,
  -- never those that another role has created in public.
  users := pg_catalog.to_regclass(users_table);
  callers_path := pg_catalog.current_setting('search_path');
  perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  perform pg_advisory_xact_lock(427819008);

  if not exists (select from pg_namespace where nspname = 'coatcheck') then
    create schema coatcheck;
  end if;
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
  if to_regclass('coatcheck.migrations') is null then
    create table coatcheck.migrations (
      name text primary key,
      applied_at timestamptz not null default statement_timestamp()
    );
    comment on table coatcheck.migrations is 'coatcheck: the migrations that were applied';
  elsif obj_description('coatcheck.migrations'::regclass, 'pg_class')
      is distinct from 'coatcheck: the migrations that were applied' then
    -- A dump may be restored without its comments. Then the ledger is known by its columns, and by a step
    -- in it or by the table of sessions beside it.
    is_ledger := array[
        'name text not null', 'applied_at timestamp with time zone not null'
      ] = array(
        select attname || ' ' || format_type(atttypid, -1) || case when attnotnull then ' not null' end
        from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.oid = 'coatcheck.migrations'::regclass and relkind = 'r'
          and attnum > 0 and not attisdropped
        order by attnum);
    if is_ledger and not has_sessions then
      is_ledger := exists (select from coatcheck.migrations where name = '001_users');
    end if;
    if not is_ledger then
      raise exception using errcode = 'CC001', message =
        'migrate: coatcheck.migrations exists and was not created by coatcheck; rename or drop it';
    end if;
  end if;
  -- A dump may be restored without its indexes and keys, and rows be restored twice then.
  if not exists (
      select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
      where indrelid = 'coatcheck.migrations'::regclass and attname = 'name'
        and indisunique and indisvalid and indpred is null) then
    delete from coatcheck.migrations a using coatcheck.migrations b where a.name = b.name and a.ctid > b.ctid;
    alter table coatcheck.migrations add primary key (name);
  end if;
  -- The view is made again if it was dropped with your table.
  if to_regclass('coatcheck.users') is not null
      and exists (select from coatcheck.migrations where name = '001_users') then
    perform set_config('search_path', callers_path, true);
    return;
  end if;

  if to_regclass('coatcheck.users') is null and to_regtype('coatcheck.users') is null then
    if users is null then
      raise exception using errcode = 'CC002', message =
        'migrate: the users table does not exist; name yours in migrate(sql, { users })';
    end if;
    for view_column, table_column in values ('id', users_id), ('username', users_username) loop
      select attname, atttypid into found_column, column_type from pg_attribute
        where attrelid = users and attnum > 0 and not attisdropped
          and attname in (table_column, trim(both '"' from table_column), lower(table_column))
        order by attname = table_column desc limit 1;
      if not found then
        raise exception using errcode = 'CC003', message =
          'migrate: the users table has no such column for ' || view_column || '; '
          'name yours in migrate(sql, { users })';
      end if;
      -- A varchar or a domain has no operators of its own and is compared as its base type, unless
      -- another role creates an operator that fits better. So the view shows the base type, which uses
      -- the same indexes. A view of coatcheck 0.1.0 shows varchar and domains. It stays as it is, because
      -- PostgreSQL cannot change the type of a view's column.
      base_type := column_type;
      while (select typtype = 'd' from pg_type where oid = base_type) loop
        select typbasetype into base_type from pg_type where oid = base_type;
      end loop;
      if base_type = 'varchar'::regtype then
        base_type := 'text'::regtype;
      end if;
      columns := columns || case
        when base_type = column_type then format('%I as %s', found_column, view_column)
        else format('%I::%s as %s', found_column, format_type(base_type, -1), view_column)
      end;
    end loop;
    execute format('create view coatcheck.users as select %s from %s',
      array_to_string(columns, ', '), users::regclass);
    is_new := true;
  elsif 2 <> (
      select count(*) from pg_class c join pg_attribute on attrelid = c.oid
      where c.oid = to_regclass('coatcheck.users') and relkind = 'v'
        and attname in ('id', 'username')) then
    raise exception using errcode = 'CC001', message =
      'migrate: coatcheck.users exists and is not a view with id and username; rename or drop it';
  end if;
  -- With two rows for an id or a username, a session could be read as another user's. Null is no user.
  foreach view_column in array array['id', 'username'] loop
    -- If a unique index proves it, the planner removes the left join, as it can add no row: the plan is
    -- one scan, and no row has to be read. Only a type of pg_catalog has its operator = there.
    if exists (
        select from pg_attribute join pg_type t on t.oid = atttypid
        where attrelid = 'coatcheck.users'::regclass and attname = view_column
          and t.typnamespace = 'pg_catalog'::regnamespace) then
      execute format(
        'explain (format json) select from coatcheck.users a
          left join coatcheck.users b on b.%1$I = a.%1$I', view_column) into plan;
      continue when plan -> 0 -> 'Plan' ->> 'Node Type' in
        ('Seq Scan', 'Index Scan', 'Index Only Scan', 'Bitmap Heap Scan');
    end if;
    execute format(
      'select exists (select from coatcheck.users where %1$I is not null
        group by %1$I having count(*) > 1)', view_column) into is_ambiguous;
    if is_ambiguous then
      raise exception using errcode = 'CC005', message =
        'migrate: coatcheck.users has several rows with the same ' || view_column || '; '
        'name a unique column in migrate(sql, { users }), or make it unique in the view';
    end if;
  end loop;

  if is_new and has_sessions then
    -- Unless a foreign key has kept them together, the sessions are those of another table's users, and a key
    -- may be another person's now.
    if not exists (
        select from pg_constraint f join pg_attribute on attrelid = conrelid and conkey = array[attnum]
        where conrelid = 'coatcheck.sessions'::regclass and contype = 'f' and confrelid = users
          and attname = 'user_id' and convalidated
          and not exists (
            select from pg_trigger join pg_constraint c on c.oid = tgconstraint
            where c.conrelid = f.conrelid and c.contype = 'f' and tgenabled in ('D', 'R'))) then
      update coatcheck.sessions set revoked_at = statement_timestamp(), revoked_reason = 'users-replaced'
        where revoked_at is null;
    end if;
    -- A wider integer holds the same keys. Keys of another kind belong to no user.
  select atttypid, atttypmod, attcollation into id_type, id_length, id_collation
    from pg_attribute where attrelid = 'coatcheck.users'::regclass and attname = 'id';
  while (select typtype = 'd' from pg_type where oid = id_type) loop
    select typbasetype, typtypmod into id_type, id_length from pg_type where oid = id_type;
  end loop;
  user_id := format_type(id_type, id_length);
  if id_collation <> (select typcollation from pg_type where oid = id_type) then
    user_id := user_id || ' collate ' || id_collation::regcollation;
  end if;
    select atttypid into old_type from pg_attribute
      where attrelid = 'coatcheck.sessions'::regclass and attname = 'user_id';
    -- The trigger of 005_notify compares user_id, and a type cannot change beneath it.
    if old_type <> id_type then
      select pg_get_triggerdef(oid) into notify_update from pg_trigger
        where tgrelid = 'coatcheck.sessions'::regclass and tgname = 'coatcheck_notify_update'
          and tgfoid = to_regprocedure('coatcheck.notify()')::oid;
      if notify_update is not null then
        drop trigger coatcheck_notify_update on coatcheck.sessions;
      end if;
    end if;
    if array[old_type, id_type] <@ array[20, 21, 23]::oid[] then
      if id_type = 20 and old_type <> 20 or id_type = 23 and old_type = 21 then
        execute 'alter table coatcheck.sessions alter user_id type ' || user_id;
      end if;
    elsif old_type <> id_type and not array[old_type, id_type] <@ array[25, 1043]::oid[] then
      delete from coatcheck.sessions;
      execute 'alter table coatcheck.sessions alter user_id type ' || user_id || ' using null';
    end if;
    if notify_update is not null then
      execute notify_update;
      alter table coatcheck.sessions enable always trigger coatcheck_notify_update;
    end if;
    -- The roles that may create sessions have lost the right to read the view.
    for app_role in
      select distinct a.grantee::regrole::text
      from pg_class c, aclexplode(coalesce(relacl, acldefault('r', relowner))) a
      where c.oid = 'coatcheck.sessions'::regclass and privilege_type = 'INSERT' and a.grantee <> 0
    loop
      execute 'grant select on coatcheck.users to ' || app_role;
    end loop;
  end if;

  insert into coatcheck.migrations (name) values ('001_users') on conflict do nothing;
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
