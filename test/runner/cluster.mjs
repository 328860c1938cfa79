// A PostgreSQL with standbys, which can be killed, started again and promoted.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { openFolder } from "../../scripts/guard.mjs";
import { freePort, own, prepare, serve } from "../../scripts/postgres.mjs";

/**
 * Starts a primary and its standbys, on free ports of the loopback address.
 *
 * @param {{ standbys?: number, follow?: boolean, settings?: string[], programs?: string }} [options] `settings`
 * are those of every server. Without `follow`, each is a primary of its own.
 */
export async function startCluster({ standbys = 1, follow = true, settings = [], programs } = {}) {
  const { folder, remove } = openFolder("cluster");
  const nodes = [];
  const stop = async () => {
    for (const node of nodes) await node.stop();
    remove();
  };
  try {
    const place = await prepare(folder, folder, programs);
    // The standbys begin as copies of data that no server has used yet.
    for (let number = 0; number <= standbys; number++) {
      const data = number === 0 ? place.data : join(folder, `standby${number}`);
      nodes.push(openNode({ ...place, data }, `node${number}`, settings, await freePort()));
    }
    const [primary, ...others] = nodes;
    for (const node of others) {
      node.copy(primary);
      if (follow) node.follow(primary);
    }
    for (const node of nodes) await node.start();
    return { nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function openNode(place, name, settings, port) {
  let running;
  const url = `postgres://postgres:${place.password}@127.0.0.1:${port}/postgres`;
  const end = async (signal) => {
    if (!running) return;
    const { server, exited } = running;
    running = undefined;
    const left = signal === "SIGKILL" ? childrenOf(server.pid) : [];
    for (const pid of [server.pid, ...left]) {
      try {
        process.kill(pid, signal);
      } catch {
        // It has ended by itself.
      }
    }
    await exited;
    // Their memory is the server's own: with one of them left, it would not start again.
    for (const pid of left) while (isAlive(pid)) await sleep(5);
  };
  return {
    name,
    url,
    port,
    data: place.data,
    start: async () => {
      running = await serve(place, settings, port);
    },
    /** Ends it as a power cut ends a process: at once. */
    kill: () => end("SIGKILL"),
    stop: () => end("SIGINT"),
    /** Resolves when it has ended, by itself or not. */
    ended: () => running?.exited,
    /** Makes it a standby of another node, when it starts next. */
    follow: (primary) => {
      const from = new URL(primary.url);
      const source = `host=127.0.0.1 port=${from.port} user=postgres password=${from.password} ` +
        `application_name=${name}`;
      const files = {
        "standby.signal": "",
        "postgresql.auto.conf": `primary_conninfo = '${source}'\n`,
      };
      for (const [file, text] of Object.entries(files)) {
        writeFileSync(join(place.data, file), text);
        own(join(place.data, file), place.user);
      }
    },
    /** Takes the data of another node, both stopped. */
    copy: ({ data }) => {
      rmSync(place.data, { recursive: true, force: true });
      cpSync(data, place.data, { recursive: true });
      own(place.data, place.user);
    },
    promote: () => using(url, (sql) => sql`select pg_promote()`),
    /** Sends statements as superuser. */
    run: (...statements) =>
      using(url, async (sql) => {
        for (const statement of statements) await sql.unsafe(statement);
      }),
  };
}

/** The processes of a server, which outlive it for a moment. Each has a process group of its own. */
function childrenOf(pid) {
  const lines = existsSync("/proc/self/stat")
    ? readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map(parentOf)
    : spawnSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" }).stdout.split("\n");
  return lines.map((line) => line.trim().split(/\s+/).map(Number))
    .filter(([, parent]) => parent === pid).map(([child]) => child);
}

function parentOf(pid) {
  try {
    return `${pid} ${readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[1]}`;
  } catch {
    return "";
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch ({ syscall }) {
    // Without /proc, the signal alone says it.
    return syscall === "open" && !existsSync("/proc/self/stat");
  }
}

async function using(url, run) {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return await run(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}
