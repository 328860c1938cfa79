// The CPU time of a server on this machine, as Linux counts it.
import { readdirSync, readFileSync } from "node:fs";

/**
 * Returns a function that reads the CPU seconds of each process of the server; null if that is not Linux, or another
 * machine's server.
 */
export async function openServerCpu(admin) {
  const [{ pid }] = await admin`select pg_backend_pid() as pid`;
  const backend = read(pid);
  if (backend === null || !backend.name.startsWith("postgres")) return null;
  const postmaster = backend.parent;
  return () =>
    new Map(
      readdirSync("/proc").filter((name) => /^\d+$/.test(name)).map((name) => [name, read(name)])
        .filter(([name, it]) =>
          it !== null && (it.parent === postmaster || Number(name) === postmaster)
        )
        .map(([name, { seconds }]) => [name, seconds]),
    );
}

/** CPU seconds between two readings, of the processes that are in both. */
export function spentBetween(before, after) {
  let seconds = 0;
  for (const [pid, now] of after) {
    const then = before.get(pid);
    if (then !== undefined) seconds += now - then;
  }
  return seconds;
}

function read(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [, name, rest] = /^\d+ \((.*)\) \S (.*)$/s.exec(stat);
    // Nanoseconds; the times in `stat` are hundredths of a second.
    const [nanoseconds] = readFileSync(`/proc/${pid}/schedstat`, "latin1").split(" ");
    return { name, parent: Number(rest.split(" ")[0]), seconds: Number(nanoseconds) / 1e9 };
  } catch {
    // It has ended, or this is not Linux.
    return null;
  }
}
