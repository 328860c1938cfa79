// The figures as Markdown.
import { MEMORY_IN_FLIGHT } from "./ratios.mjs";

const IN_FLIGHT = [1, 16, 64];
const OPERATIONS = ["create", "validate"];

export const whole = (value) => Math.round(value).toLocaleString("en");
const spread = ({ median, min, max }) => `${whole(median)} (${whole(min)}–${whole(max)})`;
const short = ({ median }) => median < 10 ? median.toFixed(2) : median.toFixed(1);

export function table(head, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map((_, index) => index === 0 ? "---" : "--:")), ...rows.map(line)]
    .join("\n");
}

/** All tables of a run. */
export function report(results) {
  const { cells, ratios } = results;
  const notes = "In brackets are the slowest and the fastest round. Unprepared: postgres.js with " +
    "`prepare: false`, as a pooler in transaction mode may need it.";
  const parts = [circumstances(results), notes];
  for (const operation of OPERATIONS) {
    const rows = functionRows(cells, operation);
    if (rows.length) {
      const head = [`${operation}, calls a second`, "1 in flight", "16", "64", "p50 / p99 ms at 1"];
      parts.push(table([...head, "at 16", "at 64", "client CPU µs a call at 64"], rows));
    }
  }
  const limits = pgbenchRows(cells);
  if (limits.length) {
    parts.push(
      table(["rows a second", "clients", "create", "mean ms", "validate", "mean ms"], limits),
    );
  }
  const http = httpRows(cells);
  if (http.length) {
    const head = ["over HTTP, 32 connections", "create a second", "p50 / p99 ms"];
    parts.push(
      table(
        [...head, "validate a second", "p50 / p99 ms", "server CPU µs: create", "validate"],
        http,
      ),
    );
  }
  if (ratios.length) parts.push(ratioTable(ratios));
  parts.push(...memoryParts(results));
  if (results.comparison?.length) parts.push(comparisonTable(results));
  return parts.join("\n\n");
}

/** The machine, the versions and the plan of a run. */
export function circumstances(
  { date, seconds, machine, versions, database, sessions, rounds, window },
) {
  const { cpu, cores, memoryGiB, system } = machine;
  const named = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  const settings = Object.entries(database.settings).map(([name, value]) => `${name} ${value}`);
  return `Measured on ${date} on ${cores} cores of ${cpu}, ${memoryGiB} GiB, ${system}, with the load ` +
    `and the server on the same cores: ${
      whole(sessions)
    } sessions, medians of ${rounds} rounds of ` +
    `${window} ms a figure, ${seconds} s in all.\n\n` +
    `${database.version.split(" on ")[0]} (${settings.join(", ")}). ${named}.`;
}

function functionRows(cells, operation) {
  const of = cells.filter((it) => it.kind === "function" && it.operation === operation);
  return [...new Set(of.map(({ name }) => name))].map((name) => {
    const at = (inFlight) => of.find((it) => it.name === name && it.inFlight === inFlight);
    return [
      name,
      ...IN_FLIGHT.map((inFlight) => spread(at(inFlight).perSecond)),
      ...IN_FLIGHT.map((inFlight) => `${short(at(inFlight).p50)} / ${short(at(inFlight).p99)}`),
      short(at(64).cpu),
    ];
  });
}

function pgbenchRows(cells) {
  const of = cells.filter(({ kind }) => kind === "pgbench");
  const lines = new Set(of.map(({ name, inFlight }) => JSON.stringify([name, inFlight])));
  return [...lines].map((line) => {
    const [name, inFlight] = JSON.parse(line);
    return [
      name,
      inFlight,
      ...OPERATIONS.flatMap((operation) => {
        const isIt = (it) =>
          it.name === name && it.inFlight === inFlight && it.operation === operation;
        const { perSecond, mean } = of.find(isIt);
        return [spread(perSecond), short(mean)];
      }),
    ];
  });
}

function httpRows(cells) {
  const of = cells.filter(({ kind }) => kind === "http");
  return [...new Set(of.map(({ name }) => name))].map((name) => {
    const [create, validate] = OPERATIONS.map((operation) =>
      of.find((it) => it.name === name && it.operation === operation)
    );
    const latency = ({ p50, p99 }) => `${short(p50)} / ${short(p99)}`;
    return [
      name,
      spread(create.perSecond),
      latency(create),
      spread(validate.perSecond),
      latency(validate),
      short(create.cpu),
      short(validate.cpu),
    ];
  });
}

/** What validates without a query, beside what asks the database. */
function memoryParts({ cells, memoryRatios }) {
  const parts = [];
  const runtimes = [
    ...new Set(cells.filter(({ kind }) => kind === "memory").map(({ runtime }) => runtime)),
  ];
  const rows = runtimes.flatMap((runtime) => memoryRows(cells, runtime));
  if (rows.length) {
    const head = ["validate without a query, calls a second", "one after another"];
    parts.push(
      table([...head, "client CPU µs a call", "64 at once", "client CPU µs a call"], rows),
    );
  }
  const http = cells.filter(({ kind }) => kind === "memory http");
  if (http.length) {
    const head = ["validate over HTTP, 32 connections, one page for all", "a second"];
    const httpRows = http.map((it) => [
      it.name,
      spread(it.perSecond),
      `${short(it.p50)} / ${short(it.p99)}`,
      short(it.cpu),
    ]);
    parts.push(table([...head, "p50 / p99 ms", "server CPU µs"], httpRows));
  }
  if (memoryRatios?.length) parts.push(memoryRatioTable(memoryRatios));
  return parts;
}

function memoryRows(cells, runtime) {
  const isOurs = ({ kind, group, client }) =>
    kind === "function" && client === "postgres.js" && (group === "batched" || group === "plain");
  const of = cells.filter((it) =>
    it.operation === "validate" && it.runtime === runtime && (it.kind === "memory" || isOurs(it))
  ).sort((one, other) => (one.kind === "memory" ? 0 : 1) - (other.kind === "memory" ? 0 : 1));
  return [...new Set(of.map(({ name }) => name))].map((name) => [
    name,
    ...MEMORY_IN_FLIGHT.flatMap((inFlight) => {
      const { perSecond, cpu } = of.find((it) => it.name === name && it.inFlight === inFlight);
      return [spread(perSecond), short(cpu)];
    }),
  ]);
}

function memoryRatioTable(ratios) {
  const runtimes = Object.keys(ratios[0].byRuntime);
  const rows = ratios.map(({ other, cpu, targets, byRuntime }) => [
    cpu ? `CPU of ${other} ÷ that of coatcheck cached` : `coatcheck cached ÷ ${other}`,
    runtimes.map((runtime) => targets[runtime] ?? "·").join(" / "),
    ...runtimes.map((runtime) =>
      byRuntime[runtime].map((value, index) =>
        ratio(value, MEMORY_IN_FLIGHT[index] === 64 ? targets[runtime] : null)
      ).join(" / ")
    ),
  ]);
  const head = `at least at 64: ${runtimes.join(" / ")}`;
  return table(["ratio at 1 / 64 in flight", head, ...runtimes], rows);
}

/** One column for each runtime; a ratio below its target is in italics. */
function ratioTable(ratios) {
  const runtimes = Object.keys(ratios[0].byRuntime);
  const rows = ratios.map(({ operation, group, client, other, targets, byRuntime }) => [
    `${operation}, ${group}${client ? `, ${client}` : ""} ÷ ${other}`,
    targets.map((target) => target ?? "·").join(" / "),
    ...runtimes.map((runtime) =>
      byRuntime[runtime].map((value, index) => ratio(value, targets[index])).join(" / ")
    ),
  ]);
  return table(["ratio at 1 / 16 / 64 in flight", "at least", ...runtimes], rows);
}

function ratio(value, target) {
  if (value === null) return "·";
  const text = value < 10 ? value.toFixed(2) : value.toFixed(1);
  return target !== null && value < target ? `_${text}_` : text;
}

/** This version divided by the other one: above 1, this one is faster. */
function comparisonTable({ comparison, against, rounds }) {
  const labelOf = ({ operation, group, client, runtime }) =>
    [operation, group, client, runtime].join(", ");
  const labels = OPERATIONS.flatMap((operation) => [
    ...new Set(comparison.filter((it) => it.operation === operation).map(labelOf)),
  ]);
  const rows = labels.map((label) => [
    label,
    ...IN_FLIGHT.map((inFlight) => {
      const found = comparison.find((it) => labelOf(it) === label && it.inFlight === inFlight);
      return found.ratio === null ? "·" : ratioSpread(found.ratio);
    }),
  ]);
  const head = `this version ÷ ${against}, medians of ${rounds} rounds`;
  return table([head, "1 in flight", "16", "64"], rows);
}

function ratioSpread({ median, min, max }) {
  return `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
}
