// coatcheck grants: what the role of an app may do.
import { Failure, misuse } from "./args.ts";
import type { Context } from "./context.ts";
import { escape, quote } from "./text.ts";

/** The statements of sql/grants.sql, for one role. */
export function grantsTo(role: string): string[] {
  return [
    `grant usage on schema coatcheck to ${role};`,
    `grant select on coatcheck.users to ${role};`,
    `grant select, insert, update, delete on coatcheck.sessions to ${role};`,
  ];
}

/** `coatcheck grants`. */
export async function grants(context: Context): Promise<number> {
  const { args } = context;
  const [role] = args.words;
  if (!role) throw misuse("name the role of your app", "grants");
  if (escape(role) !== role || role.length > 63) {
    throw misuse("the role must be a name of at most 63 visible characters", "grants");
  }
  const statements = grantsTo(`"${role.replaceAll('"', '""')}"`);
  if (args.has("apply")) {
    const { sql } = await context.database();
    await sql.begin(async (transaction) => {
      for (const statement of statements) await transaction.unsafe(statement);
    }).catch((error: { name?: unknown; code?: unknown }) => {
      if (error.name !== "PostgresError" || error.code !== "42704") throw error;
      throw new Failure(
        `the role ${quote(role)} does not exist`,
        "Create it: create role … login",
        1,
        "42704",
      );
    });
    await context.print(`Granted to ${quote(role)}`, { role, applied: statements });
    return 0;
  }
  await context.print(statements.join("\n"), { role, statements });
  return 0;
}
