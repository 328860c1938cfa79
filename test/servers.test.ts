import { afterAll, beforeAll, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import { createSessionCache, type Listen } from "../cache.ts";
import { startPostgres } from "../scripts/postgres.mjs";
import type { Client } from "../conformance.ts";
import { configure, createSession, revokeSession, SessionError } from "../mod.ts";
import { closing, sideBySide } from "./runner/cells.ts";
import { clients } from "./runner/clients.ts";
import { openDatabase, withCookie } from "./runner/database.ts";
import process from "node:process";
import { pgbouncer, postgres15, startPgBouncer } from "./runner/servers.ts";
import { until } from "./runner/until.ts";

// On one runtime, as the server is tested. It starts before the tests run.
if ("Bun" in globalThis) {
  let old: { url: string; stop: () => Promise<void> };
  let bouncer: { url: string; close: () => Promise<void> };
  const cells: Record<string, () => Promise<Client>> = {};

  if (postgres15) {
    beforeAll(async () => {
      old = await startPostgres(undefined, ["fsync=off"], postgres15);
    });
    afterAll(() => old?.stop());
    for (const name of ["postgres.js", "Bun.SQL"]) {
      cells[`${name} to PostgreSQL 15`] = async () => {
        const database = await openDatabase({ bare: true, server: old.url });
        return closing(await clients[name]!(database.url), database.close);
      };
    }
  }

  if (pgbouncer) {
    const program = pgbouncer;
    beforeAll(async () => {
      bouncer = await startPgBouncer(program, process.env.DATABASE_URL!);
    });
    afterAll(() => bouncer?.close());
    for (const name of ["postgres.js, prepare: false", "Bun.SQL, prepare: false"]) {
      cells[`${name} to PgBouncer in transaction mode`] = async () => {
        const database = await openDatabase({ bare: true });
        const { hostname, port } = new URL(bouncer.url);
        const url = Object.assign(new URL(database.url), { hostname, port }).href;
        return closing(await clients[name]!(url), database.close);
      };
    }

    test("a cache sends by PgBouncer in transaction mode, and listens past it", async () => {
      const database = await openDatabase({ notify: true });
      const { hostname, port } = new URL(bouncer.url);
      const url = Object.assign(new URL(database.url), { hostname, port }).href;
      const sql = postgres(url, { prepare: false, onnotice: () => {} });
      const by = (client: postgres.Sql): Listen => (channel, onMessage, onListen) =>
        client.listen(channel, onMessage, onListen);
      const cache = await createSessionCache({ sql, listen: by(database.sql) });
      try {
        const { validateSession } = configure({ cache });
        const request = withCookie((await createSession("ada", sql)).headers);
        for (let round = 0; round < 2; round++) await validateSession(request, sql);
        assert.equal(cache.stats().hits, 1);
        await revokeSession(request, sql);
        await until("the notification", () => cache.stats().sessions === 0);
        assert.equal((await validateSession(request, sql)).reason, "revoked");
        await assert.rejects(
          createSessionCache({ sql, listen: by(sql), queryTimeout: 2 }),
          (error) =>
            error instanceof SessionError && /^STORE_TIMEOUT$|^UNEXPECTED_/.test(error.code),
        );
      } finally {
        await cache.close();
        await sql.end({ timeout: 0 });
        await database.close();
      }
    });
  }

  // Settings and objects of the databases of other apps.
  const settings = {
    timezone: "'Asia/Kathmandu'",
    datestyle: "'SQL, DMY'",
    intervalstyle: "'sql_standard'",
    search_path: "odd, public",
    bytea_output: "'escape'",
    extra_float_digits: "0",
    standard_conforming_strings: "off",
  };
  const theirs = [
    "concat(variadic text[]) returns text",
    "json_build_object(variadic text[]) returns json",
    "jsonb_build_object(text, jsonb) returns jsonb",
    "jsonb_populate_record(record, jsonb) returns record",
    "to_json(text) returns json",
    "pg_typeof(integer) returns regtype",
    "make_interval(secs integer) returns interval",
    "pg_relation_size(text) returns bigint",
    "pg_advisory_xact_lock(integer) returns void",
    "obj_description(regclass, text) returns text",
    "format(text, text) returns text",
    "format(text, variadic text[]) returns text",
  ];
  for (const name of ["Bun.SQL", "pg"]) {
    cells[`${name} to a database with unusual settings, and with sessions of another library`] =
      async () => {
        const database = await openDatabase({ bare: true });
        const { sql } = database;
        for (const [setting, value] of Object.entries(settings)) {
          const place = new URL(database.url).pathname.slice(1);
          await sql.unsafe(`alter database ${place} set ${setting} to ${value}`);
        }
        // Like those of Rails and Laravel, with the names of ours; that of connect-pg-simple is called session.
        await sql`create schema odd`;
        await sql`create table odd.sessions (id text primary key, user_id bigint, payload text)`;
        await sql`create index sessions_user_id on odd.sessions (user_id)`;
        await sql`insert into odd.sessions values ('theirs', 1, 'kept')`;
        await sql`create table session (sid varchar primary key, sess json, expire timestamp)`;
        // Functions of the app that fit our calls better than PostgreSQL's.
        for (const signature of theirs) {
          await sql.unsafe(
            `create function ${signature} language plpgsql as $$ begin raise 'theirs'; end $$`,
          );
        }
        return closing(await clients[name]!(database.url), async () => {
          const rows = await sql`select * from odd.sessions`;
          assert.deepEqual([...rows], [{ id: "theirs", user_id: "1", payload: "kept" }]);
          await database.close();
        });
      };
  }

  sideBySide(cells);
}
