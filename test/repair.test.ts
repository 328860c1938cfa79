// A schema that has lost a part, or whose foreign key deletes nothing: what migrate makes again, what it refuses,
// and whether the SQL in its errors mends it. What is looked at is the server, so one runtime is enough.
import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import postgres from "postgres";
import { createSession, migrate, validateSession } from "../mod.ts";
import { type Database, openDatabase, withCookie } from "./runner/database.ts";

const isBun = "Bun" in globalThis;
const suite: (name: string, tests: () => void) => void = isBun ? describe : () => {};

const USERS = { table: "users", id: "id", username: "username" };

let db: Database;
if (isBun) {
  beforeAll(async () => {
    db = await openDatabase({ bare: true });
  });
  afterAll(() => db.close());
}

async function run(...statements: string[]): Promise<void> {
  for (const statement of statements) await db.sql.unsafe(statement);
}

/** Leaves nothing but a users table with ada (1) and grace (2). */
async function afresh(): Promise<void> {
  await run(
    "drop schema if exists coatcheck, app cascade",
    "drop table if exists users cascade",
    "create table users (id integer primary key, username text not null unique)",
    "insert into users values (1, 'ada'), (2, 'grace')",
  );
}

/** The constraints and the indexes of the schema, without those of the users table. */
const keysOf = async () => {
  const rows = await db.sql`
    select conrelid::regclass || ': ' || pg_get_constraintdef(oid) as text from pg_constraint
      where connamespace = 'coatcheck'::regnamespace and contype in ('p', 'f')
    union all
    select indexdef from pg_indexes where schemaname = 'coatcheck'
    order by text`;
  return rows.map(({ text }) => text);
};
// What pg_restore leaves out with --section=pre-data --section=data.
const POST_DATA = [
  "alter table coatcheck.sessions drop constraint sessions_user_id_fkey",
  "alter table coatcheck.sessions drop constraint sessions_pkey",
  "alter table coatcheck.migrations drop constraint migrations_pkey",
  "drop index coatcheck.sessions_user_id",
];
const FOREIGN_KEY = "alter table coatcheck.sessions add foreign key (user_id) references";
const NO_FOREIGN_KEY = POST_DATA[0]!;

suite("a table that has lost a part", () => {
  const losses = [
    { name: "its primary key", statements: [POST_DATA[1]!], applied: ["002_sessions"] },
    { name: "its index by user", statements: [POST_DATA[3]!], applied: ["002_sessions"] },
    {
      name: "the key of the list of steps, with a row twice",
      statements: [
        POST_DATA[2]!,
        "insert into coatcheck.migrations select * from coatcheck.migrations",
      ],
      applied: ["001_users"],
    },
    {
      name: "all that a dump has after its data",
      statements: POST_DATA,
      applied: ["001_users", "002_sessions"],
    },
  ];
  for (const { name, statements, applied } of losses) {
    test(`makes again what the table has lost, and keeps the sessions: ${name}`, async () => {
      await afresh();
      await migrate(db.sql, { users: USERS });
      const made = await keysOf();
      const { headers } = await createSession("ada", db.sql);
      await run(...statements);
      assert.notDeepEqual(await keysOf(), made);
      assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied, foreignKey: true });
      assert.deepEqual(await keysOf(), made);
      assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: [], foreignKey: true });
      assert.ok((await validateSession(withCookie(headers), db.sql)).session);
    });
  }

  test("makes the keys again without a foreign key if the call names no id", async () => {
    await afresh();
    await migrate(db.sql);
    const made = await keysOf();
    await run(...POST_DATA.slice(1));
    const applied = ["001_users", "002_sessions"];
    assert.deepEqual(await migrate(db.sql), { applied, foreignKey: false });
    assert.deepEqual(await keysOf(), made);
  });

  test("makes the keys again once if twenty servers start at once, whatever their snapshots see", async () => {
    const connection = { default_transaction_isolation: "repeatable read" } as const;
    const sql = postgres(db.url, { max: 20, connection, onnotice: () => {} });
    try {
      for (const client of [sql, db.sql]) {
        await afresh();
        await migrate(db.sql, { users: USERS });
        const made = await keysOf();
        for (const lost of [POST_DATA, ...POST_DATA.map((it) => [it])]) {
          await run(...lost);
          const results = await Promise.all(
            Array.from({ length: 20 }, () => migrate(client, { users: USERS })),
          );
          for (const { foreignKey } of results) assert.equal(foreignKey, true);
          assert.deepEqual(await keysOf(), made);
        }
      }
    } finally {
      await sql.end({ timeout: 5 });
    }
  });

  test("takes an index of your own in place of its own, but none that is partial or unfinished", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    const drop = "drop index coatcheck.sessions_user_id";
    await run(drop, "create index mine on coatcheck.sessions (user_id, created_at)");
    assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: true });
    await run(
      "drop index coatcheck.mine",
      "create index sessions_user_id on coatcheck.sessions (user_id) where user_id > 1",
    );
    const applied = ["002_sessions"];
    assert.deepEqual(await migrate(db.sql), { applied, foreignKey: true });
    assert.ok((await keysOf()).some((it) => it.endsWith("btree (user_id)")));
    await run(
      "drop index coatcheck.sessions_user_id_idx",
      drop,
      "create index sessions_user_id on coatcheck.sessions (user_id)",
      "update pg_index set indisvalid = false where indexrelid = 'coatcheck.sessions_user_id'::regclass",
    );
    assert.deepEqual(await migrate(db.sql), { applied, foreignKey: true });
    assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: true });
    const [row] = await db.sql`select count(*)::integer as indexes, bool_and(indisvalid) as valid
      from pg_index where indrelid = 'coatcheck.sessions'::regclass`;
    assert.deepEqual({ ...row }, { indexes: 2, valid: true });
  });

  test("refuses a table in which an id stands twice, and says what to run", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await createSession("ada", db.sql);
    await run(POST_DATA[1]!, "insert into coatcheck.sessions select * from coatcheck.sessions");
    const { headers } = await createSession("ada", db.sql);
    const message = "migrate: coatcheck.sessions has several rows with the same id; run: " +
      "delete from coatcheck.sessions where id in " +
      "(select id from coatcheck.sessions group by id having count(*) > 1)";
    await assert.rejects(migrate(db.sql), { code: "STORE_REJECTED", sqlstate: "CC009", message });
    await run(message.split("run: ")[1]!);
    assert.deepEqual(await migrate(db.sql), { applied: ["002_sessions"], foreignKey: true });
    assert.ok((await validateSession(withCookie(headers), db.sql)).session);
  });

  const drop = (column: string) => `alter table coatcheck.sessions drop ${column}`;
  const broken = [
    {
      name: "a column",
      statements: [drop("rotation_salt")],
      columns: "rotation_salt",
      repair: "truncate coatcheck.sessions; alter table coatcheck.sessions add rotation_salt bytea",
    },
    {
      name: "several columns",
      statements: [drop("data"), drop("revoked_at"), drop("version"), drop("expires_at")],
      columns: "expires_at, revoked_at, version, data",
      repair: "truncate coatcheck.sessions; alter table coatcheck.sessions " +
        "add expires_at timestamp with time zone not null, add revoked_at timestamp with time zone, " +
        "add version integer not null default 0, add data jsonb not null",
    },
    {
      name: "the columns of its keys",
      statements: [drop("id"), drop("user_id")],
      columns: "id, user_id",
      repair: "truncate coatcheck.sessions; alter table coatcheck.sessions " +
        "add id uuid, add user_id integer",
    },
    {
      name: "the type of a column",
      statements: ["alter table coatcheck.sessions alter data type json"],
      columns: "data",
      repair: "truncate coatcheck.sessions; alter table coatcheck.sessions " +
        "drop data, add data jsonb not null",
    },
    {
      name: "a default and a constraint",
      statements: [
        "alter table coatcheck.sessions alter version drop default, alter digest drop not null",
      ],
      columns: "digest, version",
      repair: "alter table coatcheck.sessions alter digest set not null, " +
        "alter version set default 0",
    },
  ];
  for (const { name, statements, columns, repair } of broken) {
    test(`refuses a table that has lost ${name}, and says what to run`, async () => {
      await afresh();
      await migrate(db.sql, { users: USERS });
      await createSession("ada", db.sql);
      await run(...statements);
      const message = `migrate: coatcheck.sessions has missing or wrong columns (${columns}); ` +
        `restore it, or run: ${repair}`;
      const error = { code: "STORE_REJECTED", sqlstate: "CC009", message };
      for (const users of [USERS, undefined]) {
        await assert.rejects(migrate(db.sql, users && { users }), error);
      }
      await run(...message.split("run: ")[1]!.split("; "));
      assert.equal((await migrate(db.sql, { users: USERS })).foreignKey, true);
      assert.deepEqual(await migrate(db.sql), { applied: [], foreignKey: true });
      const { headers } = await createSession("ada", db.sql);
      assert.ok((await validateSession(withCookie(headers), db.sql)).session);
    });
  }

  test("refuses a lost column also if the list of steps is lost", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run("truncate coatcheck.migrations", broken[3]!.statements[0]!);
    for (let run = 0; run < 2; run++) {
      await assert.rejects(migrate(db.sql, { users: USERS }), { sqlstate: "CC009" });
    }
  });

  test("refuses a view that has lost one of its columns", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run("drop view coatcheck.users", "create view coatcheck.users as select id from users");
    await assert.rejects(migrate(db.sql), {
      code: "STORE_REJECTED",
      sqlstate: "CC001",
      message: "migrate: coatcheck.users exists and is not a view with id and username; " +
        "rename or drop it",
    });
  });
});

suite("a foreign key", () => {
  const unreferred = [
    { name: "without a key", table: "id integer, username text unique", key: "primary key" },
    { name: "with another key", table: "id integer, username text primary key", key: "unique" },
    {
      name: "with a deferrable key",
      table: "id integer primary key deferrable, username text unique",
      key: "unique",
    },
    {
      name: "with one half of a key",
      table: "id integer, username text, primary key (id, username)",
    },
  ];
  for (const { name, table, key = "unique" } of unreferred) {
    test(`refuses a foreign key to a table ${name}, and says what to run`, async () => {
      await afresh();
      await run("create schema app", `create table app.people (${table})`);
      const users = { table: "app.people", id: "ID" };
      const message = "migrate: users.id must be a primary key or unique; " +
        `run: alter table app.people add ${key} (id)`;
      for (let run = 0; run < 2; run++) {
        await assert.rejects(migrate(db.sql, { users }), {
          code: "STORE_REJECTED",
          sqlstate: "CC010",
          message,
        });
      }
      await db.sql.unsafe(message.split("run: ")[1]!);
      assert.equal((await migrate(db.sql, { users })).foreignKey, true);
    });
  }

  test("refuses a foreign key to a column of another type than the view shows", async () => {
    await afresh();
    await run(
      "create schema coatcheck",
      "create view coatcheck.users as select id::text as id, username from users",
    );
    await assert.rejects(migrate(db.sql, { users: { table: "users", id: "id" } }), {
      code: "STORE_REJECTED",
      sqlstate: "CC010",
      message: "migrate: users.id must have the type of coatcheck.users.id; " +
        "write the view without a cast, or leave users.id out",
    });
    assert.equal((await migrate(db.sql, { users: { table: "users" } })).foreignKey, false);
  });

  const foreignKeyCases = [
    { name: "none, as no users were named", users: undefined, foreignKey: false },
    { name: "none, as no id was named", users: { table: "users" }, foreignKey: false },
    { name: "that of migrate", foreignKey: true },
    {
      name: "one that is not validated",
      statements: [NO_FOREIGN_KEY, `${FOREIGN_KEY} users (id) on delete cascade not valid`],
      foreignKey: false,
    },
    {
      name: "one without on delete cascade",
      statements: [NO_FOREIGN_KEY, `${FOREIGN_KEY} users (id)`],
      foreignKey: false,
    },
    {
      name: "one whose triggers on the users are disabled",
      statements: ["alter table users disable trigger all"],
      foreignKey: false,
    },
    {
      name: "one whose triggers on the sessions are disabled",
      statements: ["alter table coatcheck.sessions disable trigger all"],
      foreignKey: false,
    },
    {
      name: "one whose triggers on the users were enabled again",
      statements: ["alter table users disable trigger all", "alter table users enable trigger all"],
      foreignKey: true,
    },
    {
      name: "one that refers to another table than the view reads",
      statements: [
        "create schema app",
        "create table app.people (id integer primary key, username text unique)",
        "create or replace view coatcheck.users as select id, username from app.people",
      ],
      foreignKey: false,
    },
    {
      name: "one that refers to another column than the view reads",
      statements: [
        NO_FOREIGN_KEY,
        "alter table users add number integer unique",
        `${FOREIGN_KEY} users (number) on delete cascade`,
      ],
      foreignKey: false,
    },
    {
      name: "one beside another that deletes nothing",
      statements: [`${FOREIGN_KEY} users (id)`],
      foreignKey: true,
    },
  ];
  for (const { name, statements = [], foreignKey, ...rest } of foreignKeyCases) {
    test(`returns foreignKey: ${foreignKey} for ${name}`, async () => {
      await afresh();
      const users = "users" in rest ? rest.users : USERS;
      await migrate(db.sql, users && { users });
      await run(...statements);
      const reads = !statements.some((it) => it.includes("app.people"));
      for (const given of [undefined, ...(reads ? [{ table: "users" }] : [])]) {
        const result = await migrate(db.sql, given && { users: given });
        assert.deepEqual(result, { applied: [], foreignKey });
      }
    });
  }

  test("returns foreignKey: false for a partitioned table if one partition's triggers are disabled", async () => {
    await afresh();
    await run(
      "create schema app",
      "create table app.people (id integer primary key, username text) partition by hash (id)",
      "create table app.people_0 partition of app.people for values with (modulus 2, remainder 0)",
      "create table app.people_1 partition of app.people for values with (modulus 2, remainder 1)",
    );
    const users = { table: "app.people", id: "id" };
    assert.equal((await migrate(db.sql, { users })).foreignKey, true);
    assert.deepEqual(await migrate(db.sql, { users }), { applied: [], foreignKey: true });
    await run("alter table app.people_1 disable trigger all");
    assert.deepEqual(await migrate(db.sql, { users }), { applied: [], foreignKey: false });
  });

  test("returns foreignKey: false for one that is not enforced", async () => {
    const [server] = await db.sql`select current_setting('server_version_num')::integer as version`;
    const clause = server!.version < 180_000 ? "not valid" : "not enforced";
    await afresh();
    await migrate(db.sql, { users: USERS });
    await run(NO_FOREIGN_KEY, `${FOREIGN_KEY} users (id) on delete cascade ${clause}`);
    assert.equal((await migrate(db.sql)).foreignKey, false);
    const { applied, foreignKey } = await migrate(db.sql, { users: USERS });
    const isValid = clause === "not valid";
    assert.deepEqual([applied, foreignKey], [isValid ? ["002_sessions"] : [], isValid]);
  });

  test("opens the old session for a reused key if the triggers were disabled when the user was deleted", async () => {
    await afresh();
    await migrate(db.sql, { users: USERS });
    const { headers } = await createSession("ada", db.sql);
    await run(
      "alter table users disable trigger all",
      "delete from users where id = 1",
      "alter table users enable trigger all",
      "insert into users values (1, 'mallory')",
    );
    assert.deepEqual(await migrate(db.sql, { users: USERS }), { applied: [], foreignKey: true });
    const { session } = await validateSession(withCookie(headers), db.sql);
    assert.equal(session?.username, "mallory");
  });

  test("revokes all sessions with a lost view if the foreign key has not kept the users", async () => {
    const cases = [
      ["alter table users disable trigger all", "delete from users where id = 1"],
      [
        NO_FOREIGN_KEY,
        "delete from users where id = 1",
        `${FOREIGN_KEY} users (id) on delete cascade not valid`,
      ],
    ];
    for (const statements of cases) {
      await afresh();
      await migrate(db.sql, { users: USERS });
      const { headers } = await createSession("ada", db.sql);
      await run(
        ...statements,
        "insert into users values (1, 'mallory')",
        "drop view coatcheck.users",
      );
      await migrate(db.sql, { users: USERS });
      const result = await validateSession(withCookie(headers), db.sql);
      assert.deepEqual([result.session, result.revokedReason], [null, "users-replaced"]);
    }
  });
});

suite("the advisory lock", () => {
  test("ends with STORE_TIMEOUT while another role holds its lock", async () => {
    await afresh();
    const [stranger, sql] = [1, 2].map(() => postgres(db.url, { max: 1, onnotice: () => {} }));
    const [row] =
      await stranger!`select pg_backend_pid() as pid, pg_advisory_lock(427819008)::text`;
    await assert.rejects(migrate(sql!, { queryTimeout: 1 }), { code: "STORE_TIMEOUT" });
    const [held] = await db.sql`select pid from pg_locks
      where locktype = 'advisory' and objid = 427819008 and granted
        and database = (select oid from pg_database where datname = current_database())`;
    assert.equal(held!.pid, row!.pid);
    await stranger!.end({ timeout: 5 });
    // The abandoned step comes first on its connection.
    await migrate(sql!);
    await sql!.end({ timeout: 5 });
  });
});
