// coatcheck stats: how many sessions there are, and of which kind.
import type { Context } from "./context.ts";
import { SAMPLE } from "./queries.ts";
import { DEFAULTS } from "./session.ts";
import { count, percent, quote, wrap } from "./text.ts";

/** How many rows are read for an estimate. */
export const SAMPLE_ROWS = 5000;

/** The row of SAMPLE in queries.ts. */
export interface Sample {
  readonly rows: number;
  readonly last: string | null;
  /** The live ones that belong to no user. */
  readonly guests: number;
  readonly overdue: number;
  readonly most_overdue: number | null;
  readonly statuses: Readonly<Record<string, number>>;
  readonly reasons: readonly (readonly [reason: string | null, number: number])[];
  readonly ages: Readonly<Record<string, number>>;
  readonly days: readonly (readonly [day: string, number: number])[];
}

/** How many rows there are for one row that was read: ids are random, so the last one tells the share. */
export function scaleOf({ rows, last }: Sample, limit: number): number {
  if (rows < limit || last === null) return 1;
  const share = parseInt(last.replaceAll("-", "").slice(0, 12), 16) / 2 ** 48;
  return share > 0 ? Math.max(1 / share, 1) : 1;
}

const AGES = [
  "less than 1 hour",
  "less than 1 day",
  "less than 7 days",
  "less than 30 days",
  "older",
];

/** `coatcheck stats`. */
export async function stats(context: Context): Promise<number> {
  const { args } = context;
  const idleTimeout = args.seconds("idle-timeout") ?? DEFAULTS.idleTimeout;
  const absoluteTimeout = args.seconds("absolute-timeout") ?? DEFAULTS.absoluteTimeout;
  const isFull = args.has("full");
  const { read } = await context.database();
  const [sample] = await read<Sample>(
    SAMPLE,
    [
      isFull ? null : String(SAMPLE_ROWS),
      String(idleTimeout),
      String(absoluteTimeout),
      String(30 * 86_400),
    ],
    { seconds: isFull ? 3600 : 60 },
  );
  const it = sample!;
  const scale = isFull ? 1 : scaleOf(it, SAMPLE_ROWS);
  const isEstimate = !isFull && it.rows >= SAMPLE_ROWS;
  // An estimate of 5,000 rows has no more digits than these.
  const number = (value: number) =>
    Math.round(isEstimate ? Number((value * scale).toPrecision(2)) : value);
  const statuses = ["live", "idle", "expired", "revoked"].map((name) =>
    [name, number(it.statuses[name] ?? 0)] as const
  );
  const ages = AGES.map((name, index) => [name, number(it.ages[index] ?? 0)] as const);
  const reasons = it.reasons.map(([reason, value]) => [reason, number(value)] as const);
  const days = it.days.map(([day, value]) => [day, number(value)] as const);
  const total = number(it.rows);
  const row = (name: string, value: number) => `  ${name.padEnd(20)} ${count(value).padStart(12)}`;
  const lines = [
    wrap(
      isEstimate
        ? `About ${count(total)} sessions, estimated from ${count(it.rows)}; --full reads all`
        : `${count(total)} sessions`,
      context.columns,
    ),
    "",
    ...statuses.map(([name, value]) => `${row(name, value)} ${percent(value, total).padStart(5)}`),
    "",
    ...(it.guests > 0 ? [row("guests, among live", number(it.guests)), ""] : []),
    "Live sessions by age",
    ...ages.map(([name, value]) => row(name, value)),
    "",
    "New sessions by day (UTC) that were not swept",
    ...days.map(([day, value]) => row(day, value)),
    ...(days.length ? [] : ["  none in 14 days"]),
    ...(reasons.length ? ["", "Revoked by reason"] : []),
    // The reason last, as it is text of the app.
    ...reasons.map(([reason, value]) =>
      `  ${count(value).padStart(12)} ${reason === null ? "none" : quote(reason, 40)}`
    ),
  ];
  await context.print(lines.join("\n"), {
    isEstimate,
    rowsRead: it.rows,
    sessions: total,
    ...Object.fromEntries(statuses),
    guests: number(it.guests),
    liveByAge: ages.map(([age, value]) => ({ age, sessions: value })),
    newByDay: days.map(([day, value]) => ({ day, sessions: value })),
    revokedByReason: reasons.map(([reason, value]) => ({ reason, sessions: value })),
  });
  return 0;
}
