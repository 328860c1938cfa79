// The terminal, the pipe or the file that a command talks to.
import process from "node:process";
import { createInterface } from "node:readline";

/** What a command needs of the process that it runs in. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person can be asked. */
  readonly isInteractive: boolean;
  /** Whether standard error is a terminal, on which a line can be written again. */
  readonly hasProgress: boolean;
  readonly hasColor: boolean;
  /** The columns of standard output; undefined for a pipe or a file. */
  readonly columns: number | undefined;
  /** Aborted by Ctrl-C, with the name of the signal as its reason. */
  readonly signal: AbortSignal;
  /** Milliseconds since 1970, by the clock of this machine. */
  readonly now: () => number;
  readonly out: (text: string) => Promise<void>;
  readonly err: (text: string) => Promise<void>;
  /** Asks a question, and returns the line that was typed: empty at the end of the input. */
  readonly ask: (question: string) => Promise<string>;
  readonly close: () => void;
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Opens the terminal of this process. */
export function openTerminal(): Terminal {
  const { env, stdin, stdout, stderr } = process;
  const controller = new AbortController();
  const stop = (signal: string) => {
    // The second Ctrl-C of an impatient person.
    if (controller.signal.aborted) process.exit(130);
    controller.abort(signal);
  };
  for (const name of SIGNALS) process.on(name, stop);
  // The reader of the pipe has gone, as `head` does.
  const left = () => controller.signal.aborted || controller.abort("SIGPIPE");
  stdout.on("error", left);
  stderr.on("error", left);
  return {
    env,
    isInteractive: Boolean(stdin.isTTY && stderr.isTTY),
    hasProgress: Boolean(stderr.isTTY) && env.TERM !== "dumb",
    hasColor: Boolean(stdout.isTTY) && !env.NO_COLOR && env.TERM !== "dumb",
    columns: stdout.isTTY ? stdout.columns : undefined,
    signal: controller.signal,
    now: Date.now,
    out: (text) => write(stdout, text),
    err: (text) => write(stderr, text),
    ask: (question) => ask(question, stop),
    close() {
      for (const name of SIGNALS) process.off(name, stop);
    },
  };
}

function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve) => stream.write(text, () => resolve()));
}

function ask(question: string, stop: (signal: string) => void): Promise<string> {
  const { stdin, stderr } = process;
  return new Promise((resolve) => {
    const lines = createInterface({ input: stdin, output: stderr });
    let answer: string | undefined;
    // While it reads a line, Ctrl-C is a key and no signal.
    lines.on("SIGINT", () => (stop("SIGINT"), lines.close()));
    lines.on("close", () => {
      // Ctrl-D leaves the cursor behind the question.
      if (answer === undefined) stderr.write("\n");
      resolve(answer ?? "");
    });
    lines.question(question, (line) => {
      answer = line;
      lines.close();
    });
  });
}
