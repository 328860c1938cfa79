// Asks before a command that cannot be undone.
import { Failure, misuse } from "./args.ts";
import type { Context } from "./context.ts";
import { wrap } from "./text.ts";

/** Returns if `--yes` was given or the person answers yes; otherwise throws. */
export async function confirm(
  { args, terminal, columns }: Context,
  question: string,
): Promise<void> {
  if (args.has("yes")) return;
  if (!terminal.isInteractive) {
    throw misuse(
      `${args.command} cannot be undone, and nobody can be asked here: add --yes`,
      args.command,
    );
  }
  const answer = await terminal.ask(`${wrap(question, columns - 7)} [y/N] `);
  if (!/^y(es)?$/i.test(answer.trim())) throw new Failure("nothing was changed");
}
