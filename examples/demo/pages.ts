import type { Session } from "coatcheck";
import { alert, badge, clock, invalid, page, time } from "./frame.ts";
import { type Html, html } from "./html.ts";
import { type Data, policy, PROOF_LASTS } from "./policy.ts";
import { type SignedOut, whySignedOut } from "./reasons.ts";

const { idleTimeout, absoluteTimeout } = policy;

/** The sign-in form. It says why the user was signed out, or why the last attempt failed. */
export function signIn(
  { ended, failed }: { ended?: SignedOut; failed?: { username: string; message: string } },
): Html {
  const why = ended ? whySignedOut(ended) : "";
  const wrong = invalid(failed !== undefined);
  return page(
    { title: failed ? "Not signed in" : why ? "Signed out" : "Sign in" },
    html`
      <h1>Sign in</h1>
      <p>Use <b>ada</b> with the password <code>ada-demo</code>, or <b>grace</b> with <code>grace-demo</code>.</p>
    `,
    html`
      ${why ? html`<p class="notice" role="status"><b>You were signed out.</b> ${why}</p>` : ""}
      ${alert(failed?.message)}
      <form method="post" action="/sign-in">
        <label for="username">Username</label>
        <input id="username" name="username" value="${failed?.username ?? ""}" ${wrong}
          autocomplete="username" autocapitalize="none" spellcheck="false" required>
        <label for="password">Password</label>
        <input id="password" name="password" type="password" ${wrong} ${failed ? "autofocus" : ""}
          autocomplete="current-password" required>
        <label class="choice">
          <input type="checkbox" name="remember"> Remember me after the browser closes
        </label>
        <button>Sign in</button>
      </form>
    `,
  );
}

/** The current session and its timeouts. */
export function session(session: Session<Data>): Html {
  return page(
    { title: `Signed in as ${session.username}`, section: "/", session },
    html`
      <p>Signed in as</p>
      <h1>${session.username}</h1>
    `,
    html`
      <div class="clocks">
        ${clock("Idle timeout", session.idleExpiresAt, idleTimeout, "Expired", "idle")}
        ${clock("Absolute timeout", session.expiresAt, absoluteTimeout, "Expired")}
      </div>
      <p class="soft">The demo ends a session after ${idleTimeout / 60} minutes without use, and
        ${absoluteTimeout / 60} minutes after sign-in. The defaults are 7 days and 30 days.</p>
      <dl>
        <dt>Signed in</dt>
        <dd>${time(session.authenticatedAt)}</dd>
        <dt>Last seen</dt>
        <dd>${time(session.lastSeenAt)}</dd>
        <dt>Cookie</dt>
        <dd>${session.persistent
          ? "Kept when the browser closes"
          : "Deleted when the browser closes"}</dd>
        <dt>Session id</dt>
        <dd><code>${session.id}</code></dd>
      </dl>
    `,
  );
}

/** The user's live sessions: this one first, then the others. */
export function devices(here: Session<Data>, elsewhere: readonly Session<Data>[]): Html {
  const others = elsewhere.length === 1 ? "one other" : `${elsewhere.length} others`;
  const isAlone = elsewhere.length === 0;
  return page(
    { title: "Your devices", section: "/devices", session: here },
    html`
      <h1>Your devices</h1>
      <p>You are signed in on this device ${isAlone ? "only" : `and on ${others}`}.</p>
    `,
    html`
      <ul class="devices">
        ${device(here, badge("This device"))}
        ${elsewhere.map((it) => device(it, html``, signOutForm(it)))}
      </ul>
      ${isAlone ? hint : signOutElsewhere}
    `,
  );
}

function device(
  { data, authenticatedAt, lastSeenAt }: Session<Data>,
  mark: Html,
  form: Html = html``,
): Html {
  return html`
    <li>
      <div>
        <h2>${deviceName(data)} ${mark}</h2>
        <p>Signed in ${time(authenticatedAt)}</p>
        <p>Last used ${time(lastSeenAt)}</p>
      </div>
      ${form}
      <details><summary>User agent</summary><code>${data.userAgent || "None"}</code></details>
    </li>
  `;
}

function signOutForm({ id, data, lastSeenAt }: Session<Data>): Html {
  const which = `${deviceName(data)}, last used at ${lastSeenAt.toLocaleTimeString("en-GB")}`;
  return html`
    <form method="post" action="/devices/revoke">
      <input type="hidden" name="id" value="${id}">
      <button class="quiet" aria-label="Sign out ${which}">Sign out</button>
    </form>
  `;
}

const signOutElsewhere = html`
  <form method="post" action="/devices/revoke-others">
    <button>Sign out all other devices</button>
  </form>
`;

const hint = html`
  <p class="soft">Sign in with another browser or in a private window, then reload this page.</p>
`;

/** Names a browser by its user agent. It is a hint for the user: any client can forge it. */
function deviceName({ userAgent }: Data): string {
  // The order matters: most browsers also name those further down the list.
  const browser = find(["Edg/", "OPR/", "Firefox/", "Chrome/", "Safari/", "curl/"], userAgent);
  const system = find(["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"], userAgent);
  const name = { "Edg/": "Edge", "OPR/": "Opera" }[browser] ?? browser.replace("/", "");
  return [name || "Unknown program", ...(system ? [system] : [])].join(" on ");
}

function find(signs: readonly string[], userAgent: string): string {
  return signs.find((sign) => userAgent.includes(sign)) ?? "";
}

/** The form to change the password, with the error of the last attempt. */
export function password(
  session: Session<Data>,
  failed?: { field: "current" | "new"; message: string },
): Html {
  const state = (field: string) =>
    failed?.field === field ? html`${invalid(true)} autofocus` : html``;
  return page(
    {
      title: failed ? "Password not changed" : "Change the password",
      section: "/password",
      session,
    },
    html`
      <h1>Change the password</h1>
      <p>This revokes all your other sessions, and gives this one a new secret.</p>
    `,
    html`
      ${alert(failed?.message)}
      <form method="post" action="/password">
        ${usernameField(session.username)}
        <label for="current">Current password</label>
        <input id="current" name="current" type="password" ${state("current")}
          autocomplete="current-password" required>
        <label for="new">New password (8 characters or more)</label>
        <input id="new" name="new" type="password" ${state("new")}
          autocomplete="new-password" minlength="8" required>
        <button>Change the password</button>
      </form>
      <p class="soft">A restart of the demo restores the old password.</p>
    `,
  );
}

// A hidden field that tells password managers the username.
function usernameField(username: string): Html {
  return html`
    <input value="${username}" autocomplete="username" readonly hidden>
  `;
}

/** Confirms a new password, with the number of revoked sessions. */
export function passwordChanged(session: Session<Data>, revoked: number): Html {
  const sessions = revoked === 1
    ? "One other session was"
    : `${revoked || "No"} other sessions were`;
  return page(
    { title: "Password changed", section: "/password", session },
    html`
      <h1>Password changed</h1>
      <p>${sessions} revoked.</p>
    `,
    html`
      <p>You are still signed in here, with a new secret. Copies of the old cookie no longer work.</p>
      <p><a href="/devices">View your devices</a></p>
    `,
  );
}

/** The form to enter the password again. */
export function proof(session: Session<Data>, message?: string): Html {
  return page(
    { title: "Confirm your password", section: "/recovery-code", session },
    html`
      <h1>Confirm your password</h1>
      <p>The recovery code gives full access to your account. You entered your password more than
        ${PROOF_LASTS} seconds ago, so enter it again.</p>
    `,
    html`
      ${alert(message)}
      <form method="post" action="/recovery-code">
        ${usernameField(session.username)}
        <label for="password">Password</label>
        <input id="password" name="password" type="password" ${invalid(message !== undefined)}
          autocomplete="current-password" autofocus required>
        <button>Show the recovery code</button>
      </form>
    `,
  );
}

/** The recovery code, for a user who has entered the password recently. */
export function recoveryCode(session: Session<Data>): Html {
  const staleAt = new Date(session.authenticatedAt.getTime() + PROOF_LASTS * 1000);
  return page(
    { title: "Recovery code", section: "/recovery-code", session },
    html`
      <h1>Recovery code</h1>
      <p><code class="code">COAT-7Q4M-HOOK-31</code></p>
    `,
    html`
      <div class="clocks">
        ${clock("Password accepted for", staleAt, PROOF_LASTS, "Expired")}
      </div>
      <p>After that, <a href="/recovery-code">this page</a> asks for it again.</p>
      <p
        class="soft">The code is an example; the protection is real. This page needs a recent password, and
        entering it replaces the session's secret, so copies of the old cookie no longer work.</p>
    `,
  );
}
