// The connection of a command, through the user's own postgres.js.
import type postgres from "postgres";
import { Failure, misuse } from "./args.ts";
import { escape, quote } from "./text.ts";

/** A connected database. */
export interface Database {
  /** One connection, with the search_path of its role: for the functions of coatcheck. */
  readonly sql: postgres.Sql;
  /** The URL, with its password: for a second connection. */
  readonly url: string | undefined;
  /** `"app" at 127.0.0.1:5432`, without a password. */
  readonly place: string;
  /**
   * Sends a statement of queries.ts in a transaction of its own that reads only. Its search_path is pg_catalog,
   * so that no function or operator of another schema is called.
   *
   * @param values The values of `$1`, `$2` …
   * @param options How long the server may work on it, 30 s if unset; and a setting of its own.
   */
  readonly read: <Row extends object>(
    text: string,
    values?: readonly (string | null)[],
    options?: { readonly seconds?: number; readonly setting?: string },
  ) => Promise<Row[]>;
  readonly end: () => Promise<void>;
}

/** Connects to a database, and says what to do if that fails. */
export async function connect(url: string | undefined, command: string): Promise<Database> {
  const sql = await open(url, command);
  const { host, port, database } = sql.options;
  const place = `${quote(database)} at ${escape(`${host[0]}:${port[0]}`)}`;
  try {
    await sql.unsafe("select 1");
  } catch (error) {
    await sql.end({ timeout: 0 });
    throw unreachable(error, place);
  }
  return {
    sql,
    url,
    place,
    read: async (text, values = [], { seconds = 30, setting = "" } = {}) =>
      await sql.begin("read only", async (transaction) => {
        await transaction.unsafe(
          `set local search_path = pg_catalog, pg_temp; set local standard_conforming_strings = on;
          set local statement_timeout = ${seconds * 1000}; ${setting}`,
        );
        return [...await transaction.unsafe(text, [...values])];
      }) as never,
    end: () => sql.end({ timeout: 1 }),
  };
}

/** Makes a client of one connection, which connects with its first statement. */
export async function open(url: string | undefined, command: string): Promise<postgres.Sql> {
  if (!url) {
    throw misuse(
      "no database: set DATABASE_URL, or give --url postgres://user@host:5432/database",
      command,
    );
  }
  // Where the host, the port and the database begin is not known then, and what is shown of them may be a part of
  // the password.
  if (/^[^:]*:\/\/[^/?#]*[/?#].*@|@.*,.*@/s.test(url)) {
    throw misuse(
      "the URL has an @ that does not end the password: in the password, write / as %2F, ? as %3F, # as %23 and " +
        "@ as %40",
      command,
    );
  }
  const client = await import("postgres").catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    throw new Failure(
      "the package postgres is not installed. It is the SQL client of this command line",
      "Run: npm install postgres",
    );
  });
  try {
    if (!/^postgres(ql)?:\/\//.test(url)) throw new TypeError();
    return client.default(url, {
      max: 1,
      // For poolers that do not know prepared statements.
      prepare: false,
      fetch_types: false,
      connect_timeout: 10,
      max_lifetime: null,
      onnotice: () => {},
      connection: { application_name: "coatcheck" },
    });
  } catch {
    // What was thrown shows the URL, and so the password.
    throw misuse("the URL must be: postgres://user:password@host:5432/database", command);
  }
}

function isMissing(error: unknown): boolean {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND" ||
    /cannot find (module|package)|not found|could not (find|resolve)|import "postgres"/i
      .test(String(message));
}

const CODES: Readonly<Record<string, readonly [message: string, hint: string]>> = {
  ECONNREFUSED: ["nothing listens there", "Start PostgreSQL, or correct the host and the port"],
  ENOTFOUND: ["the host name is not known", "Correct the host in the URL"],
  EAI_AGAIN: ["the host name cannot be looked up", "Check the host in the URL, and your DNS"],
  CONNECT_TIMEOUT: ["no answer within 10 s", "Check the host, the port and the firewall"],
  ETIMEDOUT: ["no answer", "Check the host, the port and the firewall"],
  EHOSTUNREACH: ["no route to the host", "Check the host and the network"],
  ENETUNREACH: ["no route to the network", "Check the host and the network"],
  "28P01": ["the password is wrong", "Correct the user and the password in the URL"],
  "28000": ["the server refuses this user", "Check the user, pg_hba.conf and sslmode"],
  "3D000": ["the database does not exist", "Correct the database in the URL, or create it"],
  "53300": ["all connections are in use", "Use a smaller pool, a pooler, or raise max_connections"],
  "57P03": ["the server is starting or stopping", "Try again in a moment"],
  "42704": [
    "the server does not know a parameter of the URL",
    "Remove what stands after ? in the URL, but for sslmode",
  ],
  "08P01": [
    "the server or a pooler refuses the connection",
    "Check the database, the user and the parameters of the URL against the pooler's settings",
  ],
};

/** The failure of a connection. */
export function unreachable(error: unknown, place: string): Failure {
  const { code } = error as { code?: unknown };
  const known = typeof code === "string" ? CODES[code] : undefined;
  const shown = typeof code === "string" && /^\w{1,40}$/.test(code) ? code : "unknown";
  const [message, hint] = known ?? [
    "it cannot be reached",
    "Check the URL, sslmode, and whether PostgreSQL runs",
  ];
  return new Failure(`database ${place}: ${message} (${shown})`, hint, 1, shown);
}
