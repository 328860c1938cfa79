import process from "node:process";
import postgres from "postgres";
import { migrate, type Sql } from "../../mod.ts";
import { until } from "./until.ts";

/** A database of its own for one test file, on the server that the test command started. */
export interface Database {
  readonly url: string;
  /** postgres.js, as superuser. */
  readonly sql: postgres.Sql;
  /** The clients of this runtime, by name: the verbs must behave the same through each. */
  readonly clients: Readonly<Record<string, Sql>>;
  /** Resolves when a statement of this database waits for a lock: the place of a sleep in a race. */
  readonly waiting: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/**
 * Makes a database with the users ada (1) and grace (2), and the schema unless `bare`. With `notify`, revocations
 * notify.
 */
export async function openDatabase(
  options: { bare?: boolean; notify?: boolean; server?: string } = {},
): Promise<Database> {
  const server = options.server ?? process.env.DATABASE_URL;
  if (!server) throw new Error("Run the tests with: npm test");
  const name = `coatcheck_test_${crypto.randomUUID().replaceAll("-", "")}`;
  const admin = postgres(server, { max: 1, onnotice: () => {} });
  await admin.unsafe(`create database ${name}`);
  const url = Object.assign(new URL(server), { pathname: `/${name}` }).href;
  const sql = postgres(url, { max: 10, onnotice: () => {} });
  await sql`create table users (id integer primary key, username text not null unique)`;
  await sql`insert into users values (1, 'ada'), (2, 'grace')`;
  const { bare, notify = false } = options;
  if (!bare) await migrate(sql, { users: { table: "users", id: "id" }, notify });
  const bun = openBun(url);
  return {
    url,
    sql,
    clients: { "postgres.js": sql, ...(bun && { "Bun.SQL": bun.sql }) },
    waiting: () =>
      until("something waits for a lock", async () => {
        const [row] = await admin`select from pg_stat_activity
          where datname = ${name} and wait_event_type = 'Lock' limit 1`;
        return row !== undefined;
      }),
    close: async () => {
      await bun?.close();
      await sql.end({ timeout: 5 });
      await admin.unsafe(`drop database ${name} with (force)`);
      await admin.end({ timeout: 5 });
    },
  };
}

// The global of Bun, where there is one; its types would make globals of all that Bun has.
function openBun(url: string): { sql: Sql; close: () => Promise<void> } | undefined {
  const { Bun } = globalThis as {
    Bun?: { SQL: new (url: string, options: object) => Sql & { end(): Promise<void> } };
  };
  if (!Bun) return undefined;
  const sql = new Bun.SQL(url, { max: 10 });
  return { sql, close: () => sql.end() };
}

/** The same client, and the text of every statement that went through it. */
export function counted(sql: Sql): { sql: Sql; statements: string[] } {
  const statements: string[] = [];
  return {
    statements,
    sql: (strings, ...values) => {
      statements.push(strings.join("?"));
      return sql(strings, ...values);
    },
  };
}

/** The secret in the cookie of a response. */
export function secretOf(response: Headers): string {
  return response.get("set-cookie")!.match(/^[^=]+=[^.;]{36}\.([^;]{43});/)![1]!;
}

/** The headers of a request that sends back the cookie of a response. */
export function withCookie(response: Headers): Headers {
  return new Headers({ cookie: response.get("set-cookie")!.split(";")[0]! });
}
