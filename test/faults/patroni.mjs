// F11: a failover that Patroni decides, with etcd.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { afterwards, openFolder } from "../../scripts/guard.mjs";
import { freePort, nobody, own } from "../../scripts/postgres.mjs";
import { openProxy } from "../runner/proxy.mjs";
import { postgres15 } from "../runner/servers.ts";
import { startTraffic } from "../runner/traffic.ts";
import {
  errorsOf,
  NotRun,
  prepareUsers,
  requireNone,
  TAKES_SEVERAL,
  userOf,
  withPool,
} from "./servers.mjs";

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const PATRONI = "/usr/bin/patroni";
const ETCD = "/usr/bin/etcd";

/** Starts etcd and two nodes under Patroni, in synchronous mode. */
async function startPatroni() {
  for (const it of [PATRONI, ETCD, postgres15]) {
    if (!it || !existsSync(it)) {
      throw new NotRun("it needs Debian's packages patroni, etcd-server and postgresql-15");
    }
  }
  const user = process.getuid() === 0 ? nobody() : {};
  const { folder, remove } = openFolder("patroni");
  own(folder, user);
  const programs = [];
  const start = (program, args, name) => {
    const output = [];
    const child = spawn(program, args, {
      ...user,
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ETCD_UNSUPPORTED_ARCH: process.arch },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => output.push(text));
    }
    const exited = once(child, "exit");
    void exited.then(afterwards(`kill -TERM ${child.pid}`));
    const started = { name, child, exited, output };
    programs.push(started);
    return started;
  };
  const stop = async () => {
    // Patroni ends its PostgreSQL, and needs etcd for that.
    for (const { child, exited } of programs.reverse()) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill("SIGTERM");
        await Promise.race([exited, sleep(30_000).then(() => child.kill("SIGKILL"))]);
      }
    }
    remove();
  };
  try {
    const [clients, peers] = [await freePort(), await freePort()];
    start(ETCD, [
      "--name=etcd",
      `--data-dir=${join(folder, "etcd")}`,
      `--listen-client-urls=http://127.0.0.1:${clients}`,
      `--advertise-client-urls=http://127.0.0.1:${clients}`,
      `--listen-peer-urls=http://127.0.0.1:${peers}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peers}`,
      `--initial-cluster=etcd=http://127.0.0.1:${peers}`,
    ], "etcd");
    const password = randomBytes(16).toString("hex");
    const nodes = [];
    for (const name of ["node1", "node2"]) {
      const [api, port] = [await freePort(), await freePort()];
      const data = join(folder, name);
      mkdirSync(data, { mode: 0o700 });
      own(data, user);
      const file = join(folder, `${name}.yml`);
      // JSON is YAML.
      writeFileSync(
        file,
        JSON.stringify(configurationOf({ name, api, port, data, clients, password })),
      );
      const { child } = start(PATRONI, [file], name);
      const url = `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
      nodes.push({ name, api, url, data, child });
      // The first one makes the data, which the second one copies.
      await until(() => isHealthy(api, nodes.length === 1 ? "primary" : "replica"), programs);
    }
    await until(() => isHealthy(nodes[1].api, "synchronous"), programs);
    return { nodes, stop, programs };
  } catch (error) {
    await stop();
    throw error;
  }
}

function configurationOf({ name, api, port, data, clients, password }) {
  const allowed = ["all", "replication"].map((it) => `host ${it} all 127.0.0.1/32 scram-sha-256`);
  return {
    scope: "coatcheck",
    name,
    restapi: { listen: `127.0.0.1:${api}`, connect_address: `127.0.0.1:${api}` },
    etcd3: { host: `127.0.0.1:${clients}` },
    bootstrap: {
      // The shortest that Patroni takes.
      dcs: {
        ttl: 20,
        loop_wait: 2,
        retry_timeout: 3,
        synchronous_mode: true,
        postgresql: { parameters: { synchronous_commit: "remote_apply" } },
      },
      initdb: [{ encoding: "UTF8" }, { locale: "C" }],
      pg_hba: allowed,
    },
    postgresql: {
      listen: `127.0.0.1:${port}`,
      connect_address: `127.0.0.1:${port}`,
      data_dir: join(data, "data"),
      bin_dir: join(postgres15, "bin"),
      pgpass: join(data, "pgpass"),
      pg_hba: allowed,
      authentication: {
        superuser: { username: "postgres", password },
        replication: { username: "replicator", password },
      },
      parameters: { unix_socket_directories: "" },
    },
  };
}

async function isHealthy(api, role) {
  try {
    return (await fetch(`http://127.0.0.1:${api}/${role}`)).ok;
  } catch {
    return false;
  }
}

async function until(condition, programs) {
  const end = performance.now() + 90_000;
  while (!await condition()) {
    if (performance.now() > end) {
      throw new Error(
        programs.map((it) => `${it.name}: ${it.output.slice(-5).join("")}`).join("\n"),
      );
    }
    await sleep(200);
  }
}

/** Kills Patroni and its PostgreSQL. */
function kill({ child, data }) {
  const [pid] = readFileSync(join(data, "data", "postmaster.pid"), "utf8").split("\n");
  child.kill("SIGKILL");
  process.kill(Number(pid), "SIGKILL");
}

async function failOver(client, list) {
  const { nodes, programs, stop } = await startPatroni();
  try {
    const [leader, replica] = nodes;
    await prepareUsers(leader.url);
    const proxy = await openProxy(leader.url);
    try {
      const urls = list ? [leader.url, replica.url] : [proxy.url];
      return await withPool(client, urls, async (sql) => {
        const traffic = startTraffic(sql, { userOf, queryTimeout: 2 });
        await traffic.succeeded(1000);
        const start = performance.now();
        const since = () => Math.round((performance.now() - start) / 100) / 10;
        kill(leader);
        await until(() => isHealthy(replica.api, "primary"), programs);
        const promoted = since();
        proxy.retarget(replica.url);
        await traffic.succeeded(1);
        const first = since();
        await traffic.succeeded(1000);
        const seen = await traffic.stop();
        const { live, gone, back } = await withPool("postgres.js", [replica.url], traffic.verify);
        requireNone([...seen.wrong, ...gone, ...back]);
        return `${live} live sessions; promoted after ${promoted} s, first success after ${first} s; ${
          errorsOf(seen)
        }`;
      });
    } finally {
      proxy.cut();
    }
  } finally {
    await stop();
  }
}

export const faults = [
  {
    fault: "F11: Patroni fails over, one address that follows the leader",
    expected: "nothing lost, no restart",
    run: (client) => failOver(client, false),
  },
  {
    fault: "F11: Patroni fails over, both in the URL",
    expected: "nothing lost, no restart",
    clients: TAKES_SEVERAL,
    run: (client) => failOver(client, true),
  },
];
