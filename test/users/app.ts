// What a user writes, for their own compiler: it is checked against the tarball, and never run.
import {
  configure,
  createSession,
  type Session,
  SessionError,
  type Sql,
  validateSession,
} from "coatcheck";
import { createSessionCache, type Listen, type SessionCache } from "coatcheck/cache";
import { type Client, conformance } from "coatcheck/conformance";
import { age, keepCookies, signIn, type StorageState, storageStateOf } from "coatcheck/testing";
import postgres from "postgres";

const pool = postgres("postgres://localhost/app");
const sql: Sql = pool;

const { session, headers } = await createSession("ada", sql, { data: { theme: "dark" } });
export const typed: Session<{ theme: string }> = session;
export const response: Response = Response.json(typed.expiresAt.toISOString(), { headers });

const visit = await validateSession<{ theme: string }>(new Headers(), sql);
export const theme: string | undefined = visit.session?.data.theme;
if (visit.session === null) visit.reason satisfies string;

// @ts-expect-error: no option of createSession.
await createSession("ada", sql, { ttl: 1 });
await configure({ idleTimeout: 3600 }).createSession("ada", sql, { persistent: true });
export const code: string = new SessionError("STORE_TIMEOUT", "late").code;

const listen: Listen = (channel, onMessage, onListen) => pool.listen(channel, onMessage, onListen);
const cache: SessionCache = await createSessionCache({ sql, listen, maxStaleness: 5 });
const cached = await configure({ cache }).validateSession(new Headers(), sql);
const stop: () => void = cache.watch(cached.session ?? session, () => {});
export const staleness: number = cache.stats().staleness;
stop();
// @ts-expect-error: only what createSessionCache has made is a cache.
configure({ cache: new Map() });

const client: Client = { sql, begin: (run) => pool.begin(run), close: () => pool.end() };
conformance({ test: () => {}, afterAll: () => {}, open: () => client });

const signedIn: Headers = await signIn("ada", sql, { data: { theme: "dark" } });
await age(signedIn, 60, sql);
export const state: StorageState = storageStateOf(new Response(), "http://localhost:3000");
export const next: Headers = keepCookies(response, signedIn);
