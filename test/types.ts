// Compiled, never run: what the types allow, and what they refuse.
import type postgres from "postgres";
import {
  configure,
  createSession,
  insertSession,
  revokeSession,
  type Session,
  type Sql,
  validateSession,
} from "../mod.ts";

declare const request: Request;
declare const sql: Sql;

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

// A visit narrows by its session, and by its reason, also when taken apart.
export async function narrow(): Promise<string> {
  const { session, reason, revokedReason } = await validateSession(request.headers, sql);
  if (session) {
    const none: undefined = reason;
    return session.username + none;
  }
  const some: string = reason;
  return revokedReason ?? some;
}

// Data is typed by the call, or once by configure.
export async function data(): Promise<"light" | "dark"> {
  type Theme = { theme: "light" | "dark" };
  const created = await createSession("ada", sql, { data: { theme: "dark" as const } });
  const dark: "dark" = created.session.data.theme;
  const { session } = await configure<Theme>().validateSession(request.headers, sql);
  // @ts-expect-error: the session may be null.
  session.data;
  // @ts-expect-error: not a theme.
  configure<Theme>().createSession("ada", sql, { data: { theme: "red" } });
  const one: Session<Theme> | null = session;
  return one?.data.theme ?? dark;
}

// The name of a user out of the view is unknown when they are signed out.
export async function out(): Promise<string> {
  const { session } = await revokeSession(request.headers, sql);
  // @ts-expect-error: it may be null.
  const name: string = session!.username;
  // @ts-expect-error: policy was bound before.
  await configure().revokeSession(request.headers, sql, { idleTimeout: 60 });
  return name;
}
