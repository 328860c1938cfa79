import { createHash } from "node:crypto";

/** The style of every page, in light and in dark. */
export const style = `
:root {
  color-scheme: light dark;
  --room: light-dark(#eee7da, #16131a);
  --card: light-dark(#fffdf8, #241f29);
  --ink: light-dark(#2a2025, #f2ece6);
  --soft: light-dark(#65575b, #b7abb0);
  --field: light-dark(#fff, #1a161e);
  --line: light-dark(#8f8280, #82767d);
  --tear: light-dark(#d5c8b0, #4b424f);
  --wine: light-dark(#86213f, #f2a7b8);
  --on-wine: light-dark(#fff, #30091a);
  --alarm: light-dark(#fae3df, #4b1c22);
  font: 100%/1.5 system-ui, sans-serif;
  background: var(--room);
  color: var(--ink);
}
* { box-sizing: border-box; margin: 0 }
body {
  display: grid;
  gap: 1.5rem;
  width: min(100%, 29rem);
  margin: auto;
  padding: clamp(1.25rem, 9vh, 6rem) 1rem 1.5rem;
}

header { display: flex; align-items: center; gap: .75rem; color: var(--soft); font-size: .9rem }
header svg { flex: none; width: 3rem }
header b { display: block; color: var(--ink); font: 600 1.5rem/1.1 ui-serif, Georgia, serif }

main { border-radius: 1rem; overflow: hidden; background: var(--card); box-shadow: 0 1rem 2.5rem -1rem #0006 }
.stub, .rest { padding: 1.5rem }
.stub { color: var(--soft) }
.stub h1 { color: var(--ink); font: 600 2rem/1.3 ui-serif, Georgia, serif; overflow-wrap: anywhere }
.rest { position: relative; border-top: 2px dashed var(--tear) }
.rest::before, .rest::after {
  content: "";
  position: absolute;
  top: calc(-.6rem - 1px);
  width: 1.2rem;
  height: 1.2rem;
  border-radius: 50%;
  background: var(--room);
}
.rest::before { left: -.6rem }
.rest::after { right: -.6rem }

form, label { display: block }
label { margin-bottom: .5rem; font-weight: 600 }
input, button { width: 100%; min-height: 2.9rem; padding: .5rem .8rem; border: 1px solid var(--line); border-radius: .6rem; font: inherit }
input { margin-bottom: 1rem; background: var(--field); color: inherit }
input[aria-invalid] { border-color: var(--wine) }
button { margin-top: .5rem; border-color: var(--wine); background: var(--wine); color: var(--on-wine); font-weight: 600; cursor: pointer }
button:hover { filter: brightness(1.1) }
button.quiet { background: none; color: var(--wine) }
:focus-visible { outline: 3px solid var(--wine); outline-offset: 2px }
[role=alert] { margin-bottom: 1rem; padding: .6rem .8rem; border-radius: .6rem; background: var(--alarm) }

dl { display: grid; grid-template-columns: auto 1fr; gap: .5rem 1rem; margin-bottom: 1.25rem }
dt { color: var(--soft) }
dd { overflow-wrap: anywhere }
dd code { font-size: .8em }
code { font: .875em ui-monospace, monospace; color: var(--ink) }
.stub b { color: var(--ink) }
.stub code { white-space: nowrap }
p { text-wrap: pretty }
footer { color: var(--soft); font-size: .875rem }
a { color: var(--wine) }
@media (max-width: 24rem) { dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .6rem } }
`;

/** Lets a page have this style, its own icon and its own forms, and nothing else. */
export const contentSecurityPolicy: string = [
  "default-src 'none'",
  `style-src 'sha256-${createHash("sha256").update(style).digest("base64")}'`,
  "img-src data:",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");
