// coatcheck sweep: deletes dead sessions.
import { type SweepProgress, sweepSessions } from "../mod.ts";
import type { Context } from "./context.ts";
import { confirm } from "./confirm.ts";
import { DEFAULTS } from "./session.ts";
import { percent, plural, span } from "./text.ts";

/** `coatcheck sweep`. */
export async function sweep(context: Context): Promise<number> {
  const { args, terminal } = context;
  const retention = args.seconds("retention") ?? 30 * 86_400;
  const idleTimeout = args.seconds("idle-timeout");
  const guestIdleTimeout = args.seconds("guest-idle-timeout");
  const { sql, place } = await context.database();
  const guests = guestIdleTimeout ?? idleTimeout ?? DEFAULTS.idleTimeout;
  const idle = idleTimeout === undefined ? "" : `, idle for ${span(idleTimeout)}`;
  await confirm(
    context,
    `Delete the dead sessions of the database ${place}: expired${idle}, or revoked more than ${
      span(retention)
    } ago; and guests idle for ${span(guests)}?`,
  );
  const showProgress = progressOf(context);
  const { swept } = await sweepSessions(sql, {
    retention,
    ...(idleTimeout !== undefined && { idleTimeout }),
    ...(guestIdleTimeout !== undefined && { guestIdleTimeout }),
    signal: terminal.signal,
    queryTimeout: 60,
    async onProgress(progress) {
      // The step that was under way at Ctrl-C may still be done, after the message.
      if (terminal.signal.aborted) return;
      context.done = `Deleted so far, for good: at least ${plural(progress.swept, "session")}.`;
      await showProgress(progress);
    },
  });
  await context.print(`Deleted ${plural(swept, "session")}`, { swept });
  return 0;
}

/** Shows the progress: as a bar on a terminal, and elsewhere as a line for each tenth. */
function progressOf({ terminal }: Context): (it: SweepProgress) => Promise<void> {
  let tenth = 0;
  return async ({ swept, scanned, blocks }) => {
    const done = percent(scanned, blocks);
    if (terminal.hasProgress) {
      const width = 20;
      const filled = blocks === 0 ? width : Math.round(width * scanned / blocks);
      const bar = "#".repeat(filled).padEnd(width, ".");
      const end = scanned >= blocks ? "\r\x1b[K" : "";
      await terminal.err(`\r[${bar}] ${done.padStart(5)}  ${plural(swept, "session")}${end}`);
      return;
    }
    const now = blocks === 0 ? 10 : Math.floor(10 * scanned / blocks);
    if (now <= tenth) return;
    tenth = now;
    await terminal.err(`${done} read, ${plural(swept, "session")} deleted\n`);
  };
}
