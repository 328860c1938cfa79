import { copyOptions, refuse, requireSeconds, requireText } from "./input.ts";
import { query, type Sql, statement } from "./sql.ts";

/** Your users' table, as the view `coatcheck.users` is made from it. */
export interface UsersTable {
  /** The table, written as in SQL: `users`, `app."Users"`. */
  readonly table: string;
  /**
   * The column of the key. Name it, and `user_id` gets a foreign key: deleting a user deletes their
   * sessions. The column must then be a primary key or unique.
   *
   * @default {"id"}, without a foreign key.
   */
  readonly id?: string;
  /** The column that people sign in by: unique, of any type of text. @default {"username"} */
  readonly username?: string;
}

/** What {@linkcode migrate} may be told. */
export interface MigrateOptions {
  /** Where the users are; unset: `users(id, username)`. A view that is there already stays. */
  readonly users?: UsersTable;
  /** Seconds that the database has for each step, 1 to 86,400: it may wait for locks. @default {60} */
  readonly queryTimeout?: number;
}

/** One step of the schema. */
export interface Migration {
  /** The name of its file in `sql/`, without `.sql`. */
  readonly name: string;
  /** One SQL statement, so one transaction through any client. */
  readonly text: string;
}

/** What {@linkcode migrate} did. */
export interface MigrateResult {
  /** The names of the steps that this call ran, in order; none where all had been applied. */
  readonly applied: readonly string[];
}

/** The schema as numbered steps, for `users(id, username)`: the text of the files in `sql/`. */
export const migrations: readonly Migration[] = migrationsFor();

// One of ours, or null: a table of that name in somebody else's schema is not read.
const OWN_LEDGER = statement(
  2,
  `select $1::text as call,
    (pg_catalog.obj_description(to_regclass('coatcheck.migrations'), 'pg_class')
      = 'coatcheck: the migrations that were applied')::text as is_own`,
);

const APPLIED = statement(
  2,
  "select $1::text as call, m.name from coatcheck.migrations m",
);

/**
 * Makes the schema `coatcheck`, or brings it up to date.
 *
 * Each step is one statement that takes an advisory lock, so any number of servers may start at once;
 * what was applied is not applied again. An object of somebody else under one of our names is refused
 * and stays as it was. Run it with a role that may create schemas; your app needs only the rights in
 * `sql/grants.sql`.
 *
 * @example
 * ```ts
 * import { migrate } from "@coatcheck/coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * await migrate(sql, { users: { table: "users", id: "id", username: "username" } });
 * assert.deepEqual(await migrate(sql), { applied: [] });
 * await sql.end();
 * ```
 *
 * @param sql The SQL client. In a transaction, all steps are applied, or none.
 * @param options Your users' table, and a deadline for each step.
 * @returns The names of the steps that this call ran. Where servers start at once, several may run a
 * step, and the first one applies it.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a name is empty, too long, or cannot be one.
 * @throws {SessionError} If a step fails: the message names it. The steps before it stay.
 */
export async function migrate(sql: Sql, options: MigrateOptions = {}): Promise<MigrateResult> {
  const { users, queryTimeout = 60 } = copyOptions(
    "migrate: options",
    options,
    ["users", "queryTimeout"],
  );
  requireSeconds("migrate: queryTimeout", queryTimeout, 1, 86_400);
  const steps = migrationsFor(users);
  const done = await readApplied(sql, queryTimeout);
  const missing = steps.filter(({ name }) => !done.includes(name));
  for (const { name, text } of missing) {
    try {
      await query({ caller: "migrate", sql, queryTimeout }, statement(0, text), []);
    } catch (error) {
      // Where the database's default is repeatable read, a step that waited for another server's does
      // not see what that has made, and fails over it.
      const now = await readApplied(sql, queryTimeout).catch((): string[] => []);
      if (!now.includes(name)) throw error;
    }
  }
  return { applied: missing.map(({ name }) => name) };
}

async function readApplied(sql: Sql, queryTimeout: number): Promise<string[]> {
  const call = { caller: "migrate", sql, queryTimeout };
  const [ledger] = await query(call, OWN_LEDGER, []);
  if (ledger?.[0] !== "true") return [];
  return (await query(call, APPLIED, [])).map(([name]) => name!);
}

function migrationsFor(users?: UsersTable): Migration[] {
  const { table = "users", id = "id", username = "username" } = users === undefined
    ? {}
    : copyOptions<Partial<UsersTable>>("migrate: users", users, ["table", "id", "username"]);
  // A guess makes no foreign key: a wrong one deletes sessions with somebody else's row.
  const named = users?.id !== undefined;
  return [
    { name: "001_users", text: usersText(quote(table), quote(id), quote(username)) },
    {
      name: "002_sessions",
      text: sessionsText(named ? quote(table) : "null", named ? quote(id) : "null"),
    },
  ];
}

// A name goes into the text of a DO block, which takes no parameters: as a literal, inside a body
// that ends at its own tag. A backslash would be an escape where standard_conforming_strings is off.
function quote(name: unknown): string {
  requireText("migrate: a name in users", name, 200);
  if (/[\\$]/.test(name)) refuse(RangeError, "migrate: a name in users", "be free of \\ and $", "one");
  return `'${name.replaceAll("'", "''")}'`;
}

function usersText(table: string, id: string, username: string): string {
  return `\
-- The schema, and the view through which it sees your users: the one place where your tables and
-- ours meet. Change the view to sign in by e-mail, or to leave out disabled users; id and username
-- must stay unique in it. A view that you made before is left as it is.
do $coatcheck$
declare
  -- Your users' table, written as in SQL, and its columns.
  users_table constant text := ${table};
  users_id constant text := ${id};
  users_username constant text := ${username};
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
`;
}

function sessionsText(table: string, id: string): string {
  return `\
-- The sessions. What a touch or a rotation changes is in no index, and the fillfactor leaves room on
-- the page, so that those updates are heap-only.
do $coatcheck$
declare
  -- The table and the column that user_id refers to, written as in SQL; null for no foreign key.
  users_table constant text := ${table};
  users_id constant text := ${id};
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
`;
}
