// Users as the commands take them: by name, or by key with --user-id.
import { getUserId, SessionError } from "../mod.ts";
import { Failure, misuse } from "./args.ts";
import type { Context } from "./context.ts";
import { COLUMNS } from "./queries.ts";
import { quote } from "./text.ts";

/** The key of the user whom a command names, and how to call them in its output. */
export async function findUser(
  context: Context,
): Promise<{ userId: string | number; shown: string }> {
  const { args } = context;
  const [word] = args.words;
  if (!word) throw misuse("name a user", args.command);
  if (args.has("user-id")) return { userId: word, shown: `user ${quote(word, 40)}` };
  try {
    const userId = await getUserId(word, (await context.database()).sql);
    return { userId, shown: `user ${quote(String(userId), 40)}, username ${quote(word, 40)}` };
  } catch (error) {
    if (!(error instanceof SessionError) || error.code !== "USER_NOT_FOUND") throw error;
    throw new Failure(
      "no user has this username in the view coatcheck.users",
      "For a user who is no longer in the view, give the key: --user-id",
      1,
      error.code,
    );
  }
}

/** Looks for a key that may be none: too large a number, or no UUID. */
export async function byKey<T>(look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    const { name, code } = error as { name?: unknown; code?: unknown };
    if (name !== "PostgresError" || !String(code).startsWith("22")) throw error;
    throw new Failure(
      "user not found: the key is not of the type of coatcheck.sessions.user_id",
      "For a username, leave --user-id out",
      1,
      "USER_NOT_FOUND",
    );
  }
}

/** The operator that compares the keys of users, by its name in SQL. */
export async function keyOperator(context: Context): Promise<string> {
  const { read } = await context.database();
  const columns = await read<{ part: string; name: string; equal: string }>(COLUMNS);
  const column = columns.find(({ part, name }) => part === "sessions" && name === "user_id");
  if (!column) {
    throw new Failure(
      "the table coatcheck.sessions does not exist",
      "Run: npx coatcheck migrate",
      1,
      "SCHEMA_MISSING",
    );
  }
  return column.equal;
}
