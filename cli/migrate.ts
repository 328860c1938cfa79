// coatcheck migrate: makes the schema, or brings it up to date.
import { migrate, type Sql, type UsersTable } from "../mod.ts";
import { migrationsFor } from "../src/migrations.ts";
import { misuse } from "./args.ts";
import type { Context } from "./context.ts";
import { wrap } from "./text.ts";

/** `coatcheck migrate`. */
export async function migrateSchema(context: Context): Promise<number> {
  const { args } = context;
  const given = args.value("users");
  const users = given === undefined ? undefined : readUsers(given);
  const isDry = args.has("dry-run");
  const notify = args.has("notify");
  if (args.has("print") && !isDry) {
    const steps = migrationsFor(users).filter(({ optional }) => !optional || notify)
      .map(({ name, text }) => ({ name, text }));
    await context.print(scriptOf(steps.map(({ text }) => text)), { steps });
    return 0;
  }
  const { sql, place } = await context.database();
  const fit = (line: string) => wrap(line, context.columns, "  ");
  const texts: string[] = [];
  // A step is the one statement that has no value. The statements before it read the catalogs.
  const dry: Sql = (strings, ...values) => {
    if (values.length > 0) return sql(strings, ...values);
    texts.push(strings.join(""));
    return Promise.resolve([]);
  };
  const queryTimeout = args.seconds("timeout") ?? 60;
  const options = { ...(users && { users }), notify, queryTimeout };
  const { applied, foreignKey } = await migrate(isDry ? dry : sql, options);
  if (isDry) {
    const steps = applied.map((name, index) => ({ name, text: texts[index]! }));
    const names = applied.map((name) => `  ${name}`);
    const text = args.has("print")
      ? scriptOf(texts)
      : applied.length
      ? [fit(`These steps would be applied to the database ${place}:`), ...names].join("\n")
      : fit(`Nothing to apply: the schema of the database ${place} is up to date`);
    const would = args.has("print") ? steps : applied;
    await context.print(text, { wouldApply: would });
    return 0;
  }
  const lines = applied.length
    ? [fit(`Applied to the database ${place}:`), ...applied.map((name) => `  ${name}`)]
    : [fit(`The schema of the database ${place} is up to date`)];
  if (!foreignKey) {
    lines.push(
      "There is no foreign key: a session outlives its user.",
      fit("For one, name the column of the key: --users table:id:username"),
    );
  }
  await context.print(lines.join("\n"), { applied, foreignKey });
  return 0;
}

const scriptOf = (texts: readonly string[]) =>
  texts.map((text) => `${text.trimEnd()};`).join("\n\n") || "-- Nothing to apply.";

/** Reads `table:id:username`, in which a name between double quotes may contain a colon. */
function readUsers(text: string): UsersTable {
  const parts = text.match(/(?:"(?:[^"]|"")*"|[^":])*(?::|$)/g) ?? [];
  const names = parts.map((part) => part.replace(/:$/, ""));
  // The last match is the empty one at the end.
  if (!text.endsWith(":")) names.pop();
  const [table, id, username, ...others] = names;
  if (!table || others.length > 0 || parts.join("") !== text) {
    throw misuse(`--users must be table, table:id or table:id:username`, "migrate");
  }
  // migrate takes the name of a column as it is, and that of a table as in SQL.
  const column = (name: string) =>
    name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
  return {
    table,
    ...(id && { id: column(id) }),
    ...(username && { username: column(username) }),
  };
}
