// A database of its own for one app, reached through a proxy that can be cut.
import postgres from "postgres";
import { createUsers } from "../../examples/users.ts";
import { openProxy } from "../runner/proxy.mjs";

export const NAME = "__Host-session";
export const ADA = { username: "ada", password: "ada-demo" };
export const GRACE = { username: "grace", password: "grace-demo" };

/** Creates a database with the schema, and the users ada and grace of examples/users.ts. */
export async function prepare(server) {
  // Packing the package has built it.
  const { migrate } = await import("../../dist/mod.js");
  const name = `coatcheck_frameworks_${crypto.randomUUID().replaceAll("-", "")}`;
  const admin = postgres(server, { max: 1, onnotice: () => {} });
  await admin.unsafe(`create database ${name}`);
  const target = Object.assign(new URL(server), { pathname: `/${name}` });
  const sql = postgres(target.href, { max: 2, onnotice: () => {} });
  await createUsers(sql);
  await migrate(sql);
  const proxy = await openProxy(target);
  return {
    sql,
    url: proxy.url,
    cut: proxy.cut,
    close: async () => {
      proxy.cut();
      await sql.end({ timeout: 5 });
      await admin.unsafe(`drop database ${name} with (force)`);
      await admin.end({ timeout: 5 });
    },
  };
}

/** The live sessions. */
export async function live(sql) {
  return await sql`select s.id::text, u.username from coatcheck.sessions s join users u on u.id = s.user_id
    where s.revoked_at is null order by u.username`;
}

/** Makes every secret old enough to be rotated. */
export async function age(sql) {
  await sql`update coatcheck.sessions set created_at = created_at - interval '2 hours',
    authenticated_at = authenticated_at - interval '2 hours',
    rotated_at = rotated_at - interval '2 hours', rotation_seen_at = rotation_seen_at - interval '2 hours'`;
}
