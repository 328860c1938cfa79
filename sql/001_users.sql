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
$coatcheck$
