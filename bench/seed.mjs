/**
 * Drops the keys and indexes of a table, fills it, and restores them.
 *
 * That takes a tenth of the time, and every contestant starts with indexes that were just built.
 */
export async function fill(sql, table, insert) {
  const constraints = await sql`
    select conname as name, pg_get_constraintdef(oid) as definition from pg_constraint
    where conrelid = ${table}::regclass and contype in ('p', 'u', 'f')
    order by contype desc`;
  const indexes = await sql`
    select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
    from pg_index i where indrelid = ${table}::regclass
      and not exists (select from pg_constraint c where c.conindid = i.indexrelid)`;
  for (const { name } of constraints) {
    await sql.unsafe(`alter table ${table} drop constraint "${name}"`);
  }
  for (const { name } of indexes) await sql.unsafe(`drop index ${name}`);
  await insert();
  for (const { name, definition } of constraints) {
    await sql.unsafe(`alter table ${table} add constraint "${name}" ${definition}`);
  }
  for (const { definition } of indexes) await sql.unsafe(definition);
  await sql.unsafe(`vacuum (analyze) ${table}`);
}
