import type { Session } from "@coatcheck/coatcheck";
import { type Html, html } from "./html.ts";
import { style } from "./style.ts";

/** The form, and what was wrong with the last attempt. */
export function signInPage(failed?: { username: string; message: string }): Html {
  const invalid = failed ? html`aria-invalid="true" aria-describedby="message"` : "";
  const focus = failed ? html`autofocus` : "";
  return page(
    failed ? "Not signed in" : "Sign in",
    html`
      <h1>Sign in</h1>
      <p>As <b>ada</b> with the password <code>ada-demo</code>, or as <b>grace</b> with <code>grace-demo</code>.</p>
    `,
    html`
      ${failed ? html`<p id="message" role="alert">${failed.message}</p>` : ""}
      <form method="post" action="/sign-in">
        <label for="username">Username</label>
        <input id="username" name="username" value="${failed?.username ?? ""}" ${invalid}
          autocomplete="username" autocapitalize="none" spellcheck="false" required>
        <label for="password">Password</label>
        <input id="password" name="password" type="password" ${invalid} ${focus}
          autocomplete="current-password" required>
        <button>Sign in</button>
      </form>
    `,
  );
}

/** Who is signed in. */
export function sessionPage(session: Session): Html {
  return page(
    `Signed in as ${session.username}`,
    html`
      <p>Signed in as</p>
      <h1>${session.username}</h1>
    `,
    html`
      <dl>
        <dt>Signed in</dt>
        <dd>${time(session.authenticatedAt)}</dd>
        <dt>Last seen</dt>
        <dd>${time(session.lastSeenAt)}</dd>
        <dt>Ends</dt>
        <dd>${time(session.expiresAt)}</dd>
        <dt>Session</dt>
        <dd><code>${session.id}</code></dd>
      </dl>
      <form method="post" action="/sign-out">
        <button class="quiet">Sign out</button>
      </form>
    `,
  );
}

/** One sentence, and the way back. */
export function noticePage(title: string, text: string): Html {
  return page(
    title,
    html`<h1>${title}</h1>`,
    html`
      <p>${text}</p>
      <p><a href="/">Go on</a></p>
    `,
  );
}

function time(date: Date): Html {
  const text = date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "long" });
  return html`<time datetime="${date.toISOString()}">${text}</time>`;
}

// The shape of every page is a cloakroom ticket: a stub, and below the perforation the rest.
function page(title: string, stub: Html, rest: Html): Html {
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${title} – coatcheck demo</title>
        <link rel="icon" href="data:image/svg+xml,${encodeURIComponent(hanger.html)}">
        <style>${{ html: style }}</style>
      </head>
      <body>
        <header>${hanger} <p><b>coatcheck</b> sessions in your own PostgreSQL</p></header>
        <main>
          <div class="stub">${stub}</div>
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

const hanger = html`
  <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 40" aria-hidden="true"
    fill="none" stroke="#b0485f" stroke-width="4" stroke-linecap="round" stroke-linejoin="round">
    <path
      d="M18 10a6 6 0 1 1 8 5.6c-1.4.6-2 1.4-2 3.4v1L5 31.5c-2.5 1.6-1.5 4.5 1.5 4.5h35
      c3 0 4-2.9 1.5-4.5L24 20" />
  </svg>
`;
