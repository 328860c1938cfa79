// What your app already has: a table of users, and a password check.
import { Buffer } from "node:buffer";
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import type { Sql } from "postgres";

/** Creates the table and two users: ada (password ada-demo) and grace (password grace-demo). */
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

/** Checks a password. An unknown user takes the same time, so that timing reveals no username. */
export async function checkPassword(
  username: string,
  password: string,
  sql: Sql,
): Promise<boolean> {
  // PostgreSQL text cannot hold a NUL, so such a username is replaced by one that matches no user.
  const [user] = await sql<{ password_hash: string }[]>`
    select password_hash from users where username = ${username.replaceAll("\0", "\uFFFD")}`;
  const [salt, key] = (user?.password_hash ?? UNKNOWN_USER).split(".").map((it) =>
    Buffer.from(it, "hex")
  );
  return timingSafeEqual(await derive(password, salt!), key!);
}

// No known password has a key of zeros.
const UNKNOWN_USER = `${"00".repeat(16)}.${"00".repeat(32)}`;

async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(16);
  return `${salt.toString("hex")}.${(await derive(password, salt)).toString("hex")}`;
}

// A setting of OWASP's Password Storage Cheat Sheet. It takes 16 MiB of memory for each sign-in.
function derive(password: string, salt: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, 32, { N: 2 ** 14, r: 8, p: 5 }, (error, key) => {
      if (error) reject(error);
      else resolve(key);
    });
  });
}
