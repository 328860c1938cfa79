// Draws the figures at 64 in flight: a bar for each contestant, the longest first.
const WIDTH = 860;
const LABEL = 330;
const ROW = 22;
const LEFT = 20;
const SPACE = WIDTH - LEFT - LABEL - 110;

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .note, .value { fill: #59636e; font-size: 12px; }
  .back { fill: #ffffff; }
  .ours { fill: #1f6feb; }
  .plain { fill: #80b3ff; }
  .scratch { fill: #bf8700; }
  .peer { fill: #a3aab3; }
  .spread { stroke: #1f2328; stroke-opacity: 0.55; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .note, .value { fill: #9198a1; }
    .back { fill: #0d1117; }
    .ours { fill: #4493f8; }
    .plain { fill: #265a9e; }
    .scratch { fill: #d29922; }
    .peer { fill: #59636e; }
    .spread { stroke: #f0f6fc; }
  }`;

const CLASSES = { batched: "ours", plain: "plain", scratch: "scratch", peer: "peer" };

/** Returns the picture as SVG; null if no contestant of it was measured. */
export function picture({ cells, machine, date, sessions }) {
  const panels = ["create", "validate"].map((operation) => [
    operation,
    cells.filter((it) =>
      it.kind === "function" && it.operation === operation && it.inFlight === 64 &&
      CLASSES[it.group]
    ).sort((a, b) => b.perSecond.median - a.perSecond.median),
  ]).filter(([, bars]) => bars.length > 0);
  if (panels.length === 0) return null;

  let top = 52;
  const parts = [];
  for (const [operation, bars] of panels) {
    const most = Math.max(...bars.map(({ perSecond }) => perSecond.max));
    parts.push(text(LEFT, top, "title", `${operation}: calls a second`));
    top += 14;
    for (const bar of bars) {
      parts.push(row(bar, top, most));
      top += ROW;
    }
    top += 38;
  }
  const note =
    `64 calls in flight, ${sessions.toLocaleString("en")} sessions, ${machine.cores} cores ` +
    `for load and server, ${date}. Medians; the thin line is the spread of the rounds.`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top - 14}" role="img"
  aria-label="Calls a second of coatcheck and its peers">
<style>${STYLE}
</style>
<rect class="back" width="${WIDTH}" height="${top - 14}"/>
${text(LEFT, 24, "note", note)}
${parts.join("\n")}
</svg>
`;
}

function row({ name, group, perSecond }, top, most) {
  const long = (value) => Number((value / most * SPACE).toFixed(1));
  const start = LEFT + LABEL;
  const middle = top + ROW / 2;
  const end = start + Math.max(long(perSecond.median), long(perSecond.max));
  return [
    text(start - 8, middle + 4, "", name, "end"),
    `<rect class="${CLASSES[group]}" x="${start}" y="${top + 3}" width="${
      long(perSecond.median)
    }" ` +
    `height="${ROW - 6}" rx="2"/>`,
    `<line class="spread" x1="${start + long(perSecond.min)}" x2="${
      start + long(perSecond.max)
    }" ` +
    `y1="${middle}" y2="${middle}"/>`,
    text(end + 8, middle + 4, "value", Math.round(perSecond.median).toLocaleString("en")),
  ].join("\n");
}

function text(x, y, kind, words, anchor = "start") {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text class="${kind}" x="${x}" y="${y}" text-anchor="${anchor}">${escaped}</text>`;
}
