// F19: a disk that is full.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import {
  createSession,
  revokeSession,
  SessionError,
  sweepSessions,
  validateSession,
} from "../../mod.ts";
import { withCookie } from "../runner/database.ts";
import { NotRun, withCluster, withPool } from "./servers.mjs";

/** Runs with a folder on a disk of 16 MB. */
async function withDisk(run) {
  if (process.platform !== "linux" || process.getuid() !== 0) {
    throw new NotRun("a small disk is mounted as a tmpfs, by root on Linux");
  }
  const folder = mkdtempSync(join(tmpdir(), "coatcheck-disk-"));
  try {
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], { stdio: "pipe" });
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
  }
}

export const faults = [
  {
    fault: "F19: the disk of the sessions is full",
    expected:
      "writes are STORE_UNAVAILABLE (53100), lookups and sign-outs go on, recovery with space",
    run: (client) =>
      withDisk((folder) =>
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
          }))
      ),
  },
];
