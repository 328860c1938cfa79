// The tables of other tools in docs/users.md: `migrate` takes them as the tools make them.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { createSession, migrate, validateSession } from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

const page = await readFile(new URL("../docs/users.md", import.meta.url), "utf8");
const [, section = ""] = page.match(/^## Tables of other tools\n([^]*?)^## /m)!;
const folder = new URL("./tables/", import.meta.url);

/** The rows of the table: what to pass to `migrate`, and the type of the key. */
const rows = Array.from(
  section.matchAll(/^\| (.+?): .*\| `(\{ .*? \})` \| (\w+) \|$/gm),
  ([, tool = "", written = "", type = ""]) => {
    const users = Object.fromEntries(
      Array.from(written.matchAll(/(\w+): (?:"(.*?)"|'(.*?)')(?=,| \})/g), ([, name, a, b]) => [
        name,
        a ?? b,
      ]),
    ) as { table: string; id: string; username: string };
    return { tool, users, type };
  },
);

const uuid = (digit: number) => `00000000-0000-4000-8000-00000000000${digit}`;

/** Inserts two users, as the tool would. */
const inserts: Record<string, string> = {
  '"User"': `insert into "User" (email) values ('ada@example.com'), ('grace@example.com')`,
  "users of Drizzle": `insert into users (name, age, email)
    values ('Ada', 36, 'ada@example.com'), ('Grace', 85, 'grace@example.com')`,
  '"user"': `insert into "user" (id, name, email, "emailVerified")
    values ('LqZ0tVxW1cY2', 'Ada', 'ada@example.com', true), ('b7Xy9KpQ4sT8', 'Grace', 'grace@example.com', false)`,
  auth_user: `insert into auth_user (password, is_superuser, username, first_name, last_name, email,
      is_staff, is_active, date_joined)
    values ('!', false, 'ada', '', '', '', false, true, now()), ('!', false, 'grace', '', '', '', false, false, now())`,
  "users of Rails": `insert into users (email_address, password_digest, created_at, updated_at)
    values ('ada@example.com', '!', now(), now()), ('grace@example.com', '!', now(), now())`,
  profiles: `insert into auth.users (id) values ('${uuid(1)}'), ('${uuid(2)}');
    insert into profiles values ('${uuid(1)}', 'ada'), ('${uuid(2)}', 'grace')`,
  "auth.users": `insert into auth.users values ('${uuid(1)}', 'ada@example.com'), ('${
    uuid(2)
  }', 'grace@example.com')`,
};

describe("docs/users.md: tables of other tools", () => {
  let db: Database;
  beforeAll(async () => {
    db = await openDatabase({ bare: true });
  });
  afterAll(() => db.close());

  async function startAnew(tool: string): Promise<void> {
    await db.sql.unsafe("drop schema if exists coatcheck cascade");
    await db.sql.unsafe("drop schema if exists auth cascade");
    await db.sql.unsafe("drop schema public cascade");
    await db.sql.unsafe("create schema public");
    await db.sql.unsafe(await readFile(new URL(`${tool.toLowerCase()}.sql`, folder), "utf8"));
  }

  /** How PostgreSQL finds a user by one column of the view. */
  async function planOf(column: string, value: string): Promise<string> {
    return await db.sql.begin(async (sql) => {
      await sql`set local enable_seqscan = off`;
      const plan = await sql.unsafe(
        `explain select * from coatcheck.users where ${column} = $1`,
        [value],
      );
      return plan.map((row) => row["QUERY PLAN"]).join("\n");
    });
  }

  test("name each tool of test/tables/, and no other", async () => {
    assert.equal(rows.length, section.match(/^\| /gm)!.length - 2);
    const tools = [...new Set(rows.map(({ tool }) => `${tool.toLowerCase()}.sql`))];
    assert.deepEqual(tools.sort(), (await readdir(folder)).sort());
  });

  for (const { tool, users, type } of rows) {
    test(`of ${tool} (${users.table}) sign in by name and by key, and take their sessions along`, async () => {
      await startAnew(tool);
      await db.sql.unsafe(inserts[users.table] ?? inserts[`${users.table} of ${tool}`]!);
      const applied = await migrate(db.sql, { users });
      assert.equal(applied.foreignKey, true);
      assert.deepEqual(await migrate(db.sql, { users }), { applied: [], foreignKey: true });

      const name = users.username === "username" ? "ada" : "ada@example.com";
      const { session, headers } = await createSession(name, db.sql);
      assert.equal(typeof session.userId, type);
      assert.equal(session.username, name);
      const byKey = await createSession({ userId: session.userId }, db.sql);
      assert.equal(byKey.session.username, name);
      assert.match(await planOf("id", String(session.userId)), /Index Cond: /);
      const isIndexed = users.table !== "auth.users";
      assert.equal(/Index Cond: /.test(await planOf("username", name)), isIndexed);

      await db.sql.unsafe(`delete from ${users.table} where id = $1`, [session.userId]);
      assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
      const left = name.replace("ada", "grace");
      assert.equal((await createSession(left, db.sql)).session.username, left);
    });
  }

  test("of Supabase let two users of SSO share an address, who sign in by key", async () => {
    await startAnew("supabase");
    await migrate(db.sql, { users: { table: "auth.users", id: "id", username: "email" } });
    for (const digit of [1, 2]) {
      await db.sql`insert into auth.users values (${uuid(digit)}, 'ada@example.com', true)`;
    }
    await assert.rejects(createSession("ada@example.com", db.sql), { code: "UNEXPECTED_RESULT" });
    const { session } = await createSession({ userId: uuid(2) }, db.sql);
    assert.equal(session.userId, uuid(2));
  });

  test("of Django give no session to a user who is not active, by a view that says so", async () => {
    await startAnew("django");
    await db.sql.unsafe(inserts.auth_user!);
    await migrate(db.sql, { users: { table: "auth_user", id: "id" } });
    assert.ok((await createSession("grace", db.sql)).session);
    await db.sql`create or replace view coatcheck.users as
      select id, username::text as username from auth_user where is_active`;
    await assert.rejects(createSession("grace", db.sql), { code: "USER_NOT_FOUND" });
    assert.ok((await createSession("ada", db.sql)).session);
  });
});
