import { createServer, connect } from "node:net";
import process from "node:process";
import postgres from "postgres";
import * as cc from "./mod.ts";
import { pools } from "./test/runner/pools.ts";
import { withCookie } from "./test/runner/database.ts";
const BASE = process.env.DATABASE_URL!;
const admin = postgres(BASE, { max: 1, onnotice() {} });
const name = `zwire_${Date.now()}`;
await admin.unsafe(`create database ${name}`);
const url = Object.assign(new URL(BASE), { pathname: `/${name}` }).href;
const direct = postgres(url, { max: 4, onnotice() {} }) as any;
await direct`create table users (id integer primary key, username text not null unique)`;
await direct`insert into users values (1,'ada'),(2,'grace')`;
await cc.migrate(direct, { users: { table: "users", id: "id" } });
type Mode = "cut" | "stall" | "half" | "fatal" | "split" | "notice";
// state
let armed = false, mode: Mode = "cut", at = 0, side: "b" | "f" = "b", count = 0, fired = false;
function messagesOf(buf: Buffer, isStartup: { v: boolean }, back: boolean): Buffer[] | null { return null; }
const err = (() => { const f = ["SFATAL","VFATAL","C57P01","Mterminating connection due to administrator command"].map(x=>Buffer.from(x+"\0")); const body = Buffer.concat([...f, Buffer.from([0])]); const h = Buffer.alloc(5); h[0]=69; h.writeInt32BE(body.length+4,1); return Buffer.concat([h, body]); })();
const notice = (() => { const f = ["SNOTICE","VNOTICE","C00000","Mhello"].map(x=>Buffer.from(x+"\0")); const body = Buffer.concat([...f, Buffer.from([0])]); const h = Buffer.alloc(5); h[0]=78; h.writeInt32BE(body.length+4,1); const p = Buffer.from("application_name\0x\0"); const hp = Buffer.alloc(5); hp[0]=83; hp.writeInt32BE(p.length+4,1); return Buffer.concat([h, body, hp, p]); })();
const proxy = createServer((c) => {
  const u = connect(Number(new URL(url).port), "127.0.0.1");
  let dead = false, stalled = false;
  c.on("error", () => {}); u.on("error", () => {}); c.setNoDelay(); u.setNoDelay();
  const fire = () => { fired = true; armed = false;
    if (mode === "cut") { dead = true; c.destroy(); u.destroy(); }
    else if (mode === "half") { dead = true; c.end(); u.destroy(); }
    else if (mode === "stall") stalled = true;
    else if (mode === "fatal") { dead = true; c.end(err); u.destroy(); }
    else if (mode === "notice") { c.write(notice); }
  };
  const pump = (from: any, to: any, back: boolean) => {
    let buf = Buffer.alloc(0), started = back;
    from.on("data", (d: Buffer) => {
      if (dead || stalled) return;
      buf = Buffer.concat([buf, d]);
      for (;;) {
        let len: number;
        if (!started) { if (buf.length < 4) return; len = buf.readInt32BE(0); }
        else if (buf.length < 5) return;
        else len = buf.readInt32BE(1) + 1;
        if (buf.length < len) return;
        const m = buf.subarray(0, len); buf = buf.subarray(len); started = true;
        if (armed && (back ? "b" : "f") === side) { if (count++ === at) { fire(); if (dead || stalled) return; } }
        if (armed && mode === "split") { for (const byte of m) to.write(Buffer.from([byte])); } else to.write(m);
      }
    });
    from.on("close", () => to.destroy());
  };
  pump(c, u, false); pump(u, c, true);
});
await new Promise<void>(r => proxy.listen(0, "127.0.0.1", () => r()));
const proxied = Object.assign(new URL(url), { port: String((proxy.address() as any).port) }).href;
const P = { queryTimeout: 1 };
const live = async (h: Headers) => (await cc.validateSession(h, direct, { touchInterval: false })).session;
const strays: unknown[] = [];
process.on("unhandledRejection", (e) => strays.push(e)); process.on("uncaughtException", (e) => strays.push(e));
type Case = { name: string; prep?: () => Promise<any>; run: (sql: any, ctx: any) => Promise<any>; ok: (r: any, ctx: any) => Promise<unknown>; bad?: (ctx: any) => Promise<unknown> };
const newSession = async (user = "ada", o = {}) => { const { session, headers } = await cc.createSession(user, direct, o); return { id: session.id, headers: withCookie(headers) }; };
const row = async (id: string) => (await direct`select * from coatcheck.sessions where id = ${id}`)[0];
const stillIn = async (ctx: any) => (await live(ctx.headers)) ? true : "old cookie is dead after an error: " + (await cc.validateSession(ctx.headers, direct, { touchInterval: false })).reason;
const cases: Case[] = [
  { name: "createSession", run: (s) => cc.createSession("ada", s, P), ok: async (r) => !!(await live(withCookie(r.headers))) },
  { name: "createSession replaces", prep: () => newSession(), run: (s, c) => cc.createSession("ada", s, { ...P, replaces: c.headers }), ok: async (r, c) => !!(await live(withCookie(r.headers))) && (await row(c.id)).revoked_at !== null },
  { name: "createGuestSession", run: (s) => cc.createGuestSession(s, P), ok: async (r) => !!(await live(withCookie(r.headers))) },
  { name: "validate", prep: () => newSession(), run: (s, c) => cc.validateSession(c.headers, s, P), ok: async (r, c) => r.session?.id === c.id, bad: stillIn },
  { name: "validate touch", prep: async () => { const it = await newSession(); await direct`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour', created_at = created_at - interval '1 hour', authenticated_at = authenticated_at - interval '1 hour' where id = ${it.id}`; return it; }, run: (s, c) => cc.validateSession(c.headers, s, P), ok: async (r, c) => r.session?.id === c.id, bad: stillIn },
  { name: "validate rotation", prep: async () => { const it = await newSession(); await direct`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour', created_at = created_at - interval '1 hour', authenticated_at = authenticated_at - interval '1 hour' where id = ${it.id}`; return it; }, run: (s, c) => cc.validateSession(c.headers, s, { ...P, rotateAfter: 60 }), ok: async (r, c) => r.session?.id === c.id && (!r.headers.has("set-cookie") || !!(await live(withCookie(r.headers)))), bad: stillIn },
  { name: "rotate", prep: () => newSession(), run: (s, c) => cc.rotateSession(c.headers, s, P), ok: async (r) => !!(await live(withCookie(r.headers))), bad: stillIn },
  { name: "reauthenticate", prep: () => newSession(), run: (s, c) => cc.reauthenticateSession(c.headers, s, P), ok: async (r) => !!(await live(withCookie(r.headers))), bad: stillIn },
  { name: "update", prep: () => newSession(), run: (s, c) => cc.updateSession(c.headers, { a: 1 }, s, P), ok: async (_r, c) => (await row(c.id)).data.a === 1, bad: stillIn },
  { name: "revoke", prep: () => newSession(), run: (s, c) => cc.revokeSession(c.headers, s, P), ok: async (_r, c) => (await row(c.id)).revoked_at !== null },
  { name: "revokeSessions", prep: () => newSession("grace"), run: (s) => cc.revokeSessions({ userId: 2 }, s, P), ok: async (_r, c) => (await row(c.id)).revoked_at !== null },
  { name: "list", prep: () => newSession("grace"), run: (s) => cc.listSessions(2, s, P), ok: async (r, c) => (r.sessions ?? r).some((x: any) => x.id === c.id) },
  { name: "sweep", prep: async () => { const it = await newSession(); await direct`update coatcheck.sessions set created_at = created_at - interval '1 year', last_seen_at = last_seen_at - interval '1 year', authenticated_at = authenticated_at - interval '1 year', expires_at = expires_at - interval '1 year' where id = ${it.id}`; return it; }, run: (s) => cc.sweepSessions(s, P), ok: async (_r, c) => !(await row(c.id)) },
  { name: "insert", prep: async () => { const t = cc.createToken(); return { t, id: t.id }; }, run: (s, c) => cc.insertSession({ id: c.t.id, digest: c.t.digest, userId: 1, createdAt: new Date(), expiresAt: new Date(Date.now() + 3600e3) }, s, P), ok: async (_r, c) => !!(await row(c.id)) },
  { name: "getUserId", run: (s) => cc.getUserId("ada", s, P), ok: async (r) => r === 1 },
  { name: "batched create", run: (s) => cc.createSession("ada", cc.batched(s), P), ok: async (r) => !!(await live(withCookie(r.headers))) },
  { name: "batched validate", prep: () => newSession(), run: (s, c) => cc.validateSession(c.headers, cc.batched(s), P), ok: async (r, c) => r.session?.id === c.id, bad: stillIn },
  { name: "begin create+revoke", prep: () => newSession(), run: (s, c) => s.begin("read write", async (tx: any) => { await cc.revokeSession(c.headers, tx, P); return await cc.createSession("ada", tx, P); }), ok: async (r, c) => !!(await live(withCookie(r.headers))) && (await row(c.id)).revoked_at !== null },
];
let total = 0; const findings = new Map<string, number>();
const note = (s: string) => { findings.set(s, (findings.get(s) ?? 0) + 1); };
const only = process.argv[2];
for (const [client, open] of Object.entries(pools)) {
  if (only && client !== only) continue;
  for (const warm of [true, false]) for (const c of cases) for (const m of ["cut", "half", "fatal", "notice", "split", "stall"] as Mode[]) for (const sd of ["b", "f"] as const) {
    if ((m === "split" || m === "notice") && sd === "f") continue;
    for (let k = 0; k < 60; k++) {
      if (m === "split" && k > 0) break;
      if (m === "stall" && k % 3) continue;
      const ctx = await c.prep?.();
      const pool = open([proxied], 2);
      if (warm) await (pool.sql as any)`select 1`.catch((e: any) => note(`warm ${client} ${e}`));
      [mode, at, side, count, fired] = [m, m === "split" ? 1e9 : k, sd, 0, false]; armed = true;
      const t = performance.now();
      let r: any, e: any;
      const limit = 8000;
      const call = c.run(pool.sql as any, ctx);
      const out = await Promise.race([call.then((v: any) => ({ v }), (x: any) => ({ x })), new Promise<any>(res => setTimeout(() => res({ hang: true }), limit))]);
      armed = false;
      const ms = performance.now() - t;
      total++;
      const tag = `${client}${warm ? "" : " cold"} ${c.name} ${m} ${sd}${k}`;
      const short = `${client}${warm ? "" : " cold"} ${c.name} ${m} ${sd}`;
      if (out.hang) note(`HANG ${short}`);
      else if (out.x) {
        const x = out.x;
        if (!(x instanceof cc.SessionError) ) { if (!c.name.startsWith("begin")) note(`FOREIGN ${tag}: ${x}`); }
        else if (!/^STORE_(UNAVAILABLE|TIMEOUT)$/.test(x.code)) note(`CODE ${tag}: ${x.code} ${x.message}`);
        const text = String(x.stack) + JSON.stringify(x);
        if (/[A-Za-z0-9_-]{43}/.test(text.replace(/coatcheck_[a-z]+/g, ""))) note(`SECRET? ${tag}: ${text.match(/[A-Za-z0-9_-]{43,}/)}`);
        if (m === "notice" || m === "split") note(`ERROR without fault ${tag}: ${x.code} ${x.message}`);
        if (ms > 3 * 1000 * 1.5) note(`LATE ${tag} ${Math.round(ms)}`);
        if (c.bad) { const b = await c.bad(ctx); if (b !== true) note(`LOST ${tag}: ${b}`); }
      } else {
        const ok = await c.ok(out.v, ctx).catch((e) => `check failed ${e}`);
        if (ok !== true) note(`LIE ${tag}: ${ok} ${JSON.stringify(out.v)?.slice(0, 100)}`);
      }
      // next call
      if (!out.hang) {
        const t2 = performance.now();
        let good = false; let last: any;
        for (let i = 0; i < 3 && !good; i++) good = await cc.getUserId("ada", pool.sql as any, { queryTimeout: 2 }).then(() => true, (x) => { last = x; return false; });
        if (!good) note(`STUCK ${short}: ${last?.code} ${last?.message}`);
      }
      await Promise.race([pool.end(), new Promise(r => setTimeout(r, 200))]);
      if (strays.length) { for (const s of strays.splice(0)) note(`STRAY ${client}${warm?"":" cold"} ${c.name} ${m} ${sd}: ${s}`); }
      if (!fired && m !== "split") break;
    }
  }
  console.log(client, "done", total);
}
await new Promise(r => setTimeout(r, 1500));
const left = await direct`select state, count(*)::int, min(query) as q from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle' group by 1`;
console.log("left", JSON.stringify(left));
console.log(total, "cases"); for (const [k, v] of [...findings].sort()) console.log(v, k);
await direct.end({ timeout: 0 }); await admin.unsafe(`drop database ${name} with (force)`); process.exit(0);
