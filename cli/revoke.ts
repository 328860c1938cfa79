// coatcheck revoke: ends sessions of a user.
import { revokeSessions, type RevokeTarget } from "../mod.ts";
import { misuse } from "./args.ts";
import { confirm } from "./confirm.ts";
import type { Context } from "./context.ts";
import { countUnrevoked } from "./queries.ts";
import { plural, wrap } from "./text.ts";
import { byKey, findUser, keyOperator } from "./users.ts";

/** `coatcheck revoke`. */
export async function revoke(context: Context): Promise<number> {
  const { args, terminal } = context;
  const forms = ["id", "except", "all"].filter((name) => args.has(name));
  if (forms.length !== 1) {
    throw misuse("say which sessions: one of --id <id>, --except <id> and --all", "revoke");
  }
  const read = (name: string) => {
    const value = args.value(name);
    return value === undefined ? undefined : args.id(value, `--${name}`);
  };
  const [id, except] = [read("id"), read("except")];
  const reason = args.value("reason");
  const { userId, shown } = await findUser(context);
  if (terminal.isInteractive && !args.has("yes")) {
    const which = id !== undefined
      ? `the session ${id}`
      : except !== undefined
      ? `all sessions but ${except} (${await countOf(context, userId, 1)})`
      : `all sessions (${await countOf(context, userId, 0)})`;
    await confirm(context, `Revoke ${which} of ${shown}?`);
  } else await confirm(context, "");
  const target: RevokeTarget = id !== undefined
    ? { userId, id }
    : except !== undefined
    ? { userId, except }
    : { userId };
  context.done = "The sessions may have been revoked. Look with: npx coatcheck list";
  const { sql } = await context.database();
  const revoked = await revokeSessions(target, sql, {
    queryTimeout: 60,
    ...(reason !== undefined && { reason }),
  });
  const ids = revoked.map(({ id }) => id);
  const title = `Revoked ${plural(ids.length, "session")} of ${shown}`;
  const lines = [wrap(title, context.columns)];
  lines.push(...ids.slice(0, 20).map((id) => `  ${id}`));
  if (ids.length > 20) lines.push(`  and ${ids.length - 20} more; --json has all`);
  if (ids.length === 0) lines.push("There was none to revoke.");
  await context.print(lines.join("\n"), { userId: String(userId), revoked: ids });
  return 0;
}

/** How many sessions will be revoked, in words. */
async function countOf(context: Context, userId: string | number, kept: number): Promise<string> {
  const { read } = await context.database();
  const text = countUnrevoked(await keyOperator(context));
  const [row] = await byKey(() => read<{ number: number }>(text, [String(userId)]));
  const number = row?.number ?? 0;
  if (number > 10_000) return "more than 10,000";
  return plural(Math.max(number - kept, 0), "session");
}
