import process from "node:process";
import { findServer } from "./programs.mjs";

// What PostgreSQL does where nobody has set anything: a commit is on the disk before it is answered.
const DURABLE = [
  "fsync=on",
  "synchronous_commit=on",
  "full_page_writes=on",
  "shared_buffers=128MB",
];

// Every contestant keeps its pool while it waits for its turn, beside the 64 of pgbench.
const CONNECTIONS = 300;

/**
 * Starts the one server of a run, or takes that of DATABASE_URL.
 *
 * What is installed comes before what npm brings: that is built to be small, and takes the processor twice
 * the time.
 *
 * Each contestant's tables are in a database of their own on it, as several call theirs `users`.
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
      // The embedded server takes its databases with it.
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

/** Refuses a server that is too small, before an hour of somebody's time has gone into it. */
export function requireConnections({ settings }, needed) {
  if (Number(settings.max_connections) >= needed) return;
  throw new Error(
    `Cannot run as max_connections must be ${needed} or more: received ${settings.max_connections}; ` +
      "raise it, or take fewer contestants with --only",
  );
}
