// What may be shown on a terminal, and how. Usernames, reasons and names of roles are other people's text: it
// must neither steer the terminal nor look like a line of ours.

// Control characters (also the C1 set, whose U+009B begins an escape sequence), formats such as right-to-left
// overrides, line separators, lone surrogates, and characters that show as nothing.
const HIDDEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;
const SPACES = /(?! )\p{Zs}/gu;
// More marks on one letter than any language writes cover the lines above.
const MARKS = /(?<=\p{M}{4})\p{M}/gu;

/** Escapes what a terminal would obey or hide. */
export function escape(text: string): string {
  const code = (it: string) => `\\u{${it.codePointAt(0)!.toString(16)}}`;
  return text.replace(HIDDEN, code).replace(SPACES, code).replace(MARKS, code);
}

/** Text of other people between quotation marks, cut after so many columns. */
export function quote(text: string, columns = 60): string {
  const escaped = escape(text.replace(/["\\]/g, "\\$&"));
  let shown = "";
  let width = 0;
  for (const it of escaped) {
    width += widthOf(it);
    if (width > columns) return `"${shown}"…`;
    shown += it;
  }
  return `"${shown}"`;
}

// The blocks of two columns; the exact list changes with each Unicode.
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

const widthOf = (it: string) => WIDE.test(it) ? 2 : /\p{M}/u.test(it) ? 0 : 1;

/** A JSON document in which hidden characters are escaped. */
export function jsonOf(value: unknown): string {
  const units = (it: string) =>
    it.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
  const text = JSON.stringify(value, null, 2);
  return `${text.replace(HIDDEN, (it) => it === "\n" ? it : units(it))}\n`;
}

/**
 * Breaks text into lines of so many columns, between words, and within those that are longer than a line. The lines
 * after the first are indented.
 */
export function wrap(text: string, columns: number, indent = ""): string {
  const lines: string[] = [];
  let line = "";
  const width = columns - indent.length;
  const pieces = (word: string) =>
    word.length > width ? word.match(new RegExp(`.{1,${width}}`, "gsu")) ?? [] : [word];
  for (const word of text.split(" ").flatMap(pieces)) {
    if (line !== "" && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = indent + word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join("\n");
}

/** A number with its thousands apart: 1,234. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** A number of things: `1 session`, `2 sessions`. */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** A span of seconds in its largest unit: `45 s`, `3 min`, `5 h`, `2 days`. */
export function span(seconds: number): string {
  const size = Math.abs(seconds);
  if (size < 1) return `${size.toFixed(2)} s`;
  if (size < 120) return `${Math.round(size)} s`;
  if (size < 7200) return `${Math.round(size / 60)} min`;
  if (size < 172_800) return `${Math.round(size / 3600)} h`;
  return `${count(size / 86_400)} days`;
}

/** Bytes in the unit that people read. */
export function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.floor(Math.log2(Math.max(value, 1)) / 10), 4);
  return `${(value / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** A share in per cent. */
export function percent(part: number, whole: number): string {
  return `${whole === 0 ? 0 : Math.round(100 * part / whole)} %`;
}
