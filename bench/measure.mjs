import { performance } from "node:perf_hooks";
import process from "node:process";

/**
 * Keeps a number of calls in flight: each call that ends starts the next one.
 *
 * Only calls that end within the time count for the calls a second. The last ones in flight are awaited,
 * and count for latency and CPU.
 *
 * @param {() => Promise<unknown>} call Must resolve to something truthy; otherwise the run fails.
 */
export async function measure(call, inFlight, milliseconds) {
  const latencies = [];
  let within = 0;
  const before = process.cpuUsage();
  const start = performance.now();
  const end = start + milliseconds;
  const caller = async () => {
    for (let from = performance.now(); from < end;) {
      if (!await call()) throw new Error("A call returned no session, but the session exists");
      const now = performance.now();
      if (now <= end) within++;
      latencies.push(now - from);
      from = now;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  const { user, system } = process.cpuUsage(before);
  return {
    perSecond: within / milliseconds * 1000,
    ...percentiles(latencies),
    cpu: (user + system) / latencies.length,
  };
}

// Reading the clock for each call would take a good part of a call that is answered from memory.
const CALLS_A_LOOK = 8;

/** As {@linkcode measure}, for calls of some microseconds: without their latencies. */
export async function measureRate(call, inFlight, milliseconds) {
  let calls = 0;
  const before = process.cpuUsage();
  const start = performance.now();
  const end = start + milliseconds;
  const caller = async () => {
    while (performance.now() < end) {
      for (let count = 0; count < CALLS_A_LOOK; count++) {
        if (!await call()) throw new Error("A call returned no session, but the session exists");
      }
      calls += CALLS_A_LOOK;
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(before);
  return { calls, perSecond: calls / seconds, cpu: (user + system) / calls };
}

/** The 50th and the 99th percentile, in milliseconds. */
export function percentiles(latencies) {
  const sorted = Float64Array.from(latencies).sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return { p50: at(0.5), p99: at(0.99) };
}
