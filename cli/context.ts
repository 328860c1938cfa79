// What every command works with.
import type { Arguments } from "./args.ts";
import { connect, type Database } from "./database.ts";
import type { Terminal } from "./terminal.ts";
import { jsonOf } from "./text.ts";

/** One run of a command. */
export class Context {
  readonly args: Arguments;
  readonly terminal: Terminal;
  /** What was done so far, for a person who stops the command. */
  done = "";
  #database: Database | undefined;

  constructor(args: Arguments, terminal: Terminal) {
    this.args = args;
    this.terminal = terminal;
  }

  /** Whether the result is one JSON document. */
  get isJson(): boolean {
    return this.args.has("json");
  }

  /** The columns for text. A pipe has no end of a line. */
  get columns(): number {
    return Math.max(this.terminal.columns ?? Infinity, 40);
  }

  /** The database of this run, connected. */
  async database(): Promise<Database> {
    const url = this.args.value("url") ?? this.terminal.env.DATABASE_URL;
    return this.#database ??= await connect(url, this.args.command);
  }

  /** Writes the result: as text, or as JSON with `--json`. */
  async print(text: string, document: unknown): Promise<void> {
    await this.terminal.out(this.isJson ? jsonOf(document) : `${text}\n`);
  }

  /** Writes a message that is no result. */
  async say(text: string): Promise<void> {
    await this.terminal.err(`${text}\n`);
  }

  /** Ends the connection. */
  async end(): Promise<void> {
    await this.#database?.end();
  }
}

/** A command: writes its result, and returns its exit code. */
export type Command = (context: Context) => Promise<number>;
