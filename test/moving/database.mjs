// Databases with the tables of a library, each reached through a proxy that can be cut.
import { migrate } from "coatcheck";
import postgres from "postgres";
import { openProxy } from "../runner/proxy.mjs";

const quiet = { onnotice: () => {} };
const unique = () => `coatcheck_moving_${crypto.randomUUID().replaceAll("-", "")}`;

/** Makes a database with a library's tables, the users ada and grace, and the schema of coatcheck. */
export async function prepare(server, { createTables, users }) {
  const admin = postgres(server, { ...quiet, max: 1 });
  const template = unique();
  const urlOf = (name) => Object.assign(new URL(server), { pathname: `/${name}` });
  await admin.unsafe(`create database ${template}`);
  const sql = postgres(urlOf(template).href, { ...quiet, max: 2 });
  await createTables(sql, urlOf(template).href);
  await migrate(sql, { users });
  await sql.end();
  return {
    /** Copies it. */
    async open() {
      const name = unique();
      await admin.unsafe(`create database ${name} template ${template}`);
      const url = urlOf(name);
      const sql = postgres(url.href, { ...quiet, max: 10 });
      return {
        url: url.href,
        sql,
        proxy: () => openProxy(url),
        close: async () => {
          await sql.end({ timeout: 5 });
          await admin.unsafe(`drop database ${name} with (force)`);
        },
      };
    },
    async close() {
      await admin.unsafe(`drop database ${template} with (force)`);
      await admin.end({ timeout: 5 });
    },
  };
}
