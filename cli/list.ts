// coatcheck list: the sessions of a user.
import { listSessions } from "../mod.ts";
import type { Context } from "./context.ts";
import { CLOCK, listAll } from "./queries.ts";
import { DEFAULTS, documentOf, linesOf, type Row } from "./session.ts";
import { plural, wrap } from "./text.ts";
import { byKey, findUser, keyOperator } from "./users.ts";

/** `coatcheck list`. */
export async function list(context: Context): Promise<number> {
  const { args } = context;
  const limit = args.whole("limit", 1, 10_000) ?? 20;
  const afterValue = args.value("after");
  const after = afterValue === undefined ? undefined : args.id(afterValue, "--after");
  const idleTimeout = args.seconds("idle-timeout") ?? DEFAULTS.idleTimeout;
  const absoluteTimeout = args.seconds("absolute-timeout") ?? DEFAULTS.absoluteTimeout;
  const { userId, shown } = await findUser(context);
  const { sql, read } = await context.database();
  let rows: Row[];
  if (args.has("all")) {
    const values = [
      String(userId),
      String(idleTimeout),
      String(absoluteTimeout),
      String(limit + 1),
      after ?? null,
    ];
    const text = listAll(await keyOperator(context));
    rows = await byKey(() => read<Row>(text, values));
  } else {
    const [clock] = await read<{ now: number }>(CLOCK);
    const sessions = await listSessions(userId, sql, {
      limit: Math.min(limit + 1, 10_000),
      idleTimeout,
      absoluteTimeout,
      ...(after !== undefined && { after }),
    });
    rows = sessions.map((session) => rowOf(session, clock!.now));
  }
  const isMore = rows.length > limit;
  rows = rows.slice(0, limit);
  const withData = args.has("data");
  const { columns } = context;
  const kind = args.has("all") ? "session" : "live session";
  const title = `${plural(rows.length, kind)}, the last used first, of ${shown}`;
  const lines = [wrap(title, columns)];
  for (const row of rows) lines.push("", ...linesOf(row, idleTimeout, { columns, withData }));
  const next = isMore ? rows.at(-1)!.id : null;
  if (next !== null) lines.push("", "There are more. Continue with:", `  --after ${next}`);
  await context.print(lines.join("\n"), {
    userId: String(userId),
    sessions: rows.map((row) => documentOf(row, idleTimeout, withData)),
    next,
  });
  return 0;
}

const secondsOf = (date: Date) => date.getTime() / 1000;

function rowOf(session: Awaited<ReturnType<typeof listSessions>>[number], clock: number): Row {
  const data = JSON.stringify(session.data);
  return {
    id: session.id,
    user_id: String(session.userId),
    username: session.username,
    status: "live",
    created: secondsOf(session.createdAt),
    authenticated: secondsOf(session.authenticatedAt),
    last_seen: secondsOf(session.lastSeenAt),
    expires: secondsOf(session.expiresAt),
    revoked: null,
    reason: null,
    rotated: null,
    persistent: session.persistent,
    version: session.version,
    bytes: new TextEncoder().encode(data).length,
    data,
    clock,
  };
}
