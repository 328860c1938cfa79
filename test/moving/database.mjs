// Databases with the tables of a library, each reached through a proxy that can be cut.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { migrate } from "coatcheck";
import postgres from "postgres";

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

async function openProxy(target) {
  const sockets = new Set();
  const proxy = createServer((socket) => {
    const upstream = connect(Number(target.port || 5432), target.hostname);
    for (const it of [socket, upstream]) {
      sockets.add(it);
      it.on("error", () => {}).on("close", () => {
        sockets.delete(it);
        socket.destroy();
        upstream.destroy();
      });
    }
    socket.pipe(upstream).pipe(socket);
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const url = Object.assign(new URL(target), {
    hostname: "127.0.0.1",
    port: String(proxy.address().port),
  });
  return {
    url: url.href,
    cut: () => {
      proxy.close();
      for (const it of sockets) it.destroy();
    },
  };
}
