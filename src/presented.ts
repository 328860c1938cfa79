import type { Context } from "./context.ts";
import type { RequestHeaders } from "./cookie.ts";
import { evaluate } from "./evaluate.ts";
import { readState } from "./session.ts";
import { requireSql } from "./sql.ts";
import { VALIDATE } from "./statements.ts";
import type { PresentedToken } from "./token.ts";
import { readTokens } from "./transport.ts";
import { queryPresented, revokeReused } from "./write.ts";

/** A token, or why there is none. */
export type Found = PresentedToken | "absent" | "malformed";

/**
 * Finds the token that a request presents. If there is one, it sends no SQL, and returns no promise.
 *
 * @param mayWrite Whether a reused secret among several tokens may revoke its session.
 */
export function findToken(
  context: Context,
  headers: RequestHeaders,
  mayWrite = true,
): Found | Promise<Found> {
  const { caller, sql, policy } = context;
  requireSql(caller, sql);
  const { tokens } = readTokens(`${caller}: headers`, headers, policy);
  if (typeof tokens === "string") return tokens;
  return tokens.length === 1 ? tokens[0]! : chooseToken(context, tokens, mayWrite);
}

/**
 * Chooses the token that opens a live session, by one SELECT for each.
 *
 * If two sessions are live, none is chosen: a host that may set our cookie could choose for the user. If none is
 * live, the reason is that of a reused secret, or of the first session that a token opened.
 *
 * A rotation after a change of the attributes leaves the browser with the old and the new secret of one
 * session. Whoever presents both has not stolen the old one, so that one is not `reused`.
 */
async function chooseToken(
  context: Context,
  tokens: readonly PresentedToken[],
  mayWrite: boolean,
): Promise<Found> {
  const found = [];
  for (const token of tokens) {
    const cells = await queryPresented(context, token, VALIDATE);
    if (!cells) continue;
    const state = readState(context.caller, cells, token.id);
    found.push({ token, state, refusal: evaluate(state, context.policy).refusal });
  }
  const live = found.filter(({ refusal }) => refusal === null);
  const [one] = live;
  if (live.some(({ token }) => token.id !== one!.token.id)) return "malformed";
  const chosen = live.find(({ state }) => state.isCurrent) ?? one;
  const reused = found.filter(({ token, refusal }) => {
    return refusal === "reused" && token.id !== chosen?.token.id;
  });
  // Its caller revokes its session.
  const { token } = chosen ?? reused.shift() ?? found[0] ?? { token: tokens[0]! };
  if (mayWrite) { for (const { state } of reused) await revokeReused(context, state); }
  return token;
}
