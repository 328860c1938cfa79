// Databases on a Citus cluster, for test/citus.test.ts.
import postgres from "postgres";
import { migrate } from "../../mod.ts";

/** Where the sessions are: on the shards of the workers, or in a local table of the coordinator. */
export type Layout = "distributed by id" | "local to the coordinator";

/** A database of its own on every node of a cluster. */
export interface CitusDatabase {
  readonly url: string;
  readonly sql: postgres.Sql;
  /** One connection to each worker. */
  readonly workers: readonly postgres.Sql[];
  readonly close: () => Promise<void>;
}

const quiet = { onnotice: () => {} };

/**
 * Makes an empty database on the coordinator at a URL and on its workers, and joins them. A coordinator that has no
 * copy of the reference tables asks the workers for the users.
 */
export async function openCluster(
  coordinator: string,
  { hasUsers = true }: { hasUsers?: boolean } = {},
): Promise<CitusDatabase> {
  const name = `coatcheck_test_${crypto.randomUUID().replaceAll("-", "")}`;
  const at = (host: string, port: number, database: string) =>
    Object.assign(new URL(coordinator), { host: `${host}:${port}`, pathname: `/${database}` }).href;
  const registry = postgres(coordinator, { ...quiet, max: 1 });
  const nodes = await registry<{ nodename: string; nodeport: number; groupid: number }[]>`
    select nodename, nodeport, groupid from pg_dist_node where isactive order by groupid`;
  await registry.end();

  const admins = nodes.map(({ nodename, nodeport }) =>
    postgres(at(nodename, nodeport, "postgres"), { ...quiet, max: 1 })
  );
  for (const admin of admins) {
    await admin.unsafe(`create database ${name}`);
    await admin.unsafe(`alter database ${name} set jit = off`);
  }
  const own = nodes.map(({ nodename, nodeport }) =>
    postgres(at(nodename, nodeport, name), { ...quiet, max: 1 })
  );
  for (const sql of own) await sql`create extension citus`;
  const [first, ...others] = [...nodes] as [typeof nodes[number]];
  const [coordinating, ...workers] = own as [postgres.Sql];
  if (hasUsers) {
    await coordinating`
      select citus_set_coordinator_host(${first.nodename}, ${first.nodeport})`;
  }
  for (const { nodename, nodeport } of others) {
    await coordinating`select citus_add_node(${nodename}, ${nodeport})`;
  }
  const url = at(first.nodename, first.nodeport, name);
  const sql = postgres(url, { ...quiet, max: 10 });
  return {
    url,
    sql,
    workers,
    async close() {
      for (const client of [sql, ...own]) await client.end({ timeout: 5 });
      for (const admin of admins) {
        await admin.unsafe(`drop database ${name} with (force)`);
        await admin.end({ timeout: 5 });
      }
    },
  };
}

/** Makes the users ada (1) and grace (2), and the schema, as docs/scaling.md says. */
export async function prepare({ sql }: CitusDatabase, layout: Layout): Promise<void> {
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users values (1, 'ada'), (2, 'grace')`;
  if (layout === "distributed by id") await sql`select create_reference_table('users')`;
  await migrate(sql, { users: { table: "users", id: "id" } });
  if (layout === "distributed by id") {
    await sql`select create_distributed_table('coatcheck.sessions', 'id')`;
  }
}
