import { defineHandler } from "nitro";

export default defineHandler((event) => {
  const { session, reason } = event.context.result;
  if (session) return session;
  event.res.status = 401;
  return { reason };
});
