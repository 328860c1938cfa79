// Compiled, never run: what the types allow, and what they refuse.
import type postgres from "postgres";
import type { Listen } from "../cache.ts";
import {
  completeResponse,
  configure,
  createGuestSession,
  createSession,
  getUserId,
  insertSession,
  isCrossOrigin,
  listSessions,
  type ListSessionsOptions,
  type Policy,
  reauthenticateSession,
  type RefusalReason,
  type RevokedSession,
  revokeSession,
  revokeSessions,
  type RevokeTarget,
  rotateSession,
  type Session,
  type SessionDataPatch,
  type SessionEvent,
  type SessionEventListener,
  type SessionRecord,
  type SessionResult,
  type Sql,
  sweepSessions,
  updateSession,
  type UpdateSessionResult,
  validateSession,
  withSession,
  type WithSessionOptions,
} from "../mod.ts";

declare const request: Request;
declare const sql: Sql;
declare const record: SessionRecord;
const { headers } = request;

type Theme = { theme: "light" | "dark"; cart?: number };

// Clients fit as they are.
declare const pool: postgres.Sql;
declare const transaction: postgres.TransactionSql;
declare const bun: Bun.SQL;
declare const neon: (
  strings: TemplateStringsArray,
  ...values: unknown[]
) => Promise<Record<string, unknown>[]>;
declare const pglite: (
  strings: TemplateStringsArray,
  ...values: unknown[]
) => Promise<{ rows: { [key: string]: unknown }[]; affectedRows?: number }>;
export const clients: Sql[] = [pool, transaction, bun, neon, pglite];

// And listen as they are.
export const listens: Listen[] = [
  (channel, onMessage, onListen) => pool.listen(channel, onMessage, onListen),
  (channel, onMessage, onListen) => bun.listen(channel, onMessage, onListen),
];

// @ts-expect-error: a string is no client.
createSession("ada", "postgres://localhost");
// @ts-expect-error: a Request is no username.
createSession(request, sql);
// @ts-expect-error: a Request has no get().
validateSession(request, sql);
// @ts-expect-error: a plain object has no get().
validateSession({ cookie: "a=b" }, sql);
// @ts-expect-error: a misspelt setting.
createSession("ada", sql, { idleTimout: 60 });
// @ts-expect-error: Lax is spelt like that.
configure({ cookie: { sameSite: "lax" } });
// @ts-expect-error: a digest is bytes.
insertSession({ id: "", digest: "", userId: 1, createdAt: new Date(), expiresAt: new Date() }, sql);

// @ts-expect-error: a Request has no get().
rotateSession(request, sql);
// @ts-expect-error: a Request has no get().
reauthenticateSession(request, sql);
// @ts-expect-error: a Request has no get().
updateSession(request, {}, sql);
// @ts-expect-error: a patch comes before the client.
updateSession(headers, sql, {});
// @ts-expect-error: a user's key is no object.
listSessions({ userId: 1 }, sql);
// @ts-expect-error: a bigint is no key.
listSessions(1n, sql);
// @ts-expect-error: a policy is no part of a sweep's client.
sweepSessions({ retention: 60 });

// A result narrows by its session, and by its reason, also if it is destructured.
export async function narrow(): Promise<string[]> {
  return await Promise.all([validateSession, rotateSession, reauthenticateSession].map(
    async (read) => {
      const { session, reason, revokedReason } = await read(headers, sql);
      if (session) {
        const none: undefined = reason;
        return session.username + none;
      }
      const some: RefusalReason = reason;
      return revokedReason ?? some;
    },
  ));
}
export async function narrowEach(): Promise<void> {
  for (
    const result of [
      await validateSession<Theme>(headers, sql),
      await rotateSession<Theme>(headers, sql),
      await reauthenticateSession<Theme>(headers, sql),
      await configure<Theme>().validateSession(headers, sql),
      await configure<Theme>().rotateSession(headers, sql),
      await configure<Theme>().reauthenticateSession(headers, sql),
    ] satisfies SessionResult<Theme>[]
  ) {
    // @ts-expect-error: the session may be null.
    result.session.data;
    if (result.reason === undefined) {
      const theme: "light" | "dark" = result.session.data.theme;
      // @ts-expect-error: a session that is there was not revoked.
      const reason: string = result.revokedReason;
      noted(theme, reason);
    } else {
      const none: null = result.session;
      const reason: RefusalReason = result.reason;
      // @ts-expect-error: that is for updateSession alone.
      result.reason === "conflict";
      noted(none, reason, result.revokedReason?.length);
    }
  }
}
declare function noted(...values: unknown[]): void;

// A guest is no session: code that knows nothing of guests lets none in.
export async function narrowGuest(): Promise<string> {
  const { session, guest, reason } = await validateSession<Theme>(headers, sql);
  if (session) {
    const none: undefined = guest;
    return session.username + none;
  }
  if (guest) {
    const own: "guest" = reason;
    // @ts-expect-error: a guest has no user.
    guest.username;
    return guest.data.theme + own;
  }
  // @ts-expect-error: without a guest it is another reason.
  reason === "guest";
  return reason;
}
export async function guests(): Promise<number> {
  const created = await createGuestSession<Theme>(sql, { data: { theme: "dark" }, headers });
  // @ts-expect-error: the request may have had a session.
  created.guest.version;
  await createSession<Theme>("ada", sql, { replaces: headers, keep: ["theme"] });
  completeResponse(new Response(), await updateSession<Theme>(headers, {}, sql));
  return (created.session ?? created.guest)?.version ?? 0;
}

// An update narrows by its reason to three: written, in conflict with a live session, and none.
export async function updates(): Promise<UpdateSessionResult<Theme>[]> {
  const all = [
    await updateSession<Theme>(headers, { cart: 1 }, sql, { version: 0 }),
    await configure<Theme>().updateSession(headers, { cart: 1 }, sql, { version: 0 }),
  ];
  // @ts-expect-error: an update may have found a conflict, which no other result has.
  const results: SessionResult<Theme>[] = all;
  return results.length > 0 ? all : [];
}
export function narrowUpdate(update: UpdateSessionResult<Theme>): number {
  switch (update.reason) {
    case undefined:
      return (update.session ?? update.guest).version;
    case "conflict": {
      const none: undefined = update.revokedReason;
      return (update.session ?? update.guest).data.cart ?? Number(none);
    }
    default: {
      const none: null = update.session;
      const reason: RefusalReason = update.reason;
      return reason.length + Number(none);
    }
  }
}
export function narrowUpdateBySession(update: UpdateSessionResult<Theme>): number {
  if (update.session === null) {
    if (update.guest) return update.guest.version + (update.reason ?? "").length;
    const reason: RefusalReason = update.reason;
    return update.revokedReason?.length ?? reason.length;
  }
  const reason: "conflict" | undefined = update.reason;
  // @ts-expect-error: a live session has a reason if it is in conflict.
  const none: undefined = update.reason;
  return update.session.version + (reason ?? `${none}`).length;
}
export async function narrowDestructuredUpdate(): Promise<number> {
  const { session, guest, reason } = await updateSession(headers, {}, sql);
  if (reason === "conflict") return (session ?? guest).version;
  // @ts-expect-error: the session may be null.
  return session.version;
}

// A patch is typed by the data: each key may be set, and each may be removed.
export function patches(): void {
  const all: SessionDataPatch<Theme>[] = [
    {},
    { theme: "dark" },
    { theme: undefined },
    { cart: 1 },
    { cart: undefined },
    { theme: "light", cart: undefined },
    // @ts-expect-error: not a theme.
    { theme: "red" },
    // @ts-expect-error: null is a value, and here it is not one of them.
    { cart: null },
    // @ts-expect-error: a key that the data has not.
    { basket: 1 },
  ];
  for (const patch of all) {
    updateSession<Theme>(headers, patch, sql);
    configure<Theme>().updateSession(headers, patch, sql);
    // @ts-expect-error: a patch cannot be changed.
    patch.theme = "dark";
  }
  updateSession<Theme>(headers, { theme: undefined, cart: 2 }, sql);
  // @ts-expect-error: not a theme.
  updateSession<Theme>(headers, { theme: "red" }, sql);
  // @ts-expect-error: a key that the data has not.
  updateSession<Theme>(headers, { basket: 1 }, sql);
  // @ts-expect-error: not a number.
  configure<Theme>().updateSession(headers, { cart: "2" }, sql);
  // @ts-expect-error: a key that the data has not.
  configure<Theme>().updateSession(headers, { basket: undefined }, sql);
  // @ts-expect-error: text is no patch.
  configure().updateSession(headers, "theme", sql);
  // Without a type of its own, data may be anything.
  configure().updateSession(headers, { anything: [1], other: undefined }, sql);
  updateSession(headers, { anything: [1], other: undefined }, sql);
}

// Which sessions to revoke: what would revoke more than was meant does not compile.
export function targets(id: string, maybe: string | undefined): void {
  const all: RevokeTarget[] = [
    { userId: 1 },
    { userId: "7", id },
    { userId: 1, except: id },
    { userIds: [] },
    { userIds: [1, "2"] },
    { userIds: [1, 2] as const },
    // @ts-expect-error: no user.
    {},
    // @ts-expect-error: a session of no user.
    { id },
    // @ts-expect-error: all sessions but one.
    { except: id },
    // @ts-expect-error: one session, and all but one.
    { userId: 1, id, except: id },
    // @ts-expect-error: one user, and several.
    { userIds: [1], userId: 1 },
    // @ts-expect-error: several users, and a session of one.
    { userIds: [1], id },
    // @ts-expect-error: several users, and all but a session of one.
    { userIds: [1], except: id },
    // @ts-expect-error: an id that may be missing would be all of them.
    { userId: 1, id: maybe },
    // @ts-expect-error: an exception that may be missing would be none.
    { userId: 1, except: maybe },
    // @ts-expect-error: a user who may be missing.
    { userId: maybe },
    // @ts-expect-error: several users who may be missing.
    { userIds: undefined },
    // @ts-expect-error: one of several who may be missing.
    { userIds: [1, maybe] },
    // @ts-expect-error: a user is no array.
    { userId: [1] },
    // @ts-expect-error: a bigint is no key.
    { userId: 1n },
    // @ts-expect-error: a misspelt exception would be none.
    { userId: 1, expect: id },
  ];
  for (const one of all) {
    revokeSessions(one, sql, { reason: "admin" });
    configure().revokeSessions(one, sql, { reason: "admin" });
  }
  // @ts-expect-error: a user's key alone.
  revokeSessions(1, sql);
  // @ts-expect-error: keys alone.
  revokeSessions([1, 2], sql);
}

// Revoked sessions are a list, and their users may be missing in the view.
export async function revoked(): Promise<string[]> {
  const all: RevokedSession<Theme>[] = [
    ...await revokeSessions<Theme>({ userId: 1 }, sql),
    ...await configure<Theme>().revokeSessions({ userId: 1 }, sql),
  ];
  const live: Session<Theme>[] = [
    ...await listSessions<Theme>(1, sql),
    ...await configure<Theme>().listSessions("1", sql),
  ];
  // @ts-expect-error: the username may be null.
  const also: Session<Theme>[] = all.map((one) => ({ ...one, idleExpiresAt: one.expiresAt }));
  // @ts-expect-error: a session that was revoked ends no more.
  noted(all[0]?.idleExpiresAt, live[0]?.idleExpiresAt.getTime());
  const { swept }: { swept: number } = await sweepSessions(sql);
  return [...all.map(({ username }) => username ?? `${swept}`), ...live.map((one) => one.username)]
    .concat(`${also.length}`);
}

// authenticatedWithin belongs to a validation, and to nothing else.
export function within(): void {
  const within = { authenticatedWithin: 300 };
  validateSession(headers, sql, { authenticatedWithin: 300 });
  validateSession(headers, sql, { authenticatedWithin: 300, idleTimeout: 60 });
  configure().validateSession(headers, sql, within);
  // @ts-expect-error: whole seconds.
  validateSession(headers, sql, { authenticatedWithin: "300" });
  // @ts-expect-error: it may be left out, and not switched off.
  validateSession(headers, sql, { authenticatedWithin: false });
  // @ts-expect-error: it is no policy.
  configure({ authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  createSession("ada", sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  insertSession(record, sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  getUserId("ada", sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  rotateSession(headers, sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  reauthenticateSession(headers, sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  updateSession(headers, {}, sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  listSessions(1, sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  revokeSession(headers, sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  revokeSessions({ userId: 1 }, sql, { authenticatedWithin: 300 });
  // @ts-expect-error: it belongs to validateSession.
  sweepSessions(sql, { authenticatedWithin: 300 });
}

// What an event listener gets narrows by its type.
export const listeners: Policy[] = [
  { onEvent: () => {} },
  { onEvent: async (event) => await fetch(`https://log.test/${event.type}`) },
  { onEvent: console.log },
  // @ts-expect-error: a logger is no function.
  { onEvent: console },
  // @ts-expect-error: it may be left out, and not switched off.
  { onEvent: null },
];
export const listener: SessionEventListener = (event: SessionEvent): string => {
  switch (event.type) {
    case "created":
    case "rotated":
    case "reauthenticated":
    case "updated":
    case "dropped":
    case "reused": {
      const { id, userId }: { id: string; userId?: string | number } = event;
      // @ts-expect-error: these have no reason.
      event.reason;
      return `${id} ${userId}`;
    }
    case "revoked": {
      const { id, userId, reason }: { id: string; userId?: string | number; reason: string } =
        event;
      return `${id} ${userId} ${reason}`;
    }
    case "refused": {
      // A request without a cookie is no event.
      const reason: Exclude<RefusalReason, "absent"> = event.reason;
      // @ts-expect-error: a malformed cookie has no id.
      const id: string = event.id;
      // @ts-expect-error: the user is known only if the secret was right.
      const userId: string | number = event.userId;
      return `${id} ${userId} ${reason}`;
    }
    default: {
      const none: never = event;
      return none;
    }
  }
};
export function cannot(event: SessionEvent): void {
  // @ts-expect-error: no event of that name.
  event.type === "touched";
  // @ts-expect-error: an event cannot be changed.
  event.type = "created";
  // @ts-expect-error: an event holds no credential.
  event.token;
}

// Data is typed by the call, or once by configure.
export async function data(): Promise<"light" | "dark"> {
  const created = await createSession("ada", sql, { data: { theme: "dark" as const } });
  const dark: "dark" = created.session.data.theme;
  const { session } = await configure<Theme>().validateSession(headers, sql);
  // @ts-expect-error: the session may be null.
  session.data;
  // @ts-expect-error: not a theme.
  configure<Theme>().createSession("ada", sql, { data: { theme: "red" } });
  const one: Session<Theme> | null = session;
  return one?.data.theme ?? dark;
}

// The name of a user who is not in the view is unknown when they sign out.
export async function signedOut(): Promise<string> {
  const { session } = await revokeSession(headers, sql);
  // @ts-expect-error: it may be null.
  const name: string = session!.username;
  return name;
}

// Settings of a policy: whole seconds, or false if they can be switched off.
export const policies: Policy[] = [
  { rotateAfter: 3600, rotationGrace: 5, maxSessions: 5 },
  { rotateAfter: false, maxSessions: false, touchInterval: false },
  // @ts-expect-error: a grace is not switched off.
  { rotationGrace: false },
  // @ts-expect-error: true is no number of seconds.
  { rotateAfter: true },
  // @ts-expect-error: text is no number.
  { maxSessions: "5" },
];

// With a configured policy, the last argument holds only the options of the call.
export function bound(signal: AbortSignal): void {
  const sessions = configure<Theme>({ rotateAfter: 3600 });
  const data: Theme = { theme: "dark" };
  sessions.createSession("ada", sql, { data, persistent: false, replaces: headers });
  sessions.createSession({ userId: 1 }, sql, {});
  sessions.insertSession({ ...record, data }, sql);
  sessions.getUserId("ada", sql);
  sessions.validateSession(headers, sql, {});
  sessions.rotateSession(headers, sql);
  sessions.reauthenticateSession(headers, sql);
  sessions.updateSession(headers, {}, sql, { version: 1 });
  sessions.listSessions(1, sql);
  sessions.listSessions(1, sql, { limit: 50, after: "" });
  sessions.revokeSession(headers, sql, { reason: "signed-out" });
  sessions.revokeSessions({ userId: 1 }, sql, { reason: "admin" });
  sessions.sweepSessions(sql, {
    retention: 0,
    onProgress: ({ swept, scanned, blocks }) => noted(swept + scanned + blocks),
    signal,
  });

  // @ts-expect-error: policy was bound before.
  sessions.createSession("ada", sql, { maxSessions: 1 });
  // @ts-expect-error: policy was bound before.
  sessions.insertSession({ ...record, data }, sql, { queryTimeout: 1 });
  // @ts-expect-error: policy was bound before.
  sessions.getUserId("ada", sql, { queryTimeout: 1 });
  // @ts-expect-error: policy was bound before.
  sessions.validateSession(headers, sql, { idleTimeout: 60 });
  // @ts-expect-error: policy was bound before.
  sessions.rotateSession(headers, sql, { rotationGrace: 60 });
  // @ts-expect-error: policy was bound before.
  sessions.reauthenticateSession(headers, sql, { absoluteTimeout: 60 });
  // @ts-expect-error: policy was bound before.
  sessions.updateSession(headers, {}, sql, { idleTimeout: 60 });
  // @ts-expect-error: policy was bound before.
  sessions.listSessions(1, sql, { idleTimeout: 60 });
  // @ts-expect-error: policy was bound before.
  sessions.revokeSession(headers, sql, { idleTimeout: 60 });
  // @ts-expect-error: policy was bound before.
  sessions.revokeSessions({ userId: 1 }, sql, { onEvent: () => {} });
  // @ts-expect-error: policy was bound before.
  sessions.sweepSessions(sql, { queryTimeout: 60 });
  // @ts-expect-error: policy was bound before.
  sessions.sweepSessions(sql, { idleTimeout: 60 });
  // @ts-expect-error: a version belongs to updateSession.
  sessions.validateSession(headers, sql, { version: 1 });
  // @ts-expect-error: a reason belongs to what revokes a session.
  sessions.updateSession(headers, {}, sql, { reason: "admin" });
  // @ts-expect-error: not a theme.
  sessions.createSession("ada", sql, { data: { theme: "red" } });
}

// A page of a list: how many sessions, and the id after which it goes on.
export const pages: ListSessionsOptions[] = [
  {},
  { limit: 50 },
  { limit: 50, after: "0123abcd-89ef-4012-8345-6789abcdef01" },
  // @ts-expect-error: unset is how to ask for all.
  { limit: false },
  // @ts-expect-error: a page goes on after an id, and has no number.
  { after: 2 },
  // @ts-expect-error: an id that may be missing would be the first page.
  { after: undefined },
  // @ts-expect-error: a list has no offset.
  { offset: 50 },
];
export function paged(): void {
  listSessions(1, sql, { limit: 50, idleTimeout: 60 });
  sweepSessions(sql, { retention: 0, idleTimeout: 60 });
  // @ts-expect-error: a page is no policy.
  configure({ limit: 50 });
  // @ts-expect-error: a page is for listSessions.
  revokeSessions({ userId: 1 }, sql, { limit: 50 });
}

// What isCrossOrigin takes for a request.
declare const context: { req: { raw: Request; method: string; url: string; header(): string } };
export const checked: Parameters<typeof isCrossOrigin>[0][] = [
  request,
  context.req.raw,
  { method: "POST", url: "/", headers: new Map<string, string>() as unknown as Headers },
];
isCrossOrigin(request, { origin: "https://app.example", trustedOrigins: ["https://pay.example"] });
isCrossOrigin(request, { trustedOrigins: ["https://pay.example"] as const });
// @ts-expect-error: Hono's own request has no headers.
isCrossOrigin(context.req);
// @ts-expect-error: headers alone have no method.
isCrossOrigin(request.headers);
// @ts-expect-error: the check has no policy.
isCrossOrigin(request, { idleTimeout: 60 });
// @ts-expect-error: trusted origins are a list.
isCrossOrigin(request, { trustedOrigins: "https://pay.example" });

// withSession makes a handler of each server as it stands.
export const bunServer: Bun.Serve.Options<undefined> = {
  fetch: withSession((request, { session }) => Response.json({ session, url: request.url }), sql),
};
export function bunServers(): void {
  Bun.serve({
    routes: {
      "/": withSession((_, { session, reason }) => new Response(session?.username ?? reason), sql),
      "/users/:id": withSession(
        (request, { session }) => Response.json({ id: request.params.id, own: session?.id }),
        sql,
      ),
      "/session": {
        GET: withSession((_, { session }) => Response.json(session), sql),
        POST: withSession(async (request) => new Response(await request.text()), sql),
      },
    },
  });
  // A handler of WebSockets needs the server, and may return nothing.
  Bun.serve<string>({
    fetch: withSession(
      (request: Request, { session }, server: Bun.Server<string>) => {
        if (!session) return new Response(null, { status: 401 });
        if (server.upgrade(request, { data: session.id })) return;
        return new Response(null, { status: 400 });
      },
      sql,
    ),
    websocket: { message: (socket) => noted(socket.data) },
  });
}

type DenoHandler = (
  request: Request,
  info: { remoteAddr: { hostname: string }; completed: Promise<void> },
) => Response | Promise<Response>;
export const denoHandlers: DenoHandler[] = [
  withSession((_, { session }) => Response.json(session), sql),
  withSession(async (_, { session }, info) => {
    await info.completed;
    return Response.json({ session, from: info.remoteAddr.hostname });
  }, sql),
  // @ts-expect-error: Deno takes nothing but a Response.
  withSession(() => undefined, sql),
];

interface ExportedHandler<Env> {
  fetch?: (
    request: Request & { cf?: { country: string } },
    env: Env,
    ctx: { waitUntil(promise: Promise<unknown>): void },
  ) => Response | Promise<Response>;
}
type Env = { DATABASE_URL: string };
declare const clientOf: (env: Env) => Sql;
export const worker: ExportedHandler<Env> = {
  fetch: withSession((request, { session }, env, ctx) => {
    ctx.waitUntil(Promise.resolve(request.cf?.country));
    return Response.json({ session, at: env.DATABASE_URL });
  }, sql),
};
const { withSession: withTheme } = configure<Theme>({ idleTimeout: 60 });
export const workerWithClient: ExportedHandler<Env> = {
  fetch: (request, env) =>
    withTheme((_, { session }) => Response.json(session?.data.theme), clientOf(env))(request),
};

type HonoMiddleware = (
  c: { req: { raw: Request }; res: Response },
  next: () => Promise<void>,
) => Promise<Response | void>;
export const middleware: HonoMiddleware = async (c, next) => {
  c.res = await withSession(async () => {
    await next();
    return c.res;
  }, sql)(c.req.raw);
};

// The handler names the type of data, or configure does.
export const themed = [
  withSession(
    (_: Request, { session }: SessionResult<Theme>) => new Response(session?.data.theme),
    sql,
  ),
  withTheme((_, { session }) => new Response(session?.data.theme), sql),
  // @ts-expect-error: unknown data is no text.
  withSession((_, { session }) => new Response(session?.data.theme), sql),
];
// There is a response, unless the handler may return none.
export async function responses(): Promise<void> {
  const response: Response = await withSession(async () => await fetch("/"), sql)(request);
  // @ts-expect-error: it may be nothing.
  const maybe: Response = await withSession(() => undefined, sql)(request);
  noted(response, maybe);
  // @ts-expect-error: text is no response.
  withSession(() => "hi", sql);
  // @ts-expect-error: the handler asks for a server.
  withSession((_: Request, _result, server: Server) => Response.json(server), sql)(request);
}
interface Server {
  port: number;
}
// Options: the policy, if none is configured, and those of the call.
export function handling(call: WithSessionOptions): void {
  const handler = (): Response => new Response();
  withSession(handler, sql, { ...call, idleTimeout: 60, cookie: { secure: false } });
  withTheme(handler, sql, { authenticatedWithin: 60, origin: "https://app.example" });
  // @ts-expect-error: policy was bound before.
  withTheme(handler, sql, { idleTimeout: 60 });
  // @ts-expect-error: origins are no policy.
  configure({ trustedOrigins: [] });
  // @ts-expect-error: data is for createSession.
  withSession(handler, sql, { data: {} });
  // @ts-expect-error: the handler comes first.
  withSession(sql, handler);
}
