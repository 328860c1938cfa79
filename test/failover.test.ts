import { afterAll, beforeAll, describe, test } from "bun:test";
import assert from "node:assert/strict";
import process from "node:process";
import {
  createSession,
  getUserId,
  listSessions,
  migrate,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  type Sql,
  sweepSessions,
  updateSession,
  validateSession,
} from "../mod.ts";
import { startCluster } from "./runner/cluster.mjs";
import { withCookie } from "./runner/database.ts";
import { catchStrays, type OpenPool, type Pool, pools } from "./runner/pools.ts";
import { openProxy } from "./runner/proxy.mjs";
import { startTraffic } from "./runner/traffic.ts";
import { until } from "./runner/until.ts";

const admin = pools["postgres.js"]!;

type Cluster = Awaited<ReturnType<typeof startCluster>>;
type Node = Cluster["nodes"][number];

const watch = catchStrays();
afterAll(() => watch.end());

const USERS = [
  "create table users (id integer primary key, username text not null unique)",
  "insert into users values (1, 'ada'), (2, 'grace'), (3, 'edsger'), (4, 'barbara')",
];
const userOf = (worker: number) => ["ada", "grace", "edsger", "barbara"][worker % 4]!;

// What a server has written stays when it is killed, and only goes with the machine.
const settings = ["fsync=off"];

/** A commit waits until a standby has applied it. */
const SYNCHRONOUS = [
  "alter system set synchronous_standby_names = 'any 1 (*)'",
  "alter system set synchronous_commit = 'remote_apply'",
  "select pg_reload_conf()",
];

/** Starts a server and its standbys, which have the users and the schema. */
async function openCluster(standbys: number, more: string[] = []): Promise<Cluster> {
  const cluster = await startCluster({ standbys, settings: [...settings, ...more] });
  const [primary] = cluster.nodes as [Node];
  await primary.run(...USERS);
  await withPool(
    admin,
    [primary.url],
    (sql) => migrate(sql, { users: { table: "users", id: "id" } }),
  );
  return cluster;
}

async function withPool<T>(
  open: OpenPool,
  urls: string[],
  run: (sql: Pool["sql"]) => Promise<T>,
): Promise<T> {
  const pool = open(urls);
  try {
    return await run(pool.sql);
  } finally {
    await pool.end();
  }
}

/** The pools that reach whichever of two servers is the primary. */
const ways: Record<string, (nodes: Node[]) => Promise<Pool & { move: (to: Node) => void }>> = {
  "postgres.js with both in its URL": async (nodes) => {
    const pool = await Promise.resolve(admin(nodes.map(({ url }) => url)));
    return { ...pool, move: () => {} };
  },
};
for (const [name, open] of Object.entries(pools)) {
  ways[`${name} with an address that moves`] = async ([primary]) => {
    const proxy = await openProxy(primary!.url);
    const pool = open([proxy.url]);
    return {
      sql: pool.sql,
      end: async () => {
        await pool.end();
        proxy.cut();
      },
      move: ({ url }) => proxy.retarget(url),
    };
  };
}

describe("a failover to a synchronous standby", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await openCluster(1);
  });
  afterAll(() => cluster?.stop());

  for (const [name, open] of Object.entries(ways)) {
    test(`loses no session and no revocation, and the app goes on without a restart, by ${name}`, async () => {
      const [primary, standby] = cluster.nodes as [Node, Node];
      await primary.run(...SYNCHRONOUS);
      const pool = await open([primary, standby]);
      try {
        const traffic = startTraffic(pool.sql, { userOf });
        await traffic.succeeded(200);
        await primary.kill();
        await standby.promote();
        pool.move(standby);
        await traffic.succeeded(200);
        const { wrong } = await traffic.stop();
        assert.deepEqual(wrong, []);
        const { live, gone, back } = await withPool(admin, [standby.url], traffic.verify);
        assert.deepEqual([gone, back], [[], []]);
        assert.ok(live > 10, `${live} live sessions`);
      } finally {
        await pool.end();
      }
      // For the next test, the other way round.
      await standby.stop();
      primary.copy(standby);
      primary.follow(standby);
      await standby.start();
      await primary.start();
      cluster.nodes.reverse();
    });
  }
});

describe("a standby", () => {
  let cluster: Cluster;
  let primary: Node;
  let standby: Node;
  let onPrimary: Pool;
  beforeAll(async () => {
    cluster = await openCluster(1);
    [primary, standby] = cluster.nodes as [Node, Node];
    onPrimary = admin([primary.url]);
    await primary.run(...SYNCHRONOUS);
  });
  afterAll(async () => {
    await onPrimary?.end();
    await cluster?.stop();
  });

  const signedIn = async () => withCookie((await createSession("ada", onPrimary.sql)).headers);

  const writes: Record<string, (sql: Sql, headers: Headers) => Promise<unknown>> = {
    createSession: (sql) => createSession("ada", sql),
    rotateSession: (sql, headers) => rotateSession(headers, sql),
    reauthenticateSession: (sql, headers) => reauthenticateSession(headers, sql),
    updateSession: (sql, headers) => updateSession(headers, { a: 1 }, sql),
    revokeSession: (sql, headers) => revokeSession(headers, sql),
    revokeSessions: (sql) => revokeSessions({ userId: 1 }, sql),
    sweepSessions: (sql) => sweepSessions(sql),
  };

  for (const [driver, open] of Object.entries(pools)) {
    test(`refuses every write as unavailable, and none signs the user out, through ${driver}`, async () => {
      const headers = await signedIn();
      await withPool(open, [standby.url], async (sql) => {
        for (const [name, write] of Object.entries(writes)) {
          await assert.rejects(write(sql, headers), {
            name: "SessionError",
            code: "STORE_UNAVAILABLE",
            sqlstate: "25006",
            message: `${name}: the database rejected the statement (SQLSTATE 25006)`,
          });
        }
      });
      assert.ok((await validateSession(headers, onPrimary.sql)).session);
    });

    test(`answers validateSession, listSessions and getUserId, and records no use, through ${driver}`, async () => {
      const headers = await signedIn();
      await withPool(open, [standby.url], async (sql) => {
        const result = await validateSession(headers, sql, { touchInterval: false });
        assert.equal(result.session?.username, "ada");
        assert.deepEqual([...result.headers], []);
        assert.ok((await listSessions(1, sql)).some(({ id }) => id === result.session!.id));
        assert.equal(await getUserId("ada", sql), 1);
      });
    });

    test(`refuses a session that was revoked with remote_apply, once the call has returned, through ${driver}`, async () => {
      await withPool(open, [standby.url], async (sql) => {
        for (let round = 0; round < 50; round++) {
          const headers = await signedIn();
          assert.ok((await validateSession(headers, sql, { touchInterval: false })).session);
          await revokeSession(headers, onPrimary.sql, { queryTimeout: 30 });
          const { reason } = await validateSession(headers, sql, { touchInterval: false });
          assert.equal(reason, "revoked");
        }
      });
    });
  }

  test("that lags knows neither a new session nor a revocation, and the primary knows both", async () => {
    await primary.run("alter system set synchronous_commit = 'on'", "select pg_reload_conf()");
    await until("the setting counts", async () => {
      const [row] = await onPrimary.sql`show synchronous_commit` as [
        { synchronous_commit: string },
      ];
      return row.synchronous_commit === "on";
    });
    const lagging = admin([standby.url]);
    try {
      const before = await signedIn();
      const lookUp = (headers: Headers) =>
        validateSession(headers, lagging.sql, { touchInterval: false });
      await until("the session arrives", async () => (await lookUp(before)).session !== null);
      await lagging.sql`select pg_wal_replay_pause()`;
      await until("the replay has paused", async () => {
        const [row] = await lagging.sql`select pg_get_wal_replay_pause_state() as state` as [
          { state: string },
        ];
        return row.state === "paused";
      });
      const after = await signedIn();
      await revokeSession(before, onPrimary.sql);
      assert.equal((await lookUp(after)).reason, "unknown");
      assert.ok((await lookUp(before)).session);
      assert.ok((await validateEither(after, lagging.sql)).session);
      assert.equal((await validateEither(before, onPrimary.sql)).reason, "revoked");
    } finally {
      await lagging.sql`select pg_wal_replay_resume()`;
      await lagging.end();
      await primary.run(...SYNCHRONOUS);
    }
  });

  /** Asks a replica, and the primary for a session that the replica does not know yet. */
  async function validateEither(headers: Headers, replica: Sql) {
    const result = await validateSession(headers, replica, { touchInterval: false });
    return result.reason === "unknown" ? await validateSession(headers, onPrimary.sql) : result;
  }
});

describe("a server that is killed", () => {
  let cluster: Cluster;
  let server: Node;
  beforeAll(async () => {
    cluster = await openCluster(0, ["synchronous_commit=off"]);
    [server] = cluster.nodes as [Node];
  });
  afterAll(() => cluster?.stop());

  for (const [driver, open] of Object.entries(pools)) {
    test(`has the revocations that have returned after its recovery, also with synchronous_commit = off, through ${driver}`, async () => {
      await withPool(open, [server.url], async (sql) => {
        // So that nothing but a commit that waits writes the log to the disk.
        const [writer] = await sql`
          select pid from pg_stat_activity where backend_type = 'walwriter'
        ` as [{ pid: number }];
        process.kill(writer.pid, "SIGSTOP");
        const cookies: Headers[] = [];
        for (const name of ["ada", "ada", "grace", "grace"]) {
          cookies.push(withCookie((await createSession(name, sql)).headers));
        }
        const [one, kept, ...graces] = cookies as [Headers, Headers];
        await revokeSessions({ userId: 2 }, sql);
        await revokeSession(one, sql);
        const lost = withCookie((await createSession("ada", sql)).headers);
        await server.kill();
        await server.start();
        await withPool(open, [server.url], async (sql) => {
          for (const it of [one, ...graces]) {
            assert.equal((await validateSession(it, sql)).reason, "revoked");
          }
          assert.ok((await validateSession(kept, sql)).session);
          // What synchronous_commit = off costs: a sign-in that no later commit has taken to the disk.
          assert.equal((await validateSession(lost, sql)).reason, "unknown");
        });
      });
    });
  }
});

describe("the process", () => {
  test("has survived, without an unhandled rejection", async () => {
    await new Promise((resolve) => setTimeout(resolve));
    assert.deepEqual(watch.strays, []);
  });
});
