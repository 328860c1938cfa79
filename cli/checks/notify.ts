// The triggers that notify the caches of each revocation.
import { LEDGER, NOTIFIERS, QUEUE } from "../queries.ts";
import { type Check, error, type Finding, note, ok, orOk, warning } from "./finding.ts";

const TRIGGERS = 3;

/** The part of the queue from which it is too full, 0 to 1. */
const MAX_USAGE = 0.5;

export const notify: Check = {
  name: "notify",
  needs: ["sessions", "migrations"],
  async run({ database, migrate, distributed }) {
    const steps = await database.read<{ name: string }>(LEDGER);
    const isApplied = steps.some(({ name }) => name === "005_notify");
    const triggers = await database.read<{ name: string; is_always: boolean }>(NOTIFIERS);
    if (!isApplied && !triggers.length) {
      return [ok("No trigger notifies of revocations, and coatcheck/cache is not available")];
    }
    const findings: Finding[] = [];
    const isComplete = triggers.length === TRIGGERS && triggers.every((it) => it.is_always);
    if (isApplied && distributed !== null) {
      findings.push(
        error(
          "The sessions are distributed by Citus, which refuses triggers: no revocation notifies, and migrate " +
            "fails (CC011). Do not use coatcheck/cache",
          "delete from coatcheck.migrations where name = '005_notify';",
        ),
      );
    } else if (isApplied && !isComplete) {
      findings.push(
        error(
          "The triggers that notify the caches of a revocation are missing or disabled: a cache keeps a revoked session",
          migrate,
        ),
      );
    } else if (!isApplied) {
      findings.push(
        note(
          "Triggers notify of revocations, but the list of steps does not have 005_notify, so migrate does not " +
            "keep them",
          `${migrate} --notify`,
        ),
      );
    }
    // Not only to know: nothing else makes the server take off what was read, once the queue is full.
    const [row] = await database.read<{ usage: number }>(QUEUE);
    const { usage } = row!;
    if (usage > MAX_USAGE) {
      findings.push(
        warning(
          `The server's queue of notifications is ${
            Math.round(100 * usage)
          } % full: a connection listens, and has a transaction open. When the queue is full, every revocation ` +
            "fails. End that connection",
          "select pid, usename, state, xact_start from pg_stat_activity order by xact_start limit 5;",
        ),
      );
    }
    return orOk(findings, "Each revocation notifies the caches");
  },
};
