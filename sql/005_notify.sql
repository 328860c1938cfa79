-- Optional: migrate applies it only if its option notify asks for it. Each revocation then sends a notification
-- on the channel coatcheck, for a cache in each process that listens and forgets the session. It says
--
--   revoked:<id>   the session ended, or its row was deleted
--   changed:<id>   something other than a use changed: the secret, the user, the data, a deadline
--   truncated      the table was emptied
--
-- A touch, a new session and a sweep of what is over send nothing. A transaction that has notified cannot be
-- prepared: PREPARE TRANSACTION fails. Citus refuses triggers on distributed tables, so it is not applied
-- there. To remove it, stop what listens, and run:
--
--   drop function coatcheck.notify() cascade;
--   delete from coatcheck.migrations where name = '005_notify';
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
      union all
      select 'coatcheck.notify()', proowner from pg_proc
        where oid = to_regprocedure('coatcheck.notify()')
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
  -- A function of ours is known by its first comment, which every dump has.
  if exists (
      select from pg_proc
      where oid = to_regprocedure('coatcheck.notify()')
        and (prorettype <> 'trigger'::regtype
          or strpos(prosrc, '-- coatcheck: tells the caches') = 0)) then
    raise exception using errcode = 'CC001', message =
      'migrate: coatcheck.notify() exists and was not created by coatcheck; rename or drop it';
  end if;
  select tgname into foreign_object from pg_trigger
    where tgrelid = 'coatcheck.sessions'::regclass
      and tgname in ('coatcheck_notify_update', 'coatcheck_notify_delete', 'coatcheck_notify_truncate')
      and tgfoid is distinct from to_regprocedure('coatcheck.notify()')::oid
    order by tgname
    limit 1;
  if foreign_object is not null then
    raise exception using errcode = 'CC001', message =
      'migrate: the trigger ' || foreign_object || ' on coatcheck.sessions exists and was not created by '
      'coatcheck; rename or drop it';
  end if;

  -- It runs with the search_path of each writer, so it calls functions of pg_catalog by their schema, and
  -- uses no operator.
  create or replace function coatcheck.notify() returns trigger language plpgsql as $notify$
    -- coatcheck: tells the caches
    begin
      if pg_catalog.texteq(tg_op, 'TRUNCATE') then
        perform pg_catalog.pg_notify('coatcheck', 'truncated');
      elsif pg_catalog.texteq(tg_op, 'DELETE')
          or new.revoked_at is not null or pg_catalog.uuid_ne(old.id, new.id) then
        perform pg_catalog.pg_notify('coatcheck', pg_catalog.concat('revoked:', old.id));
      else
        perform pg_catalog.pg_notify('coatcheck', pg_catalog.concat('changed:', old.id));
      end if;
      return null;
    end
  $notify$;

  -- The conditions are parsed here, with the search_path above, and keep the operators that they have found.
  -- They compare the row as it was stored, so they see what a trigger of the app has changed. A key is compared
  -- as text, as its type may be of another schema. The data comes last, as it can be large.
  create or replace trigger coatcheck_notify_update after update on coatcheck.sessions
    for each row when (old.revoked_at is null and (
      new.revoked_at is not null
      or new.last_seen_at < old.last_seen_at
      or new.id is distinct from old.id
      or new.version is distinct from old.version
      or new.expires_at is distinct from old.expires_at
      or new.authenticated_at is distinct from old.authenticated_at
      or new.created_at is distinct from old.created_at
      or new.rotated_at is distinct from old.rotated_at
      or new.persistent is distinct from old.persistent
      or new.digest is distinct from old.digest
      or new.previous_digest is distinct from old.previous_digest
      or new.user_id::text is distinct from old.user_id::text
      or new.data is distinct from old.data))
    execute function coatcheck.notify();
  create or replace trigger coatcheck_notify_delete after delete on coatcheck.sessions
    for each row when (old.revoked_at is null and old.expires_at > statement_timestamp())
    execute function coatcheck.notify();
  create or replace trigger coatcheck_notify_truncate after truncate on coatcheck.sessions
    for each statement execute function coatcheck.notify();
  -- Or they would be silent for what a session with session_replication_role = replica writes.
  alter table coatcheck.sessions
    enable always trigger coatcheck_notify_update,
    enable always trigger coatcheck_notify_delete,
    enable always trigger coatcheck_notify_truncate;

  insert into coatcheck.migrations (name) values ('005_notify') on conflict do nothing;
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
