// The rights of the app's role, and who else could take over.
import { DECOYS, GRANTS, ROLE, SEARCHED } from "../queries.ts";
import { grantsTo } from "../grants.ts";
import { escape, quote } from "../text.ts";
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

interface Role {
  readonly name: string;
  readonly quoted: string;
  readonly is_superuser: boolean;
  readonly can_login: boolean;
  readonly schema_usage: boolean | null;
  readonly users_select: boolean | null;
  readonly sessions_select: boolean | null;
  readonly sessions_insert: boolean | null;
  readonly sessions_update: boolean | null;
  readonly sessions_delete: boolean | null;
  readonly is_owner: boolean;
  readonly search_path: string | null;
  /** The database for which its search_path was set; null for every one. */
  readonly in_database: string | null;
}

async function readRole({ args, database }: Examination): Promise<Role | undefined> {
  const [role] = await database.read<Role>(ROLE, [args.value("role") ?? null]);
  return role;
}

export const privileges: Check = {
  name: "privileges",
  needs: ["schema"],
  async run(examination) {
    const { args } = examination;
    const asked = args.value("role");
    const role = await readRole(examination);
    if (!role) {
      return [error(`The role ${quote(asked ?? "")} does not exist`, ...created(asked ?? ""))];
    }
    const who = `role ${quote(role.name)}`;
    if (role.is_superuser || role.is_owner) {
      const kind = role.is_superuser ? "is a superuser" : "owns the schema's parts";
      return [
        asked === undefined
          ? note(
            `The ${who} of this connection ${kind}. To check the role of the app: --role <name>`,
          )
          : warning(
            `The ${who} ${kind}: an attacker who takes over the app can do more than the app needs. Give the app a ` +
              "role of its own",
          ),
      ];
    }
    const lacking = Object.entries({
      "usage on the schema": role.schema_usage,
      "select on coatcheck.users": role.users_select,
      "select on coatcheck.sessions": role.sessions_select,
      "insert on coatcheck.sessions": role.sessions_insert,
      "update on coatcheck.sessions": role.sessions_update,
      "delete on coatcheck.sessions": role.sessions_delete,
    }).filter(([, has]) => has === false).map(([name]) => name);
    if (lacking.length) {
      return [
        error(`The ${who} lacks: ${lacking.join(", ")}`, ...grantsTo(escape(role.quoted))),
      ];
    }
    return [ok(`The ${who} may do what the app needs`)];
  },
};

const created = (name: string) =>
  escape(name) === name ? [`create role "${name.replaceAll('"', '""')}" login;`] : [];

interface Grant {
  readonly name: string;
  readonly grantee: string;
  readonly quoted: string;
  /** The role that has granted; null for the owner. */
  readonly grantor: string | null;
  readonly quoted_grantor: string | null;
  /** In lower case; one on columns as `update (user_id)`. */
  readonly privileges: readonly string[];
}

/** What a role other than the owner may have, and what it can do with more. */
const ALLOWED: Readonly<Record<string, { readonly rights: RegExp; readonly risk: string }>> = {
  "schema coatcheck": { rights: /^usage$/, risk: "" },
  "coatcheck.users": {
    rights: /^select\b/,
    risk: ". What is written through the view is written into your users table",
  },
  "coatcheck.sessions": {
    rights: /^(select\b|(insert|update|delete)$)/,
    risk: "",
  },
  "coatcheck.migrations": { rights: /^select\b/, risk: ". They can make migrate skip a step" },
};

export const others: Check = {
  name: "grants",
  needs: ["schema"],
  async run({ database, args }) {
    const rows = await database.read<Grant>(GRANTS);
    const findings: Finding[] = [];
    const writers = new Set<string>();
    for (const { name, grantee, quoted, grantor, quoted_grantor, privileges } of rows) {
      const allowed = ALLOWED[name]!;
      const isPublic = quoted === "public";
      const harmless = isPublic && name !== "schema coatcheck" ? /^$/ : allowed.rights;
      // A right on columns adds nothing to the same right on the table.
      const excess = privileges.filter((it) =>
        !harmless.test(it) &&
        !(harmless.test(it.split(" (")[0]!) && privileges.includes(it.split(" (")[0]!))
      );
      if (name === "coatcheck.sessions" && privileges.some((it) => /^(insert|update)\b/.test(it))) {
        writers.add(grantee);
      }
      if (!excess.length) continue;
      const shown = escape(excess.join(", "));
      const by = grantor === null ? "" : `, granted by role ${quote(grantor)}`;
      const revoke = `revoke ${isPublic ? "all" : shown} on ${name} from ${escape(quoted)};`;
      // REVOKE takes away what the role that runs it has granted, and nothing else.
      const mend = quoted_grantor === null
        ? revoke
        : `set role ${escape(quoted_grantor)}; ${revoke} reset role;`;
      const what = isPublic
        ? `Every role has rights on ${name}: ${shown}`
        : name === "schema coatcheck"
        ? `The role ${quote(grantee)} may create objects in the schema coatcheck`
        : `The role ${quote(grantee)} has more rights on ${name} than the app needs: ${shown}`;
      findings.push(
        isPublic ? error(`${what}${by}`, mend) : warning(`${what}${by}${allowed.risk}`, mend),
      );
    }
    const role = args.value("role");
    const unexpected = [...writers].filter((it) => it !== role && it !== "public");
    if (role !== undefined && unexpected.length) {
      const shown = unexpected.slice(0, 5).map((it) => quote(it, 40)).join(", ");
      findings.push(
        note(`Other roles may write sessions, and so sign in as any user: ${shown}`),
      );
    }
    return orOk(findings, "No grant lets a role do more than the app needs");
  },
};

export const searchPath: Check = {
  name: "search-path",
  needs: ["schema"],
  async run(examination) {
    const { database, columns } = examination;
    const role = await readRole(examination);
    if (!role) return [];
    const [shown] = await database.sql.unsafe("show search_path");
    const own = role.search_path ?? String(Object.values(shown ?? {})[0]);
    const path = own.replaceAll(/"\$user"|\$user\b/g, role.quoted);
    const [row] = await database.read<{ schemas: string[] }>(SEARCHED, [path]);
    const schemas = row?.schemas ?? [];
    const earlier = schemas.slice(0, Math.max(schemas.indexOf("pg_catalog"), 0))
      .filter((it) => !it.startsWith("pg_temp"));
    const keys = columns.filter(({ part, name }) =>
      part === "users" && (name === "id" || name === "username") ||
      part === "sessions" && name === "user_id"
    );
    const open = keys.filter((it) => !it.has_exact_operator);
    const decoys = await database.read<{ kind: string; name: string; owner: string }>(DECOYS, [
      JSON.stringify(earlier),
      JSON.stringify(schemas),
      JSON.stringify(open.map(({ type_id }) => String(type_id))),
    ]);
    const findings: Finding[] = decoys.map(({ kind, name, owner }) =>
      error(
        `The ${kind} ${escape(name)} of role ${
          quote(owner, 40)
        } would be called in place of PostgreSQL's own: it ` +
          "could decide who is signed in. Drop it if it is not yours",
        `drop ${kind} ${escape(name)};`,
      )
    );
    // What was set for one database would come before it.
    const place = role.in_database === null ? "" : ` in database ${escape(role.in_database)}`;
    const setPath = (names: string[]) =>
      `alter role ${escape(role.quoted)}${place} set search_path = ${
        names.map(identifier).join(", ")
      };`;
    if (earlier.length) {
      const rest = schemas.filter((it) => it !== "pg_catalog" && !it.startsWith("pg_temp"));
      findings.push(
        error(
          `pg_catalog comes after ${
            earlier.map((it) => quote(it, 40)).join(", ")
          } in the search_path: whoever may ` +
            "create objects there can replace PostgreSQL's functions",
          setPath(rest),
        ),
      );
    }
    for (const { part, name, type, type_schema } of open) {
      if (schemas.includes(type_schema) || type_schema === "pg_catalog") continue;
      if (!type.endsWith("citext")) continue;
      findings.push(
        error(
          `coatcheck.${part}.${name} is citext, and its schema ${
            quote(type_schema, 40)
          } is not in the search_path: ` +
            "PostgreSQL compares case-sensitively",
          setPath([...schemas.filter((it) => it !== "pg_catalog"), type_schema]),
        ),
      );
    }
    return orOk(findings, "No function or operator of another schema can take over");
  },
};

const identifier = (name: string) =>
  /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${escape(name.replaceAll('"', '""'))}"`;
