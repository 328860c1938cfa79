// The frame of every page.
import type { Session } from "coatcheck";
import { type Html, html } from "./html.ts";
import { warning } from "./warning.ts";

const SECTIONS = [
  ["/", "Session"],
  ["/devices", "Devices"],
  ["/password", "Password"],
  ["/recovery-code", "Recovery code"],
  ["/theft", "Token theft"],
] as const;

/** A page's title and, for a signed-in user, its section and the session. */
export type Heading =
  | { readonly title: string; readonly section?: undefined; readonly session?: undefined }
  | {
    readonly title: string;
    readonly section: (typeof SECTIONS)[number][0];
    readonly session: Pick<Session, "idleExpiresAt" | "expiresAt">;
  };

/** Renders a page in the shape of a cloakroom ticket: a stub, and the rest below the perforation. */
export function page({ title, section, session }: Heading, stub: Html, rest: Html): Html {
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
        ${session ? warningScript : ""}
      </head>
      <body>
        <header>
          ${section ? skip : ""}
          ${hanger} <p><b>coatcheck</b> <span>sessions in your own PostgreSQL</span></p>
          ${section ? signOut : ""}
        </header>
        ${section ? navigation(section) : ""}
        <main>
          ${session ? warning(session) : ""}
          <div class="stub" id="content" tabindex="-1">${stub}</div>
          <div class="rest">${rest}</div>
        </main>
        <footer>
          <p>The cookie carries a secret. The database stores only its SHA-256.</p>
          <p><a href="/session">View the session as JSON</a></p>
        </footer>
      </body>
    </html>
  `;
}

/** A page with one sentence and a link to the start page. */
export function notice(title: string, text: string): Html {
  return page(
    { title },
    html`
      <h1>${title}</h1>
    `,
    html`
      <p>${text}</p>
      <p><a href="/">Continue</a></p>
    `,
  );
}

/** The error message of a form. The attributes of {@linkcode invalid} refer to it. */
export function alert(message?: string): Html {
  if (message === undefined) return html``;
  return html`
    <p id="message" role="alert">${message}</p>
  `;
}

/** The attributes of an invalid field. */
export function invalid(isWrong: boolean): Html {
  return isWrong ? html`aria-invalid="true" aria-describedby="message"` : html``;
}

/** An instant, in the server's time zone. */
export function time(date: Date): Html {
  const text = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });
  return html`<time datetime="${date.toISOString()}">${text}</time>`;
}

/** An instant that page.js counts down to. `seconds` is the full length of its bar. */
export function clock(label: string, until: Date, seconds: number, over: string, id = ""): Html {
  return html`
    <div class="clock" data-seconds="${seconds}" data-over="${over}" data-id="${id}">
      <h2>${label}</h2>
      <p>${time(until)}</p>
    </div>
  `;
}

/** A label beside a heading. */
export function badge(word: string): Html {
  return html`<span class="badge">${word}</span>`;
}

const skip = html`<a class="skip" href="#content">Skip to content</a>`;

const warningScript = html`<script type="module" src="/warning.js"></script>`;

const signOut = html`
  <form method="post" action="/sign-out"><button class="quiet">Sign out</button></form>
`;

function navigation(section: string): Html {
  const links = SECTIONS.map(([path, name]) =>
    html`<a href="${path}" ${path === section ? html`aria-current="page"` : ""}>${name}</a>`
  );
  return html`
    <nav aria-label="Sections">${links}</nav>
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
