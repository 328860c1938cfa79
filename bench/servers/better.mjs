// better-auth's own handler behind Bun.serve, its fastest runtime.
import process from "node:process";
import { answer } from "../answer.mjs";
import { cookieOf, makeAuth, SIGN_IN } from "../contestants/better.mjs";
import { sample, userOf } from "../sample.mjs";
import { get, post } from "./request.mjs";

let opened;

answer({
  open: (url, options) => {
    opened = makeAuth(url, options);
    const { handler } = opened.auth;
    return globalThis.Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: handler }).port;
  },
  requests: (sessions, count) => ({
    create: Array.from(
      { length: count },
      (_, n) => post(`/api/auth${SIGN_IN}`, { email: `user${userOf(n)}@example.com` }),
    ),
    validate: sample(count, sessions, 1).map((n) => get("/api/auth/get-session", cookieOf(n))),
  }),
  usage: () => process.cpuUsage(),
  close: () => opened.close(),
});
