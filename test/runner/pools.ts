// Pools of the clients that the faults are tested on.
import process from "node:process";
import pg from "pg";
import postgres from "postgres";
import type { Sql } from "../../mod.ts";

/** A pool of connections. */
export interface Pool {
  readonly sql: Sql & { begin<T>(mode: string, run: (sql: Sql) => Promise<T>): Promise<T> };
  readonly end: () => Promise<unknown>;
}

/** Opens a pool to a URL. Only postgres.js takes several, of which it chooses the primary. */
export type OpenPool = (urls: string[], max?: number, prepare?: boolean) => Pool;

export const pools: Record<string, OpenPool> = {
  "postgres.js": ([first, ...others], max = 4, prepare = true) => {
    const url = new URL(first!);
    const hosts = [url, ...others.map((it) => new URL(it))];
    const many = { target_session_attrs: "primary" as const };
    const list = hosts.map(({ host }) => host).join();
    const sql = postgres(url.href.replace(url.host, list), {
      ...(others.length > 0 && many),
      max,
      prepare,
      onnotice: () => {},
      connect_timeout: 5,
      backoff: () => 0.1,
    });
    return { sql: sql as unknown as Pool["sql"], end: () => sql.end({ timeout: 0 }) };
  },
  "pg": ([url], max = 4) => {
    const pool = openPgPool({ connectionString: url!, max, connectionTimeoutMillis: 5000 });
    const begin = async <T>(mode: string, run: (sql: Sql) => Promise<T>): Promise<T> => {
      const client = await pool.connect();
      try {
        await client.query(`begin ${mode}`);
        const result = await run(tagOf(client));
        await client.query("commit");
        client.release();
        return result;
      } catch (error) {
        // Its connection ends, and the transaction with it.
        client.release(true);
        throw error;
      }
    };
    // It is not awaited, as it waits for connections that may never answer.
    const end = () => Promise.resolve(void pool.end());
    return { sql: Object.assign(tagOf(pool), { begin }), end };
  },
};

const tagOf = (client: pg.Pool | pg.PoolClient): Sql => async (strings, ...values) => {
  const text = strings.reduce((text, part, i) => `${text}$${i}${part}`);
  return (await client.query(text, values)).rows;
};

/** Opens a pool of pg that outlives its connections. */
export function openPgPool(options: pg.PoolConfig): pg.Pool {
  // A connection that breaks ends the process where nobody listens: an idle one at the pool, and one that
  // kysely or a transaction has taken out at the client.
  return new pg.Pool(options)
    .on("error", () => {})
    .on("connect", (client) => client.on("error", () => {}));
}

// The global of Bun, if there is one; its types would declare all globals of Bun.
const { Bun } = globalThis as {
  Bun?: {
    SQL: new (
      url: string,
      options: object,
    ) => Pool["sql"] & { close(options: object): Promise<void> };
  };
};
if (Bun) {
  pools["Bun.SQL"] = ([url], max = 4, prepare = true) => {
    const sql = new Bun.SQL(url!, { max, prepare, connectionTimeout: 5 });
    // It is not awaited, as it may never resolve (oven-sh/bun #32095).
    return { sql, end: () => Promise.resolve(void sql.close({ timeout: 0 }).catch(() => {})) };
  };
}

/** Collects what no caller has caught, until `end`. */
export function catchStrays(): { strays: unknown[]; end: () => void } {
  const strays: unknown[] = [];
  const note = (reason: unknown) => strays.push(reason);
  process.on("unhandledRejection", note);
  process.on("uncaughtException", note);
  return {
    strays,
    end: () => {
      process.off("unhandledRejection", note);
      process.off("uncaughtException", note);
    },
  };
}
