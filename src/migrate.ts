import { SessionError } from "./errors.ts";
import { copyOptions, requireSeconds } from "./input.ts";
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
  /** Seconds that the database has for each step, 1 to 86,400: it may wait for locks. @default {60} */
  readonly queryTimeout?: number;
}

/** What {@linkcode migrate} did. */
export interface MigrateResult {
  /** The names of the steps that this call ran, in order; none if there was nothing to do. */
  readonly applied: readonly string[];
  /**
   * Whether a foreign key deletes the sessions of a deleted user. If not, call {@linkcode revokeSessions} when
   * you delete a user or give their key to another one.
   */
  readonly foreignKey: boolean;
}

/**
 * What the catalogs say about the schema. It takes no lock and trusts no name: it runs with the caller's
 * search_path, so every operator and function names its schema. A ledger that an untrusted role could change
 * is not read; see OWNERS in migrations.ts.
 */
const STATE = statement(
  12,
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
  ), reads (source, oid) as (
    select 'view', p.oid from parts p where p.relname operator(pg_catalog.=) 'users'
    union
    select 'named', n.oid from named n
    union
    select r.source, d.refobjid
    from reads r
    join pg_catalog.pg_rewrite w on w.ev_class operator(pg_catalog.=) r.oid
    join pg_catalog.pg_depend d on d.objid operator(pg_catalog.=) w.oid
    where d.classid operator(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid
      and d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
  ), tables as (
    select r.oid from reads r
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
  ), foreign_keys as (
    select f.confrelid from parts p
    join pg_catalog.pg_constraint f on f.conrelid operator(pg_catalog.=) p.oid
    join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) p.oid
      and a.attnum operator(pg_catalog.=) any (f.conkey)
    where p.relname operator(pg_catalog.=) 'sessions'
      and f.contype operator(pg_catalog.=) 'f'
      and a.attname operator(pg_catalog.=) 'user_id'
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
    (exists (select from foreign_keys))::pg_catalog.text as has_foreign_key,
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
        select from foreign_keys r join named n on n.oid operator(pg_catalog.=) r.confrelid
      )) as refers_to_others,
    (select k.type::pg_catalog.regtype::pg_catalog.text from keys k
      join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) k.type
      where k.part operator(pg_catalog.=) 'users'
        and t.typtype operator(pg_catalog.<>) 'd') as users_key,
    (select k.type::pg_catalog.regtype::pg_catalog.text from keys k
      join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) k.type
      where k.part operator(pg_catalog.=) 'sessions'
        and t.typtype operator(pg_catalog.<>) 'd') as sessions_key`,
);

const APPLIED = statement(
  2,
  "select $1::pg_catalog.text as call, m.name::pg_catalog.text as name from coatcheck.migrations m",
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
 * @param options Your users' table, and a deadline for each step.
 * @returns The names of the steps that this call ran. Where servers start at once, several may run a
 * step, and the first one applies it.
 * @throws {TypeError} If an argument has the wrong type, or an option is unknown.
 * @throws {RangeError} If a name is empty, too long, or cannot be one.
 * @throws {SessionError} If a step fails: the message names it. The steps before it stay. If the view is
 * missing and `users` is not given (`SCHEMA_MISSING`). If `users` names another table than the view reads or
 * the foreign key refers to, or `coatcheck.sessions.user_id` cannot hold your keys.
 */
export async function migrate(sql: Sql, options: MigrateOptions = {}): Promise<MigrateResult> {
  const known = ["users", "queryTimeout"];
  const { users, queryTimeout = 60 } = copyOptions("migrate: options", options, known);
  requireSeconds("migrate: queryTimeout", queryTimeout, 1, 86_400);
  const call: Call = { caller: "migrate", sql, queryTimeout };
  const named = readUsers(users);
  const steps = migrationsFor(named);
  const state = await readState(call, named);
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
  if (!applied.length) return { applied, foreignKey: state.hasForeignKey };
  const now = await readState(call, named);
  refuseOther(now, named);
  return { applied, foreignKey: now.hasForeignKey };
}

const tableOf = ({ table = "users" }: Partial<UsersTable>) => table;

/** What is there of the schema. */
interface State {
  /** The steps that were applied. */
  readonly done: Set<string>;
  /** Whether the parts that are there belong to roles that migrate trusts. */
  readonly isTrusted: boolean;
  readonly hasView: boolean;
  readonly hasSessions: boolean;
  readonly hasForeignKey: boolean;
  /** Whether a foreign key can refer to the table that the call names. */
  readonly canRefer: boolean;
  /** The tables that the view reads, if the one that the call names is not among them. */
  readonly readsOthers: Cell;
  /** The tables that the foreign key refers to, if the one that the call names is not among them. */
  readonly refersToOthers: Cell;
  /** The types of coatcheck.users.id and coatcheck.sessions.user_id. */
  readonly keys: readonly [Cell, Cell];
}

async function readState(call: Call, named: Partial<UsersTable> | undefined): Promise<State> {
  const rows = await query(call, STATE, [named ? tableOf(named) : null]);
  const cells = rows[0] ?? [];
  const [ledger, comment, trusted, view, sessions, foreignKey, refer] = cells.map((it) =>
    it === "true"
  );
  const names = ledger ? (await query(call, APPLIED, [])).map(([name]) => name!) : [];
  // A ledger without its comment, as a dump may have been restored without any, is known by a step.
  const isOurs = comment || names.includes("001_users");
  return {
    done: new Set(isOurs ? names : []),
    isTrusted: trusted!,
    hasView: view!,
    hasSessions: sessions!,
    hasForeignKey: foreignKey!,
    canRefer: refer!,
    readsOthers: cells[7] ?? null,
    refersToOthers: cells[8] ?? null,
    keys: [cells[9] ?? null, cells[10] ?? null],
  };
}

/** Whether a step was not applied, or what it made is gone. */
function isMissing(name: string, state: State, named: Partial<UsersTable> | undefined): boolean {
  if (!state.done.has(name)) return true;
  if (name === "001_users") return !state.hasView;
  if (name !== "002_sessions") return false;
  const lacksForeignKey = named?.id !== undefined && state.canRefer && !state.hasForeignKey;
  return !state.hasSessions || lacksForeignKey;
}

/** Refuses a view and a foreign key over another table than the one that the call names. */
function refuseOther(state: State, named: Partial<UsersTable> | undefined): void {
  const { readsOthers, refersToOthers, canRefer, keys: [key, old] } = state;
  if (named && readsOthers !== null) {
    throw refused(
      "CC007",
      `users.table must be a table that the view coatcheck.users reads (${readsOthers}), ` +
        `got ${tableOf(named)}; name that one, or replace the view`,
    );
  }
  if (named?.id !== undefined && canRefer && refersToOthers !== null) {
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
        `run: alter table coatcheck.sessions alter user_id type ${key}`,
    );
  }
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
