import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import { createSession, migrate, migrations, validateSession } from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";
import { plantDecoys } from "./runner/decoys.ts";
import { importRelease } from "./runner/release.ts";

// What is looked at is the server, so one runtime is enough.
const isBun = "Bun" in globalThis;
const suite: (name: string, tests: () => void) => void = isBun ? describe : () => {};

const USERS = { table: "app.users", id: "id", username: "username" };
const ALL = migrations.map(({ name }) => name);
const STEPS = migrations.filter(({ optional }) => !optional).map(({ name }) => name);

// One role that owns the schema, one that is a member of it, and one that may create schemas.
const suffix = crypto.randomUUID().slice(0, 8);
const [owner, deployer, attacker] = ["owner", "deployer", "attacker"].map((it) =>
  `coatcheck_${it}_${suffix}`
) as [string, string, string];

let db: Database;
if (isBun) {
  beforeAll(async () => {
    db = await openDatabase({ bare: true });
    await db.sql.unsafe("create extension citext");
    for (const role of [owner, deployer, attacker]) {
      await db.sql.unsafe(`create role ${role} login password 'test'`);
    }
    const [row] = await db.sql`select current_database() as name`;
    await db.sql.unsafe(`grant ${owner} to ${deployer}`);
    await db.sql.unsafe(`grant create on database ${row!.name} to ${owner}, ${attacker}`);
    await db.sql.unsafe(`grant select, references on users to ${owner}`);
  });
  afterAll(async () => {
    await db.sql.unsafe("drop schema if exists coatcheck, app cascade");
    for (const role of [owner, deployer, attacker]) {
      await db.sql.unsafe(`drop owned by ${role}`);
      await db.sql.unsafe(`drop role ${role}`);
    }
    await db.close();
  });
}

/** Leaves nothing but an empty schema for the app's own users table, and runs the statements. */
async function startAnew(...statements: string[]): Promise<void> {
  const all = ["drop schema if exists coatcheck, app cascade", "create schema app", ...statements];
  for (const statement of all) await db.sql.unsafe(statement);
}

/** What coatcheck 0.1.0 sends in migrate(sql): the schema that an installation of it has. */
async function schemaOf010(): Promise<string> {
  const previous = await importRelease<{ migrations: typeof migrations }>("0.1.0");
  return previous.migrations.map(({ text }) => text).join(";\n");
}

/** Works as a role that has connected by itself: `set role` could be taken back. */
async function as<T>(
  role: string,
  work: (sql: postgres.Sql) => Promise<T>,
  path = "public",
): Promise<T> {
  const url = Object.assign(new URL(db.url), { username: role, password: "test" }).href;
  // postgres.js asks for the types in a query of its own, which calls the operators that come first.
  const options = { max: 1, fetch_types: false, onnotice: () => {} };
  const sql = postgres(url, { ...options, connection: { search_path: path } });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
const run = async (role: string, ...statements: string[]) =>
  await as(role, async (sql) => {
    for (const statement of statements) await sql.unsafe(statement);
  });

/** The columns of a table or view, as PostgreSQL spells their types and collations. */
async function columnsOf(table: string): Promise<Record<string, string>> {
  const rows = await db.sql`
    select attname, format_type(atttypid, atttypmod)
      || case when collname <> 'default' then ' collate ' || collname else '' end as type
    from pg_attribute left join pg_collation c on c.oid = attcollation
    where attrelid = ${table}::text::regclass and attnum > 0`;
  return Object.fromEntries(rows.map(({ attname, type }) => [attname, type]));
}

suite("the view that migrate makes", () => {
  const cases = [
    { type: "integer", shown: "integer", key: "7" },
    { type: "app.number", shown: "integer", key: "7" },
    { type: "text", shown: "text", key: "ann" },
    { type: "varchar", shown: "text", key: "ann" },
    { type: "varchar(8)", shown: "text", key: "ann" },
    { type: `varchar(8) collate "C"`, shown: "text collate C", key: "ann" },
    { type: "app.handle", shown: "text", key: "ann" },
    { type: "app.short", shown: "text collate C", key: "ann" },
    { type: "app.nested", shown: "text collate C", key: "ann" },
    { type: "app.padded", shown: "bpchar", key: "ann" },
    { type: "char(8)", shown: "character(8)", key: "ann" },
    { type: "citext", shown: "citext", key: "ann" },
    { type: "app.folded", shown: "citext", key: "ann" },
  ];
  for (const { type, shown, key } of cases) {
    test(`shows ${type} as ${shown}, on the same index and with a foreign key`, async () => {
      await startAnew(
        "create domain app.number as integer",
        "create domain app.handle as text check (value <> '')",
        `create domain app.short as varchar(8) collate "C"`,
        "create domain app.nested as app.short",
        "create domain app.padded as char(8)",
        "create domain app.folded as citext",
        `create table app.users (id ${type} primary key, username ${type} unique)`,
        `insert into app.users values ('${key}', '${key}')`,
      );
      await migrate(db.sql, { users: USERS });
      assert.deepEqual(await columnsOf("coatcheck.users"), { id: shown, username: shown });
      assert.equal((await columnsOf("coatcheck.sessions")).user_id, shown);

      for (const column of ["id", "username"]) {
        const value = `(select '${key}'::${shown.split(" ")[0]})`;
        const plan = await db.sql.begin(async (sql) => {
          await sql`set local enable_seqscan = off`;
          return await sql.unsafe(
            `explain (costs off) select from coatcheck.users where ${column} = ${value}`,
          );
        });
        assert.match(JSON.stringify(plan), /Index Cond: /, column);
      }

      const { headers } = await createSession(key, db.sql);
      await db.sql`delete from app.users`;
      assert.equal((await validateSession(withCookie(headers), db.sql)).reason, "unknown");
    });
  }
});

suite("a view that is not unique", () => {
  const tenants = [
    "create table app.users (tenant integer, id integer, username text, primary key (tenant, id))",
    "insert into app.users values (1, 1, 'ann'), (2, 1, 'bob')",
  ];
  const refused = (column: string) => ({
    name: "SessionError",
    code: "STORE_REJECTED",
    sqlstate: "CC005",
    message: `migrate: coatcheck.users has several rows with the same ${column}; ` +
      "name a unique column in migrate(sql, { users }), or make it unique in the view",
  });

  const cases = [
    { name: "one half of a composite key", column: "id", statements: tenants },
    {
      name: "one id under two names",
      column: "id",
      statements: [
        "create table app.users (id integer, username text unique)",
        "insert into app.users values (1, 'ann'), (1, 'bob')",
      ],
    },
    {
      name: "one name for two ids",
      column: "username",
      statements: [
        "create table app.users (id integer primary key, username text)",
        "insert into app.users values (1, 'ann'), (2, 'ann')",
      ],
    },
    {
      name: "one name in two cases, if case means nothing",
      column: "username",
      statements: [
        "create table app.users (id integer primary key, username citext)",
        "create unique index on app.users ((username::text))",
        "insert into app.users values (1, 'ann'), (2, 'Ann')",
      ],
    },
    {
      name: "the same name in a child table",
      column: "username",
      statements: [
        "create table app.users (id integer primary key, username varchar unique)",
        "create table app.staff () inherits (app.users)",
        "insert into app.users values (1, 'ann')",
        "insert into app.staff values (2, 'ann')",
      ],
    },
    {
      name: "an index that is unique for some rows only",
      column: "username",
      statements: [
        "create table app.users (id integer primary key, username text, active boolean)",
        "create unique index on app.users (username) where active",
        "insert into app.users values (1, 'ann', true), (2, 'ann', false)",
      ],
    },
    {
      name: "a join that repeats rows, in a view made by hand",
      column: "id",
      statements: [
        "create table app.users (id integer primary key, username text unique)",
        "create table app.mails (user_id integer, mail text unique)",
        "insert into app.users values (1, 'ann')",
        "insert into app.mails values (1, 'ann@example.com'), (1, 'a@example.com')",
        "create schema coatcheck",
        `create view coatcheck.users as select u.id, m.mail as username
          from app.users u join app.mails m on m.user_id = u.id`,
      ],
    },
  ];
  for (const { name, column, statements } of cases) {
    test(`is refused, and nothing is made: ${name}`, async () => {
      await startAnew(...statements);
      await assert.rejects(migrate(db.sql, { users: { table: "app.users" } }), refused(column));
      const [row] = await db.sql`select to_regclass('coatcheck.migrations') is null as clean`;
      assert.equal(row!.clean, true);
    });
  }

  test("is refused when 0.1.0 has made it, until it is repaired", async () => {
    await startAnew(...tenants, (await schemaOf010()).replace("'users'", "'app.users'"));
    await assert.rejects(migrate(db.sql), refused("id"));
    await db.sql`update app.users set id = 2 where username = 'bob'`;
    assert.deepEqual(await migrate(db.sql), {
      applied: ["003_unique_users", "004_guests"],
      foreignKey: false,
    });
  });

  test("is not one of a type that has its operators elsewhere", async () => {
    await startAnew(
      "create schema types",
      "create extension ltree schema types",
      "create table app.users (id types.ltree primary key, username types.ltree unique)",
      "insert into app.users values ('a.b', 'ann')",
    );
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: STEPS, foreignKey: true });
  });

  test("is not one with many users that have no name, as null is no name", async () => {
    await startAnew(
      "create table app.users (id integer, username text)",
      "insert into app.users values (1, null), (2, null), (3, 'ann')",
    );
    assert.deepEqual(await migrate(db.sql, { users: { table: "app.users" } }), {
      applied: STEPS,
      foreignKey: false,
    });
  });

  test("is looked for without reading the table if an index proves it unique", async () => {
    await startAnew(
      "create function app.reads() returns boolean language plpgsql as $$ begin raise 'read'; end $$",
      "create table app.users (id varchar(8) primary key, username text unique)",
      "insert into app.users values (1, 'ann')",
      "create schema coatcheck",
      "create view coatcheck.users as select id, username from app.users where app.reads()",
    );
    assert.deepEqual(await migrate(db.sql), { applied: STEPS, foreignKey: false });
    await startAnew(
      "create function app.reads() returns boolean language plpgsql as $$ begin raise 'read'; end $$",
      "create table app.users (id integer primary key, username text)",
      "insert into app.users values (1, 'ann')",
      "create schema coatcheck",
      "create view coatcheck.users as select id, username from app.users where app.reads()",
    );
    await assert.rejects(migrate(db.sql), { sqlstate: "P0001" });
  });
});

suite("an installation of 0.1.0", () => {
  test("works before it is migrated, and its sessions work after", async () => {
    await startAnew(await schemaOf010());
    const before = await createSession("ada", db.sql);
    assert.deepEqual(await migrate(db.sql), {
      applied: ["003_unique_users", "004_guests"],
      foreignKey: false,
    });
    assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: false });
    assert.ok((await validateSession(withCookie(before.headers), db.sql)).session);
    assert.ok((await createSession("ada", db.sql)).session);
  });

  test("keeps its view of varchar as it is", async () => {
    await startAnew(
      "create table app.users (id varchar(8) primary key, username varchar(8) unique)",
      "insert into app.users values ('a', 'ann')",
      (await schemaOf010()).replace("'users'", "'app.users'"),
    );
    await migrate(db.sql);
    const varchar = "character varying(8)";
    assert.deepEqual(await columnsOf("coatcheck.users"), { id: varchar, username: varchar });
    assert.equal((await createSession("ann", db.sql)).session.userId, "a");
  });

  test("that starts beside this edition finds all of its own steps applied", async () => {
    await startAnew();
    await migrate(db.sql);
    await db.sql.unsafe(await schemaOf010());
    assert.equal((await db.sql`select from coatcheck.migrations`).length, STEPS.length);
  });
});

suite("objects of other roles", () => {
  const refused = (name: string) => ({
    name: "SessionError",
    code: "STORE_REJECTED",
    sqlstate: "CC004",
    message: `migrate: ${name} is owned by another role; ` +
      "run migrate as that role, or drop it if that role is not yours",
  });
  const ledger = [
    "create table coatcheck.migrations (name text primary key, applied_at timestamptz)",
    "comment on table coatcheck.migrations is 'coatcheck: the migrations that were applied'",
  ];
  // Each runs this with the rights of whoever migrates.
  const trojan = `create function coatcheck.trojan() returns trigger language plpgsql
    as $$ begin raise 'trojan'; end $$`;
  const traps = [
    { name: "an empty schema", object: "the schema coatcheck", statements: [] },
    {
      name: "a ledger with a trigger",
      object: "the schema coatcheck",
      statements: [
        ...ledger,
        trojan,
        `create trigger trojan before insert on coatcheck.migrations
          for each row execute function coatcheck.trojan()`,
      ],
    },
    {
      name: "a ledger that is a view",
      object: "the schema coatcheck",
      statements: [
        `create function coatcheck.trojan() returns text language plpgsql
          as $$ begin raise 'trojan'; end $$`,
        "create view coatcheck.migrations as select coatcheck.trojan() as name",
        "comment on view coatcheck.migrations is 'coatcheck: the migrations that were applied'",
      ],
    },
    {
      name: "a ledger in which all is applied",
      object: "the schema coatcheck",
      statements: [
        ...ledger,
        ...STEPS.map((name) => `insert into coatcheck.migrations values ('${name}')`),
        "create table coatcheck.sessions (id integer)",
      ],
    },
  ];
  for (const { name, object, statements } of traps) {
    test(`are refused: ${name}, made by an attacker who may create schemas`, async () => {
      for (const victim of ["superuser", deployer]) {
        await startAnew();
        await run(attacker, "create schema coatcheck", ...statements);
        await run(attacker, "grant all on schema coatcheck to public");
        if (statements.length) await run(attacker, "grant all on coatcheck.migrations to public");
        const migrating = victim === "superuser"
          ? migrate(db.sql)
          : as(victim, (sql) => migrate(sql));
        await assert.rejects(migrating, refused(object), victim);
      }
    });
  }

  const planted = [
    { object: "coatcheck.migrations", statements: ledger },
    {
      object: "coatcheck.sessions",
      statements: ["create table coatcheck.sessions (id integer)"],
    },
    {
      object: "coatcheck.users",
      statements: ["create view coatcheck.users as select 1 as id, 'ada'::text as username"],
    },
  ];
  for (const { object, statements } of planted) {
    test(`are refused: ${object}, in a schema that is open to all`, async () => {
      for (const victim of ["superuser", deployer]) {
        await startAnew();
        const admin = victim === "superuser" ? "" : ` authorization ${owner}`;
        await db.sql.unsafe(`create schema coatcheck${admin}`);
        await db.sql.unsafe("grant all on schema coatcheck to public");
        await run(attacker, ...statements);
        const migrating = victim === "superuser"
          ? migrate(db.sql)
          : as(victim, (sql) => migrate(sql));
        await assert.rejects(migrating, refused(object), victim);
      }
    });
  }

  test("are refused: a function coatcheck.notify(), in a schema that is open to all", async () => {
    const notify = `create function coatcheck.notify() returns trigger language plpgsql
      as $$ -- coatcheck: tells the caches
        begin raise 'trojan'; end $$`;
    for (const victim of ["superuser", deployer]) {
      await startAnew();
      if (victim === "superuser") await migrate(db.sql);
      else {
        const [row] = await db.sql`select current_database() as name`;
        await db.sql.unsafe(`grant create on database ${row!.name} to ${deployer}`);
        await as(deployer, (sql) => migrate(sql));
      }
      await db.sql.unsafe("grant all on schema coatcheck to public");
      await run(attacker, notify);
      const migrating = victim === "superuser"
        ? migrate(db.sql, { notify: true })
        : as(victim, (sql) => migrate(sql, { notify: true }));
      await assert.rejects(migrating, refused("coatcheck.notify()"), victim);
      // Also if it was given away later.
      await db.sql`drop function coatcheck.notify() cascade`;
      await (victim === "superuser"
        ? migrate(db.sql, { notify: true })
        : as(victim, (sql) => migrate(sql, { notify: true })));
      await db.sql.unsafe(`alter function coatcheck.notify() owner to ${attacker}`);
      const again = victim === "superuser" ? migrate(db.sql) : as(victim, (sql) => migrate(sql));
      await assert.rejects(again, refused("coatcheck.notify()"), victim);
    }
  });

  test("are refused after all was applied: the schema itself", async () => {
    await startAnew();
    await migrate(db.sql);
    await db.sql.unsafe(`alter schema coatcheck owner to ${attacker}`);
    await assert.rejects(migrate(db.sql), refused("the schema coatcheck"));
  });

  test("are fine if they are a superuser's, or of a role that one is a member of", async () => {
    await startAnew();
    await run(owner, "create schema coatcheck");
    assert.deepEqual(await as(deployer, (sql) => migrate(sql)), {
      applied: STEPS,
      foreignKey: false,
    });
    assert.deepEqual(
      await as(owner, (sql) => migrate(sql)).catch((error) => error.sqlstate),
      "CC004",
    );
    await startAnew();
    await as(owner, (sql) => migrate(sql));
    assert.deepEqual(await as(deployer, (sql) => migrate(sql)), { applied: [], foreignKey: false });

    await startAnew(
      "create schema coatcheck",
      `grant create, usage on schema coatcheck to ${owner}`,
      "create view coatcheck.users as select * from users",
      `grant select on coatcheck.users to ${owner}`,
    );
    assert.deepEqual(await as(owner, (sql) => migrate(sql)), { applied: STEPS, foreignKey: false });
  });
});

suite("the search_path of the caller", () => {
  const paths = [`app, public`, `"$user", "An odd, name", app`, `''`];
  for (const path of paths) {
    test(`is as it was after a step, and after an error: ${path}`, async () => {
      await startAnew("create table app.users (id integer primary key, username text unique)");
      for (const scope of ["local", "session"]) {
        await db.sql.begin(async (sql) => {
          const show = async () => (await sql`show search_path`)[0]!.search_path;
          await sql.unsafe(`set ${scope} search_path = ${path}`);
          const before = await show();
          await assert.rejects(
            sql.savepoint((sql) => migrate(sql, { users: { table: "app.nowhere" } })),
            { sqlstate: "CC002" },
          );
          assert.equal(await show(), before);
          await migrate(sql, { users: USERS });
          assert.equal(await show(), before);
          for (const { text } of migrations) await sql.unsafe(text);
          assert.equal(await show(), before);
          await sql`rollback`;
        });
      }
    });
  }

  test("finds the users table", async () => {
    await startAnew("create table app.users (id integer primary key, username text unique)");
    await db.sql.begin(async (sql) => {
      await sql`set local search_path = app, public`;
      await migrate(sql, { users: { table: "users", id: "id" } });
    });
    await db.sql`insert into app.users values (7, 'ann')`;
    assert.equal((await createSession("ann", db.sql)).session.userId, 7);
  });
});

// Last, as they stay in `public`.
suite("operators and functions of others that fit better than PostgreSQL's own", () => {
  const functions = [
    ...new Set(
      migrations.flatMap(({ text }) => Array.from(text.matchAll(/(\w+)\s*\(/g), ([, it]) => it!)),
    ),
    ...["concat", "to_json", "btrim", "json_object_field", "json_array_element"],
  ];
  beforeAll(async () => {
    await startAnew("create domain app.handle as text", "create domain app.number as integer");
    await db.sql.unsafe("create domain public.handle as text");
    await db.sql.unsafe("create domain public.number as integer");
    await plantDecoys(db.sql, functions, ["public.citext", "public.handle", "public.number"]);
  });

  test("are called by a statement that does not keep them out", async () => {
    const calls = [
      `select 1::oid = 'pg_class'::regclass`,
      `select 'a'::varchar = 'a'::varchar`,
      `select to_regclass('users'::varchar)`,
      `select obj_description('pg_class'::regclass, 'pg_class')`,
      `select format('%s', 'a'::text)`,
    ];
    for (const call of calls) await assert.rejects(db.sql.unsafe(call), /decoy/, call);
  });

  const types = [
    "integer",
    "bigint",
    "uuid",
    "text",
    "varchar(40)",
    "public.handle",
    "public.number",
    "citext",
  ];
  for (const path of ["public", "public, pg_catalog"]) {
    for (const type of types) {
      test(`are not called for users by ${type}, with search_path = ${path}`, async () => {
        const sql = postgres(db.url, {
          max: 1,
          fetch_types: false,
          connection: { search_path: path },
        });
        try {
          for (const unique of ["unique", ""]) {
            const value = type === "uuid" ? crypto.randomUUID() : "7";
            await startAnew(
              `create table app.users (id ${type} ${unique}, username ${type} ${unique})`,
              `insert into app.users values ('${value}', '${value}')`,
            );
            const users = unique ? USERS : { table: "app.users" };
            const foreignKey = unique !== "";
            const notify = true;
            assert.deepEqual(await migrate(sql, { users, notify }), { applied: ALL, foreignKey });
            assert.deepEqual(await migrate(sql, { users }), { applied: [], foreignKey });
            for (const { text } of migrations) await sql.unsafe(text);
            for (const table of ["sessions", "migrations"]) {
              await db.sql.unsafe(`alter table coatcheck.${table} drop constraint ${table}_pkey`);
            }
            await db.sql.unsafe("drop index coatcheck.sessions_user_id");
            await db.sql.unsafe(`alter table coatcheck.sessions
              drop constraint if exists sessions_user_id_fkey`);
            const applied = ["001_users", "002_sessions"];
            assert.deepEqual(await migrate(sql, { users }), { applied, foreignKey });
            await db.sql.unsafe("alter table coatcheck.sessions drop data cascade");
            await assert.rejects(migrate(sql, { users }), { sqlstate: "CC009" });
          }
        } finally {
          await sql.end({ timeout: 5 });
        }
      });
    }
  }

  test("are not called for a role that is a member of the owner", async () => {
    for (const path of ["public", "public, pg_catalog"]) {
      await startAnew();
      await run(owner, "create schema coatcheck");
      assert.deepEqual(await as(deployer, (sql) => migrate(sql, { notify: true }), path), {
        applied: ALL,
        foreignKey: false,
      });
      assert.deepEqual(await as(deployer, (sql) => migrate(sql), path), {
        applied: [],
        foreignKey: false,
      });
    }
  });
});
