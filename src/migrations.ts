import { copyOptions, refuse, requireText } from "./input.ts";

/** Your users table, as the view `coatcheck.users` is made from it. */
export interface UsersTable {
  /** The table, written as in SQL: `users`, `app."Users"`. */
  readonly table: string;
  /**
   * The column of the key. Name it, and `user_id` gets a foreign key, also if it has none any more: deleting
   * a user deletes their sessions. The column must then be a primary key or unique.
   *
   * @default {"id"}, without a foreign key.
   */
  readonly id?: string;
  /** The column that people sign in by: unique, of any type of text. @default {"username"} */
  readonly username?: string;
}

/** One step of the schema. */
export interface Migration {
  /** The name of its file in `sql/`, without `.sql`. */
  readonly name: string;
  /** One SQL statement, so one transaction through any client. */
  readonly text: string;
  /** Whether {@linkcode migrate} applies it only if an option asks for it. */
  readonly optional: boolean;
}

// A step runs with the rights of the role that migrates, often a superuser, and other roles may create
// objects in `public`. Three rules keep a step from calling their code:
//
// 1. A step sets its own search_path before it uses an operator, and before that it writes pg_catalog
//    in front of every function and type. PL/pgSQL looks up the types in `declare` first of all, and the
//    names in a statement when that first runs.
// 2. OWNERS: a step touches no object of a role that it has no reason to trust.
// 3. Your table's name is looked up by your search_path, and from then on the step uses its oid.

// `more` selects other objects and their owners.
const ownersOf = (more: string) =>
  `\
  -- An object of another role may hold a trigger, a rule or a function that would run with your rights.
  -- Trusted are superusers, you, and the roles whose rights you have as a member. A superuser has the
  -- rights of every role, so membership says nothing there.
  select object.name into foreign_object
    from (
      select 'the schema coatcheck', nspowner from pg_namespace where nspname = 'coatcheck'
      union all
      select 'coatcheck.' || relname, relowner from pg_class
        where relnamespace = to_regnamespace('coatcheck')
          and relname in ('migrations', 'users', 'sessions')${more}
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
  end if;`;
const OWNERS = ownersOf("");

const UNIQUE = `\
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
  end loop;`;

// The type and the collation of a session's user_id: those of the view's id, or its base type if it is a
// domain.
const KEY_TYPE = `\
  select atttypid, atttypmod, attcollation into id_type, id_length, id_collation
    from pg_attribute where attrelid = 'coatcheck.users'::regclass and attname = 'id';
  while (select typtype = 'd' from pg_type where oid = id_type) loop
    select typbasetype, typtypmod into id_type, id_length from pg_type where oid = id_type;
  end loop;
  user_id := format_type(id_type, id_length);
  if id_collation <> (select typcollation from pg_type where oid = id_type) then
    user_id := user_id || ' collate ' || id_collation::regcollation;
  end if;`;

// Whether coatcheck.sessions is the table of these migrations, also if a dump was restored without the ledger.
const HAS_SESSIONS = `\
  has_sessions := array(
      select attname::text from pg_class c join pg_attribute a on a.attrelid = c.oid
      where c.oid = to_regclass('coatcheck.sessions') and relkind in ('r', 'p')
        and attnum > 0 and not attisdropped
    ) @> array['id', 'user_id', 'digest', 'previous_digest', 'rotation_salt', 'rotated_at',
      'rotation_seen_at', 'created_at', 'authenticated_at', 'last_seen_at', 'expires_at', 'revoked_at',
      'revoked_reason', 'persistent', 'version', 'data'];`;

/** The schema as numbered steps, for `users(id, username)`: the text of the files in `sql/`. */
export const migrations: readonly Migration[] = migrationsFor();

/** Reads the option `users`. */
export function readUsers(users: UsersTable | undefined): Partial<UsersTable> | undefined {
  return users === undefined
    ? undefined
    : copyOptions("migrate: users", users, ["table", "id", "username"]);
}

/** Writes the steps for a users table. */
export function migrationsFor(given: Partial<UsersTable> = Object.create(null)): Migration[] {
  const { table = "users", id = "id", username = "username" } = given;
  // A guess makes no foreign key: a wrong one would delete other users' sessions.
  const named = given.id !== undefined;
  const optional = false;
  return [
    { name: "001_users", text: usersText(quote(table), quote(id), quote(username)), optional },
    {
      name: "002_sessions",
      text: sessionsText(named ? quote(table) : "null", named ? quote(id) : "null"),
      optional,
    },
    { name: "003_unique_users", text: uniqueUsersText(), optional },
    { name: "004_guests", text: guestsText(), optional },
    { name: "005_notify", text: notifyText(), optional: true },
  ];
}

// A name goes into the text of a DO block, which takes no parameters: as a literal, inside a body
// that ends at its own tag. A backslash would be an escape if standard_conforming_strings is off.
function quote(name: unknown): string {
  requireText("migrate: a name in users", name, 200);
  if (/[\\$]/.test(name)) {
    refuse(RangeError, "migrate: a name in users", "be free of \\ and $", "one");
  }
  return `'${name.replaceAll("'", "''")}'`;
}

function usersText(table: string, id: string, username: string): string {
  return `\
-- The schema, and the view through which coatcheck reads your users table. Replace the view to sign in
-- by e-mail or to leave out disabled users: id and username must stay unique, and a varchar is written
-- column::text. A view that exists already is kept.
do $coatcheck$
declare
  -- Your users table, written as in SQL, and its columns.
  users_table constant pg_catalog.text := ${table};
  users_id constant pg_catalog.text := ${id};
  users_username constant pg_catalog.text := ${username};
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
${OWNERS}
${HAS_SESSIONS}
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
${UNIQUE}

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
${KEY_TYPE}
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
`;
}

function sessionsText(table: string, id: string): string {
  return `\
-- The sessions. What a touch or a rotation changes is in no index, and the fillfactor leaves room on
-- the page, so those updates are heap-only.
do $coatcheck$
declare
  -- The table and the column that user_id refers to, written as in SQL; null for no foreign key.
  users_table constant pg_catalog.text := ${table};
  users_id constant pg_catalog.text := ${id};
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

${OWNERS}
${HAS_SESSIONS}
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
${KEY_TYPE}
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
`;
}

function uniqueUsersText(): string {
  return `\
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

${OWNERS}
  if exists (select from coatcheck.migrations where name = '003_unique_users') then
    perform set_config('search_path', callers_path, true);
    return;
  end if;

${UNIQUE}

  insert into coatcheck.migrations (name) values ('003_unique_users');
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
`;
}

function guestsText(): string {
  return `\
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

${OWNERS}
  -- Also if the table was made again.
  alter table coatcheck.sessions alter user_id drop not null;

  insert into coatcheck.migrations (name) values ('004_guests') on conflict do nothing;
  perform set_config('search_path', callers_path, true);
end
$coatcheck$
`;
}

function notifyText(): string {
  const triggers =
    "'coatcheck_notify_update', 'coatcheck_notify_delete', 'coatcheck_notify_truncate'";
  return `\
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

${
    ownersOf(`
      union all
      select 'coatcheck.notify()', proowner from pg_proc
        where oid = to_regprocedure('coatcheck.notify()')`)
  }
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
      and tgname in (${triggers})
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
`;
}
