// Servers that npm does not have, where this machine has them.
import { spawn } from "node:child_process";
import { chmod, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { afterwards, openFolder } from "../../scripts/guard.mjs";
import { until } from "./until.ts";

/** Where Debian puts PostgreSQL 15's programs and PgBouncer, or PGBOUNCER says; undefined where they are not. */
export const postgres15: string | undefined = where("/usr/lib/postgresql/15");
export const pgbouncer: string | undefined = where(
  process.env.PGBOUNCER ?? "/usr/sbin/pgbouncer",
);

function where(place: string): string | undefined {
  if (existsSync(place)) return place;
  console.warn(
    `\n!! NOT RUN: ${place} is not installed, so what is tested on it was not run here !!\n`,
  );
  return undefined;
}

/** A PgBouncer in transaction mode, in front of the server of a database. */
export async function startPgBouncer(
  program: string,
  database: string,
  settings: Readonly<Record<string, string | number>> = {},
): Promise<
  { url: string; retarget: (database: string) => Promise<void>; close: () => Promise<void> }
> {
  const { folder, remove } = openFolder("pgbouncer");
  const own = await freePort();
  const file = join(folder, "pgbouncer.ini");
  const configure = (database: string) => {
    const { hostname, port, username, password } = new URL(database);
    return writeFile(
      file,
      `[databases]
* = host=${hostname} port=${port} user=${username} password=${password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
${Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`).join("")}`,
    );
  };
  await configure(database);
  // PgBouncer refuses to run as root.
  await chmod(folder, 0o755);
  const user = process.getuid?.() === 0 ? ["-u", "nobody"] : [];
  const child = spawn(program, [...user, "-q", file], { stdio: "ignore" });
  const exited = once(child, "exit");
  void exited.then(afterwards(`kill -INT ${child.pid}`));
  await until("PgBouncer listens", () => isListening(own));
  return {
    url: Object.assign(new URL(database), { hostname: "127.0.0.1", port: String(own) }).href,
    /** Leads to the server of another database: a changed configuration, and RELOAD. */
    retarget: async (database) => {
      await configure(database);
      child.kill("SIGHUP");
    },
    close: async () => {
      child.kill("SIGINT");
      await exited;
      remove();
    },
  };
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const isHeard = await once(socket, "connect").then(() => true, () => false);
  socket.destroy();
  return isHeard;
}
