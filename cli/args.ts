// Reads the arguments of a command. A value is never shown: it may be a password or a token.
import { parseArgs } from "node:util";

/** An error that a person can act on: no stack, and what to do. */
export class Failure extends Error {
  /** What to do. */
  readonly hint: string | undefined;
  /** The exit code: 1, or 2 for wrong arguments. */
  readonly exitCode: number;
  /** The code of the error for programs: that of a `SessionError`, or PostgreSQL's. */
  readonly code: string | undefined;

  constructor(message: string, hint?: string, exitCode = 1, code?: string) {
    super(message);
    this.hint = hint;
    this.exitCode = exitCode;
    this.code = code;
  }
}

/** The failure of wrong arguments. */
export function misuse(message: string, command?: string): Failure {
  return new Failure(message, `Run: npx coatcheck help${command ? ` ${command}` : ""}`, 2);
}

/** The options of a command by name: whether it takes a value, and whether it may be given several times. */
export type Options = Readonly<Record<string, "flag" | "value" | "values">>;

/** The options that every command has. */
export const COMMON: Options = { url: "value", json: "flag", help: "flag" };

/** What was given to a command. */
export class Arguments {
  readonly command: string;
  /** The arguments that are no option. */
  readonly words: readonly string[];
  readonly #given: ReadonlyMap<string, readonly string[]>;

  constructor(command: string, words: readonly string[], given: Map<string, string[]>) {
    this.command = command;
    this.words = words;
    this.#given = given;
  }

  /** Whether an option was given. */
  has(name: string): boolean {
    return this.#given.has(name);
  }

  /** The value of an option. */
  value(name: string): string | undefined {
    return this.#given.get(name)?.[0];
  }

  /** The values of an option that may be given several times. */
  values(name: string): readonly string[] {
    return this.#given.get(name) ?? [];
  }

  /** A span as seconds: `90`, `15m`, `12h`, `30d`. */
  seconds(name: string): number | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    const [, digits, unit = "s"] = /^(\d{1,10})([smhd])?$/.exec(value) ?? [];
    if (digits === undefined) {
      throw misuse(`--${name} must be a span such as 90s, 15m, 12h or 30d`, this.command);
    }
    return Number(digits) * { s: 1, m: 60, h: 3600, d: 86_400 }[unit]!;
  }

  /** A whole number in a range. */
  whole(name: string, min: number, max: number): number | undefined {
    const value = this.value(name);
    if (value === undefined) return undefined;
    const number = /^\d{1,10}$/.test(value) ? Number(value) : NaN;
    if (!(number >= min && number <= max)) {
      throw misuse(`--${name} must be a whole number from ${min} to ${max}`, this.command);
    }
    return number;
  }

  /** The id of a session. A whole token is refused, as it is a credential. */
  id(value: string, name: string): string {
    if (/^[0-9a-f-]{36}\.[\w-]{43}$/i.test(value)) {
      throw misuse(
        `${name} must be a session id, got a token. It may stay in the history of your shell: ` +
          "revoke its session, by the 36 characters before the dot",
        this.command,
      );
    }
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) {
      throw misuse(`${name} must be a session id, a UUID`, this.command);
    }
    return value.toLowerCase();
  }
}

/** Reads the arguments after the name of a command. */
export function readArguments(
  command: string,
  args: readonly string[],
  own: Options,
  maxWords: number,
): Arguments {
  const options: Options = { ...COMMON, ...own };
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries(options).map(([name, kind]) => [
        name,
        { type: kind === "flag" ? "boolean" as const : "string" as const, multiple: true },
      ]),
    ),
    // Or each runtime words its own errors, and some show values.
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const words: string[] = [];
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === "positional") words.push(token.value);
    if (token.kind !== "option") continue;
    const { rawName, value, inlineValue } = token;
    const name = rawName === "-h" ? "help" : token.name;
    const kind = Object.hasOwn(options, name) ? options[name] : undefined;
    if (kind === undefined) {
      const shown = /^--?[a-z-]{1,30}$/.test(rawName) ? ` ${rawName}` : "";
      const words = maxWords > 0 ? ". Write -- before a name that begins with -" : "";
      throw misuse(`unknown option${shown}${words}`, command);
    }
    if (kind === "flag" && value !== undefined) throw misuse(`--${name} takes no value`, command);
    if (kind !== "flag" && (!value || !inlineValue && value.startsWith("-"))) {
      throw misuse(`--${name} needs a value`, command);
    }
    if (kind !== "values" && name !== "json" && given.has(name)) {
      throw misuse(`--${name} was given twice`, command);
    }
    given.set(name, [...given.get(name) ?? [], value ?? ""]);
  }
  if (words.length > maxWords) {
    const most = maxWords === 0 ? "no argument" : maxWords === 1 ? "one argument" : "two arguments";
    throw misuse(`${command} takes ${most}, got ${words.length}`, command);
  }
  return new Arguments(command, words, given);
}
