// F27: a worker of Citus that is lost, and comes back, or is replaced by its standby.
import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { createSession, revokeSession, revokeSessions, validateSession } from "../../mod.ts";
import { openFolder } from "../../scripts/guard.mjs";
import { nobody, own } from "../../scripts/postgres.mjs";
import { prepare } from "../runner/citus.ts";
import { startCluster } from "../runner/cluster.mjs";
import { withCookie } from "../runner/database.ts";
import { openProxy } from "../runner/proxy.mjs";
import { postgres15 } from "../runner/servers.ts";
import { startTraffic } from "../runner/traffic.ts";
import { errorsOf, NotRun, requireNone, SYNCHRONOUS, withPool } from "./servers.mjs";

const policy = { queryTimeout: 5 };

/** Runs with a coordinator, two workers, and a synchronous standby of the first worker. */
async function withCitus(run) {
  if (!postgres15 || !existsSync(join(postgres15, "lib", "citus.so"))) {
    throw new NotRun("the PostgreSQL 15 of Debian has no Citus");
  }
  const { folder, remove } = openFolder("citus");
  const user = process.getuid() === 0 ? nobody() : {};
  // With it, the nodes sign in to each other.
  process.env.PGPASSFILE = join(folder, "passwords");
  const settings = [
    "shared_preload_libraries=citus",
    "jit=off",
    "ssl=off",
    "citus.node_conninfo=sslmode=disable",
    // Citus begins transactions on a worker that a coordinator must be able to find again.
    "max_prepared_transactions=100",
    // A standby looks for its primary again at once.
    "wal_retrieve_retry_interval=100ms",
  ];
  const cluster = await startCluster({
    standbys: 3,
    follow: false,
    settings,
    programs: postgres15,
  });
  try {
    const [coordinator, worker, other, standby] = cluster.nodes;
    const { password } = new URL(coordinator.url);
    writeFileSync(process.env.PGPASSFILE, `*:*:*:postgres:${password}\n`, { mode: 0o600 });
    own(folder, user);
    for (const node of [coordinator, worker, other]) await node.run("create extension citus");
    const at = ({ port }) => `'127.0.0.1', ${port}`;
    await coordinator.run(
      `select citus_set_coordinator_host(${at(coordinator)})`,
      `select citus_add_node(${at(worker)})`,
      `select citus_add_node(${at(other)})`,
    );
    await withPool(
      "postgres.js",
      [coordinator.url],
      (sql) => prepare({ sql }, "distributed by id"),
    );
    await worker.stop();
    await standby.stop();
    standby.copy(worker);
    standby.follow(worker);
    await worker.start();
    await standby.start();
    await worker.run(...SYNCHRONOUS);
    return await run({ coordinator, worker, standby });
  } finally {
    await cluster.stop();
    delete process.env.PGPASSFILE;
    remove();
  }
}

/** Signs grace in 40 times; returns the sessions of a worker and those of the others. */
async function signIn(sql, { coordinator, worker }) {
  const created = [];
  for (let round = 0; round < 40; round++) created.push(await createSession("grace", sql, policy));
  return await withPool("postgres.js", [coordinator.url], async (admin) => {
    const places = await admin`
      select session.id, node.nodeport as port
      from unnest(${created.map(({ session }) => session.id)}::uuid[]) as session (id)
      join pg_dist_placement placement on placement.shardid =
        get_shard_id_for_distribution_column('coatcheck.sessions', session.id)
      join pg_dist_node node using (groupid)`;
    const ports = new Map(places.map(({ id, port }) => [id, port]));
    const of = (isThere) =>
      created.filter(({ session }) => (ports.get(session.id) === worker.port) === isThere)
        .map(({ headers }) => withCookie(headers));
    return [of(true), of(false)];
  });
}

/** Kills a worker under load, and mends it; returns what became of the sessions. */
async function killWorker(client, mend) {
  return await withCitus((citus) =>
    withPool(client, [citus.coordinator.url], async (sql) => {
      const [[revoked, ...there], elsewhere] = await signIn(sql, citus);
      assert.ok(there.length > 0 && elsewhere.length > 0);
      await revokeSession(revoked, sql, policy);
      const live = (requests) =>
        Promise.all(
          requests.map(async (it) => assert.ok((await validateSession(it, sql, policy)).session)),
        );
      const traffic = startTraffic(sql, policy);
      await traffic.succeeded(500);
      const start = performance.now();
      const since = () => Math.round(performance.now() - start);
      await citus.worker.kill();
      const unavailable = { code: "STORE_UNAVAILABLE" };
      await Promise.all(
        [revoked, ...there].map((it) =>
          assert.rejects(validateSession(it, sql, policy), unavailable)
        ),
      );
      await live(elsewhere);
      await assert.rejects(revokeSessions({ userId: 2 }, sql, policy), unavailable);
      await live(elsewhere);
      const before = since();
      await mend(citus);
      const mended = since();
      // Ends what was prepared on the worker when it was killed. Citus itself does so once a minute.
      await citus.coordinator.run("select recover_prepared_transactions()");
      while (!await validateSession(there[0], sql, policy).catch(() => {})) await sleep(20);
      const first = since();
      await traffic.succeeded(500);
      const seen = await traffic.stop();
      await live(there);
      assert.equal((await validateSession(revoked, sql, policy)).reason, "revoked");
      const { live: count, gone, back } = await traffic.verify(sql);
      requireNone([...seen.wrong, ...gone, ...back]);
      await revokeSessions({ userId: 2 }, sql, policy);
      for (const it of [...there, ...elsewhere]) {
        assert.equal((await validateSession(it, sql, policy)).reason, "revoked");
      }
      return `${count} live sessions; without the worker for ${before} ms, mended after ${mended} ms, first success of its sessions after ${first} ms; ${
        errorsOf(seen)
      }`;
    })
  );
}

/** Tells the coordinator where a worker is now. */
async function moveNode(coordinator, from, to) {
  await coordinator.run(
    `select citus_update_node(nodeid, '127.0.0.1', ${to}, true, 1000)
      from pg_dist_node where nodeport = ${from}`,
  );
}

const expected =
  "its sessions are STORE_UNAVAILABLE, the others are answered; nothing lost, no restart";

export const faults = [
  {
    fault: "F27: a worker of Citus is killed, and started again",
    expected,
    run: (client) => killWorker(client, ({ worker }) => worker.start()),
  },
  {
    fault: "F27: a worker of Citus is killed, and its synchronous standby promoted",
    expected,
    run: (client) =>
      killWorker(client, async ({ coordinator, worker, standby }) => {
        await standby.promote();
        await moveNode(coordinator, worker.port, standby.port);
      }),
  },
  {
    fault: "F27: a worker of Citus is lost between PREPARE TRANSACTION and COMMIT PREPARED",
    expected:
      "revokeSessions fails, and so do sign-ins on it; those that have returned are live; all are revoked after recover_prepared_transactions()",
    run: (client) =>
      withCitus(({ coordinator, worker }) =>
        withPool(client, [coordinator.url], async (sql) => {
          const proxy = await openProxy(worker.url);
          try {
            const port = Number(new URL(proxy.url).port);
            await moveNode(coordinator, worker.port, port);
            const graces = (await signIn(sql, { coordinator, worker: { port } })).flat();
            const ask = (requests) =>
              Promise.all(requests.map((it) => validateSession(it, sql, policy)));
            proxy.cutRequest("COMMIT PREPARED");
            // By a pool of its own, as the statement that waits for the rows keeps its connection.
            const revoke = () =>
              withPool(client, [coordinator.url], (own) =>
                revokeSessions({ userId: 2 }, own, policy));
            await assert.rejects(revoke(), { code: /^STORE_(UNAVAILABLE|TIMEOUT)$/ });
            const adas = [];
            let failed = 0;
            for (let round = 0; round < 20; round++) {
              try {
                adas.push(withCookie((await createSession("ada", sql, policy)).headers));
              } catch (error) {
                assert.equal(error.code, "STORE_UNAVAILABLE");
                failed++;
              }
            }
            const live = (await ask(graces)).filter(({ session }) =>
              session
            ).length;
            assert.ok(live > 0 && failed > 0, `${live} live, ${failed} failed`);
            assert.ok((await ask(adas)).every(({ session }) => session));
            await proxy.resume();
            // The rows are locked by what is prepared.
            await assert.rejects(revoke(), { code: /^STORE_(UNAVAILABLE|TIMEOUT)$/ });
            await coordinator.run("select recover_prepared_transactions()");
            assert.ok((await ask(graces)).every(({ reason }) => reason === "revoked"));
            assert.deepEqual(await revoke(), []);
            assert.ok((await ask(adas)).every(({ session }) => session));
            return `until then, ${live} of 40 sessions were live, and ${failed} of 20 sign-ins failed`;
          } finally {
            proxy.cut();
          }
        })
      ),
  },
];
