import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import postgres from "postgres";
import {
  batched,
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  migrate,
  migrations,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

const STEPS = ["001_users", "002_sessions", "003_unique_users"];
const SQL_FOLDER = new URL("../sql/", import.meta.url);

let db: Database;
beforeAll(async () => {
  db = await openDatabase({ bare: true });
});
afterAll(() => db.close());

/** Takes away what a test before this one has made. */
async function reset(statements: string[] = []) {
  await db.sql.unsafe("drop schema if exists coatcheck cascade");
  await db.sql.unsafe("drop schema if exists app cascade");
  for (const statement of statements) await db.sql.unsafe(statement);
}

async function foreignKeys() {
  return await db.sql`select pg_get_constraintdef(oid) as definition from pg_constraint
    where conrelid = 'coatcheck.sessions'::regclass and contype = 'f'`;
}

describe("migrate", () => {
  test("makes the schema from users(id, username), and tells the steps", async () => {
    await reset();
    assert.deepEqual(await migrate(db.sql), { applied: STEPS, foreignKey: false });
    const { session } = await createSession("ada", db.sql);
    assert.equal(session.userId, 1);
  });

  test("does nothing when run again", async () => {
    await reset();
    await migrate(db.sql);
    const { headers } = await createSession("ada", db.sql);
    assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: false });
    const users = { table: "users", username: "username" };
    assert.deepEqual(await migrate(db.sql, { users }), { applied: [], foreignKey: false });
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  for (const client of ["postgres.js", "Bun.SQL"]) {
    if (client === "Bun.SQL" && !("Bun" in globalThis)) continue;

    test(`runs twenty times at once without an error, through ${client}`, async () => {
      await reset();
      const runs = Array.from({ length: 20 }, () => migrate(db.clients[client]!));
      await Promise.all(runs);
      const rows = await db.sql`select name from coatcheck.migrations order by name`;
      assert.deepEqual(rows.map(({ name }) => name), STEPS);
      assert.ok((await createSession("ada", db.sql)).session);
    });
  }

  test("runs twenty times at once where transactions see nothing that was made beside them", async () => {
    const connection = { default_transaction_isolation: "repeatable read" } as const;
    const sql = postgres(db.url, { max: 20, connection, onnotice: () => {} });
    for (let tries = 0; tries < 5; tries++) {
      await reset();
      await Promise.all(Array.from({ length: 20 }, () => migrate(sql)));
      assert.equal((await db.sql`select from coatcheck.migrations`).length, STEPS.length);
    }
    await sql.end({ timeout: 5 });
  });

  const schemas = [
    {
      name: "another schema, table and columns, written as in SQL",
      table: `create table app."Users" ("userId" integer primary key, "e-mail" text unique)`,
      users: { table: `app."Users"`, id: "userId", username: "e-mail" },
      references: `FOREIGN KEY (user_id) REFERENCES app."Users"("userId") ON DELETE CASCADE`,
    },
    {
      name: "columns in quotes",
      table: `create table app.people ("Id" integer primary key, "Name" text unique)`,
      users: { table: "app.people", id: `"Id"`, username: `"Name"` },
      references: `FOREIGN KEY (user_id) REFERENCES app.people("Id") ON DELETE CASCADE`,
    },
    {
      name: "columns in capitals without quotes, as SQL folds them",
      table: `create table app.people (id integer primary key, name text unique)`,
      users: { table: "APP.People", id: "ID", username: "Name" },
      references: `FOREIGN KEY (user_id) REFERENCES app.people(id) ON DELETE CASCADE`,
    },
    {
      name: "a column beside one that differs in case alone",
      table: `create table app.people ("ID" integer primary key, id text, name text unique)`,
      users: { table: "app.people", id: "ID", username: "name" },
      references: `FOREIGN KEY (user_id) REFERENCES app.people("ID") ON DELETE CASCADE`,
    },
    {
      name: "names with quotes in them",
      table: `create table app."it's" ("a""b" integer primary key, "c'd" text unique)`,
      users: { table: `app."it's"`, id: `a"b`, username: "c'd" },
      references: `FOREIGN KEY (user_id) REFERENCES app."it's"("a""b") ON DELETE CASCADE`,
    },
  ];
  for (const { name, table, users, references } of schemas) {
    test(`takes ${name}`, async () => {
      await reset(["create schema app", table]);
      await migrate(db.sql, { users });
      assert.deepEqual((await foreignKeys()).map(({ definition }) => definition), [references]);
      const columns = table.match(/\((.*)\)/)![1]!.split(",");
      await db.sql.unsafe(
        `insert into ${table.split(" ")[2]} values (7, ${
          columns.length === 3 ? "null, " : ""
        }'ann')`,
      );
      const { session, headers } = await createSession("ann", db.sql);
      assert.equal(session.userId, 7);
      await db.sql.unsafe(`delete from ${table.split(" ")[2]}`);
      assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
    });
  }

  test("guesses no foreign key where the key's column was not named", async () => {
    for (const users of [undefined, { table: "users" }, { table: "users", username: "username" }]) {
      await reset();
      await migrate(db.sql, users && { users });
      assert.deepEqual([...await foreignKeys()], []);
    }
  });

  test("keeps a view that was made by hand, and takes the key's type from it", async () => {
    await reset([
      "create schema app",
      "create schema coatcheck",
      `create table app.members (number bigint primary key, mail text unique, active boolean)`,
      `insert into app.members values (9007199254740993, 'ann@example.com', true)`,
      `insert into app.members values (2, 'bob@example.com', false)`,
      `create view coatcheck.users as select mail as username, number as id, active
        from app.members where active`,
    ]);
    await migrate(db.sql);
    assert.equal(
      (await createSession("ann@example.com", db.sql)).session.userId,
      "9007199254740993",
    );
    await assert.rejects(createSession("bob@example.com", db.sql), { code: "USER_NOT_FOUND" });
  });

  test("makes no foreign key to a view, and refers to nothing else", async () => {
    await reset(["create schema app", "create view app.active as select * from users"]);
    await migrate(db.sql, { users: { table: "app.active", id: "id" } });
    assert.deepEqual([...await foreignKeys()], []);
  });

  test("refuses a foreign object under one of its names, and leaves it as it was", async () => {
    const notOurs = (name: string) =>
      `migrate: ${name} exists and was not created by coatcheck; rename or drop it`;
    const noView =
      "migrate: coatcheck.users exists and is not a view with id and username; rename or drop it";
    const foreign = [
      {
        name: "coatcheck.sessions",
        statements: [
          "create schema coatcheck",
          "create table coatcheck.sessions (id integer)",
          "insert into coatcheck.sessions values (42)",
        ],
        message: notOurs("coatcheck.sessions"),
      },
      {
        name: "coatcheck.migrations",
        statements: [
          "create schema coatcheck",
          "create table coatcheck.migrations (name text)",
          "insert into coatcheck.migrations values ('001_users'), ('002_sessions')",
        ],
        message: notOurs("coatcheck.migrations"),
      },
      {
        name: "a table coatcheck.users",
        statements: [
          "create schema coatcheck",
          "create table coatcheck.users (id integer, username text)",
        ],
        message: noView,
      },
      {
        name: "a type coatcheck.users",
        statements: ["create schema coatcheck", "create type coatcheck.users as enum ('ada')"],
        message: noView,
      },
      {
        name: "a type coatcheck.sessions",
        statements: ["create schema coatcheck", "create type coatcheck.sessions as enum ('one')"],
        message: notOurs("coatcheck.sessions"),
      },
      {
        name: "an index coatcheck.sessions_user_id",
        statements: [
          "create schema coatcheck",
          "create table coatcheck.others (id integer)",
          "create index sessions_user_id on coatcheck.others (id)",
        ],
        message: notOurs("coatcheck.sessions_user_id"),
      },
      {
        name: "a view coatcheck.users without our columns",
        statements: ["create schema coatcheck", "create view coatcheck.users as select 1 as id"],
        message: noView,
      },
    ];
    for (const { name, statements, message } of foreign) {
      await reset(statements);
      const error = { name: "SessionError", code: "STORE_REJECTED", sqlstate: "CC001", message };
      await assert.rejects(migrate(db.sql), error, name);
      await assert.rejects(migrate(db.sql), error, name);
    }
    await reset(foreign[0]!.statements);
    await assert.rejects(migrate(db.sql));
    assert.deepEqual([...await db.sql`select * from coatcheck.sessions`], [{ id: 42 }]);
  });

  test("says which step failed, and why, where the users are not what was said", async () => {
    await reset();
    const cases = [
      {
        users: { table: "nowhere" },
        message: "migrate: the users table does not exist; name yours in migrate(sql, { users })",
      },
      {
        users: { table: "users", id: "uid" },
        message: "migrate: the users table has no such column for id; " +
          "name yours in migrate(sql, { users })",
      },
    ];
    for (const { users, message } of cases) {
      await assert.rejects(migrate(db.sql, { users }), { code: "STORE_REJECTED", message });
    }
    const [row] = await db.sql`select to_regnamespace('coatcheck') is null as clean`;
    assert.equal(row!.clean, true);
  });

  test("tells the SQLSTATE of a step that PostgreSQL refuses", async () => {
    await reset(["create schema app", "create table app.people (id integer, username text)"]);
    await assert.rejects(migrate(db.sql, { users: { table: "app.people", id: "id" } }), {
      code: "STORE_REJECTED",
      sqlstate: "42830",
      message: "migrate, step 002_sessions: the database rejected the statement (SQLSTATE 42830)",
    });
    await db.sql.unsafe("alter table app.people add primary key (id)");
    const users = { table: "app.people", id: "id" };
    assert.deepEqual(await migrate(db.sql, { users }), {
      applied: ["002_sessions", "003_unique_users"],
      foreignKey: true,
    });
  });

  test("is part of the caller's transaction", async () => {
    await reset();
    await db.sql.begin(async (transaction) => {
      await migrate(transaction);
      await transaction`rollback`;
    });
    const [row] = await db.sql`select to_regnamespace('coatcheck') is null as clean`;
    assert.equal(row!.clean, true);
  });

  test("refuses options that cannot be", async () => {
    const cases = [
      {
        options: { user: {} },
        error: TypeError,
        names: /options must have no keys but users, queryTimeout/,
      },
      {
        options: { users: "users" },
        error: TypeError,
        names: /^migrate: users must be an object, got string$/,
      },
      {
        options: { users: { table: 1 } },
        error: TypeError,
        names: /a name in users must be a string/,
      },
      { options: { users: { table: "" } }, error: RangeError, names: /must be 1 to 200 bytes/ },
      {
        options: { users: { table: "a$coatcheck$" } },
        error: RangeError,
        names: /free of \\ and \$/,
      },
      {
        options: { users: { table: "a", id: "b\\" } },
        error: RangeError,
        names: /free of \\ and \$/,
      },
      {
        options: { users: { table: "a", name: "b" } },
        error: TypeError,
        names: /no keys but table, id/,
      },
      {
        options: { queryTimeout: 0 },
        error: RangeError,
        names: /queryTimeout must be whole seconds/,
      },
    ];
    for (const { options, error, names } of cases) {
      await assert.rejects(
        migrate(db.sql, options as never),
        (thrown: Error) => thrown instanceof error && names.test(thrown.message),
        JSON.stringify(options),
      );
    }
  });

  test("is asked for by a function that comes before it", async () => {
    await reset();
    await assert.rejects(createSession("ada", db.sql), {
      code: "SCHEMA_MISSING",
      sqlstate: "42P01",
      message: "createSession: the schema coatcheck is missing or incomplete (SQLSTATE 42P01); " +
        "run migrate(sql)",
    });
  });
});

describe("sql/", () => {
  test("holds the same statements as the module, one file each", async () => {
    const files = (await readdir(SQL_FOLDER)).filter((name) => /^\d/.test(name)).sort();
    assert.deepEqual(files, migrations.map(({ name }) => `${name}.sql`));
    for (const { name, text } of migrations) {
      assert.equal(await readFile(new URL(`${name}.sql`, SQL_FOLDER), "utf8"), text);
    }
  });

  test("grants a role all that the verbs need, and no more", async () => {
    await reset();
    await migrate(db.sql);
    const role = `coatcheck_${crypto.randomUUID().slice(0, 8)}`;
    const grants = await readFile(new URL("grants.sql", SQL_FOLDER), "utf8");
    await db.sql.unsafe(`create role ${role} login password 'app'`);
    await db.sql.unsafe(grants.replaceAll(`:"app"`, role));
    const url = Object.assign(new URL(db.url), { username: role, password: "app" }).href;
    const app = postgres(url, { max: 1 });
    try {
      const { headers } = await createSession("ada", app);
      const again = await createSession("ada", app, { replaces: withCookie(headers) });
      await db.sql`update coatcheck.sessions set last_seen_at = last_seen_at - interval '1 hour'`;
      assert.ok((await validateSession(withCookie(again.headers), app)).session);
      assert.ok((await revokeSession(withCookie(again.headers), app)).session);
      const { id, digest } = createToken();
      const [createdAt, expiresAt] = [new Date(), new Date(Date.now() + 3_600_000)];
      const userId = await getUserId("ada", app);
      await insertSession({ id, digest, userId, createdAt, expiresAt }, app);
      const last = await createSession("ada", batched(app), { maxSessions: 1 });
      assert.ok((await updateSession(withCookie(last.headers), { seen: 1 }, app)).session);
      const rotated = await rotateSession(withCookie(last.headers), app);
      const proved = await reauthenticateSession(withCookie(rotated.headers), app);
      assert.equal((await validateSession(withCookie(rotated.headers), app)).reason, "unknown");
      assert.ok((await validateSession(withCookie(proved.headers), batched(app))).session);
      assert.deepEqual((await listSessions(userId, app)).map(({ id }) => id), [last.session.id]);
      assert.equal((await revokeSessions({ userId }, app)).length, 1);
      assert.equal((await sweepSessions(app, { retention: 0 })).swept, 4);
      for (const forbidden of ["select from users", "create table coatcheck.mine ()"]) {
        await assert.rejects(app.unsafe(forbidden), { code: "42501" });
      }
    } finally {
      await app.end();
      await db.sql.unsafe(`drop owned by ${role}`);
      await db.sql.unsafe(`drop role ${role}`);
    }
  });
});
