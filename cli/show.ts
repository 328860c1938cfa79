// coatcheck show: one session, whatever its state.
import { Failure, misuse } from "./args.ts";
import type { Context } from "./context.ts";
import { show as showQuery } from "./queries.ts";
import { dataOf, DEFAULTS, documentOf, instant, type Row } from "./session.ts";
import { quote, span, wrap } from "./text.ts";
import { keyOperator } from "./users.ts";

/** `coatcheck show`. */
export async function show(context: Context): Promise<number> {
  const { args } = context;
  const [word] = args.words;
  if (!word) throw misuse("give the id of a session", "show");
  const id = args.id(word, "the argument");
  const idleTimeout = args.seconds("idle-timeout") ?? DEFAULTS.idleTimeout;
  const absoluteTimeout = args.seconds("absolute-timeout") ?? DEFAULTS.absoluteTimeout;
  const { read } = await context.database();
  const values = [id, String(idleTimeout), String(absoluteTimeout)];
  const [row] = await read<Row>(showQuery(await keyOperator(context)), values);
  if (!row) {
    throw new Failure(
      "no session has this id: it never existed, or was swept",
      "Run: npx coatcheck list <user> --all",
    );
  }
  const withData = args.has("data");
  const { clock } = row;
  const at = (seconds: number | null) => instant(seconds, clock);
  const lines = [
    `session     ${row.id}`,
    `status      ${statusOf(row, idleTimeout)}`,
    `created     ${at(row.created)}`,
    `proved      ${at(row.authenticated)}`,
    `last used   ${at(row.last_seen)}`,
    `deadline    ${at(row.expires)}`,
    `rotated     ${at(row.rotated)}`,
    ...(row.revoked === null ? [] : [
      `revoked     ${at(row.revoked)}`,
      `reason      ${row.reason === null ? "none" : quote(row.reason, 40)}`,
    ]),
    `cookie      ${row.persistent ? "outlives the browser" : "ends with the browser"}`,
    wrap(`data        ${dataOf(row, withData)}`, context.columns, " ".repeat(12)),
    `version     ${row.version}`,
    ...(row.user_id === null ? ["user        none: a guest"] : [
      `user        ${quote(row.user_id, 40)}`,
      `username    ${row.username === null ? "not in coatcheck.users" : quote(row.username, 40)}`,
    ]),
  ];
  await context.print(lines.join("\n"), {
    username: row.username,
    ...documentOf(row, idleTimeout, withData),
  });
  return 0;
}

function statusOf({ status, username, user_id }: Row, idleTimeout: number): string {
  if (status === "live" && username === null && user_id !== null) {
    return "opens nothing: the user is not in the view";
  }
  return status === "idle" ? `idle: not used for ${span(idleTimeout)}` : status;
}
