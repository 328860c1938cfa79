-- Checks that id and username are unique in the view coatcheck.users, which coatcheck 0.1.0 did not. It
-- changes nothing.
do $coatcheck$
declare
  callers_path pg_catalog.text;
  foreign_object pg_catalog.text;
  view_column pg_catalog.text;
  plan pg_catalog.json;
  is_ambiguous pg_catalog.bool;
begin
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
  if exists (select from coatcheck.migrations where name = '003_unique_users') then
    perform set_config('search_path', callers_path, true);
    return;
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

  insert into coatcheck.migrations (name) values ('003_unique_users');
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
