// The clients that the conformance suite is run on, each by the adapter of docs/clients.md.
import { PGlite } from "@electric-sql/pglite";
import { neon } from "@neondatabase/serverless";
import { sql as drizzleSql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { Kysely, PostgresDialect, sql as kyselySql } from "kysely";
import { existsSync } from "node:fs";
import type pg from "pg";
import postgres from "postgres";
import { createPool, InvalidInputError, sql as slonikSql } from "slonik";
import type { Client } from "../../conformance.ts";
import type { Sql } from "../../mod.ts";
import { startNeon } from "./neon.ts";
import { openPgPool } from "./pools.ts";

/** Whether Prisma is there: it is large, so that only `npm test -- clients` installs it. */
export const hasPrisma: boolean = existsSync(
  new URL("../prisma/node_modules/@prisma/client", import.meta.url),
);
if (!hasPrisma) {
  console.warn("\n!! NOT RUN: Prisma is not installed. Run: npm test -- clients !!\n");
}

/** The package of each, by the first word of its name. */
export const packages: Readonly<Record<string, string>> = {
  "postgres.js": "postgres",
  "Bun.SQL": "bun",
  "Neon's": "@neondatabase/serverless",
  "PGlite": "@electric-sql/pglite",
  "pg": "pg",
  "drizzle": "drizzle-orm",
  "kysely": "kysely",
  "slonik": "slonik",
  "Prisma": "../test/prisma/node_modules/@prisma/client",
};

/** How to make each client, of the database at a URL; by the names that they have in the README's table. */
export const clients: Readonly<Record<string, (url: string) => Client | Promise<Client>>> = {
  "postgres.js": (url) => openPostgres(url),
  "postgres.js, prepare: false": (url) => openPostgres(url, { prepare: false }),
  "postgres.js, transform: postgres.camel": (url) =>
    openPostgres(url, { transform: postgres.camel }),
  ...("Bun" in globalThis && {
    "Bun.SQL": (url) => openBun(url),
    "Bun.SQL, prepare: false": (url) => openBun(url, { prepare: false }),
  }),

  "Neon's neon(), to a stand-in for its proxy": async (url) => {
    const proxy = await startNeon(url);
    return { sql: neon(proxy.url), close: proxy.close };
  },

  "pg": (url) => {
    const pool = openPool(url);
    const tag = (client: pg.Pool | pg.PoolClient): Sql => (strings, ...values) =>
      client.query(strings.reduce((text, part, i) => `${text}$${i}${part}`), values);
    return {
      sql: tag(pool),
      begin: async (run) => {
        const client = await pool.connect();
        try {
          await client.query("begin");
          await run(tag(client));
          await client.query("commit");
        } catch (error) {
          await client.query("rollback");
          throw error;
        } finally {
          client.release();
        }
      },
      close: () => pool.end(),
    };
  },

  "drizzle": (url) => {
    const pool = openPool(url);
    const db = drizzle(pool);
    const tag = (db: Pick<ReturnType<typeof drizzle>, "execute">): Sql => (strings, ...values) =>
      db.execute(drizzleSql(strings, ...values));
    return {
      sql: tag(db),
      begin: (run) => db.transaction((tx) => run(tag(tx))),
      close: () => pool.end(),
    };
  },

  "kysely": (url) => {
    const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: openPool(url) }) });
    const tag = (db: Kysely<unknown>): Sql => (strings, ...values) =>
      kyselySql(strings, ...values).execute(db);
    return {
      sql: tag(db),
      begin: (run) => db.transaction().execute((tx) => run(tag(tx))),
      close: () => db.destroy(),
    };
  },

  "slonik": async (url) => {
    const pool = await createPool(url, { maximumPoolSize: 3 });
    // For 22P02, slonik throws an error of its own that has no code.
    const restore = (error: unknown) => {
      throw error instanceof InvalidInputError ? Object.assign(error, { code: "22P02" }) : error;
    };
    const tag = (pool: Pick<Awaited<ReturnType<typeof createPool>>, "query">): Sql =>
    (
      strings,
      ...values
    ) => pool.query(slonikSql.unsafe(strings, ...values)).catch(restore);
    return {
      sql: tag(pool),
      begin: (run) => pool.transaction((tx) => run(tag(tx))),
      close: () => pool.end(),
    };
  },

  ...(hasPrisma && {
    "Prisma": async (url) => {
      const { openPrisma } = await import(PRISMA) as { openPrisma: (url: string) => Prisma };
      const prisma = openPrisma(url);
      const tag = (prisma: Pick<Prisma, "$queryRaw">): Sql => (strings, ...values) =>
        prisma.$queryRaw(strings, ...values);
      return {
        sql: tag(prisma),
        begin: (run) => prisma.$transaction((tx) => run(tag(tx))),
        close: () => prisma.$disconnect(),
      };
    },
  }),
};

// A constant, as the compilers look for a module that is named in an import.
const PRISMA: string = "../prisma/client.mjs";

/** What is used of Prisma's client. */
interface Prisma {
  readonly $queryRaw: Sql;
  $transaction(run: (tx: Pick<Prisma, "$queryRaw">) => Promise<void>): Promise<void>;
  $disconnect(): Promise<void>;
}

/** A database in this very process: it takes seconds to start, and holds everything else up meanwhile. */
export async function openPGlite(): Promise<Client> {
  const db = await PGlite.create();
  const tag = (db: Pick<PGlite, "sql">): Sql => (strings, ...values) => db.sql(strings, ...values);
  return {
    sql: tag(db),
    begin: (run) => db.transaction((tx) => run(tag(tx))),
    close: () => db.close(),
  };
}

function openPool(url: string): pg.Pool {
  return openPgPool({ connectionString: url, max: 3 });
}

export function openPostgres(url: string, options: postgres.Options<never> = {}): Client {
  const sql = postgres(url, { max: 3, onnotice: () => {}, ...options });
  return { sql, begin: (run) => sql.begin(run), close: () => sql.end({ timeout: 0 }) };
}

// The global of Bun; its types would make globals of all that Bun has.
function openBun(url: string, options: object = {}): Client {
  type BunSql = Sql & { begin: NonNullable<Client["begin"]>; end: () => Promise<void> };
  const { Bun } = globalThis as unknown as {
    Bun: { SQL: new (url: string, options: object) => BunSql };
  };
  const sql = new Bun.SQL(url, { max: 3, ...options });
  return { sql, begin: (run) => sql.begin(run), close: () => sql.end() };
}
