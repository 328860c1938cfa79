// The server and the connection to it.
import { open } from "../database.ts";
import { CLOCK, PROCESS } from "../queries.ts";
import { escape, quote, span } from "../text.ts";
import { type Check, error, note, ok, orOk, warning } from "./finding.ts";

const MIN_VERSION = 150_000;

export const version: Check = {
  name: "server",
  run({ server, database }) {
    const { number, version, encoding, role, is_superuser } = server;
    const findings = [];
    if (number < MIN_VERSION) {
      findings.push(error(`PostgreSQL ${version} is too old: coatcheck needs 15 or later`));
    }
    if (encoding !== "UTF8") {
      findings.push(
        error(`The database uses ${encoding}, and coatcheck needs UTF8: create another one`),
      );
    }
    const who = `role ${quote(role)}${is_superuser ? ", a superuser" : ""}`;
    return orOk(findings, `PostgreSQL ${version}, database ${database.place}, ${who}`);
  },
};

const SETTING = "default_transaction_read_only";

/** What takes the setting back, by the source that pg_settings names. */
const RESETS: Readonly<Record<string, (database: string, role: string) => string[]>> = {
  "database": (database) => [`alter database ${database} reset ${SETTING};`],
  "user": (_, role) => [`alter role ${role} reset ${SETTING};`],
  "database user": (database, role) => [
    `alter role ${role} in database ${database} reset ${SETTING};`,
  ],
  "global": () => [`alter role all reset ${SETTING};`],
  "configuration file": () => [`alter system set ${SETTING} = off;`, "select pg_reload_conf();"],
};

export const writable: Check = {
  name: "primary",
  run({ server }) {
    const { is_replica, is_read_only, lag } = server;
    if (is_replica) {
      const late = lag === null ? "" : `. Its last transaction is ${span(lag)} old`;
      return [
        error(
          `This is a read-only replica${late}. It can validate sessions with touchInterval: false, and do ` +
            "nothing else. A revocation counts here late. Connect to the primary",
        ),
      ];
    }
    if (is_read_only) {
      const reset = RESETS[server.read_only_source]?.(
        escape(server.quoted_database),
        escape(server.quoted_role),
      );
      const whence = reset === undefined
        ? "The connection asks for it: look at the URL, PGOPTIONS and the pooler"
        : `It is a setting of: ${server.read_only_source}`;
      // The first one lets this connection change it.
      const mend = reset === undefined
        ? []
        : ["set default_transaction_read_only = off;", ...reset];
      return [
        error(
          "Transactions are read-only by default (default_transaction_read_only), so no session can be created. " +
            whence,
          ...mend,
        ),
      ];
    }
    return [ok("The server takes writes")];
  },
};

/** Seconds by which the clocks may differ. */
const MAX_OFFSET = 5;

export const clock: Check = {
  name: "clock",
  async run({ database, now }) {
    let offset = 0;
    let doubt = Infinity;
    // The fastest answer says most.
    for (let tries = 0; tries < 3; tries++) {
      const before = now();
      // Outside of a transaction, as the time of its other statements would count.
      const [row] = await database.sql.unsafe<{ now: number }[]>(CLOCK);
      const after = now();
      if (after - before >= doubt) continue;
      doubt = after - before;
      offset = row!.now - (before + after) / 2000;
    }
    const seconds = Math.max(Math.abs(offset) - doubt / 2000, 0);
    if (seconds <= MAX_OFFSET) return [ok("The clocks of server and machine agree")];
    return [
      warning(
        `The clock of the server is ${span(offset)} ${
          offset > 0 ? "ahead of" : "behind"
        } the clock of ` +
          "this machine. coatcheck goes by the server's clock. Find out which one is wrong, and use NTP: if the " +
          "server's clock is corrected, sessions end sooner or later by that time",
      ),
    ];
  },
};

export const pooler: Check = {
  name: "pooler",
  async run({ database }) {
    const { sql, url } = database;
    const ask = async (client: typeof sql) => {
      const rows = await client.unsafe<{ pid: number }[]>(PROCESS);
      // What the server, or who answers for it, has sent at the start of the connection.
      const { pid } = rows.state as { pid: number };
      return { told: pid, real: rows[0]!.pid };
    };
    const other = await open(url, "doctor");
    try {
      const own = [await ask(sql)];
      const others = [await ask(other), await ask(other)];
      own.push(await ask(sql));
      const isShared = own[0]!.real !== own[1]!.real || others[0]!.real !== others[1]!.real ||
        own.some(({ real }) => others.some((it) => it.real === real));
      if (isShared) {
        return [
          note(
            "A pooler in transaction mode is in between, such as PgBouncer. coatcheck works with it. If it is " +
              "older than PgBouncer 1.21 or has max_prepared_statements = 0, switch prepared statements off in " +
              "the app: postgres(url, { prepare: false })",
          ),
        ];
      }
      if (own.some(({ told, real }) => told !== real)) {
        return [
          note("A pooler is in between. It keeps one connection to the server for each client"),
        ];
      }
      return [ok("No pooler: the connection goes to the server itself")];
    } finally {
      await other.end({ timeout: 1 });
    }
  },
};

export const durability: Check = {
  name: "durability",
  run({ server, parts }) {
    const findings = [];
    if (!server.has_fsync) {
      findings.push(
        warning(
          "fsync is off: after a crash of the machine, sessions and revocations may be lost, or the table broken",
          "alter system set fsync = on;",
          "select pg_reload_conf();",
        ),
      );
    }
    if (parts.get("sessions")?.is_unlogged) {
      findings.push(
        warning(
          "The table is unlogged: a crash of the server empties it, which signs every user out",
          "alter table coatcheck.sessions set logged;",
        ),
      );
    }
    return orOk(findings, "Sessions and revocations survive a crash");
  },
};
