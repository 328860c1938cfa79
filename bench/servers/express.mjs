// express-session in Express on Node. A sign-in calls regenerate, as in the README of express-session.
import { once } from "node:events";
import process from "node:process";
import express from "express";
import { answer } from "../answer.mjs";
import { cookieOf, middleware, userByName } from "../contestants/express.mjs";
import { sample, userOf } from "../sample.mjs";
import { get, post } from "./request.mjs";

let opened;

answer({
  open: async (url, options) => {
    opened = middleware(url, options);
    const app = express();
    app.use(opened.handler);
    app.post("/sign-in", express.json(), async (request, response, next) => {
      const user = await userByName(opened.pool, request.body.username);
      request.session.regenerate((error) => {
        if (error) return next(error);
        Object.assign(request.session, { userId: user.id, username: user.username });
        response.sendStatus(204);
      });
    });
    app.get("/me", (request, response) => {
      const { userId, username } = request.session;
      response.status(userId ? 200 : 401).json({ userId, username });
    });
    const server = app.listen(0, "127.0.0.1");
    await once(server, "listening");
    return server.address().port;
  },
  requests: (sessions, count) => ({
    create: Array.from(
      { length: count },
      (_, n) => post("/sign-in", { username: `user${userOf(n)}` }),
    ),
    validate: sample(count, sessions, 1).map((n) => get("/me", cookieOf(n))),
  }),
  usage: () => process.cpuUsage(),
  close: () => opened.close(),
});
