-- A guest's session has no user. Create none before the last server of 0.1.0 is gone: it lets no guest in, but
-- answers a guest's cookie with an error.
do $coatcheck$
declare
  callers_path pg_catalog.text;
  foreign_object pg_catalog.text;
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
  -- Also if the table was made again.
  alter table coatcheck.sessions alter user_id drop not null;

  insert into coatcheck.migrations (name) values ('004_guests') on conflict do nothing;
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
