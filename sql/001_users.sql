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
  if to_regclass('coatcheck.migrations') is null then
    create table coatcheck.migrations (
      name text primary key,
      applied_at timestamptz not null default statement_timestamp()
    );
    comment on table coatcheck.migrations is 'coatcheck: the migrations that were applied';
  elsif obj_description('coatcheck.migrations'::regclass, 'pg_class')
      is distinct from 'coatcheck: the migrations that were applied' then
    raise exception using errcode = 'CC001', message =
      'migrate: coatcheck.migrations exists and was not created by coatcheck; rename or drop it';
  end if;
  if exists (select from coatcheck.migrations where name = '001_users') then
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

  insert into coatcheck.migrations (name) values ('001_users');
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
