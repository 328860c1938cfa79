const SECONDS = 60;

/**
 * Resolves when a condition holds. A busy machine takes seconds for what otherwise takes milliseconds; so the limit is
 * one of time, and far off.
 */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + SECONDS * 1000;
  while (!await holds()) {
    if (performance.now() > end) throw new Error(`Not within ${SECONDS} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
