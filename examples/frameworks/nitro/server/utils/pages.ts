import type { Session } from "coatcheck";
import { html, raw } from "nitro/h3";

export function signInPage(message = "") {
  return html`
    <!doctype html>
    <html lang="en">
      <title>coatcheck</title>
      <p>Signed out. ${message}</p>
      <form method="post" action="/sign-in">
        <input name="username" aria-label="Username" autocomplete="username" required>
        <input name="password" aria-label="Password" type="password" autocomplete="current-password"
          required>
        <button>Sign in</button>
      </form>
    </html>
  `;
}

export function homePage(current: Session, sessions: Session[]) {
  const devices = sessions.map(({ id, lastSeenAt }) => `
    <li id="${id}">Last seen ${lastSeenAt.toISOString()}
      ${
    id === current.id ? "(this device)" : `
        <form method="post" action="/revoke">
          <input type="hidden" name="id" value="${id}"><button>Revoke</button>
        </form>`
  }
    </li>`);
  // `html` escapes the username. The list holds ids and dates only, so it may be raw.
  return html`
    <!doctype html>
    <html lang="en">
      <title>coatcheck</title>
      <p>Signed in as ${current.username}</p>
      <form method="post" action="/sign-out"><button>Sign out</button></form>
      <ul>${raw(devices.join(""))}</ul>
    </html>
  `;
}
