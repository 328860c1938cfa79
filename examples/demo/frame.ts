// What all pages have in common.
import { type Html, html } from "./html.ts";

const ROOMS = [
  ["/", "Session"],
  ["/devices", "Devices"],
  ["/password", "Password"],
  ["/recovery-code", "Recovery code"],
  ["/theft", "Stolen cookie"],
] as const;

/** What a page is called and, where its reader is signed in, which of the rooms it belongs to. */
export interface Place {
  readonly title: string;
  readonly room?: (typeof ROOMS)[number][0];
}

/** Makes a page in the shape of a cloakroom ticket: a stub, and below the perforation the rest. */
export function page({ title, room }: Place, stub: Html, rest: Html): Html {
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${title} – coatcheck demo</title>
        <link rel="icon" href="data:image/svg+xml,${encodeURIComponent(hanger.html)}">
        <link rel="stylesheet" href="/style.css">
        <script type="module" src="/page.js"></script>
      </head>
      <body>
        <header>
          ${room ? skip : ""}
          ${hanger} <p><b>coatcheck</b> <span>sessions in your own PostgreSQL</span></p>
          ${room ? signOut : ""}
        </header>
        ${room ? navigation(room) : ""}
        <main>
          <div class="stub" id="ticket" tabindex="-1">${stub}</div>
          <div class="rest">${rest}</div>
        </main>
        <footer>
          <p>The cookie holds a secret; the database only its SHA-256.</p>
          <p><a href="/session">See the session as JSON</a></p>
        </footer>
      </body>
    </html>
  `;
}

/** A page of one sentence, and the way back. */
export function notice(title: string, text: string): Html {
  return page(
    { title },
    html`
      <h1>${title}</h1>
    `,
    html`
      <p>${text}</p>
      <p><a href="/">Go on</a></p>
    `,
  );
}

/** What was wrong with a form. The field that it is about points here, by {@linkcode invalid}. */
export function alert(message?: string): Html {
  if (message === undefined) return html``;
  return html`
    <p id="message" role="alert">${message}</p>
  `;
}

/** The attributes of a field that was wrong. */
export function invalid(isWrong: boolean): Html {
  return isWrong ? html`aria-invalid="true" aria-describedby="message"` : html``;
}

/** An instant, by the server's time zone. */
export function time(date: Date): Html {
  const text = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });
  return html`<time datetime="${date.toISOString()}">${text}</time>`;
}

/** An instant that page.js counts down to, from so many seconds. */
export function clock(label: string, until: Date, seconds: number, over: string): Html {
  return html`
    <div class="clock" data-seconds="${seconds}" data-over="${over}">
      <h2>${label}</h2>
      <p>${time(until)}</p>
    </div>
  `;
}

/** A word beside a heading. */
export function badge(word: string): Html {
  return html`<span class="badge">${word}</span>`;
}

const skip = html`<a class="skip" href="#ticket">To the content</a>`;

const signOut = html`
  <form method="post" action="/sign-out"><button class="quiet">Sign out</button></form>
`;

function navigation(room: string): Html {
  const links = ROOMS.map(([path, name]) =>
    html`<a href="${path}" ${path === room ? html`aria-current="page"` : ""}>${name}</a>`
  );
  return html`
    <nav aria-label="Rooms">${links}</nav>
  `;
}

const hanger = html`
  <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 40" aria-hidden="true"
    fill="none" stroke="#b0485f" stroke-width="4" stroke-linecap="round" stroke-linejoin="round">
    <path
      d="M18 10a6 6 0 1 1 8 5.6c-1.4.6-2 1.4-2 3.4v1L5 31.5c-2.5 1.6-1.5 4.5 1.5 4.5h35
      c3 0 4-2.9 1.5-4.5L24 20" />
  </svg>
`;
