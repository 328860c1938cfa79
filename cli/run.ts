// Finds the command, runs it, and says what went wrong.
import { SessionError } from "../mod.ts";
import { type Arguments, Failure, misuse, type Options, readArguments } from "./args.ts";
import { type Command, Context } from "./context.ts";
import { unreachable } from "./database.ts";
import { doctor } from "./doctor.ts";
import { grants } from "./grants.ts";
import { HELP, OVERVIEW } from "./help.ts";
import { list } from "./list.ts";
import { migrateSchema } from "./migrate.ts";
import { revoke } from "./revoke.ts";
import { show } from "./show.ts";
import { stats } from "./stats.ts";
import { sweep } from "./sweep.ts";
import type { Terminal } from "./terminal.ts";
import { escape, jsonOf, wrap } from "./text.ts";
import { VERSION } from "./version.ts";

interface Entry {
  readonly run: Command;
  readonly words: number;
  readonly options: Options;
}

const POLICY: Options = { "idle-timeout": "value", "absolute-timeout": "value" };
const USER: Options = { "user-id": "flag" };

/** The commands, with the options of each and how many arguments it takes. */
export const COMMANDS: Readonly<Record<string, Entry>> = {
  migrate: {
    run: migrateSchema,
    words: 0,
    options: {
      users: "value",
      notify: "flag",
      "dry-run": "flag",
      print: "flag",
      timeout: "value",
    },
  },
  doctor: {
    run: doctor,
    words: 0,
    options: { role: "value", retention: "value", ignore: "values", full: "flag" },
  },
  sweep: {
    run: sweep,
    words: 0,
    options: {
      retention: "value",
      "idle-timeout": "value",
      "guest-idle-timeout": "value",
      yes: "flag",
    },
  },
  list: {
    run: list,
    words: 1,
    options: { ...USER, ...POLICY, all: "flag", data: "flag", limit: "value", after: "value" },
  },
  show: { run: show, words: 1, options: { ...POLICY, data: "flag" } },
  revoke: {
    run: revoke,
    words: 1,
    options: {
      ...USER,
      id: "value",
      except: "value",
      all: "flag",
      reason: "value",
      yes: "flag",
    },
  },
  stats: { run: stats, words: 0, options: { ...POLICY, full: "flag" } },
  grants: { run: grants, words: 1, options: { apply: "flag" } },
};

/** Runs the command line, and returns its exit code. */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const isJson = beforeWords(args).includes("--json");
  let context: Context | undefined;
  try {
    const found = find(args);
    if (typeof found === "string") {
      await terminal.out(`${found}\n`);
      return 0;
    }
    const { entry, given } = found;
    context = new Context(given, terminal);
    return await Promise.race([entry.run(context), stopped(terminal.signal)]);
  } catch (error) {
    const { signal } = terminal;
    if (signal.aborted) return await stop(signal, context);
    const failure = explain(error);
    const shown = failure.hint === undefined ? [] : [failure.hint];
    const columns = Math.max(terminal.columns ?? Infinity, 40);
    const lines = [`coatcheck: ${failure.message}`, ...shown].map((it) =>
      wrap(escape(it), columns)
    );
    await terminal.err(`${lines.join("\n")}\n`);
    if (isJson) {
      const { message, code, hint } = failure;
      await terminal.out(jsonOf({ error: { message, code, hint } }));
    }
    return failure.exitCode;
  } finally {
    await context?.end();
  }
}

function find(args: readonly string[]): string | { entry: Entry; given: Arguments } {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h") return OVERVIEW;
  if (name === "--version" || name === "-v") return VERSION;
  if (name === "help") {
    const [topic] = rest;
    if (topic === undefined || !Object.hasOwn(HELP, topic)) return OVERVIEW;
    return HELP[topic]!;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    // What stands there may be a URL with its password.
    const shown = /^[a-z]{1,20}$/.test(name) ? ` ${name}` : "";
    throw name.startsWith("-")
      ? misuse("the command comes first, then its options")
      : misuse(`unknown command${shown}`);
  }
  const entry = COMMANDS[name]!;
  const options = beforeWords(rest);
  if (options.includes("--help") || options.includes("-h")) return HELP[name]!;
  return { entry, given: readArguments(name, rest, entry.options, entry.words) };
}

/** The arguments before `--`, after which nothing is an option. */
const beforeWords = (args: readonly string[]) =>
  args.includes("--") ? args.slice(0, args.indexOf("--")) : args;

function stopped(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

async function stop(signal: AbortSignal, context: Context | undefined): Promise<number> {
  // Nobody reads what would be written.
  if (signal.reason === "SIGPIPE") return 141;
  const text = `Stopped.${context?.done ? ` ${context.done}` : ""}`;
  await context?.say(`\n${wrap(text, context.columns)}`);
  return signal.reason === "SIGTERM" ? 143 : 130;
}

// What to do, by PostgreSQL's code or by that of a SessionError.
const HINTS: Readonly<Record<string, string>> = {
  CC002: "Name your table: npx coatcheck migrate --users table:id:username",
  CC003: "Name your columns: npx coatcheck migrate --users table:id:username",
  CC005: "Name a unique column: npx coatcheck migrate --users table:id:username",
  CC006: "Name your table: npx coatcheck migrate --users table:id:username",
  SCHEMA_MISSING: "Run: npx coatcheck doctor. It says what is missing",
  "42501": "This role lacks rights. Run: npx coatcheck doctor",
  "25006":
    "This database takes no writes. Connect to the primary; if it is the primary, run: npx coatcheck doctor",
  STORE_TIMEOUT: "Run: npx coatcheck doctor. A transaction may hold a lock",
  UNEXPECTED_RESULT: "Run: npx coatcheck doctor",
};

/** What a person can do about an error. */
function explain(error: unknown): Failure {
  if (error instanceof Failure) return error;
  const { name, code, sqlstate, message } = error as {
    name?: unknown;
    code?: unknown;
    sqlstate?: unknown;
    message?: unknown;
  };
  if (error instanceof SessionError) {
    const { message, code, sqlstate } = error;
    return new Failure(message, HINTS[sqlstate ?? ""] ?? HINTS[code], 1, sqlstate ?? code);
  }
  if (name === "PostgresError" && typeof code === "string") {
    const missing = /^(3F000|42P01|42703|42883)$/.test(code)
      ? "The schema is missing or incomplete. Run: npx coatcheck doctor"
      : undefined;
    return new Failure(
      `the database rejected a statement (SQLSTATE ${code})`,
      HINTS[code] ?? missing ?? "Run: npx coatcheck doctor",
      1,
      code,
    );
  }
  // An argument that a function of coatcheck has refused.
  if (error instanceof TypeError || error instanceof RangeError) {
    if (sqlstate === undefined && /^\w+: /.test(String(message))) {
      return new Failure(String(message), undefined, 2);
    }
  }
  if (typeof code === "string") return unreachable(error, "of this command");
  return new Failure(`an error of coatcheck itself: ${String(message)}`);
}
