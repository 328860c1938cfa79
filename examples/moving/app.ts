// Wraps the handler of your app, so that old cookies are traded in before it looks at a request.
import type { RequestHeaders, SessionResult } from "coatcheck";
import type { Sql } from "postgres";

type Handler = (request: Request) => Promise<Response>;
type TradeIn = (
  headers: RequestHeaders,
  sql: Sql,
) => Promise<SessionResult & { readonly cookie: string } | null>;

export function movingIn(handler: Handler, tradeIn: TradeIn, sql: Sql): Handler {
  return async (request) => {
    const traded = await tradeIn(request.headers, sql);
    if (!traded) return await handler(request);
    // The handler sees coatcheck's cookie, so that a sign-out works as the first request too.
    const headers = new Headers(request.headers);
    headers.set("cookie", traded.cookie);
    const response = await handler(new Request(request, { headers }));
    const answer = new Response(response.body, response);
    const nameOf = (line: string) => line.split("=", 1)[0];
    const set = answer.headers.getSetCookie().map(nameOf);
    for (const line of traded.headers.getSetCookie()) {
      // A cookie that the handler has set is newer.
      if (!set.includes(nameOf(line))) answer.headers.append("set-cookie", line);
    }
    answer.headers.set("cache-control", "no-store");
    return answer;
  };
}
