// What a check of the doctor works with, and what it finds.
import type { Database } from "../database.ts";
import type { Arguments } from "../args.ts";

/** How bad a finding is. The exit code is 1 for a warning and 2 for an error. */
export type Severity = "ok" | "note" | "warning" | "error";

/** What a check has found. */
export interface Finding {
  readonly severity: Severity;
  readonly message: string;
  /** The commands or the SQL statements that mend it. */
  readonly mend?: readonly string[];
}

/** A part of the schema: itself, or a relation in it. */
export interface Part {
  readonly name: string;
  /** The kind of pg_class: `r` for a table, `v` for a view; `n` for the schema. */
  readonly kind: string;
  readonly owner: string;
  readonly owner_id: number;
  readonly quoted_owner: string;
  readonly is_superuser: boolean;
  /** Whether somebody can act as the owner: it can log in, or has members. */
  readonly is_usable: boolean;
  /** Whether this connection may look into the schema. */
  readonly is_visible: boolean;
  readonly is_unlogged: boolean;
  readonly has_row_security: boolean;
  readonly is_invoker: boolean;
}

/** A column of the table or of the view. */
export interface Column {
  readonly part: string;
  readonly name: string;
  readonly type: string;
  readonly type_id: number;
  readonly type_schema: string;
  readonly is_domain: boolean;
  readonly base: string | null;
  readonly is_required: boolean;
  /** Whether pg_catalog has an operator = for two values of exactly this type. */
  readonly has_exact_operator: boolean;
  /** The operator that compares two values, by its name in SQL. */
  readonly equal: string;
}

/** What SERVER in queries.ts returns. */
export interface Server {
  readonly version: string;
  readonly number: number;
  readonly encoding: string;
  readonly is_replica: boolean;
  readonly lag: number | null;
  readonly is_read_only: boolean;
  readonly has_fsync: boolean;
  /** Where `default_transaction_read_only` was set, as pg_settings names it. */
  readonly read_only_source: string;
  readonly quoted_database: string;
  readonly role: string;
  readonly quoted_role: string;
  readonly is_superuser: boolean;
  readonly pid: number;
}

/** What the checks share. */
export interface Examination {
  readonly database: Database;
  readonly args: Arguments;
  readonly now: () => number;
  readonly server: Server;
  /** The parts of the schema by name; empty if there is no schema. */
  readonly parts: ReadonlyMap<string, Part>;
  readonly columns: readonly Column[];
  /** The command that migrates, with your users table as far as it is known. */
  readonly migrate: string;
  /** How the sessions are distributed by Citus: the key's name; null for a local table. */
  readonly distributed: string | null;
}

/** A check of the doctor. */
export interface Check {
  /** The name in the output, and for `--ignore`. */
  readonly name: string;
  /** The parts without which it has nothing to look at. */
  readonly needs?: readonly string[];
  readonly run: (examination: Examination) => Promise<Finding[]> | Finding[];
}

export const ok = (message: string): Finding => ({ severity: "ok", message });
export const note = (message: string, ...mend: string[]): Finding => ({
  severity: "note",
  message,
  mend,
});
export const warning = (message: string, ...mend: string[]): Finding => ({
  severity: "warning",
  message,
  mend,
});
export const error = (message: string, ...mend: string[]): Finding => ({
  severity: "error",
  message,
  mend,
});

/** The findings; or, if there are none, that all is well. */
export const orOk = (findings: Finding[], message: string): Finding[] =>
  findings.length ? findings : [ok(message)];

/** The node at the top of a plan of `explain (format json)`. */
export interface Plan {
  readonly "Node Type": string;
  readonly "Plan Rows": number;
  readonly "Index Cond"?: string;
  readonly Plans?: readonly Plan[];
}

/** Reads the plan of an `explain (format json)`. */
export function planOf(rows: readonly object[]): Plan {
  const [column] = Object.values(rows[0] ?? {});
  const plans = typeof column === "string" ? JSON.parse(column) : column;
  return (plans as { Plan: Plan }[])[0]!.Plan;
}
