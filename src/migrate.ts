import { copyOptions, requireSeconds } from "./input.ts";
import { migrationsFor, type UsersTable } from "./migrations.ts";
import { type Call, query, script, type Sql, statement } from "./sql.ts";

/** What {@linkcode migrate} may be told. */
export interface MigrateOptions {
  /** Your users table. A view `coatcheck.users` that exists is kept. @default {users(id, username)} */
  readonly users?: UsersTable;
  /** Seconds that the database has for each step, 1 to 86,400: it may wait for locks. @default {60} */
  readonly queryTimeout?: number;
}

/** What {@linkcode migrate} did. */
export interface MigrateResult {
  /** The names of the steps that this call ran, in order; none if all had been applied. */
  readonly applied: readonly string[];
}

// Whether there is a ledger that coatcheck made, and that only trusted roles can change; see OWNERS in
// migrations.ts. A foreign one is not read: the first step refuses it. This runs with the caller's
// search_path, so every operator and function names its schema.
const OWN_LEDGER = statement(
  2,
  `select $1::pg_catalog.text as call,
    (exists (
      select from pg_catalog.pg_class ledger
      join pg_catalog.pg_namespace schema on schema.oid operator(pg_catalog.=) ledger.relnamespace
      where schema.nspname operator(pg_catalog.=) 'coatcheck'
        and ledger.relname operator(pg_catalog.=) 'migrations'
        and pg_catalog.obj_description(ledger.oid, 'pg_class')
          operator(pg_catalog.=) 'coatcheck: the migrations that were applied'
        and not exists (
          select from pg_catalog.pg_roles owner
          join pg_catalog.pg_roles me on me.rolname operator(pg_catalog.=) current_user
          where owner.oid operator(pg_catalog.=) any (array[schema.nspowner, ledger.relowner])
            and not owner.rolsuper
            and owner.oid operator(pg_catalog.<>) me.oid
            and (me.rolsuper or not pg_catalog.pg_has_role(me.oid, owner.oid, 'USAGE'))
        )
    ))::pg_catalog.text as is_own`,
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
 * @example
 * ```ts
 * import { migrate } from "coatcheck";
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
  const known = ["users", "queryTimeout"];
  const { users, queryTimeout = 60 } = copyOptions("migrate: options", options, known);
  requireSeconds("migrate: queryTimeout", queryTimeout, 1, 86_400);
  const call: Call = { caller: "migrate", sql, queryTimeout };
  const steps = migrationsFor(users);
  const done = await readApplied(call);
  const missing = steps.filter(({ name }) => !done.includes(name));
  for (const { name, text } of missing) {
    try {
      await query({ ...call, caller: `migrate, step ${name}` }, script(text), []);
    } catch (error) {
      // If the database's default is repeatable read, a step that waited for another server's does not
      // see what that one made, and fails.
      const now = await readApplied(call).catch((): string[] => []);
      if (!now.includes(name)) throw error;
    }
  }
  return { applied: missing.map(({ name }) => name) };
}

async function readApplied(call: Call): Promise<string[]> {
  const [ledger] = await query(call, OWN_LEDGER, []);
  if (ledger?.[0] !== "true") return [];
  return (await query(call, APPLIED, [])).map(([name]) => name!);
}
