// F19: a disk that is full, of the sessions or of the log.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  mkdtempSync,
  rmdirSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import {
  createSession,
  createToken,
  getUserId,
  insertSession,
  listSessions,
  reauthenticateSession,
  revokeSession,
  revokeSessions,
  rotateSession,
  SessionError,
  sweepSessions,
  updateSession,
  validateSession,
} from "../../mod.ts";
import { afterwards } from "../../scripts/guard.mjs";
import { withCookie } from "../runner/database.ts";
import { startTraffic } from "../runner/traffic.ts";
import { errorsOf, NotRun, requireNone, userOf, withCluster, withPool } from "./servers.mjs";

/** Runs with a folder on a disk of so many MB. */
async function withDisk(size, run) {
  if (process.platform !== "linux" || process.getuid() !== 0) {
    throw new NotRun("a small disk is mounted as a tmpfs, by root on Linux");
  }
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-disk-"));
  const forget = afterwards(`umount --lazy '${folder}'; rmdir '${folder}'`);
  try {
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}m`, "tmpfs", folder], {
        stdio: "pipe",
      });
    } catch ({ stderr }) {
      throw new NotRun(`a tmpfs cannot be mounted here: ${String(stderr).trim()}`);
    }
    try {
      chmodSync(folder, 0o777);
      return await run(folder);
    } finally {
      execFileSync("umount", [folder]);
    }
  } finally {
    rmdirSync(folder);
    forget();
  }
}

/** Calls every function; each must say that the store is unavailable. */
async function requireUnavailable(client, url, headers) {
  const { id, digest } = createToken();
  const [createdAt, expiresAt] = [new Date(), new Date(Date.now() + 3_600_000)];
  const calls = {
    createSession: (sql) => createSession("ada", sql),
    insertSession: (sql) => insertSession({ id, digest, userId: 1, createdAt, expiresAt }, sql),
    getUserId: (sql) => getUserId("ada", sql),
    validateSession: (sql) => validateSession(headers, sql),
    rotateSession: (sql) => rotateSession(headers, sql),
    reauthenticateSession: (sql) => reauthenticateSession(headers, sql),
    updateSession: (sql) => updateSession(headers, { a: 1 }, sql),
    listSessions: (sql) => listSessions(1, sql),
    revokeSession: (sql) => revokeSession(headers, sql),
    revokeSessions: (sql) => revokeSessions({ userId: 1 }, sql),
    sweepSessions: (sql) => sweepSessions(sql),
  };
  for (const [name, call] of Object.entries(calls)) {
    // Each by a pool of its own, as that of postgres.js waits longer with each attempt.
    const unavailable = { code: "STORE_UNAVAILABLE" };
    await withPool(client, [url], (sql) => assert.rejects(call(sql), unavailable, name));
  }
}

export const faults = [
  {
    fault: "F19: the disk of the sessions is full",
    expected:
      "writes are STORE_UNAVAILABLE (53100), lookups and sign-outs go on, recovery with space",
    run: (client) =>
      withDisk(
        16,
        (folder) =>
          withCluster({ standbys: 0 }, ([server]) =>
            withPool(client, [server.url], async (sql) => {
              const tablespace = join(folder, "sessions");
              execFileSync("mkdir", ["-m", "700", tablespace]);
              execFileSync("chown", ["--reference", server.data, tablespace]);
              await server.run(
                `create tablespace small location '${tablespace}'`,
                "alter table coatcheck.sessions set tablespace small",
              );
              const first = withCookie((await createSession("ada", sql)).headers);
              const ballast = join(folder, "ballast");
              writeFileSync(ballast, Buffer.alloc(15_000_000));
              let created = 0;
              let refusal;
              while (!refusal && created < 100_000) {
                try {
                  // Large, so that few fill it, and random, so that PostgreSQL cannot compress it.
                  const filler = randomBytes(700).toString("hex");
                  await createSession("ada", sql, { data: { filler } });
                  created++;
                } catch (error) {
                  refusal = error;
                }
              }
              assert.ok(refusal instanceof SessionError, String(refusal));
              assert.deepEqual([refusal.code, refusal.sqlstate], ["STORE_UNAVAILABLE", "53100"]);
              assert.ok((await validateSession(first, sql, { touchInterval: 0 })).session);
              const signOut = await revokeSession(first, sql).then(
                () => "works",
                ({ code, sqlstate }) => `${code} ${sqlstate}`,
              );
              rmSync(ballast);
              const next = withCookie((await createSession("ada", sql)).headers);
              assert.ok((await validateSession(next, sql)).session);
              await revokeSession(next, sql);
              assert.equal((await validateSession(next, sql)).reason, "revoked");
              await sweepSessions(sql);
              const code = `${refusal.code} ${refusal.sqlstate}`;
              return `${code} after ${created} sessions; a sign-out then: ${signOut}; works again with space`;
            })),
      ),
  },
  {
    fault: "F19: the disk of pg_wal is full",
    expected: "PostgreSQL stops; every function is STORE_UNAVAILABLE; with space, nothing is lost",
    run: (client) =>
      withDisk(
        128,
        (folder) =>
          withCluster({ standbys: 0 }, ([server]) =>
            withPool(client, [server.url], async (sql) => {
              await server.stop();
              const log = join(server.data, "pg_wal");
              execFileSync("cp", ["--archive", `${log}/.`, folder]);
              rmSync(log, { recursive: true });
              symlinkSync(folder, log);
              await server.start();
              const headers = withCookie((await createSession("ada", sql)).headers);
              const traffic = startTraffic(sql, { userOf });
              await traffic.succeeded(500);
              const ballast = join(folder, "ballast");
              const { bavail, bsize } = statfsSync(folder);
              writeFileSync(ballast, Buffer.alloc(bavail * bsize));
              const start = performance.now();
              let hasEnded = false;
              void server.ended().then(() => hasEnded = true);
              while (!hasEnded) {
                assert.ok(performance.now() - start < 120_000, "PostgreSQL goes on");
                // Large, so that few fill what the log has left.
                const filler = randomBytes(700).toString("hex");
                await createSession("ada", sql, { data: { filler } }).catch(() => sleep(20));
              }
              const stopped = Math.round(performance.now() - start);
              await requireUnavailable(client, server.url, headers);
              rmSync(ballast);
              await server.start();
              const mended = performance.now();
              await traffic.succeeded(1);
              const recovery = Math.round(performance.now() - mended);
              await traffic.succeeded(500);
              assert.ok((await validateSession(headers, sql)).session);
              const seen = await traffic.stop();
              const { live, gone, back } = await traffic.verify(sql);
              requireNone([...seen.wrong, ...gone, ...back]);
              return `PostgreSQL stopped ${stopped} ms after the disk was full; first success ${recovery} ms after its start; ${live} live sessions; ${
                errorsOf(seen)
              }`;
            })),
      ),
  },
];
