import process from "node:process";
import { parseArgs } from "node:util";

/** What the command line asks for: `--quick`, and `--only NAME`, which may come several times. */
export function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string", multiple: true, default: [] },
    },
  });
  const words = values.only.map((word) => word.toLowerCase());
  const isWanted = (name) =>
    words.length === 0 || words.some((word) => name.toLowerCase().includes(word));
  return { quick: values.quick, filtered: words.length > 0, isWanted, startedAt: process.hrtime() };
}
