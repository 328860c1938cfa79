import { unexpected } from "./errors.ts";
import type { ResolvedPolicy } from "./policy.ts";
import type { Call, Cell, Sql } from "./sql.ts";

/** One call of a function, with its policy. */
export interface Context extends Call {
  readonly policy: ResolvedPolicy;
}

/** Makes the context of one call. */
export function contextOf(caller: string, sql: Sql, policy: ResolvedPolicy): Context {
  return { caller, sql, policy, queryTimeout: policy.queryTimeout };
}

/** Returns the only row, if there is one. */
export function requireOne({ caller }: Call, rows: Cell[][]): Cell[] | undefined {
  if (rows.length > 1) throw unexpected(caller, "one row", `${rows.length} rows`);
  return rows[0];
}
