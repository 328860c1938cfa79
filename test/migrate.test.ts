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

const STEPS = ["001_users", "002_sessions", "003_unique_users", "004_guests"];
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
    await reset([
      "create schema app",
      "create unlogged table app.people (id integer primary key, username text)",
    ]);
    await assert.rejects(migrate(db.sql, { users: { table: "app.people", id: "id" } }), {
      code: "STORE_REJECTED",
      sqlstate: "42P16",
      message: "migrate, step 002_sessions: the database rejected the statement (SQLSTATE 42P16)",
    });
    await db.sql.unsafe("alter table app.people set logged");
    const users = { table: "app.people", id: "id" };
    assert.deepEqual(await migrate(db.sql, { users }), {
      applied: ["002_sessions", "003_unique_users", "004_guests"],
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
        names: /options must have no keys but users, notify, queryTimeout/,
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

describe("migrate, after the database has changed", () => {
  const USERS = { table: "users", id: "id", username: "username" };
  const RECREATE = [
    "drop table if exists users cascade",
    "create table users (id integer primary key, username text not null unique)",
    "insert into users values (1, 'eve'), (2, 'ada')",
  ];
  const run = async (...statements: string[]) => {
    for (const statement of statements) await db.sql.unsafe(statement);
  };
  const afresh = async () => {
    await reset([
      ...RECREATE,
      "truncate users",
      "insert into users values (1, 'ada'), (2, 'grace')",
    ]);
  };
  afterAll(afresh);
  const columns = async () => {
    const [row] = await db.sql`select
      (select atttypid::regtype::text from pg_attribute
        where attrelid = 'coatcheck.sessions'::regclass and attname = 'user_id') as key`;
    return row!.key;
  };

  test("makes the view and the foreign key again if the users table was dropped", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await createSession("ada", db.sql);
    await run(...RECREATE);
    await assert.rejects(createSession("ada", db.sql), { code: "SCHEMA_MISSING" });
    const applied = ["001_users", "002_sessions"];
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: [], foreignKey: true });
    const { session, headers } = await createSession("ada", db.sql);
    assert.equal(session.userId, 2);
    await db.sql`delete from users where id = 2`;
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
  });

  test("opens no session of before if a key belongs to another user in the new table", async () => {
    for (const users of [USERS, { table: "users" }]) {
      await afresh();
      await migrate(db.sql, { users });
      const ada = await createSession("ada", db.sql);
      await run(...RECREATE);
      await migrate(db.sql, { users });
      const result = await validateSession(withCookie(ada.headers), db.sql);
      assert.deepEqual([result.session, result.revokedReason], [null, "users-replaced"]);
    }
  });

  test("keeps the sessions if the foreign key has kept the users and only the view is gone", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    const { headers } = await createSession("ada", db.sql);
    await run("drop view coatcheck.users");
    const applied = ["001_users"];
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  test("says that the view is missing if the call does not name the users table", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run(...RECREATE);
    const error = {
      name: "SessionError",
      code: "SCHEMA_MISSING",
      sqlstate: "CC006",
      message: "migrate: the view coatcheck.users is missing, as after drop table … cascade; " +
        "name your table in migrate(sql, { users }), or create the view",
    };
    await assert.rejects(migrate(db.sql), error);
    await run("create view coatcheck.users as select id, username from users");
    assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: false });
  });

  test("says that the users table is missing if it was not created again", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run("drop table users cascade");
    await assert.rejects(migrate(db.sql, { users: USERS }), { sqlstate: "CC002" });
    await run("create table users (id integer primary key, username text not null unique)");
    assert.equal((await migrate(db.sql, { users: USERS })).foreignKey, true);
  });

  test("makes the view and the foreign key again if twenty servers start at once", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await createSession("ada", db.sql);
    await run(...RECREATE);
    const results = await Promise.all(
      Array.from({ length: 20 }, () => migrate(db.sql, { users: USERS })),
    );
    for (const { foreignKey } of results) assert.equal(foreignKey, true);
    assert.equal((await createSession("ada", db.sql)).session.userId, 2);
  });

  test("lets the roles read the new view that may create sessions", async () => {
    await afresh();
    const [app, reader] = ["app", "reader"].map((it) => `${it}_${crypto.randomUUID().slice(0, 8)}`);
    await migrate(db.sql, { users: USERS });
    await run(`create role "${app}"`, `create role "${reader}"`);
    const grants = await readFile(new URL("grants.sql", SQL_FOLDER), "utf8");
    await db.sql.unsafe(grants.replaceAll(`:"app"`, `"${app}"`));
    await run(`grant select on coatcheck.sessions to "${reader}"`, ...RECREATE);
    await migrate(db.sql, { users: USERS });
    const [row] = await db
      .sql`select has_table_privilege(${app!}, 'coatcheck.users', 'select') as app,
      has_table_privilege(${reader!}, 'coatcheck.users', 'select') as reader`;
    assert.deepEqual({ ...row }, { app: true, reader: false });
    await run(`drop owned by "${app}", "${reader}"`, `drop role "${app}", "${reader}"`);
  });

  test("gives user_id the type of the new table's key", async () => {
    const uuid = "00000000-0000-4000-8000-000000000001";
    const cases = [
      { type: "bigint", key: "9007199254740993", is: "bigint" },
      { type: "smallint", key: "7", is: "integer" },
      { type: "uuid", key: uuid, is: "uuid" },
      { type: "varchar(40)", key: "ada", is: "text" },
    ];
    for (const { type, key, is } of cases) {
      await afresh();
      await migrate(db.sql, { users: USERS });
      await createSession("ada", db.sql);
      await run(
        "drop table users cascade",
        `create table users (id ${type} primary key, username text unique)`,
        `insert into users values ('${key}', 'ada')`,
      );
      await migrate(db.sql, { users: USERS });
      assert.equal(await columns(), is);
      assert.equal(String((await createSession("ada", db.sql)).session.userId), key);
    }
    await run("drop table users cascade", RECREATE[1]!);
  });

  test("refuses a key that user_id cannot hold, and says what to run", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run(
      "drop view coatcheck.users",
      "alter table users alter id type bigint",
      "create view coatcheck.users as select id, username from users",
    );
    const message =
      "migrate: coatcheck.users.id must have the type of coatcheck.sessions.user_id " +
      "(integer), got bigint; run: alter table coatcheck.sessions alter user_id type bigint";
    await assert.rejects(migrate(db.sql), { code: "STORE_REJECTED", sqlstate: "CC008", message });
    await run(message.split("run: ")[1]!);
    assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: true });
  });

  test("makes a foreign key that was dropped, or never made, and deletes sessions without a user", async () => {
    await afresh();
    await migrate(db.sql);
    const { headers } = await createSession("ada", db.sql);
    await createSession("grace", db.sql);
    await run("delete from users where username = 'grace'");
    const applied = ["002_sessions"];
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
    assert.equal((await db.sql`select from coatcheck.sessions`).length, 1);
    await run("alter table coatcheck.sessions drop constraint sessions_user_id_fkey");
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
    const [row] = await db.sql`select convalidated from pg_constraint
      where conname = 'sessions_user_id_fkey'`;
    assert.equal(row!.convalidated, true);
  });

  test("keeps the sessions of a key that was reused before the foreign key was made", async () => {
    await afresh();
    await migrate(db.sql);
    const { headers } = await createSession("ada", db.sql);
    await run("delete from users where id = 1", "insert into users values (1, 'mallory')");
    assert.equal((await migrate(db.sql, { users: USERS })).foreignKey, true);
    assert.equal(
      (await validateSession(withCookie(headers), db.sql)).session?.username,
      "mallory",
    );
    await run("delete from users where id = 1", "insert into users values (1, 'eve')");
    assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
  });

  test("makes the table of sessions again if a dump was restored without it", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run("drop table coatcheck.sessions");
    const applied = ["002_sessions", "004_guests"];
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
    assert.ok(await createSession("ada", db.sql));
  });

  test("does nothing after a dump was restored without comments", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    const { headers } = await createSession("ada", db.sql);
    await run("comment on table coatcheck.migrations is null");
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: [], foreignKey: true });
    for (const { text, optional } of migrations) if (!optional) await run(text);
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  test("notes the steps of a schema that was restored without its rows, or without the ledger", async () => {
    const losses = [
      "truncate coatcheck.migrations",
      "drop table coatcheck.migrations",
      "truncate coatcheck.migrations; comment on table coatcheck.migrations is null",
    ];
    for (const loss of losses) {
      await afresh();
      await migrate(db.sql, { users: USERS });
      const { headers } = await createSession("ada", db.sql);
      await run(loss);
      assert.deepEqual(await migrate(db.sql, { users: USERS }), {
        applied: STEPS,
        foreignKey: true,
      });
      assert.ok((await validateSession(withCookie(headers), db.sql)).session);
    }
  });

  test("knows no ledger by its columns alone, nor by a step alone", async () => {
    const ledgers = [
      "create table coatcheck.migrations (name text primary key, applied_at timestamptz not null)",
      "create table coatcheck.migrations as select '001_users'::text as name, now() as applied_at",
      "create view coatcheck.migrations as select '001_users'::text as name, now() as applied_at",
    ];
    for (const ledger of ledgers) {
      await reset(["create schema coatcheck", ledger]);
      await assert.rejects(migrate(db.sql), { code: "STORE_REJECTED", sqlstate: "CC001" }, ledger);
    }
  });

  const elsewhere = {
    code: "STORE_REJECTED",
    sqlstate: "CC007",
    message: "migrate: users.table must be a table that the view coatcheck.users reads (users), " +
      "got app.people; name that one, or replace the view",
  };

  test("refuses to name another table than the view reads, and changes nothing", async () => {
    const people = "create table app.people (id integer primary key, username text unique)";
    for (const id of [undefined, "id"]) {
      await afresh();
      await run("create schema app", people);
      await migrate(db.sql, { users: { table: "users", ...(id && { id }) } });
      const keys = await foreignKeys();
      for (const table of ["app.people", "app.nowhere"]) {
        const message = elsewhere.message.replace("app.people", table);
        const users = { table, ...(id && { id }) };
        await assert.rejects(migrate(db.sql, { users }), { ...elsewhere, message });
      }
      assert.deepEqual([...await foreignKeys()], [...keys]);
    }
  });

  test("refuses to name another table than a view made by hand reads, before it makes anything", async () => {
    await afresh();
    await run(
      "create schema app",
      "create table app.people (id integer primary key, username text unique)",
      "create schema coatcheck",
      "create view coatcheck.users as select id, username from users",
    );
    await assert.rejects(migrate(db.sql, { users: { table: "app.people", id: "id" } }), elsewhere);
    const [row] = await db.sql`select to_regclass('coatcheck.sessions') is null as clean`;
    assert.equal(row!.clean, true);
  });

  test("takes any table that the view reads, through other views as well", async () => {
    await afresh();
    await run(
      "create schema app",
      "create table app.mails (user_id integer, mail text unique)",
      "create view app.active as select u.id, m.mail as username from users u join app.mails m on u.id = user_id",
      "create schema coatcheck",
      "create view coatcheck.users as select id, username from app.active",
    );
    for (const table of ["users", "app.active", "app.mails"]) {
      await migrate(db.sql, { users: { table } });
    }
    await run("create view app.people as select * from users");
    await migrate(db.sql, { users: { table: "app.people" } });
  });

  test("refuses to name another table than the foreign key refers to", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run(
      "alter table users rename to old_users",
      "create table users (like old_users including all)",
      "create or replace view coatcheck.users as select id, username from users",
    );
    try {
      await assert.rejects(migrate(db.sql, { users: USERS }), {
        sqlstate: "CC007",
        message:
          "migrate: users.table must be the table that coatcheck.sessions refers to (old_users), " +
          "got users; name that one, or drop the foreign key",
      });
    } finally {
      await run("drop table users cascade", "alter table old_users rename to users");
    }
  });

  test("makes no view of another table than the foreign key refers to", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    const { headers } = await createSession("ada", db.sql);
    await run(
      "create schema app",
      "create table app.people (id integer primary key, username text unique)",
      "create view app.active as select id, username from users",
      "drop view coatcheck.users",
    );
    for (const users of [{ table: "app.people" }, { ...USERS, table: "app.people" }]) {
      for (let run = 0; run < 2; run++) {
        await assert.rejects(migrate(db.sql, { users }), {
          code: "STORE_REJECTED",
          sqlstate: "CC007",
          message:
            "migrate: users.table must be the table that coatcheck.sessions refers to (users), " +
            "got app.people; name that one, or drop the foreign key",
        });
      }
    }
    await migrate(db.sql, { users: { table: "app.active" } });
    await run("drop view coatcheck.users");
    assert.equal((await migrate(db.sql, { users: { table: "users" } })).foreignKey, true);
    await run(
      "drop view coatcheck.users",
      "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
    );
    assert.equal((await migrate(db.sql, { users: { table: "app.people" } })).foreignKey, false);
    const { revokedReason } = await validateSession(withCookie(headers), db.sql);
    assert.equal(revokedReason, "users-replaced");
  });

  test("validates a foreign key that is not, and deletes sessions without a user", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    const ada = await createSession("ada", db.sql);
    const grace = await createSession("grace", db.sql);
    await run(
      "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
      "delete from users where id = 1",
      `alter table coatcheck.sessions add foreign key (user_id) references users (id)
        on delete cascade not valid`,
    );
    const applied = ["002_sessions"];
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
    await run("insert into users values (1, 'mallory')");
    assert.equal((await validateSession(withCookie(ada.headers), db.sql)).reason, "unknown");
    assert.ok((await validateSession(withCookie(grace.headers), db.sql)).session);
  });
});

describe("migrate with notify", () => {
  const NOTIFY = "005_notify";
  const TRIGGERS = ["delete", "truncate", "update"].map((it) => `coatcheck_notify_${it}`);
  /** The triggers that fire for every writer. */
  const triggers = async () => {
    const rows = await db.sql`select tgname as name from pg_trigger
      where tgrelid = to_regclass('coatcheck.sessions') and not tgisinternal and tgenabled = 'A'
      order by 1`;
    return rows.map(({ name }) => name);
  };
  const sessions = async () => [...await db.sql`select *, xmin from coatcheck.sessions`];

  test("applies the step only if it is asked for, and then keeps it without being asked", async () => {
    await reset();
    await migrate(db.sql);
    for (const options of [undefined, {}, { notify: false }]) {
      assert.deepEqual((await migrate(db.sql, options)).applied, []);
    }
    assert.deepEqual(await triggers(), []);
    await createSession("ada", db.sql);
    const before = await sessions();
    assert.deepEqual(await migrate(db.sql, { notify: true }), {
      applied: [NOTIFY],
      foreignKey: false,
    });
    assert.deepEqual(await triggers(), TRIGGERS);
    assert.deepEqual(await sessions(), before);
    for (const options of [undefined, { notify: false }, { notify: true }]) {
      assert.deepEqual((await migrate(db.sql, options)).applied, []);
    }
    assert.deepEqual(await triggers(), TRIGGERS);
  });

  test("applies all steps to a new schema", async () => {
    await reset();
    const { applied } = await migrate(db.sql, { notify: true });
    assert.deepEqual(applied, [...STEPS, NOTIFY]);
    assert.deepEqual(await triggers(), TRIGGERS);
  });

  test("refuses an option that is no boolean", async () => {
    for (const notify of ["yes", 1, null]) {
      await assert.rejects(migrate(db.sql, { notify: notify as unknown as boolean }), {
        name: "TypeError",
        message: /^migrate: notify must be true or false/,
      });
    }
  });

  const losses: { name: string; sql: string; applied?: string[] }[] = [
    ...TRIGGERS.flatMap((name) => [
      {
        name: `${name} is disabled`,
        sql: `alter table coatcheck.sessions disable trigger ${name}`,
      },
      {
        name: `${name} is enabled for some writers`,
        sql: `alter table coatcheck.sessions enable trigger ${name}`,
      },
      {
        name: `${name} is enabled for replicas`,
        sql: `alter table coatcheck.sessions enable replica trigger ${name}`,
      },
      { name: `${name} is gone`, sql: `drop trigger ${name} on coatcheck.sessions` },
    ]),
    {
      name: "all triggers are disabled",
      sql: "alter table coatcheck.sessions disable trigger user",
    },
    { name: "the function is gone", sql: "drop function coatcheck.notify() cascade" },
    {
      name: "the table was made again",
      sql: "drop table coatcheck.sessions",
      applied: ["002_sessions", "004_guests", NOTIFY],
    },
    {
      name: "the table was copied",
      sql: `alter table coatcheck.sessions rename to old;
        create table coatcheck.sessions (like coatcheck.old including all);
        create index on coatcheck.sessions (user_id)`,
    },
  ];
  for (const { name, sql, applied = [NOTIFY] } of losses) {
    test(`makes it again if ${name}`, async () => {
      await reset();
      await migrate(db.sql, { notify: true });
      await db.sql.unsafe(sql);
      assert.notDeepEqual(await triggers(), TRIGGERS);
      assert.deepEqual((await migrate(db.sql)).applied, applied);
      assert.deepEqual(await triggers(), TRIGGERS);
      assert.deepEqual((await migrate(db.sql)).applied, []);
    });
  }

  test("stays away once it was removed as its file says", async () => {
    await reset();
    await migrate(db.sql, { notify: true });
    const text = migrations.find(({ name }) => name === NOTIFY)!.text;
    const removal = [...text.matchAll(/^-- {3}((?:drop|delete) .*);$/gm)].map(([, sql]) => sql!);
    assert.equal(removal.length, 2);
    for (const sql of removal) await db.sql.unsafe(sql);
    assert.deepEqual((await migrate(db.sql)).applied, []);
    assert.deepEqual(await triggers(), []);
  });

  test("runs twenty times at once without an error, whatever the snapshots see", async () => {
    for (const isolation of ["read committed", "repeatable read"] as const) {
      const connection = { default_transaction_isolation: isolation } as const;
      const sql = postgres(db.url, { max: 20, connection, onnotice: () => {} });
      const all = (options: object) =>
        Promise.all(Array.from({ length: 20 }, () => migrate(sql, options)));
      await reset();
      await all({ notify: true });
      assert.deepEqual(await triggers(), TRIGGERS, isolation);
      await db.sql`drop function coatcheck.notify() cascade`;
      await all({});
      assert.deepEqual(await triggers(), TRIGGERS, isolation);
      assert.equal((await db.sql`select from coatcheck.migrations`).length, STEPS.length + 1);
      await sql.end({ timeout: 5 });
    }
  });

  const foreign = [
    {
      name: "a function of the same name",
      sql: `create function coatcheck.notify() returns trigger language plpgsql
        as 'begin return null; end'`,
      message:
        "migrate: coatcheck.notify() exists and was not created by coatcheck; rename or drop it",
    },
    {
      name: "a function of the same name that is no trigger's",
      sql: `create function coatcheck.notify() returns text language sql
        as $$ select '-- coatcheck: tells the caches' $$`,
      message:
        "migrate: coatcheck.notify() exists and was not created by coatcheck; rename or drop it",
    },
    ...TRIGGERS.map((name) => ({
      name: `a trigger of the name ${name}`,
      sql: `create function app.other() returns trigger language plpgsql
          as 'begin return null; end';
        create trigger ${name} after insert on coatcheck.sessions
          execute function app.other()`,
      message: `migrate: the trigger ${name} on coatcheck.sessions exists and was not created by ` +
        "coatcheck; rename or drop it",
    })),
  ];
  for (const { name, sql, message } of foreign) {
    test(`refuses ${name}, and changes nothing`, async () => {
      await reset(["create schema app"]);
      await migrate(db.sql);
      await db.sql.unsafe(sql);
      const all = () =>
        db.sql`
        select tgname as name, tgfoid::regproc::text as text from pg_trigger
          where tgrelid = 'coatcheck.sessions'::regclass and not tgisinternal
        union all
        select proname, prosrc from pg_proc where pronamespace = 'coatcheck'::regnamespace
        union all select name, '' from coatcheck.migrations order by 1, 2`;
      const before = [...await all()];
      await assert.rejects(migrate(db.sql, { notify: true }), {
        code: "STORE_REJECTED",
        sqlstate: "CC001",
        message,
      });
      assert.deepEqual([...await all()], before);
      assert.deepEqual((await migrate(db.sql)).applied, []);
    });
  }

  test("is there if the type of the users' key changes", async () => {
    await reset([
      "create schema app",
      "create table app.users (id integer unique, username text unique)",
    ]);
    await db.sql`insert into app.users values (1, 'ada')`;
    const users = { table: "app.users", username: "username" };
    await migrate(db.sql, { users, notify: true });
    await createSession("ada", db.sql);
    for (const type of ["bigint", "text", "uuid"]) {
      await db.sql.unsafe(`drop view coatcheck.users; drop table app.users;
        create table app.users (id ${type} unique, username text unique)`);
      assert.deepEqual((await migrate(db.sql, { users })).applied, ["001_users"], type);
      assert.deepEqual(await triggers(), TRIGGERS, type);
      const [row] = await db.sql`select format_type(atttypid, atttypmod) as type from pg_attribute
        where attrelid = 'coatcheck.sessions'::regclass and attname = 'user_id'`;
      assert.equal(row!.type, type);
    }
  });

  test("says how to widen the key of sessions that it compares", async () => {
    await reset();
    await migrate(db.sql, { notify: true });
    await db.sql.unsafe(
      "drop view coatcheck.users; create view coatcheck.users as select id::bigint as id, username from users",
    );
    const error = await migrate(db.sql).catch((error) => error);
    assert.equal(error.sqlstate, "CC008");
    await db.sql.unsafe(error.message.split("run: ")[1]!);
    assert.deepEqual((await migrate(db.sql)).applied, [NOTIFY]);
    assert.deepEqual(await triggers(), TRIGGERS);
  });

  test("keeps the triggers of a table with partitions", async () => {
    await reset();
    await migrate(db.sql);
    await db.sql.unsafe(`
      alter table coatcheck.sessions rename to old;
      create table coatcheck.sessions (like coatcheck.old including defaults) partition by hash (id);
      create table coatcheck.part partition of coatcheck.sessions for values with (modulus 1, remainder 0);
      drop table coatcheck.old`);
    assert.deepEqual((await migrate(db.sql, { notify: true })).applied, ["002_sessions", NOTIFY]);
    assert.deepEqual(await triggers(), TRIGGERS);
    assert.deepEqual((await migrate(db.sql)).applied, []);
    await db.sql`alter table coatcheck.part disable trigger coatcheck_notify_update`;
    assert.deepEqual((await migrate(db.sql)).applied, [NOTIFY]);
    assert.deepEqual((await migrate(db.sql)).applied, []);
  });

  test("refuses sessions that Citus distributes, before it changes anything", async () => {
    // The catalog of Citus alone: test/citus.test.ts asks a cluster.
    const own = await openDatabase();
    try {
      await own.sql.unsafe(`set allow_system_table_mods = on;
        create table pg_catalog.pg_dist_partition
          (logicalrelid regclass, partmethod "char", colocationid integer, repmodel "char")`);
      const rows = [
        { name: "distributed", row: "'h', 1, 's'", refused: true },
        { name: "a reference table", row: "'n', 2, 't'", refused: true },
        { name: "distributed with its schema", row: "'n', 3, 's'", refused: true },
        { name: "local", row: "'n', 0, 's'", refused: false },
      ];
      const message =
        "migrate: coatcheck.sessions is distributed by Citus, which refuses triggers, so " +
        "coatcheck/cache is not available; ";
      await own.sql`delete from coatcheck.migrations where name = '003_unique_users'`;
      const steps = async () =>
        (await own.sql`select name from coatcheck.migrations order by 1`).map((it) => it.name);
      const before = await steps();
      for (const { name, row, refused } of rows) {
        await own.sql.unsafe(`truncate pg_dist_partition;
          insert into pg_dist_partition values ('coatcheck.sessions', ${row})`);
        const migrating = migrate(own.sql, { notify: true });
        if (!refused) {
          assert.deepEqual((await migrating).applied, ["003_unique_users", NOTIFY]);
          continue;
        }
        await assert.rejects(migrating, {
          code: "STORE_REJECTED",
          sqlstate: "CC011",
          message: `${message}leave the option notify out`,
        }, name);
        assert.deepEqual(await steps(), before);
      }
      await own.sql.unsafe(`drop function coatcheck.notify() cascade;
        update pg_dist_partition set partmethod = 'h'`);
      const error = await migrate(own.sql).catch((error) => error);
      assert.equal(
        error.message,
        `${message}run: delete from coatcheck.migrations where name = '005_notify'`,
      );
      await own.sql.unsafe(error.message.split("run: ")[1]!);
      assert.deepEqual((await migrate(own.sql)).applied, []);
    } finally {
      await own.close();
    }
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
    await migrate(db.sql, { notify: true });
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
