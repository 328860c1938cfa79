// The chapter docs/users.md: each SQL block runs as it stands, and what the text says about it holds.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import postgres from "postgres";
import {
  batched,
  configure,
  createSession,
  migrate,
  migrations,
  revokeSessions,
  rotateSession,
  type Sql,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

const USERS = { table: "users", id: "id", username: "username" };
const page = await readFile(new URL("../docs/users.md", import.meta.url), "utf8");
/** The SQL blocks of the chapter, by the heading above them. */
const blocks = new Map(
  page.split(/^## /m).slice(1).map((section) => [
    section.split("\n", 1)[0]!,
    Array.from(section.matchAll(/^```sql\n([^]*?)^```$/gm), ([, code]) => code!),
  ]),
);
const ran = new Set<string>();

let db: Database;
beforeAll(async () => {
  db = await openDatabase({ bare: true });
});
afterAll(() => db.close());

/** Leaves an empty database. */
async function startAnew(): Promise<void> {
  await db.sql.unsafe("drop schema if exists coatcheck cascade");
  await db.sql.unsafe("drop schema public cascade");
  await db.sql.unsafe("create schema public");
}

/** Runs one SQL block of a section, on a connection of its own, as it may begin a transaction. */
async function runBlock(
  heading: string,
  index: number,
  edit = (code: string) => code,
): Promise<void> {
  const code = blocks.get(heading)?.[index];
  assert.ok(code, `docs/users.md has no block ${index} under ${heading}`);
  ran.add(code);
  const psql = postgres(db.url, { max: 1, onnotice: () => {} });
  try {
    await psql.unsafe(edit(code));
  } finally {
    await psql.end({ timeout: 5 });
  }
}

/** Makes the table of the first section, with ada (1) and grace (2), and the schema. */
async function makePlain(users: Parameters<typeof migrate>[1] = { users: USERS }): Promise<void> {
  await startAnew();
  await runBlock("The view", 0);
  await db.sql`insert into users values (1, 'ada'), (2, 'grace')`;
  await migrate(db.sql, users);
}

const reasonOf = async (headers: Headers, sql: Sql = db.sql) =>
  (await validateSession(withCookie(headers), sql)).reason ?? null;

/** How PostgreSQL finds a user by one column of the view. */
async function planOf(column: string, value: string): Promise<string> {
  return await db.sql.begin(async (sql) => {
    await sql`set local enable_seqscan = off`;
    const text =
      `explain (verbose, costs off) select * from coatcheck.users where ${column} = ${value}`;
    return (await sql.unsafe(text)).map((row) => row["QUERY PLAN"]).join("\n");
  });
}

describe("docs/users.md: the view and the foreign key", () => {
  test("the view is the one that migrate makes", async () => {
    const definition = async () => {
      const [row] = await db.sql`select pg_get_viewdef('coatcheck.users'::regclass) as text`;
      return row!.text;
    };
    await makePlain();
    const made = await definition();
    await runBlock("The view", 1);
    assert.equal(await definition(), made);
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: [], foreignKey: true });
  });

  test("the sessions of a deleted user are deleted by the foreign key", async () => {
    await makePlain();
    const { headers } = await createSession("ada", db.sql);
    await db.sql`delete from users where id = 1`;
    assert.equal(await reasonOf(headers), "unknown");
  });

  for (const kind of ["plain", "batched"]) {
    test(`a reused key opens the old session, unless the deletion or the sign-up revokes, ${kind}`, async () => {
      await startAnew();
      await db.sql`create table users (id text primary key, username text unique)`;
      const users = { table: "users" };
      assert.equal((await migrate(db.sql, { users })).foreignKey, false);
      const sql = kind === "batched" ? batched(db.sql) : db.sql;
      assert.match(
        page,
        /revokeSessions\(\{ userId \}, transaction, \{ reason: "key-reused" \}\)/,
      );

      for (const revoking of ["nowhere", "deletion", "sign-up"]) {
        const userId = `bob of ${revoking}`;
        await db.sql`insert into users values (${userId}, ${userId})`;
        const old = await createSession(userId, sql);
        await db.sql.begin(async (tx) => {
          await tx`delete from users where id = ${userId}`;
          if (revoking === "deletion") await revokeSessions({ userId }, tx);
        });
        assert.equal(
          await reasonOf(old.headers, sql),
          revoking === "deletion" ? "revoked" : "user",
        );
        await db.sql.begin(async (tx) => {
          await tx`insert into users values (${userId}, ${userId})`;
          if (revoking === "sign-up") await revokeSessions({ userId }, tx);
        });
        const expected = revoking === "nowhere" ? null : "revoked";
        assert.equal(await reasonOf(old.headers, sql), expected, revoking);
        assert.ok((await createSession(userId, sql)).session);
      }
    });
  }

  test("a sign-in that began before the deletion is ended by the sign-up, and not by the deletion", async () => {
    await startAnew();
    await db.sql`create table users (id text primary key, username text unique)`;
    await migrate(db.sql, { users: { table: "users" } });
    for (const revoking of ["deletion", "after the deletion", "sign-up"]) {
      await db.sql`insert into users values ('bob', 'bob')`;
      // The sign-in has found bob when the deletion begins, and commits after it.
      const old = await db.sql.begin(async (signIn) => {
        const created = await createSession("bob", signIn);
        await db.sql.begin(async (tx) => {
          await tx`delete from users where id = 'bob'`;
          if (revoking === "deletion") await revokeSessions({ userId: "bob" }, tx);
        });
        if (revoking === "after the deletion") await revokeSessions({ userId: "bob" }, db.sql);
        return created;
      });
      await db.sql.begin(async (tx) => {
        await tx`insert into users values ('bob', 'bob')`;
        if (revoking === "sign-up") await revokeSessions({ userId: "bob" }, tx);
      });
      const expected = revoking === "sign-up" ? "revoked" : null;
      assert.equal(await reasonOf(old.headers, db.sql), expected, revoking);
      await db.sql`delete from users`;
      await db.sql`delete from coatcheck.sessions`;
    }
  });

  test("a foreign key keeps a reused key from opening the old session", async () => {
    await startAnew();
    await db.sql`create table users (id text primary key, username text unique)`;
    await migrate(db.sql, { users: USERS });
    await db.sql`insert into users values ('bob', 'bob')`;
    const { headers } = await createSession("bob", db.sql);
    await db.sql`delete from users`;
    await db.sql`insert into users values ('bob', 'bob')`;
    assert.equal(await reasonOf(headers), "unknown");
  });

  test("a user in a child table signs in if there is no foreign key", async () => {
    await makePlain();
    await db.sql`create table staff () inherits (users)`;
    await db.sql`insert into staff values (3, 'root')`;
    const [row] = await db.sql`select username from coatcheck.users where id = 3`;
    assert.equal(row!.username, "root");
    await assert.rejects(createSession("root", db.sql), { code: "USER_NOT_FOUND" });
    await db.sql`alter table coatcheck.sessions drop constraint sessions_user_id_fkey`;
    assert.equal((await migrate(db.sql, { users: { table: "users" } })).foreignKey, false);
    assert.equal((await createSession("root", db.sql)).session.userId, 3);
  });
});

describe("docs/users.md: the table changes", () => {
  test("a table that was dropped and created again gets its view and its foreign key from migrate", async () => {
    const heading = "The table is dropped and created again";
    await makePlain();
    const { headers } = await createSession("ada", db.sql);
    await runBlock(heading, 0);
    await db.sql`insert into users values (1, 'Eve')`;
    for (const call of [() => createSession("Eve", db.sql), () => reasonOf(headers)]) {
      await assert.rejects(call, { code: "SCHEMA_MISSING" });
    }
    await assert.rejects(migrate(db.sql), { code: "SCHEMA_MISSING" });
    const applied = ["001_users", "002_sessions"];
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
    assert.equal(
      (await validateSession(withCookie(headers), db.sql)).revokedReason,
      "users-replaced",
    );
    assert.ok(await createSession("Eve", db.sql));

    const eve = await createSession("Eve", db.sql);
    await runBlock(heading, 0);
    await db.sql`insert into users values (1, 'Eve')`;
    await runBlock(heading, 1);
    assert.equal((await migrate(db.sql, { users: USERS })).foreignKey, true);
    assert.equal(await reasonOf(eve.headers), "revoked");
    assert.equal((await createSession("eve", db.sql)).session.userId, 1);
  });

  test("a table that was replaced by a copy keeps the sessions", async () => {
    await makePlain();
    const { headers } = await createSession("ada", db.sql);
    await runBlock("The table is replaced by a copy", 0);
    assert.equal(await reasonOf(headers), null);
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: [], foreignKey: true });
    await db.sql`delete from users where id = 1`;
    assert.equal(await reasonOf(headers), "unknown");
  });

  test("a table that was truncated leaves no session", async () => {
    const heading = "The table is truncated";
    for (const [block, users] of [USERS, { table: "users" }].entries()) {
      await makePlain({ users });
      const { headers } = await createSession("ada", db.sql);
      const plain = db.sql.begin(async (sql) => {
        await sql`truncate users`;
        await sql`insert into users values (1, 'eve')`;
        return await reasonOf(headers, sql);
      });
      if (users === USERS) await assert.rejects(plain, { code: "0A000" });
      else assert.equal(await plain, null);
      await runBlock(heading, block);
      await db.sql`insert into users values (1, 'eve')`;
      assert.equal(await reasonOf(headers), "unknown");
    }
  });

  test("a key that became a bigint keeps the sessions, and its number is a string", async () => {
    await makePlain();
    const { headers } = await createSession("ada", db.sql);
    await runBlock("The key becomes a bigint", 0);
    await db.sql`insert into users values (9007199254740993, 'big')`;
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: [], foreignKey: true });
    assert.equal((await validateSession(withCookie(headers), db.sql)).session?.userId, "1");
    assert.equal((await createSession("big", db.sql)).session.userId, "9007199254740993");
  });
});

describe("docs/users.md: the view to write", () => {
  /** Makes the table and the view of a section: before migrate, and once more after it. */
  async function makeOwn(heading: string): Promise<void> {
    await startAnew();
    await runBlock(heading, 0);
    await runBlock(heading, 1);
    assert.equal((await migrate(db.sql, { users: { table: "users", id: "id" } })).foreignKey, true);
    await runBlock(heading, 1);
  }

  test("a deleted user has no session, and their name is free", async () => {
    await makeOwn("Soft delete");
    await db.sql`insert into users values (1, 'ann')`;
    const { headers } = await createSession("ann", db.sql);
    await db.sql`update users set deleted_at = now()`;
    assert.equal(await reasonOf(headers), "user");
    await db.sql`insert into users values (2, 'ann')`;
    assert.equal((await createSession("ann", db.sql)).session.userId, 2);
    assert.match(await planOf("username", "'ann'"), /Index Cond: .*username/);
    await db.sql`delete from users where id = 2`;
    await db.sql`update users set deleted_at = null`;
    assert.equal(await reasonOf(headers), null);
    await revokeSessions({ userId: 1 }, db.sql);
    assert.equal(await reasonOf(headers), "revoked");
  });

  test("users of one name in two tenants are two users", async () => {
    await makeOwn("Tenants with the same name");
    await db.sql`insert into users values (1, 7, 'ann'), (2, 8, 'ann')`;
    for (const [userId, tenantId] of [[1, 7], [2, 8]] as const) {
      const { session } = await createSession(`${tenantId}/ann`, db.sql);
      assert.deepEqual([session.userId, session.username], [userId, `${tenantId}/ann`]);
    }
    await assert.rejects(createSession("ann", db.sql), { code: "USER_NOT_FOUND" });
    assert.match(await planOf("username", "'7/ann'"), /Index Cond: /);
  });

  test("a user without an address signs in by key", async () => {
    const heading = "Users without an e-mail address";
    await startAnew();
    await runBlock(heading, 0);
    await db.sql`insert into users values (1, 'Ann@Example.com'), (2, null), (3, null)`;
    await migrate(db.sql, { users: { table: "users", id: "id", username: "email" } });
    await assert.rejects(createSession({ userId: 2 }, db.sql), { code: "USER_NOT_FOUND" });
    await runBlock(heading, 1);
    assert.equal((await createSession({ userId: 2 }, db.sql)).session.username, "user:2");
    assert.equal((await createSession("ann@example.com", db.sql)).session.userId, 1);
    await assert.rejects(db.sql`insert into users values (4, 'user:2')`, { code: "23514" });
    await assert.rejects(db.sql`insert into users values (4, 'ANN@example.com')`, {
      code: "23505",
    });
    assert.match(await planOf("username", "'user:2'"), /Index Cond: /);
  });

  test("a partitioned table has its usernames in a table of their own", async () => {
    const heading = "A partitioned table";
    await startAnew();
    await runBlock(heading, 0);
    await db.sql`insert into users select generate_series(1, 20)`;
    await db.sql`insert into usernames select 'user' || id, id from users`;
    const users = { table: "usernames", id: "user_id" };
    assert.equal((await migrate(db.sql, { users })).foreignKey, true);
    const { session, headers } = await createSession("user7", db.sql);
    assert.equal(session.userId, 7);
    await assert.rejects(db.sql`insert into usernames values ('user7', 8)`, { code: "23505" });
    assert.match(await planOf("username", "'user7'"), /Index Cond: /);
    await db.sql`delete from users where id = 7`;
    assert.equal(await reasonOf(headers), "unknown");

    await startAnew();
    await runBlock(
      heading,
      0,
      (code) => code.replace("primary key\n", "primary key, username text\n"),
    );
    await db.sql`insert into users select i, 'user' || i from generate_series(1, 20) i`;
    assert.equal((await migrate(db.sql, { users: USERS })).foreignKey, true);
    const direct = await createSession("user7", db.sql);
    await db.sql`insert into users values (21, 'user7')`;
    await assert.rejects(createSession("user7", db.sql), { code: "UNEXPECTED_RESULT" });
    await db.sql`delete from users where id = 7`;
    assert.equal(await reasonOf(direct.headers), "unknown");
  });

  test("a table in another database is asked for one row in each look-up", async () => {
    const heading = "A table in another database";
    const remote = await openDatabase({ bare: true });
    const own = postgres(db.url, { max: 1, onnotice: () => {} });
    try {
      await startAnew();
      const { hostname, port, pathname, username, password } = new URL(remote.url);
      await runBlock(
        heading,
        0,
        (code) =>
          code.replace("accounts.internal", hostname).replace("5432", port || "5432")
            .replace("dbname 'accounts'", `dbname '${pathname.slice(1)}'`)
            .replace("'reader'", `'${decodeURIComponent(username)}'`)
            .replace("'secret'", `'${decodeURIComponent(password) || "secret"}'`),
      );
      assert.equal((await migrate(db.sql, { users: { table: "users" } })).foreignKey, false);

      /** What a call asks of the other database, by the plans of its statements. */
      const asked = async (call: (sql: Sql) => Promise<unknown>): Promise<string[]> => {
        const lines: string[] = [];
        await call(async (strings, ...values) => {
          const text = strings.reduce((all, part, i) => `${all}$${i}${part}`);
          const plan = await own.unsafe(`explain (verbose, costs off) ${text}`, values);
          lines.push(...plan.map((row) => row["QUERY PLAN"] as string));
          return await own(strings, ...values);
        });
        return lines.filter((line) => line.includes("Remote SQL")).map((line) => line.trim());
      };
      const sessions = configure({ touchInterval: 0 });
      const { headers } = await createSession("ada", db.sql);
      const request = withCookie(headers);
      const calls: ((sql: Sql) => Promise<unknown>)[] = [
        (sql) => createSession("ada", sql),
        (sql) => createSession({ userId: 1 }, sql),
        (sql) => createSession("ada", batched(sql)),
        (sql) => sessions.validateSession(request, sql),
        (sql) => updateSession(request, { a: 1 }, sql),
        (sql) => rotateSession(request, sql),
        (sql) => sessions.listSessions(1, sql),
        (sql) => sessions.getUserId("ada", sql),
        (sql) => sessions.revokeSessions({ userId: 1 }, sql),
      ];
      for (const call of calls) {
        const lines = await asked(call);
        assert.ok(lines.length > 0, String(call));
        for (const line of lines) assert.match(line, / WHERE .*(id|username\S*) = /, String(call));
      }

      await runBlock(heading, 1);
      await remote.sql`insert into users values (3, 'new')`;
      await assert.rejects(createSession("new", db.sql), { code: "USER_NOT_FOUND" });
      await db.sql`refresh materialized view concurrently local_users`;
      assert.equal((await createSession("new", db.sql)).session.userId, 3);
    } finally {
      await own.end({ timeout: 5 });
      await db.sql`drop extension if exists postgres_fdw cascade`;
      await remote.close();
    }
  });

  test("a table with forced policies is read by a role of its own", async () => {
    const heading = "Row-level security";
    await startAnew();
    const [owner, reader] = ["owner", "reader"].map((it) =>
      `coatcheck_${it}_${crypto.randomUUID().slice(0, 8)}`
    ) as [string, string];
    const [row] = await db.sql`select current_database() as name`;
    await db.sql.unsafe(`create role ${owner} login createrole password 'test'`);
    await db.sql.unsafe(`grant create on database ${row!.name} to ${owner}`);
    await db.sql.unsafe(`grant all on schema public to ${owner}`);
    const url = Object.assign(new URL(db.url), { username: owner, password: "test" }).href;
    const app = postgres(url, { max: 1, onnotice: () => {} });
    const runAsOwner = async (index: number) => {
      const code = blocks.get(heading)![index]!;
      ran.add(code);
      await app.unsafe(code.replaceAll("coatcheck_reader", reader));
    };
    try {
      await runAsOwner(0);
      await db.sql`insert into users values (1, 7, 'ann'), (2, 8, 'bob')`;
      assert.equal((await migrate(app, { users: USERS })).foreignKey, true);
      await assert.rejects(createSession("ann", app), { code: "USER_NOT_FOUND" });
      await runAsOwner(1);
      const { session, headers } = await createSession("ann", app);
      assert.equal(session.userId, 1);
      assert.equal((await createSession("bob", app)).session.userId, 2);
      assert.deepEqual([...await app`select from users`], []);
      assert.deepEqual(await migrate(app, { users: USERS }), { applied: [], foreignKey: true });
      await app.unsafe(`grant ${reader} to current_user`);
      for (const { text } of migrations) await app.unsafe(text);
      const [can] = await db.sql`
        select has_column_privilege(${reader}, 'users', 'tenant_id', 'select') as read`;
      assert.equal(can!.read, false);
      await db.sql`delete from users where id = 1`;
      assert.equal(await reasonOf(headers, app), "unknown");
    } finally {
      await app.end({ timeout: 5 });
      await db.sql.unsafe("drop schema if exists coatcheck cascade");
      await db.sql.unsafe("drop table if exists users");
      for (const role of [reader, owner]) {
        await db.sql.unsafe(`drop owned by ${role}`);
        await db.sql.unsafe(`drop role ${role}`);
      }
    }
  });

  test("every SQL block of the chapter has run", () => {
    const all = [...blocks.values()].flat();
    assert.ok(all.length > 15);
    assert.deepEqual(all.filter((code) => !ran.has(code)), []);
  });
});
