import { SessionError } from "./errors.ts";
import { copyOptions, requireBoolean, requireSeconds } from "./input.ts";
import { migrationsFor, readUsers, type UsersTable } from "./migrations.ts";
import { type Call, type Cell, query, script, type Sql, statement } from "./sql.ts";

/** What {@linkcode migrate} may be told. */
export interface MigrateOptions {
  /**
   * Your users table. A view `coatcheck.users` that exists is kept, and must read this table.
   *
   * @default {users(id, username)}
   */
  readonly users?: UsersTable;
  /**
   * Also makes each revocation a notification of PostgreSQL, by triggers on the table of sessions: what
   * `coatcheck/cache` needs. Once they are made, every later call keeps them, with or without this option. A
   * transaction that revokes or changes a session can then not be prepared (`PREPARE TRANSACTION`).
   *
   * @default {false}
   */
  readonly notify?: boolean;
  /** Seconds that the database has for each step, 1 to 86,400: it may wait for locks. @default {60} */
  readonly queryTimeout?: number;
}

/** What {@linkcode migrate} did. */
export interface MigrateResult {
  /** The names of the steps that this call ran, in order; none if there was nothing to do. */
  readonly applied: readonly string[];
  /**
   * Whether a foreign key deletes the sessions of a deleted user: to a table that the view reads, validated,
   * with `on delete cascade` and with its triggers enabled. If not, call {@linkcode revokeSessions} when you
   * create a user with a key, or give a key to another user.
   */
  readonly foreignKey: boolean;
}

/**
 * What the catalogs say about the schema. It takes no lock and trusts no name: it runs with the caller's
 * search_path, so every operator and function names its schema. A ledger that an untrusted role could change
 * is not read; see OWNERS in migrations.ts.
 *
 * A foreign key to a partitioned table has a constraint for each partition, with triggers of its own. One
 * that is not enforced has no triggers.
 */
const STATE = statement(
  22,
  `with recursive parts as (
    select part.oid, part.relname, part.relkind, part.relowner, schema.nspowner,
      pg_catalog.obj_description(part.oid, 'pg_class')
        operator(pg_catalog.=) 'coatcheck: the migrations that were applied' as has_comment
    from pg_catalog.pg_class part
    join pg_catalog.pg_namespace schema on schema.oid operator(pg_catalog.=) part.relnamespace
    where schema.nspname operator(pg_catalog.=) 'coatcheck'
      and part.relname operator(pg_catalog.=) any (array['migrations', 'users', 'sessions'])
  ), untrusted as (
    select owner.oid from pg_catalog.pg_roles owner
    join pg_catalog.pg_roles me on me.rolname operator(pg_catalog.=) current_user
    where not owner.rolsuper
      and owner.oid operator(pg_catalog.<>) me.oid
      and (me.rolsuper or not pg_catalog.pg_has_role(me.oid, owner.oid, 'USAGE'))
  ), named as (
    select c.oid, c.relkind from pg_catalog.pg_class c
    where c.oid operator(pg_catalog.=) pg_catalog.to_regclass($2::pg_catalog.text)::pg_catalog.oid
  ), reads (source, oid, attnum) as (
    select 'view', p.oid, 0 from parts p where p.relname operator(pg_catalog.=) 'users'
    union
    select 'named', n.oid, 0 from named n
    union
    select r.source, d.refobjid, d.refobjsubid
    from reads r
    join pg_catalog.pg_rewrite w on w.ev_class operator(pg_catalog.=) r.oid
    join pg_catalog.pg_depend d on d.objid operator(pg_catalog.=) w.oid
    where d.classid operator(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid
      and d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
  ), tables as (
    select distinct r.oid from reads r
    join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) r.oid
    where r.source operator(pg_catalog.=) 'view'
      and c.relkind operator(pg_catalog.=) any (array['r', 'p', 'f']::pg_catalog."char"[])
  ), keys (part, type) as (
    select p.relname::pg_catalog.text, a.atttypid from parts p
    join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) p.oid
    where p.relname operator(pg_catalog.=) 'users' and a.attname operator(pg_catalog.=) 'id'
      or p.relname operator(pg_catalog.=) 'sessions' and a.attname operator(pg_catalog.=) 'user_id'
    union
    select k.part, t.typbasetype from keys k
    join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) k.type
    where t.typtype operator(pg_catalog.=) 'd'
  ), all_foreign_keys as (
    select f.* from parts p
    join pg_catalog.pg_constraint f on f.conrelid operator(pg_catalog.=) p.oid
    join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) p.oid
      and f.conkey operator(pg_catalog.=) array[a.attnum]
    where p.relname operator(pg_catalog.=) 'sessions'
      and f.contype operator(pg_catalog.=) 'f'
      and a.attname operator(pg_catalog.=) 'user_id'
  ), foreign_keys as (
    select f.confrelid, f.confkey, f.convalidated, f.confdeltype, t.count, t.enabled
    from all_foreign_keys f
    cross join lateral (
      select pg_catalog.count(*) as count,
        pg_catalog.bool_and(t.tgenabled operator(pg_catalog.=) any (array['O', 'A']::pg_catalog."char"[]))
          as enabled
      from all_foreign_keys c
      join pg_catalog.pg_trigger t on t.tgconstraint operator(pg_catalog.=) c.oid
      where c.oid operator(pg_catalog.=) f.oid or c.conparentid operator(pg_catalog.<>) 0::pg_catalog.oid
    ) t
    where f.conparentid operator(pg_catalog.=) 0::pg_catalog.oid
  ), unindexed as (
    select p.relname from parts p
    join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) p.oid
    where (p.relname operator(pg_catalog.=) 'migrations' and a.attname operator(pg_catalog.=) 'name'
        or p.relname operator(pg_catalog.=) 'sessions'
          and a.attname operator(pg_catalog.=) any (array['id', 'user_id']))
      and not exists (
        select from pg_catalog.pg_index i
        where i.indrelid operator(pg_catalog.=) p.oid
          and i.indkey[0] operator(pg_catalog.=) a.attnum
          and i.indisvalid and i.indpred is null
          and (i.indisunique or a.attname operator(pg_catalog.=) 'user_id')
      )
  ), columns (place, name, type, extra) as (
    values (1, 'id', 'pg_catalog.uuid'::pg_catalog.regtype, ''),
      (2, 'user_id', (select k.type::pg_catalog.regtype from keys k
        join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) k.type
        where k.part operator(pg_catalog.=) 'users' and t.typtype operator(pg_catalog.<>) 'd'), ''),
      (3, 'digest', 'pg_catalog.bytea'::pg_catalog.regtype, ' not null'),
      (4, 'previous_digest', 'pg_catalog.bytea'::pg_catalog.regtype, ''),
      (5, 'rotation_salt', 'pg_catalog.bytea'::pg_catalog.regtype, ''),
      (6, 'rotated_at', 'pg_catalog.timestamptz'::pg_catalog.regtype, ''),
      (7, 'rotation_seen_at', 'pg_catalog.timestamptz'::pg_catalog.regtype, ''),
      (8, 'created_at', 'pg_catalog.timestamptz'::pg_catalog.regtype, ' not null'),
      (9, 'authenticated_at', 'pg_catalog.timestamptz'::pg_catalog.regtype, ' not null'),
      (10, 'last_seen_at', 'pg_catalog.timestamptz'::pg_catalog.regtype, ' not null'),
      (11, 'expires_at', 'pg_catalog.timestamptz'::pg_catalog.regtype, ' not null'),
      (12, 'revoked_at', 'pg_catalog.timestamptz'::pg_catalog.regtype, ''),
      (13, 'revoked_reason', 'pg_catalog.text'::pg_catalog.regtype, ''),
      (14, 'persistent', 'pg_catalog.bool'::pg_catalog.regtype, ' not null'),
      (15, 'version', 'pg_catalog.int4'::pg_catalog.regtype, ' not null default 0'),
      (16, 'data', 'pg_catalog.jsonb'::pg_catalog.regtype, ' not null')
  ), compared as (
    select c.*, a.attnotnull, a.atthasdef, a.attnum is null as is_missing,
      a.atttypid operator(pg_catalog.<>) c.type::pg_catalog.oid
        and c.name operator(pg_catalog.<>) 'user_id' as is_other
    from parts p
    cross join columns c
    left join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) p.oid
      and a.attname operator(pg_catalog.=) c.name
    where p.relname operator(pg_catalog.=) 'sessions'
      and p.relkind operator(pg_catalog.=) any (array['r', 'p']::pg_catalog."char"[])
  ), repairs as (
    select c.place, c.name, c.is_missing or c.is_other as is_lost,
      case
        when c.is_missing then pg_catalog.format('add %s %s%s', c.name,
          coalesce(c.type::pg_catalog.text, 'integer'), c.extra)
        when c.is_other then pg_catalog.format('drop %s, add %s %s%s', c.name, c.name, c.type, c.extra)
        when not c.attnotnull and c.extra operator(pg_catalog.<>) ''
          then pg_catalog.format('alter %s set not null', c.name)
        when not c.atthasdef and c.name operator(pg_catalog.=) 'version'
          then pg_catalog.format('alter %s set default 0', c.name)
      end as change
    from compared c
  )
  select $1::pg_catalog.text as call,
    (exists (
      select from parts p
      where p.relname operator(pg_catalog.=) 'migrations'
        and p.relkind operator(pg_catalog.=) 'r'
        and not exists (select from untrusted u
          where u.oid operator(pg_catalog.=) any (array[p.nspowner, p.relowner]))
        and (p.has_comment or 2 operator(pg_catalog.=) (
          select pg_catalog.count(*) from pg_catalog.pg_attribute a
          where a.attrelid operator(pg_catalog.=) p.oid and a.attnotnull
            and (a.attname operator(pg_catalog.=) 'name' and a.atttypid operator(pg_catalog.=) 25::pg_catalog.oid
              or a.attname operator(pg_catalog.=) 'applied_at'
                and a.atttypid operator(pg_catalog.=) 1184::pg_catalog.oid)))
    ))::pg_catalog.text as has_ledger,
    (exists (select from parts p
      where p.relname operator(pg_catalog.=) 'migrations' and p.has_comment))::pg_catalog.text as has_comment,
    (not exists (select from parts p join untrusted u
      on u.oid operator(pg_catalog.=) any (array[p.nspowner, p.relowner])))::pg_catalog.text as is_trusted,
    (exists (select from parts p
      where p.relname operator(pg_catalog.=) 'users'))::pg_catalog.text as has_view,
    (exists (select from parts p
      where p.relname operator(pg_catalog.=) 'sessions'))::pg_catalog.text as has_sessions,
    (2 operator(pg_catalog.=) (select pg_catalog.count(*) from parts p
      join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) p.oid
      where p.relname operator(pg_catalog.=) 'users'
        and a.attname operator(pg_catalog.=) any (array['id', 'username'])
    ))::pg_catalog.text as shows_users,
    (not exists (select from unindexed u
      where u.relname operator(pg_catalog.=) 'migrations'))::pg_catalog.text as has_ledger_key,
    (not exists (select from unindexed u
      where u.relname operator(pg_catalog.=) 'sessions'))::pg_catalog.text as has_indexes,
    (exists (select from parts p
      join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) p.oid
      where p.relname operator(pg_catalog.=) 'sessions' and a.attname operator(pg_catalog.=) 'user_id'
        and not a.attnotnull))::pg_catalog.text as takes_guests,
    (3 operator(pg_catalog.=) (select pg_catalog.count(*) from parts p
      join pg_catalog.pg_trigger t on t.tgrelid operator(pg_catalog.=) p.oid
      join pg_catalog.pg_proc f on f.oid operator(pg_catalog.=) t.tgfoid
      join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) f.pronamespace
      where p.relname operator(pg_catalog.=) 'sessions'
        and t.tgname operator(pg_catalog.=) any (array['coatcheck_notify_update', 'coatcheck_notify_delete',
          'coatcheck_notify_truncate'])
        and t.tgenabled operator(pg_catalog.=) 'A'::pg_catalog."char"
        and n.nspname operator(pg_catalog.=) 'coatcheck' and f.proname operator(pg_catalog.=) 'notify'
        and not exists (select from untrusted u where u.oid operator(pg_catalog.=) f.proowner)
        and not exists (select from pg_catalog.pg_trigger c
          where c.tgparentid operator(pg_catalog.=) t.oid
            and c.tgenabled operator(pg_catalog.<>) 'A'::pg_catalog."char")
    ))::pg_catalog.text as notifies,
    (pg_catalog.to_regclass('pg_catalog.pg_dist_partition') is not null)::pg_catalog.text as has_citus,
    (exists (select from foreign_keys))::pg_catalog.text as has_foreign_key,
    (exists (select from foreign_keys f join named n on n.oid operator(pg_catalog.=) f.confrelid
      where not f.convalidated and f.count operator(pg_catalog.>) 0
        and f.confdeltype operator(pg_catalog.=) 'c'::pg_catalog."char"
    ))::pg_catalog.text as can_validate,
    (exists (select from foreign_keys f
      join reads r on r.oid operator(pg_catalog.=) f.confrelid
      where r.source operator(pg_catalog.=) 'view'
        and r.attnum operator(pg_catalog.=) any (array[0, f.confkey[1]::pg_catalog.int4])
        and f.convalidated and f.enabled
        and f.confdeltype operator(pg_catalog.=) 'c'::pg_catalog."char"
    ))::pg_catalog.text as deletes_sessions,
    (exists (select from named n
      where n.relkind operator(pg_catalog.=) any (array['r', 'p']::pg_catalog."char"[])
    ))::pg_catalog.text as can_refer,
    (select pg_catalog.string_agg(t.oid::pg_catalog.regclass::pg_catalog.text, ', ') from tables t
      where not exists (
        select from reads v join reads n on n.oid operator(pg_catalog.=) v.oid
        where v.source operator(pg_catalog.=) 'view' and n.source operator(pg_catalog.=) 'named'
      )) as reads_others,
    (select pg_catalog.string_agg(f.confrelid::pg_catalog.regclass::pg_catalog.text, ', ')
      from foreign_keys f
      where not exists (
        select from foreign_keys o join reads r on r.oid operator(pg_catalog.=) o.confrelid
        where r.source operator(pg_catalog.=) 'named'
      )) as refers_to_others,
    (select k.type::pg_catalog.regtype::pg_catalog.text from keys k
      join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) k.type
      where k.part operator(pg_catalog.=) 'users'
        and t.typtype operator(pg_catalog.<>) 'd') as users_key,
    (select k.type::pg_catalog.regtype::pg_catalog.text from keys k
      join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) k.type
      where k.part operator(pg_catalog.=) 'sessions'
        and t.typtype operator(pg_catalog.<>) 'd') as sessions_key,
    (select pg_catalog.string_agg(r.name, ', ' order by r.place) from repairs r
      where r.change is not null) as wrong_columns,
    (select pg_catalog.concat(
        case when pg_catalog.bool_or(r.is_lost) then 'truncate coatcheck.sessions; ' end,
        'alter table coatcheck.sessions ', pg_catalog.string_agg(r.change, ', ' order by r.place))
      from repairs r where r.change is not null) as repair`,
);

const APPLIED = statement(
  2,
  "select $1::pg_catalog.text as call, m.name::pg_catalog.text as name from coatcheck.migrations m",
);

/**
 * Whether Citus distributes the sessions. It knows three kinds of tables: distributed ones and reference tables,
 * for which it refuses triggers, and local ones.
 */
const DISTRIBUTED = statement(
  1,
  `select $1::pg_catalog.text as call from pg_catalog.pg_dist_partition d
  join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) d.logicalrelid::pg_catalog.oid
  join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
  where n.nspname operator(pg_catalog.=) 'coatcheck' and c.relname operator(pg_catalog.=) 'sessions'
    and (d.partmethod operator(pg_catalog.<>) 'n'::pg_catalog."char"
      or d.repmodel operator(pg_catalog.=) 't'::pg_catalog."char"
      or d.colocationid operator(pg_catalog.<>) 0)`,
);

/**
 * Makes the schema `coatcheck`, or brings it up to date.
 *
 * Each step is one statement that takes an advisory lock, so any number of servers may start at once;
 * what was applied is not applied again. An object that coatcheck did not create, or that another role
 * owns, is refused and stays as it was. So is a view `coatcheck.users` in which `id` or `username` is not
 * unique. Run it with a role that may create schemas; your app needs only the rights in `sql/grants.sql`.
 *
 * If the view or the foreign key was dropped with your table, a call with `users` makes it again, and its step
 * is in `applied`. If both were gone, it also revokes all sessions: a key may belong to another person now.
 * A lost primary key or index is made again as well.
 * Without a foreign key, a session outlives its user, and another user with the same key gets it: call
 * {@linkcode revokeSessions} when you delete a user, or when you create one.
 *
 * @example
 * ```ts
 * import { migrate } from "coatcheck";
 * import assert from "node:assert/strict";
 * import postgres from "postgres";
 *
 * const sql = postgres(process.env.DATABASE_URL!);
 * await migrate(sql, { users: { table: "users", id: "id", username: "username" } });
 * assert.deepEqual(await migrate(sql), { applied: [], foreignKey: true });
 * await sql.end();
 * ```
 *
 * @param sql The SQL client. In a transaction, all steps are applied, or none.
 * @param options Your users' table, whether revocations notify, and a deadline for each step.
 * @returns The names of the steps that this call ran. Where servers start at once, several may run a
 * step, and the first one applies it.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a name is empty, too long, or cannot be one.
 * @throws {SessionError} If a step fails: the message names it. The steps before it stay. If the view is
 * missing and `users` is not given (`SCHEMA_MISSING`). If `users` names another table than the view reads or
 * the foreign key refers to, `coatcheck.sessions.user_id` cannot hold your keys, `users.id` is not unique,
 * `coatcheck.sessions` has lost a column, or `notify` is asked of a table that Citus distributes.
 */
export async function migrate(sql: Sql, options: MigrateOptions = {}): Promise<MigrateResult> {
  const known = ["users", "notify", "queryTimeout"];
  const { users, notify = false, queryTimeout = 60 } = copyOptions(
    "migrate: options",
    options,
    known,
  );
  requireBoolean("migrate: notify", notify);
  requireSeconds("migrate: queryTimeout", queryTimeout, 1, 86_400);
  const call: Call = { caller: "migrate", sql, queryTimeout };
  const named = readUsers(users);
  const all = migrationsFor(named);
  const state = await readState(call, named);
  const steps = all.filter(({ name, optional }) => !optional || notify || state.done.has(name));
  if (state.isTrusted || state.done.size) refuseOther(state, named);
  if (state.done.has("001_users") && !state.hasView && !named) {
    throw new SessionError(
      "SCHEMA_MISSING",
      "migrate: the view coatcheck.users is missing, as after drop table … cascade; " +
        "name your table in migrate(sql, { users }), or create the view",
      "CC006",
    );
  }
  const missing = steps.filter(({ name }) => isMissing(name, state, named));
  if (state.hasCitus && missing.some(({ name }) => name === "005_notify")) {
    await refuseDistributed(call, state);
  }
  for (const { name, text } of missing) {
    try {
      await query({ ...call, caller: `migrate, step ${name}` }, script(text), []);
    } catch (error) {
      // If the database's default is repeatable read, a step that waited for another server's does not
      // see what that one made, and fails.
      const now = await readState(call, named).catch(() => undefined);
      if (!now || isMissing(name, now, named)) throw error;
    }
  }
  const applied = missing.map(({ name }) => name);
  if (!applied.length) return { applied, foreignKey: state.deletesSessions };
  const now = await readState(call, named);
  refuseOther(now, named);
  return { applied, foreignKey: now.deletesSessions };
}

const tableOf = ({ table = "users" }: Partial<UsersTable>) => table;

/** What is there of the schema. */
interface State {
  /** The steps that were applied. */
  readonly done: Set<string>;
  /** Whether the parts that are there belong to roles that migrate trusts. */
  readonly isTrusted: boolean;
  readonly hasView: boolean;
  /** Whether the view has the columns id and username. */
  readonly showsUsers: boolean;
  readonly hasSessions: boolean;
  /** Whether the list of the steps has its primary key. */
  readonly hasLedgerKey: boolean;
  /** Whether coatcheck.sessions has its primary key, and an index by user_id. */
  readonly hasIndexes: boolean;
  /** Whether a session may have no user. */
  readonly takesGuests: boolean;
  /** Whether a revocation notifies: each trigger is there, and enabled for every writer. */
  readonly notifies: boolean;
  readonly hasCitus: boolean;
  readonly hasForeignKey: boolean;
  /** Whether a foreign key to the table that the call names was made, and never validated. */
  readonly canValidate: boolean;
  /** Whether a foreign key deletes the sessions of a deleted user. */
  readonly deletesSessions: boolean;
  /** Whether a foreign key can refer to the table that the call names. */
  readonly canRefer: boolean;
  /** The tables that the view reads, if the one that the call names is not among them. */
  readonly readsOthers: Cell;
  /** The tables that the foreign key refers to, if the one that the call names is not among them. */
  readonly refersToOthers: Cell;
  /** The types of coatcheck.users.id and coatcheck.sessions.user_id. */
  readonly keys: readonly [Cell, Cell];
  /** The columns of coatcheck.sessions that are missing or have another type, and the SQL that mends them. */
  readonly wrongColumns: Cell;
  readonly repair: Cell;
}

async function readState(call: Call, named: Partial<UsersTable> | undefined): Promise<State> {
  const rows = await query(call, STATE, [named ? tableOf(named) : null]);
  const cells = rows[0] ?? [];
  const answers = cells.map((it) => it === "true");
  const [ledger, comment] = answers;
  const names = ledger ? (await query(call, APPLIED, [])).map(([name]) => name!) : [];
  // A ledger without its comment, as a dump may have been restored without any, is known by a step.
  const isOurs = comment || names.includes("001_users");
  const [, , isTrusted, hasView, hasSessions, showsUsers, hasLedgerKey, hasIndexes, takesGuests] =
    answers;
  const [notifies, hasCitus, hasForeignKey, canValidate, deletesSessions, canRefer] = answers
    .slice(9);
  const [readsOthers, refersToOthers, key, old, wrongColumns, repair] = cells.slice(15);
  return {
    done: new Set(isOurs ? names : []),
    isTrusted: isTrusted!,
    hasView: hasView!,
    showsUsers: showsUsers!,
    hasSessions: hasSessions!,
    hasLedgerKey: hasLedgerKey!,
    hasIndexes: hasIndexes!,
    takesGuests: takesGuests!,
    notifies: notifies!,
    hasCitus: hasCitus!,
    hasForeignKey: hasForeignKey!,
    canValidate: canValidate!,
    deletesSessions: deletesSessions!,
    canRefer: canRefer!,
    readsOthers: readsOthers ?? null,
    refersToOthers: refersToOthers ?? null,
    keys: [key ?? null, old ?? null],
    wrongColumns: wrongColumns ?? null,
    repair: repair ?? null,
  };
}

/** Whether a step was not applied, or what it made is gone. */
function isMissing(name: string, state: State, named: Partial<UsersTable> | undefined): boolean {
  if (!state.done.has(name)) return true;
  if (name === "001_users") return !state.hasView || !state.hasLedgerKey;
  if (name === "004_guests") return !state.takesGuests;
  if (name === "005_notify") return !state.notifies;
  if (name !== "002_sessions") return false;
  const lacksForeignKey = named?.id !== undefined && state.canRefer &&
    (!state.hasForeignKey || state.canValidate);
  return !state.hasSessions || !state.hasIndexes || lacksForeignKey;
}

// A type cannot change beneath a trigger that compares the column. The next call makes it again.
const UNNOTIFY = "drop trigger if exists coatcheck_notify_update on coatcheck.sessions; ";

/**
 * Refuses what no step can make right: a part that has lost its columns, and a view or a foreign key over
 * another table than the one that the call names.
 */
function refuseOther(state: State, named: Partial<UsersTable> | undefined): void {
  const { done, readsOthers, refersToOthers, canRefer, keys: [key, old], wrongColumns } = state;
  if (done.has("001_users") && state.hasView && !state.showsUsers) {
    throw refused(
      "CC001",
      "coatcheck.users exists and is not a view with id and username; rename or drop it",
    );
  }
  if (done.has("002_sessions") && wrongColumns !== null) {
    throw refused(
      "CC009",
      `coatcheck.sessions has missing or wrong columns (${wrongColumns}); ` +
        `restore it, or run: ${state.repair}`,
    );
  }
  if (named && readsOthers !== null) {
    throw refused(
      "CC007",
      `users.table must be a table that the view coatcheck.users reads (${readsOthers}), ` +
        `got ${tableOf(named)}; name that one, or replace the view`,
    );
  }
  // A view of your own may read another table than the foreign key refers to. One that is made now may not.
  const mustRefer = named?.id !== undefined && canRefer || !state.hasView;
  if (named && mustRefer && refersToOthers !== null) {
    throw refused(
      "CC007",
      `users.table must be the table that coatcheck.sessions refers to (${refersToOthers}), ` +
        `got ${tableOf(named)}; name that one, or drop the foreign key`,
    );
  }
  if (key !== null && old !== null && !holds(old, key)) {
    throw refused(
      "CC008",
      `coatcheck.users.id must have the type of coatcheck.sessions.user_id (${old}), got ${key}; ` +
        `run: ${done.has("005_notify") ? UNNOTIFY : ""}` +
        `alter table coatcheck.sessions alter user_id type ${key}`,
    );
  }
}

/** Refuses to notify of what Citus distributes, before any step changes something. */
async function refuseDistributed(call: Call, { done }: State): Promise<void> {
  const rows = await query(call, DISTRIBUTED, []);
  if (!rows.length) return;
  throw refused(
    "CC011",
    "coatcheck.sessions is distributed by Citus, which refuses triggers, so coatcheck/cache is not available; " +
      (done.has("005_notify")
        ? "run: delete from coatcheck.migrations where name = '005_notify'"
        : "leave the option notify out"),
  );
}

const refused = (sqlstate: string, message: string) =>
  new SessionError("STORE_REJECTED", `migrate: ${message}`, sqlstate);

/** Whether a column of one type takes every key of another. Types that are not listed are not judged. */
function holds(type: string, key: string): boolean {
  const kinds = [["smallint", "integer", "bigint"], ["text", "character varying"], ["uuid"]];
  const [own, other] = [type, key].map((it) => kinds.find((kind) => kind.includes(it)));
  if (!own || !other) return true;
  return own === other && (own !== kinds[0] || own.indexOf(type) >= own.indexOf(key));
}
