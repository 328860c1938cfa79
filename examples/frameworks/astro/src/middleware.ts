import { defineMiddleware } from "astro:middleware";
import { sql, withSession } from "./sessions.ts";

const options = process.env.ORIGIN ? { origin: process.env.ORIGIN } : {};

export const onRequest = defineMiddleware((context, next) => {
  const handle = withSession(
    (_request, result) => {
      context.locals.result = result;
      return next();
    },
    sql,
    options,
  );
  return handle(context.request);
});
