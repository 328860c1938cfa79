// Trades in old cookies in an Express app: use this in place of `session()`.
import { validateSession } from "coatcheck";
import type { RequestHandler } from "express";
import type { Sql } from "postgres";
import { tradeIn } from "./connect-pg-simple.ts";

export function sessions(sql: Sql): RequestHandler {
  return async (req, res, next) => {
    const traded = await tradeIn(req, sql);
    if (traded) req.headers.cookie = traded.cookie;
    const result = traded ?? await validateSession(req, sql);
    res.locals.result = result;
    res.vary("Cookie");
    if (result.reason !== "absent") res.set("Cache-Control", "private");
    res.setHeaders(result.headers);
    next();
  };
}
