import { migrate } from "@coatcheck/coatcheck";
import type { Sql } from "postgres";

/** Makes the demo's users, ada and grace, and the schema `coatcheck` over them. */
export async function prepare(sql: Sql): Promise<void> {
  await sql.begin(async (sql) => {
    // Two demos may start on one database at once.
    await sql`select pg_advisory_xact_lock(hashtext('coatcheck_demo'))`;
    await sql`create schema if not exists coatcheck_demo`;
    await sql`
      create table if not exists coatcheck_demo.users (
        id integer generated always as identity primary key,
        username text not null unique,
        password_hash text not null
      )`;
    // A password that was changed is the one on the sign-in page again.
    for (const username of ["ada", "grace"]) {
      await sql`
        insert into coatcheck_demo.users (username, password_hash)
        values (${username}, ${await hash(`${username}-demo`)})
        on conflict (username) do update set password_hash = excluded.password_hash`;
    }
    await migrate(sql, {
      users: { table: "coatcheck_demo.users", id: "id", username: "username" },
    });
    // A view that was there before stays as it was, and then it shows the users of another app.
    const views = await sql`
      select 1 from information_schema.view_table_usage
      where view_schema = 'coatcheck' and view_name = 'users' and table_schema = 'coatcheck_demo'`;
    if (views.length === 0) {
      throw new Error("coatcheck.users is the view of another app: give the demo its own database");
    }
  });
}

/** Checks a password. An unknown user costs the same work, so that the time betrays no username. */
export async function checkPassword(
  username: string,
  password: string,
  sql: Sql,
): Promise<boolean> {
  // No text in PostgreSQL has a NUL: asking for one is an error there, and here nobody.
  const [user] = await sql<{ password_hash: string }[]>`
    select password_hash from coatcheck_demo.users
    where username = ${username.replaceAll("\0", "\uFFFD")}`;
  return await Bun.password.verify(password, user?.password_hash ?? nobody) && user !== undefined;
}

// One of the settings in OWASP's Password Storage Cheat Sheet; this one takes 19 MiB for a sign-in.
function hash(password: string): Promise<string> {
  return Bun.password.hash(password, { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 });
}

const nobody = await hash(crypto.randomUUID());

/** Changes a password. */
export async function setPassword(username: string, password: string, sql: Sql): Promise<void> {
  await sql`
    update coatcheck_demo.users set password_hash = ${await hash(password)}
    where username = ${username}`;
}
