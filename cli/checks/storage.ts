// The table on disk, and what keeps it small.
import { ACTIVITY, INDEXES, SAMPLE, STORAGE } from "../queries.ts";
import { DEFAULTS } from "../session.ts";
import { type Sample, SAMPLE_ROWS, scaleOf } from "../stats.ts";
import { bytes, count, escape, percent, plural, span } from "../text.ts";
import { type Check, type Examination, type Finding, note, ok, orOk, warning } from "./finding.ts";

interface Storage {
  readonly rows: number;
  readonly pages: number;
  readonly size: number;
  readonly block: number;
  readonly fillfactor: string | null;
  readonly autovacuum: string | null;
  readonly has_autovacuum: boolean;
  readonly has_counts: boolean;
  readonly age: number;
  readonly max_age: number;
  readonly live: number;
  readonly dead: number;
  readonly updated: number;
  readonly hot: number;
  readonly vacuumed: number | null;
  readonly width: number | null;
}

async function readStorage({ database }: Examination): Promise<Storage> {
  const [storage] = await database.read<Storage>(STORAGE);
  return storage!;
}

const ON_SHARDS = note("Not examined: the sessions are on the shards of Citus");

export const fillfactor: Check = {
  name: "fillfactor",
  needs: ["sessions"],
  async run(examination) {
    if (examination.distributed !== null) return [ON_SHARDS];
    const { fillfactor, updated, hot } = await readStorage(examination);
    const findings: Finding[] = [];
    if (fillfactor === null || Number(fillfactor) > 90) {
      findings.push(
        warning(
          `The fillfactor is ${
            fillfactor ?? "100"
          }, and the migrations set 90: without room on its page, an update ` +
            "writes every index. It counts for pages that are written from now on",
          "alter table coatcheck.sessions set (fillfactor = 90);",
        ),
      );
    }
    if (updated >= 1000 && hot < 0.7 * updated) {
      findings.push(
        warning(
          `Only ${percent(hot, updated)} of ${
            count(updated)
          } updates were heap-only: look for an index on a column ` +
            "that changes, an old open transaction, or a lost fillfactor",
        ),
      );
    }
    const share = updated >= 1000 ? `, ${percent(hot, updated)} of the updates are heap-only` : "";
    return orOk(findings, `The fillfactor is ${fillfactor ?? "100"}${share}`);
  },
};

export const autovacuum: Check = {
  name: "autovacuum",
  needs: ["sessions"],
  async run(examination) {
    const { autovacuum, has_autovacuum, has_counts, age, max_age } = await readStorage(examination);
    const findings: Finding[] = [];
    if (!has_autovacuum) {
      findings.push(
        warning(
          "autovacuum is off: the table only grows",
          "alter system set autovacuum = on;",
          "select pg_reload_conf();",
        ),
      );
    }
    if (!has_counts) {
      findings.push(
        warning(
          "track_counts is off, so autovacuum does not run",
          "alter system set track_counts = on;",
          "select pg_reload_conf();",
        ),
      );
    }
    if (autovacuum !== null && !/^(on|true|yes|1)$/i.test(autovacuum)) {
      findings.push(
        warning(
          "autovacuum is off for coatcheck.sessions: the table only grows",
          "alter table coatcheck.sessions reset (autovacuum_enabled);",
        ),
      );
    }
    if (age > max_age) {
      findings.push(
        warning(
          `The table was not frozen for ${count(age)} transactions: autovacuum does not get to it`,
          "vacuum (freeze) coatcheck.sessions;",
        ),
      );
    }
    return orOk(findings, "autovacuum is on");
  },
};

/** Pages below which a table or an index is too small to be bloated. */
const MIN_PAGES = 1000;
/** Bytes of an index for each row: a UUID needs 40, and a page may be half full. */
const INDEX_ROW = 120;

export const bloat: Check = {
  name: "bloat",
  needs: ["sessions"],
  async run(examination) {
    if (examination.distributed !== null) return [ON_SHARDS];
    const { rows, size, block, width, live, dead, vacuumed } = await readStorage(examination);
    const findings: Finding[] = [];
    const pages = size / block;
    if (dead > 10_000 && dead > 0.4 * live) {
      const last = vacuumed === null ? "never" : `${span(vacuumed)} ago`;
      findings.push(
        warning(
          `${count(dead)} dead row versions beside ${
            plural(live, "row")
          }; the last vacuum was ${last}`,
          "vacuum (analyze) coatcheck.sessions;",
        ),
      );
    }
    if (rows < 0 && pages > MIN_PAGES) {
      findings.push(
        note(
          "The table was never analyzed, so its bloat is not known",
          "analyze coatcheck.sessions;",
        ),
      );
    }
    // 28 bytes of header and pointer for each row, in pages that are filled to nine tenths.
    const expected = Math.max(rows, 0) * ((width ?? 220) + 28) / 0.9;
    if (rows >= 0 && pages > MIN_PAGES && size > 3 * expected) {
      findings.push(
        warning(
          `The table takes ${bytes(size)}, and its rows need about ${
            bytes(expected)
          }. New rows use the space. To ` +
            "give it back, which locks the table meanwhile:",
          "vacuum (full, analyze) coatcheck.sessions;",
        ),
      );
    }
    const indexes = await examination.database.read<{ name: string; size: number }>(INDEXES);
    for (const index of indexes) {
      if (rows < 0 || index.size < MIN_PAGES * block) continue;
      if (index.size < 3 * INDEX_ROW * Math.max(rows, 1)) continue;
      findings.push(
        warning(
          `The index ${escape(index.name)} takes ${bytes(index.size)} for ${plural(rows, "row")}`,
          `reindex index concurrently ${escape(index.name)};`,
        ),
      );
    }
    return orOk(findings, `The table takes ${bytes(size)}`);
  },
};

export const overdue: Check = {
  name: "sweep",
  needs: ["sessions"],
  async run({ database, args }) {
    // A span, and so safe in a shell.
    const retention = args.seconds("retention") ?? 30 * 86_400;
    const given = args.value("retention");
    const values = [
      String(SAMPLE_ROWS),
      String(DEFAULTS.idleTimeout),
      String(DEFAULTS.absoluteTimeout),
      String(retention),
    ];
    const [sample] = await database.read<Sample>(SAMPLE, values);
    const { rows, overdue, most_overdue } = sample!;
    const number = Number(
      (overdue * scaleOf(sample!, SAMPLE_ROWS)).toPrecision(rows < SAMPLE_ROWS ? 21 : 2),
    );
    if (overdue === 0) return [ok(`No row waits for a sweep, of ${plural(rows, "row")} read`)];
    const about = rows < SAMPLE_ROWS ? "" : "About ";
    return [
      warning(
        `${about}${plural(number, "row")} of dead sessions wait for a sweep, the oldest for ${
          span(most_overdue!)
        }: sweep once a day or more often. ${
          plural(rows, "row")
        } were read. A sweep also deletes guests who are ` +
          "idle for 7 days; to keep them for longer, add --guest-idle-timeout",
        `npx coatcheck sweep${given === undefined ? "" : ` --retention ${given}`}`,
      ),
    ];
  },
};

export const activity: Check = {
  name: "activity",
  async run({ database, server }) {
    interface Activity {
      deadlocks: number;
      commits: number;
      rollbacks: number;
      since: number | null;
      oldest: number | null;
      hidden: number;
    }
    const [row] = await database.read<Activity>(ACTIVITY);
    const { deadlocks, commits, rollbacks, since, oldest, hidden } = row!;
    const findings: Finding[] = [];
    const period = since === null ? "" : ` in ${span(since)}`;
    if (oldest !== null && oldest > 600) {
      findings.push(
        warning(
          `A transaction is open for ${
            span(oldest)
          }: vacuum removes nothing that it might see, and its locks make ` +
            "others wait",
          "select pid, usename, state, xact_start from pg_stat_activity order by xact_start limit 5;",
        ),
      );
    }
    if (hidden > 0) {
      findings.push(
        note(
          `Not examined: ${
            plural(hidden, "connection")
          } of other roles. This role may not see when their ` +
            "transactions began: grant it pg_monitor",
          `grant pg_monitor to ${escape(server.quoted_role)};`,
        ),
      );
    }
    if (deadlocks > 0) {
      findings.push(
        note(
          `${
            plural(deadlocks, "deadlock")
          } in this database${period}, of the app as a whole: see the server's log`,
        ),
      );
    }
    const all = commits + rollbacks;
    if (rollbacks > 1000 && rollbacks > 0.1 * all) {
      findings.push(
        note(
          `${
            percent(rollbacks, all)
          } of the transactions of this database were rolled back${period}`,
        ),
      );
    }
    return orOk(findings, "No old transaction, no deadlock, few rollbacks");
  },
};
