import type { Sql } from "postgres";

const OPERATORS = ["=", "<>", "<", ">", "<=", ">=", "||", "->", "->>", "+", "-", "/"];
const TYPES = [
  `"char"`,
  "boolean",
  "bpchar",
  "bigint",
  "integer",
  "json",
  "jsonb",
  "name",
  "oid",
  "regclass",
  "regnamespace",
  "regtype",
  "smallint",
  "text",
  "text[]",
  "uuid",
  "varchar",
];

/**
 * Fills `public` with operators and functions that fit a call better than those of PostgreSQL: what an
 * attacker does who may create objects there. Each one raises an error when it is called, and costs so
 * little that the planner calls it first.
 *
 * @param names The functions to imitate, by the names that they have in pg_catalog.
 * @param types More types of operands than those of the catalogs.
 */
export async function plantDecoys(sql: Sql, names: string[], types: string[]): Promise<void> {
  await sql.begin(async (sql) => {
    await sql`set local check_function_bodies = off`;
    // Or this would call those that it has just made.
    await sql`set local search_path = pg_catalog`;
    const all = array([...TYPES, ...types]);
    await sql.unsafe(`
      create function pg_temp.plant(text) returns void language plpgsql as $$
      begin
        execute $1;
      exception when others then null; -- a signature that cannot be, or is there already
      end $$;

      -- Operators, for every pair of types.
      select pg_temp.plant(format(
          'create function public.decoy(%s, %s) returns boolean language plpgsql cost 0.0001 as
            $f$ begin raise ''decoy''; end $f$', l, r))
        from unnest(${all}) l, unnest(${all}) r;
      select pg_temp.plant(format(
          'create operator public.%s (function = public.decoy, leftarg = %s, rightarg = %s)', o, l, r))
        from unnest(${array(OPERATORS)}) o,
          unnest(${all}) l, unnest(${all}) r;

      -- Functions: with every parameter of PostgreSQL's own as every other type, and as a list.
      select pg_temp.plant(format(
          'create function public.%I(%s) returns %s language plpgsql cost 0.0001 as
            $f$ begin raise ''decoy''; end $f$', proname, parameters, result))
        from (
          select distinct proname, format_type(prorettype, null) as result,
            (select string_agg(case when a.place = p.place then t else format_type(a.type, null) end,
                ', ' order by a.place)
              from unnest(proargtypes) with ordinality a (type, place)) as parameters
          from pg_proc,
            generate_series(1, pronargs) p (place),
            unnest(${all}) t
          where proname = any(${array(names)}) and pronamespace = 'pg_catalog'::regnamespace
          union
          select proname, format_type(prorettype, null), 'variadic text[]'
          from pg_proc
          where proname = any(${array(names)}) and pronamespace = 'pg_catalog'::regnamespace
        ) decoys`);
  });
}

const array = (list: string[]) => `array[${list.map((it) => `'${it}'`).join(", ")}]::text[]`;
