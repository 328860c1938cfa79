import { performance } from "node:perf_hooks";
import process from "node:process";

/**
 * Keeps a number of calls in flight for a while: each that ends starts the next one.
 *
 * Calls per second are those that ended within the time; the last ones in flight are waited for, and
 * count for the CPU alone.
 *
 * @param {() => Promise<unknown>} call Its result must be truthy, or the run ends.
 */
export async function measure(call, inFlight, milliseconds) {
  const latencies = [];
  let within = 0;
  const before = process.cpuUsage();
  const start = performance.now();
  const end = start + milliseconds;
  const lane = async () => {
    for (let from = performance.now(); from < end;) {
      if (!await call()) throw new Error("A call did not find what is there");
      const now = performance.now();
      if (now <= end) within++;
      latencies.push(now - from);
      from = now;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const { user, system } = process.cpuUsage(before);
  return {
    perSecond: within / milliseconds * 1000,
    ...percentiles(latencies),
    cpu: (user + system) / latencies.length,
  };
}

/** The 50th and the 99th percentile, in milliseconds. */
export function percentiles(latencies) {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { p50: at(0.5), p99: at(0.99) };
}
