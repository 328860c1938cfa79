import { migrate } from "coatcheck";
import type { Sql } from "postgres";

/** Creates the demo's users, ada and grace, and the schema `coatcheck`. */
export async function prepare(sql: Sql): Promise<void> {
  await sql.begin(async (sql) => {
    // Two demos can start on one database at the same time.
    await sql`select pg_advisory_xact_lock(hashtext('coatcheck_demo'))`;
    await sql`create schema if not exists coatcheck_demo`;
    await sql`
      create table if not exists coatcheck_demo.users (
        id integer generated always as identity primary key,
        username text not null unique,
        password_hash text not null
      )`;
    // A restart restores the passwords that the sign-in page shows.
    for (const username of ["ada", "grace"]) {
      await sql`
        insert into coatcheck_demo.users (username, password_hash)
        values (${username}, ${await hash(`${username}-demo`)})
        on conflict (username) do update set password_hash = excluded.password_hash`;
    }
    // Rejects a view that shows the users of another app.
    await migrate(sql, {
      users: { table: "coatcheck_demo.users", id: "id", username: "username" },
    });
  });
}

/** Checks a password. An unknown user takes the same time, so that timing reveals no username. */
export async function checkPassword(
  username: string,
  password: string,
  sql: Sql,
): Promise<boolean> {
  // PostgreSQL text cannot hold a NUL, so such a username is replaced by one that matches no user.
  const [user] = await sql<{ password_hash: string }[]>`
    select password_hash from coatcheck_demo.users
    where username = ${username.replaceAll("\0", "\uFFFD")}`;
  return await Bun.password.verify(password, user?.password_hash ?? unknownUser) &&
    user !== undefined;
}

// A setting of OWASP's Password Storage Cheat Sheet. It takes 19 MiB of memory for each sign-in.
function hash(password: string): Promise<string> {
  return Bun.password.hash(password, { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 });
}

const unknownUser = await hash(crypto.randomUUID());

/** Changes a password. */
export async function setPassword(username: string, password: string, sql: Sql): Promise<void> {
  await sql`
    update coatcheck_demo.users set password_hash = ${await hash(password)}
    where username = ${username}`;
}
