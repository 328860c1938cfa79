// A terminal for the command line, which keeps what is written to it.
import { run } from "../../cli/run.ts";
import type { Terminal } from "../../cli/terminal.ts";

/** What a command has written, and its exit code. */
export interface Written {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** How a terminal differs from a pipe. */
export interface TerminalOptions {
  readonly columns?: number;
  readonly hasColor?: boolean;
  readonly hasProgress?: boolean;
  /** What a person answers; unset: nobody is there. */
  readonly answer?: string;
  /** Seconds by which the clock of this machine is ahead. */
  readonly ahead?: number;
  readonly signal?: AbortSignal;
  /** Called with all that is written to standard error. */
  readonly onError?: (text: string) => void;
}

/** Runs the command line against a database, in this process. */
export async function runCommand(
  url: string | undefined,
  args: readonly string[],
  { answer, ahead = 0, signal, onError, columns, ...flags }: TerminalOptions = {},
): Promise<Written> {
  let out = "";
  let err = "";
  const writeError = (text: string) => {
    err += text;
    onError?.(text);
    return Promise.resolve();
  };
  const terminal: Terminal = {
    env: url === undefined ? {} : { DATABASE_URL: url },
    isInteractive: answer !== undefined,
    hasProgress: false,
    hasColor: false,
    columns,
    signal: signal ?? new AbortController().signal,
    now: () => Date.now() + ahead * 1000,
    out: (text) => {
      out += text;
      return Promise.resolve();
    },
    err: writeError,
    ask: async (question) => {
      await writeError(question);
      return answer!;
    },
    close: () => {},
    ...flags,
  };
  const code = await run(args, terminal);
  return { code, out, err };
}
