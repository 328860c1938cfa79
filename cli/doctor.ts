// coatcheck doctor: examines the database, and says what to do.
import { Failure, misuse } from "./args.ts";
import { citus } from "./checks/citus.ts";
import {
  type Check,
  type Column,
  error,
  type Examination,
  type Finding,
  note,
  type Part,
  type Server,
  type Severity,
} from "./checks/finding.ts";
import { notify } from "./checks/notify.ts";
import { others, privileges, searchPath } from "./checks/rights.ts";
import { foreignKey, indexes, ledger, owner, schema, table } from "./checks/schema.ts";
import { clock, durability, pooler, version, writable } from "./checks/server.ts";
import { activity, autovacuum, bloat, fillfactor, overdue } from "./checks/storage.ts";
import { lookUp, unique, view } from "./checks/view.ts";
import type { Context } from "./context.ts";
import type { Database } from "./database.ts";
import { CITUS, COLUMNS, DISTRIBUTION, PARTS, SERVER, USERS_TABLE } from "./queries.ts";
import { escape, plural, wrap } from "./text.ts";

/** The checks, in the order in which they run. */
export const CHECKS: readonly Check[] = [
  version,
  writable,
  clock,
  pooler,
  citus,
  schema,
  ledger,
  owner,
  table,
  indexes,
  view,
  unique,
  lookUp,
  foreignKey,
  notify,
  privileges,
  others,
  searchPath,
  fillfactor,
  autovacuum,
  bloat,
  overdue,
  durability,
  activity,
];

interface Named extends Finding {
  readonly check: string;
}

const SEVERITIES: readonly Severity[] = ["ok", "note", "warning", "error"];

/** `coatcheck doctor`. */
export async function doctor(context: Context): Promise<number> {
  const ignored = context.args.values("ignore");
  for (const name of ignored) {
    if (!CHECKS.some((it) => it.name === name)) {
      const names = CHECKS.map((it) => it.name).join(", ");
      throw misuse(`--ignore must be the name of a check: ${names}`, "doctor");
    }
  }
  const checks = CHECKS.filter(({ name }) => !ignored.includes(name));
  const findings = await examine(context, checks);
  const worst = Math.max(...findings.map(({ severity }) => SEVERITIES.indexOf(severity)), 0);
  const counts = Object.fromEntries(
    SEVERITIES.map((it) => [it, findings.filter(({ severity }) => severity === it).length]),
  ) as Record<Severity, number>;
  const summary = SEVERITIES.toReversed().filter((it) => counts[it] > 0)
    .map((it) => it === "ok" ? `${counts.ok} ok` : plural(counts[it], it)).join(", ");
  const text = findings.map((it) => textOf(it, context)).join("\n");
  await context.print(`${text}\n\n${summary}`, {
    severity: SEVERITIES[worst],
    counts,
    findings: findings.map(({ check, severity, message, mend }) => ({
      check,
      severity,
      message,
      mend: mend ?? [],
    })),
  });
  return Math.max(worst - 1, 0);
}

async function examine(context: Context, checks: readonly Check[]): Promise<Named[]> {
  let database: Database;
  try {
    database = await context.database();
  } catch (failure) {
    // Wrong arguments are no finding.
    if (!(failure instanceof Failure) || failure.code === undefined) throw failure;
    const { message, hint } = failure;
    return [{ check: "connection", ...error(`${message}. ${hint}`) }];
  }
  const { args, terminal } = context;
  const examination = await read(database, args, terminal.now);
  const findings: Named[] = [];
  for (const { name, needs = [], run } of checks) {
    if (needs.length && !examination.parts.get("schema")?.is_visible) continue;
    if (!needs.every((it) => examination.parts.has(it))) continue;
    let found: Finding[];
    try {
      found = await run(examination);
    } catch (failure) {
      found = [notExamined(failure)];
    }
    findings.push(...found.map((it) => ({ check: name, ...it })));
  }
  return findings;
}

/** What a check could not look at. An error that is not the database's is one of ours, and goes on. */
function notExamined(failure: unknown): Finding {
  const { name, code } = failure as { name?: unknown; code?: unknown };
  if (name !== "PostgresError" || typeof code !== "string") throw failure;
  if (code === "42501") return note("Not examined: this role may not. Connect as the owner");
  if (code === "57014") return note("Not examined: it took longer than the time allowed");
  return note(`Not examined: the server rejected the statement (SQLSTATE ${escape(code)})`);
}

async function read(
  database: Database,
  args: Context["args"],
  now: () => number,
): Promise<Examination> {
  const [server] = await database.read<Server>(SERVER);
  const parts = await database.read<Part>(PARTS);
  const columns = await database.read<Column>(COLUMNS);
  const [hasCitus] = await database.read(CITUS);
  const [distribution] = hasCitus
    ? await database.read<{ method: string; key: string | null }>(DISTRIBUTION)
    : [];
  const isVisible = parts.some(({ name, is_visible }) => name === "schema" && is_visible);
  const [users] = isVisible ? await database.read<UsersTable>(USERS_TABLE) : [];
  return {
    database,
    args,
    now,
    server: server!,
    parts: new Map(parts.map((part) => [part.name, part])),
    columns,
    migrate: `npx coatcheck migrate --users ${argumentOf(users)}`,
    distributed: distribution?.key ?? null,
  };
}

interface UsersTable {
  readonly name: string;
  readonly id: string;
  readonly username: string | null;
}

/** The value of `--users`, for a shell. */
function argumentOf(users: UsersTable | undefined): string {
  if (users === undefined) return "users:id:username";
  const text = escape(`${users.name}:${users.id}${users.username ? `:${users.username}` : ""}`);
  return /^[\w.:]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

const COLORS: Readonly<Record<Severity, number>> = { ok: 32, note: 36, warning: 33, error: 31 };

function textOf({ check, severity, message, mend = [] }: Named, context: Context): string {
  const { terminal, columns } = context;
  const label = severity.padEnd(8);
  // A colour takes no column, and the label's own spaces are no place to break the line.
  const text = wrap(`${"-".repeat(label.length)}${check}: ${message}`, columns, "  ");
  const colored = terminal.hasColor ? `\x1b[${COLORS[severity]}m${severity}\x1b[0m` : severity;
  const lines = [`${colored}${label.slice(severity.length)}${text.slice(label.length)}`];
  if (mend.length) lines.push("  To mend:", ...mend.map((it) => `    ${it}`));
  return lines.join("\n");
}
