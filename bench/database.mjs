import process from "node:process";
import { UsageError } from "./options.mjs";
import { findServer } from "./programs.mjs";

// The defaults of PostgreSQL: a commit is on disk when it returns.
const DURABLE = [
  "fsync=on",
  "synchronous_commit=on",
  "full_page_writes=on",
  "shared_buffers=128MB",
];

// Every contestant keeps its pool open while it waits for its turn; pgbench adds 64.
const CONNECTIONS = 400;

/**
 * Starts the server of the run, or uses that of DATABASE_URL.
 *
 * An installed PostgreSQL is preferred to the one from npm, which is built for size and takes up to twice
 * the CPU time.
 *
 * Each module gets a database of its own, as several call a table `users`.
 */
export async function openServer() {
  const own = process.env.DATABASE_URL === undefined;
  const { startPostgres } = await import("../scripts/postgres.mjs");
  const server = own
    ? await startPostgres(undefined, [...DURABLE, `max_connections=${CONNECTIONS}`], findServer())
    : { url: process.env.DATABASE_URL, stop: async () => {} };
  const { default: postgres } = await import("postgres");
  const admin = postgres(server.url, { max: 1, onnotice: () => {} });
  const made = [];
  return {
    admin,
    make: async (name) => {
      const database = `coatcheck_bench_${name}`;
      await admin.unsafe(`drop database if exists ${database} with (force)`);
      await admin.unsafe(`create database ${database}`);
      made.push(database);
      return Object.assign(new URL(server.url), { pathname: `/${database}` }).href;
    },
    close: async () => {
      // The databases of our own server are deleted with it.
      if (!own) {
        for (const name of made) {
          await admin.unsafe(`drop database ${name} with (force)`);
        }
      }
      await admin.end({ timeout: 5 });
      await server.stop();
    },
  };
}

const SETTINGS = [
  "fsync",
  "synchronous_commit",
  "full_page_writes",
  "shared_buffers",
  "max_wal_size",
  "max_connections",
];

/** The version and the settings that the figures depend on. */
export async function describeServer(admin) {
  const [{ version }] = await admin`select version()`;
  const rows = await admin`
    select name, current_setting(name) as value from pg_settings where name = any(${SETTINGS})`;
  return { version, settings: Object.fromEntries(rows.map(({ name, value }) => [name, value])) };
}

/** Rejects a server that allows too few connections, before anything is measured. */
export function requireConnections({ settings }, needed) {
  if (Number(settings.max_connections) >= needed) return;
  throw new UsageError(
    `max_connections must be at least ${needed}, got ${settings.max_connections}; ` +
      "raise it, or measure fewer contestants with --only",
  );
}
