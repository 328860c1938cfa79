// The schema: whether its parts are there, and as the migrations make them.
import { migrations } from "../../mod.ts";
import { FOREIGN_KEYS, INDEXES, LEDGER, SOURCES, TRIGGERS } from "../queries.ts";
import { escape, quote, span } from "../text.ts";
import {
  type Check,
  error,
  type Examination,
  type Finding,
  note,
  ok,
  orOk,
  warning,
} from "./finding.ts";

export const schema: Check = {
  name: "schema",
  run({ parts, migrate }) {
    const part = parts.get("schema");
    if (!part) return [error("The schema coatcheck does not exist", migrate)];
    if (!part.is_visible) {
      return [
        error(
          "This role may not use the schema coatcheck. If it is the role of the app, grant it its rights: " +
            "npx coatcheck grants <role>. To examine the schema, connect as its owner",
        ),
      ];
    }
    return [ok(`The schema coatcheck belongs to role ${quote(part.owner)}`)];
  },
};

export const ledger: Check = {
  name: "migrations",
  needs: ["schema"],
  async run({ parts, database, migrate }) {
    if (!parts.has("migrations")) {
      const message = parts.has("sessions")
        ? "The list of applied migrations is gone, as after the restore of single tables"
        : "The schema is empty";
      return [error(message, migrate)];
    }
    const rows = await database.read<{ name: string; ahead: number }>(LEDGER);
    const applied = rows.map(({ name }) => name);
    const known = migrations.map(({ name }) => name);
    const missing = migrations.filter(({ name, optional }) => !optional && !applied.includes(name))
      .map(({ name }) => name);
    const unknown = applied.filter((name) => !known.includes(name));
    const findings: Finding[] = [];
    if (missing.length) {
      const names = missing.join(", ");
      findings.push(
        error(`The schema is half-migrated or of an older version: ${names} not applied`, migrate),
      );
    }
    if (unknown.length) {
      findings.push(
        warning(
          `A newer version of coatcheck has migrated the schema (${
            escape(unknown.join(", "))
          }): update this ` +
            "package, unless a deployment is under way",
          "npm install coatcheck@latest",
        ),
      );
    }
    const ahead = Math.max(...rows.map((row) => row.ahead), 0);
    if (ahead > 60) {
      findings.push(
        warning(
          `The last migration was applied ${
            span(ahead)
          } in the future: the server's clock was set back since`,
        ),
      );
    }
    return orOk(findings, `${applied.length} steps were applied, as this version has them`);
  },
};

export const owner: Check = {
  name: "owner",
  needs: ["schema"],
  run({ parts }) {
    const own = parts.get("schema")!;
    const findings: Finding[] = [];
    for (const part of parts.values()) {
      if (part.owner_id === own.owner_id) continue;
      const name = `coatcheck.${part.name}`;
      const whose = `${name} belongs to role ${quote(part.owner)}, and the schema to ${
        quote(own.owner)
      }`;
      const kind = part.kind === "v" ? "view" : "table";
      const mend = `alter ${kind} ${name} owner to ${own.quoted_owner};`;
      if (part.is_superuser) findings.push(note(`${whose}. The owner is a superuser`, mend));
      else if (!part.is_usable) findings.push(note(`${whose}. Nobody can act as that role`));
      else {
        findings.push(
          error(`${whose}. That role can change it, and migrate refuses it (CC004)`, mend),
        );
      }
    }
    return orOk(findings, "All parts belong to one role, or to one that nobody can act as");
  },
};

const COLUMNS = [
  "id",
  "user_id",
  "digest",
  "previous_digest",
  "rotation_salt",
  "rotated_at",
  "rotation_seen_at",
  "created_at",
  "authenticated_at",
  "last_seen_at",
  "expires_at",
  "revoked_at",
  "revoked_reason",
  "persistent",
  "version",
  "data",
];

export const table: Check = {
  name: "sessions",
  needs: ["schema"],
  async run({ parts, columns, database, migrate }) {
    const part = parts.get("sessions");
    if (!part) return [error("The table coatcheck.sessions does not exist", migrate)];
    if (!/[rp]/.test(part.kind)) {
      return [error("coatcheck.sessions is no table. Rename or drop it, then migrate", migrate)];
    }
    const own = columns.filter((it) => it.part === "sessions");
    const names = own.map(({ name }) => name);
    const missing = COLUMNS.filter((name) => !names.includes(name));
    const findings: Finding[] = [];
    if (missing.length) {
      findings.push(
        error(`coatcheck.sessions lacks columns: ${missing.join(", ")}. Restore it from a backup`),
      );
    }
    const required = own.filter((it) => it.is_required && !COLUMNS.includes(it.name));
    for (const { name } of required) {
      findings.push(
        error(
          `The column ${
            quote(name)
          } of coatcheck.sessions has no default, so no session can be created`,
          `alter table coatcheck.sessions alter ${identifier(name)} drop not null;`,
        ),
      );
    }
    if (part.has_row_security) {
      findings.push(
        warning(
          "Row-level security is on: a role other than the owner sees the sessions that a policy shows it, and " +
            "none without one",
          "alter table coatcheck.sessions disable row level security;",
        ),
      );
    }
    const triggers = await database.read<{ name: string }>(TRIGGERS);
    if (triggers.length) {
      const shown = triggers.slice(0, 5).map(({ name }) => quote(name, 40)).join(", ");
      findings.push(
        note(
          `The app has triggers or rules on the table: ${shown}. One that changes a session makes calls fail`,
        ),
      );
    }
    return orOk(findings, "The table has its columns, and no trigger of the app");
  },
};

const identifier = (name: string) => `"${escape(name.replaceAll('"', '""'))}"`;

/** The index of the migrations. */
const OURS = "coatcheck.sessions_user_id";

interface Index {
  readonly name: string;
  readonly is_primary: boolean;
  readonly is_unique: boolean;
  readonly is_valid: boolean;
  readonly is_plain: boolean;
  readonly is_partial: boolean;
  /** The constraint that the index belongs to. */
  readonly of_constraint: string | null;
  readonly columns: readonly (string | null)[] | null;
}

export const indexes: Check = {
  name: "indexes",
  needs: ["sessions"],
  async run({ database, migrate }) {
    const all = await database.read<Index>(INDEXES);
    const findings: Finding[] = [];
    const first = (name: string) =>
      all.filter((it) => it.is_valid && it.is_plain && it.columns?.[0] === name);
    if (!first("id").some(({ is_unique, columns }) => is_unique && columns?.length === 1)) {
      findings.push(
        error(
          "id has no primary key: each request reads the whole table, and an id can exist twice. migrate adds it, " +
            "or says which rows are in its way",
          migrate,
        ),
      );
    }
    // An invalid one is another finding.
    if (!all.some(({ columns, is_partial }) => columns?.[0] === "user_id" && !is_partial)) {
      const isTaken = all.some(({ name }) => name === OURS);
      findings.push(
        warning(
          "user_id has no index: listing or revoking a user's sessions, and deleting a user, read the whole table",
          `create index concurrently ${
            isTaken ? "" : "sessions_user_id "
          }on coatcheck.sessions (user_id);`,
        ),
      );
    }
    for (const { name, is_unique, of_constraint } of all.filter((it) => !it.is_valid)) {
      // What a REINDEX has left, or what rows that are twice have made fail and would again.
      const isRest = /_cc(new|old)\d*"?$/.test(name) || is_unique && of_constraint === null;
      findings.push(
        error(
          `The index ${
            escape(name)
          } is invalid, as after a CREATE INDEX CONCURRENTLY or a REINDEX that failed. It is not used`,
          `${isRest ? "drop" : "reindex"} index concurrently ${escape(name)};`,
        ),
      );
    }
    const hot = ["last_seen_at", "rotated_at", "rotation_seen_at", "data", "version", "digest"];
    for (const { name, columns, is_valid, of_constraint } of all) {
      if (!is_valid) continue;
      const changing = columns?.filter((it) => it !== null && hot.includes(it)) ?? [];
      if (!changing.length) continue;
      findings.push(
        warning(
          `The index ${escape(name)} has ${
            changing.join(", ")
          }, which each use of a session changes: every ` +
            "update writes all indexes",
          of_constraint === null
            ? `drop index concurrently ${escape(name)};`
            : `alter table coatcheck.sessions drop constraint ${escape(of_constraint)};`,
        ),
      );
    }
    return orOk(findings, "id and user_id have their indexes, and all are valid");
  },
};

interface ForeignKey {
  readonly name: string;
  readonly target: string;
  readonly target_id: number;
  readonly is_cascade: boolean;
  readonly is_emptied: boolean;
  readonly is_valid: boolean;
  readonly disabled_on: readonly string[] | null;
}

const DELETES = "migrate deletes the sessions of users who are gone";

export const foreignKey: Check = {
  name: "foreign-key",
  needs: ["sessions"],
  async run({ database, columns, parts, migrate }) {
    const keys = await database.read<ForeignKey>(FOREIGN_KEYS);
    const sources = parts.has("users") ? await database.read<Source>(SOURCES) : [];
    if (!keys.length) return [withoutForeignKey(sources, columns, migrate)];
    const findings: Finding[] = [];
    for (const { name, target, target_id, is_cascade, is_emptied, is_valid, disabled_on } of keys) {
      const drop = `alter table coatcheck.sessions drop constraint ${escape(name)};`;
      if (sources.length && !sources.some(({ id }) => id === target_id)) {
        findings.push(
          error(
            `The foreign key refers to ${
              escape(target)
            }, which the view coatcheck.users does not read (CC007)`,
            drop,
          ),
        );
      }
      if (is_emptied) {
        findings.push(
          error(
            "The foreign key is ON DELETE SET NULL or SET DEFAULT: the session of a deleted user becomes a " +
              `guest's, with the user's data. Make another one; ${DELETES}`,
            drop,
            migrate,
          ),
        );
      } else if (!is_cascade) {
        findings.push(
          warning(
            `The foreign key is not ON DELETE CASCADE: a user who has sessions cannot be deleted. Make another one; ${DELETES}`,
            drop,
            migrate,
          ),
        );
      }
      if (!is_valid) {
        findings.push(
          warning(
            `The foreign key is not validated: sessions of deleted users may be there. ${
              DELETES.replace("migrate", "migrate validates it, and")
            }`,
            // It validates none that does not cascade, and the finding above drops that one.
            migrate,
          ),
        );
      }
      if (disabled_on !== null) {
        findings.push(
          error(
            `Triggers of the foreign key are disabled on ${
              escape(disabled_on.join(" and "))
            }, as a restore may leave them: a deleted user's sessions stay. Make another key; ${DELETES}`,
            drop,
            migrate,
          ),
        );
      }
    }
    return orOk(findings, `Deleting a user deletes their sessions (${escape(keys[0]!.target)})`);
  },
};

interface Source {
  readonly name: string;
  readonly kind: string;
  readonly id: number;
}

function withoutForeignKey(
  sources: readonly Source[],
  columns: Examination["columns"],
  migrate: string,
): Finding {
  const risk =
    "There is no foreign key: a session outlives its user, and another user with the same key gets it. Revoke the " +
    "sessions of a key when you create a user with it";
  const [source] = sources;
  const isTable = sources.length === 1 && /[rp]/.test(source!.kind);
  if (!isTable || !columns.some(({ part }) => part === "users")) return note(risk);
  return warning(`${risk}, or make one; ${DELETES}`, migrate);
}
