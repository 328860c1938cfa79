import { PGlite } from "@electric-sql/pglite";
import { afterAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { createSessionCache } from "../cache.ts";
import { conformance } from "../conformance.ts";
import { migrate, type Sql } from "../mod.ts";
import { openPGlite } from "./runner/clients.ts";

// In a file of its own: a database in this process blocks everything else in it.
describe("through PGlite", () => conformance({ test, afterAll, open: openPGlite }));

test("has no cache through PGlite, which listens on its only connection", async () => {
  const db = await PGlite.create();
  const sql: Sql = (strings, ...values) => db.sql(strings, ...values);
  await sql`create table users (id integer primary key, username text not null unique)`;
  await migrate(sql, { users: { table: "users", id: "id" }, notify: true });
  const listen = (channel: string, onMessage: (payload: string) => void) =>
    db.listen(channel, onMessage);
  await assert.rejects(createSessionCache({ sql, listen }), {
    name: "SessionError",
    code: "UNEXPECTED_RESULT",
  });
  await db.close();
});
