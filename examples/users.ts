// What an app has before it has sessions: a table of users, and a way to check a password.
import { Buffer } from "node:buffer";
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import type { Sql } from "postgres";

/** Makes the table, and two users to sign in as: ada (ada-demo) and grace (grace-demo). */
export async function createUsers(sql: Sql): Promise<void> {
  await sql`
    create table if not exists users (
      id integer generated always as identity primary key,
      username text not null unique,
      password_hash text not null
    )`;
  for (const username of ["ada", "grace"]) {
    await sql`
      insert into users (username, password_hash)
      values (${username}, ${await hashPassword(`${username}-demo`)})
      on conflict do nothing`;
  }
}

/** Checks a password. An unknown user costs the same work, so that the time betrays no username. */
export async function checkPassword(
  username: string,
  password: string,
  sql: Sql,
): Promise<boolean> {
  // No text in PostgreSQL has a NUL: asking for one is an error there, and here nobody.
  const [user] = await sql<{ password_hash: string }[]>`
    select password_hash from users where username = ${username.replaceAll("\0", "\uFFFD")}`;
  const [salt, key] = (user?.password_hash ?? NOBODY).split(".").map((it) =>
    Buffer.from(it, "hex")
  );
  return timingSafeEqual(await derive(password, salt!), key!);
}

// No password is known whose key is all zeros.
const NOBODY = `${"00".repeat(16)}.${"00".repeat(32)}`;

async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  return `${salt.toString("hex")}.${(await derive(password, salt)).toString("hex")}`;
}

// One of the settings in OWASP's Password Storage Cheat Sheet; this one takes 16 MiB for a sign-in.
function derive(password: string, salt: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, 32, { N: 2 ** 14, r: 8, p: 5 }, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}
