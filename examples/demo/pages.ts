import type { Refused, Session } from "@coatcheck/coatcheck";
import { alert, badge, clock, invalid, page, time } from "./frame.ts";
import { type Html, html } from "./html.ts";
import { type Data, policy, PROOF_LASTS } from "./policy.ts";
import { whySignedOut } from "./reasons.ts";

const { idleTimeout, absoluteTimeout } = policy;

/** The form to sign in by. It says why somebody is signed out, or what was wrong the last time. */
export function signIn(
  { ended, failed }: { ended?: Refused; failed?: { username: string; message: string } },
): Html {
  const why = ended ? whySignedOut(ended) : "";
  const wrong = invalid(failed !== undefined);
  return page(
    { title: failed ? "Not signed in" : why ? "Signed out" : "Sign in" },
    html`
      <h1>Sign in</h1>
      <p>As <b>ada</b> with the password <code>ada-demo</code>, or as <b>grace</b> with <code>grace-demo</code>.</p>
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
          <input type="checkbox" name="remember"> Remember me when the browser closes
        </label>
        <button>Sign in</button>
      </form>
    `,
  );
}

/** Who is signed in, and for how long. */
export function session(session: Session<Data>): Html {
  const idleAt = new Date(session.lastSeenAt.getTime() + idleTimeout * 1000);
  return page(
    { title: `Signed in as ${session.username}`, room: "/" },
    html`
      <p>Signed in as</p>
      <h1>${session.username}</h1>
    `,
    html`
      <div class="clocks">
        ${clock("Ends if unused", idleAt, idleTimeout, "Over")}
        ${clock("Ends in any case", session.expiresAt, absoluteTimeout, "Over")}
      </div>
      <p class="soft">Short enough to watch: ${idleTimeout /
        60} minutes without use, ${absoluteTimeout / 60}
        in all. Unless an app says otherwise, it is 7 days and 30.</p>
      <dl>
        <dt>Signed in</dt>
        <dd>${time(session.authenticatedAt)}</dd>
        <dt>Last seen</dt>
        <dd>${time(session.lastSeenAt)}</dd>
        <dt>Cookie</dt>
        <dd>${session.persistent
          ? "Stays when the browser closes"
          : "Goes when the browser closes"}</dd>
        <dt>Session</dt>
        <dd><code>${session.id}</code></dd>
      </dl>
    `,
  );
}

/** Where somebody is signed in: here, and elsewhere. */
export function devices(here: Session<Data>, elsewhere: readonly Session<Data>[]): Html {
  const places = elsewhere.length === 1 ? "one other place" : `${elsewhere.length} other places`;
  const isAlone = elsewhere.length === 0;
  return page(
    { title: "Your devices", room: "/devices" },
    html`
      <h1>Your devices</h1>
      <p>You are signed in here, and ${isAlone ? "nowhere else" : `in ${places}`}.</p>
    `,
    html`
      <ul class="devices">
        ${device(here, badge("This one"))}
        ${elsewhere.map((it) => device(it, html``, signOutForm(it)))}
      </ul>
      ${isAlone ? another : signOutElsewhere}
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
    <form method="post" action="/devices/end">
      <input type="hidden" name="id" value="${id}">
      <button class="quiet" aria-label="Sign out ${which}">Sign out</button>
    </form>
  `;
}

const signOutElsewhere = html`
  <form method="post" action="/devices/end-others">
    <button>Sign out everywhere else</button>
  </form>
`;

const another = html`
  <p class="soft">Sign in with another browser, or in a private window, and look here again.</p>
`;

/** Names a browser by its user agent: a hint to people, which anybody can forge. */
function deviceName({ userAgent }: Data): string {
  // The order counts: most browsers say that they are those below as well.
  const browser = find(["Edg/", "OPR/", "Firefox/", "Chrome/", "Safari/", "curl/"], userAgent);
  const system = find(["Android", "iPhone", "iPad", "Windows", "Mac OS", "Linux"], userAgent);
  const name = { "Edg/": "Edge", "OPR/": "Opera" }[browser] ?? browser.replace("/", "");
  return [name || "Some program", ...(system ? [system] : [])].join(" on ");
}

function find(signs: readonly string[], userAgent: string): string {
  return signs.find((sign) => userAgent.includes(sign)) ?? "";
}

/** The form to change the password, and what was wrong with the last attempt. */
export function password(
  username: string,
  failed?: { field: "current" | "new"; message: string },
): Html {
  const state = (field: string) =>
    failed?.field === field ? html`${invalid(true)} autofocus` : html``;
  return page(
    { title: failed ? "Not changed" : "Change the password", room: "/password" },
    html`
      <h1>Change the password</h1>
      <p>It ends all your other sessions, and gives this one a new secret.</p>
    `,
    html`
      ${alert(failed?.message)}
      <form method="post" action="/password">
        ${whose(username)}
        <label for="current">Current password</label>
        <input id="current" name="current" type="password" ${state("current")}
          autocomplete="current-password" required>
        <label for="new">New password, of 8 characters or more</label>
        <input id="new" name="new" type="password" ${state("new")}
          autocomplete="new-password" minlength="8" required>
        <button>Change the password</button>
      </form>
      <p class="soft">When the demo starts again, the old password is back.</p>
    `,
  );
}

// A field that is for password managers alone: it tells them whose password is asked for.
function whose(username: string): Html {
  return html`
    <input value="${username}" autocomplete="username" readonly hidden>
  `;
}

/** What a change of the password has ended. */
export function passwordChanged(ended: number): Html {
  const sessions = ended === 1 ? "One other session was" : `${ended || "No"} other sessions were`;
  return page(
    { title: "Password changed", room: "/password" },
    html`
      <h1>Password changed</h1>
      <p>${sessions} ended.</p>
    `,
    html`
      <p>You are still signed in here, by a new secret. Whoever had copied the old one is out.</p>
      <p><a href="/devices">See your devices</a></p>
    `,
  );
}

/** The form to prove who one is, once more. */
export function proof(username: string, message?: string): Html {
  return page(
    { title: "Is it you?", room: "/recovery-code" },
    html`
      <h1>Is it you?</h1>
      <p>The recovery code opens your account for whoever reads it. You gave your password more than
        ${PROOF_LASTS} seconds ago, so please give it again.</p>
    `,
    html`
      ${alert(message)}
      <form method="post" action="/recovery-code">
        ${whose(username)}
        <label for="password">Password</label>
        <input id="password" name="password" type="password" ${invalid(message !== undefined)}
          autocomplete="current-password" autofocus required>
        <button>Show the recovery code</button>
      </form>
    `,
  );
}

/** What is shown to somebody who has just proved who they are. */
export function recoveryCode({ authenticatedAt }: Session<Data>): Html {
  const staleAt = new Date(authenticatedAt.getTime() + PROOF_LASTS * 1000);
  return page(
    { title: "Recovery code", room: "/recovery-code" },
    html`
      <h1>Recovery code</h1>
      <p><code class="code">COAT-7Q4M-HOOK-31</code></p>
    `,
    html`
      <div class="clocks">
        ${clock("Your password is proof enough for", staleAt, PROOF_LASTS, "Over")}
      </div>
      <p>After that <a href="/recovery-code">this page</a> asks for it again.</p>
      <p class="soft">The code is made up; the way to it is real. A session alone does not lead here, and
        with the password comes a new secret, which nobody inherits who had copied the old one.</p>
    `,
  );
}
