// The view of the users.
import {
  duplicates,
  lookUpPlan,
  NOTIFIERS,
  uniquePlan,
  UNREADABLE,
  VIEW_SIZE,
} from "../queries.ts";
import { count, escape, quote } from "../text.ts";
import {
  type Check,
  type Column,
  error,
  type Finding,
  note,
  orOk,
  type Plan,
  planOf,
  warning,
} from "./finding.ts";

export const view: Check = {
  name: "view",
  needs: ["schema"],
  async run({ parts, columns, database, migrate }) {
    const part = parts.get("users");
    if (!part) {
      return [
        error(
          "The view coatcheck.users is missing, as after DROP TABLE … CASCADE: no session opens. migrate makes it " +
            "again. It revokes all sessions if the foreign key is gone too, and deletes them if the new id is of " +
            "another type than the old one. Look at the steps first",
          `${migrate} --dry-run`,
          migrate,
        ),
      ];
    }
    const names = columns.filter((it) => it.part === "users");
    const lacking = ["id", "username"].filter((name) => !names.some((it) => it.name === name));
    if (part.kind !== "v" || lacking.length) {
      return [
        error(
          "coatcheck.users is not a view with the columns id and username (CC001). Rename or drop it, then migrate",
          migrate,
        ),
      ];
    }
    const findings: Finding[] = [];
    const unreadable = await database.read<{ name: string; owner: string; quoted: string }>(
      UNREADABLE,
    );
    for (const { name, owner, quoted } of unreadable) {
      findings.push(
        error(
          `The view reads ${escape(name)} with the rights of role ${
            quote(owner)
          }, which may not: no session opens`,
          `grant select on ${escape(name)} to ${escape(quoted)};`,
        ),
      );
    }
    const key = names.find(({ name }) => name === "id")!;
    const own = columns.find(({ part, name }) => part === "sessions" && name === "user_id");
    const fit = own ? fitOf(own, key) : "holds";
    if (own && fit !== "holds") {
      const message = `coatcheck.users.id is ${
        escape(key.type)
      }, and coatcheck.sessions.user_id is ${
        escape(own.type)
      }, which cannot hold every key (CC008)`;
      const alter = `alter table coatcheck.sessions alter user_id type ${
        escape(key.base ?? key.type)
      };`;
      // A type cannot change beneath a trigger that compares the column.
      const compares = (await database.read<{ name: string }>(NOTIFIERS))
        .some(({ name }) => name === "coatcheck_notify_update");
      const drop = "drop trigger coatcheck_notify_update on coatcheck.sessions;";
      findings.push(
        fit === "narrow" ? error(message, ...(compares ? [drop, alter, migrate] : [alter])) : error(
          `${message}. The sessions belong to keys of another kind, and are lost. Keep the text of the view, ` +
            "drop it, and migrate, which deletes all sessions and changes the type",
        ),
      );
    }
    for (const { name, type, is_domain, base } of names) {
      if (name !== "id" && name !== "username") continue;
      if (!is_domain && !type.startsWith("character varying")) continue;
      const better = is_domain ? base! : "text";
      findings.push(
        note(
          `coatcheck.users.${name} is ${
            escape(type)
          }, whose operators another schema may replace. In the view, ` +
            `write ${name}::${escape(better)}, and create it anew: docs/users.md`,
        ),
      );
    }
    if (part.is_invoker) {
      findings.push(
        note("The view is security_invoker: the role of the app needs rights on your users table"),
      );
    }
    return orOk(findings, "The view coatcheck.users is there, with id and username");
  },
};

/** Whether a column holds every key, is too narrow for some, or is of another kind. */
function fitOf({ type }: Column, key: Column): "holds" | "narrow" | "other" {
  const other = key.base ?? key.type;
  const kinds = [["smallint", "integer", "bigint"], ["text", "character varying"], ["uuid"]];
  const bare = (it: string) => it.replace(/\(.*\)$/, "");
  const [own, its] = [type, other].map((it) => kinds.find((kind) => kind.includes(bare(it))));
  if (!own || !its) return "holds";
  if (own !== its) return "other";
  const isWide = own !== kinds[0] || own.indexOf(bare(type)) >= own.indexOf(bare(other));
  return isWide ? "holds" : "narrow";
}

/** Users up to which the view is read without being asked for. */
const MAX_READ = 100_000;

export const unique: Check = {
  name: "unique",
  needs: ["users"],
  async run({ database, columns, args, distributed }) {
    const findings: Finding[] = [];
    for (const name of ["id", "username"] as const) {
      const column = columns.find((it) => it.part === "users" && it.name === name);
      if (!column) continue;
      const plan = planOf(await database.read(uniquePlan(name, column.equal)));
      // The planner has removed the join, as a unique index proves that it adds no row.
      const scans = ["Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"];
      if (scans.includes(plan["Node Type"])) continue;
      const { "Plan Rows": size } = planOf(await database.read(VIEW_SIZE));
      if (size > MAX_READ && !args.has("full")) {
        findings.push(
          warning(
            `No unique index proves that ${name} is unique in coatcheck.users. To find out, the whole view has to ` +
              `be read, about ${count(size)} rows`,
            "npx coatcheck doctor --full",
          ),
        );
        continue;
      }
      const seconds = args.has("full") ? 3600 : 30;
      const [row] = await database.read<{ is_ambiguous: boolean }>(duplicates(name), [], {
        seconds,
      });
      if (row!.is_ambiguous) {
        findings.push(
          error(
            `Two users have the same ${name} in coatcheck.users: their calls fail with UNEXPECTED_RESULT. Find ` +
              "them, and make it unique in your table",
            `select ${name}, count(*) from coatcheck.users group by ${name} having count(*) > 1;`,
          ),
        );
      } else if (distributed !== null) {
        findings.push(
          note(
            `${name} is unique in coatcheck.users today. The plans of Citus do not tell what keeps it so`,
          ),
        );
      } else {
        findings.push(
          warning(
            `${name} is unique in coatcheck.users today, but no unique index keeps it so. Create one on your table, ` +
              "on the same expression as in the view",
          ),
        );
      }
    }
    return orOk(findings, "A unique index proves that id and username are unique");
  },
};

export const lookUp: Check = {
  name: "look-up",
  needs: ["users"],
  async run({ database, columns, distributed }) {
    if (distributed !== null) return [note("Not examined: the plans of Citus are another matter")];
    const findings: Finding[] = [];
    for (const name of ["id", "username"] as const) {
      const column = columns.find((it) => it.part === "users" && it.name === name);
      if (!column) continue;
      const setting = "set local enable_seqscan = off";
      const plan = planOf(await database.read(lookUpPlan(name, column.equal), [], { setting }));
      if (!reads(plan)) continue;
      findings.push(
        warning(
          `No index finds a user by ${name}: each look-up reads the whole users table. Create one, on the same ` +
            "expression as in the view",
        ),
      );
    }
    return orOk(findings, "An index finds a user by id, and by username");
  },
};

/** Whether a plan reads a whole table, or a whole index. */
function reads(plan: Plan): boolean {
  const { "Node Type": type, "Index Cond": condition, Plans: plans = [] } = plan;
  const isIndex = /^(Bitmap )?Index (Only )?Scan$/.test(type);
  return type === "Seq Scan" || isIndex && condition === undefined || plans.some(reads);
}
