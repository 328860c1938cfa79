// The story of the stolen cookie.
import type { Visit } from "@coatcheck/coatcheck";
import { clock, page } from "./frame.ts";
import { type Html, html } from "./html.ts";
import { type Data, policy } from "./policy.ts";
import { whySignedOut } from "./reasons.ts";

const { rotationGrace } = policy;

/** The story, as far as it has come: nothing was copied, or it was, or the copy is of an old secret. */
export function theft(copy?: { readonly worksUntil?: Date }): Html {
  const now = !copy ? 0 : !copy.worksUntil ? 1 : 2;
  const steps = [
    step("A thief copies your cookie", [
      html`
        <p>Malware can do that, or whoever finds a backup. A script in the page cannot: the cookie is
          HttpOnly.</p>
      `,
      button("copy", "Let a thief copy my cookie"),
    ]),
    step("You get a new secret", [
      html`
        <p>Until then nobody can tell the two of you apart. An app rotates the secret by its age, or
          whenever it likes.</p>
      `,
      button("rotate", "Give me a new secret"),
      button("replay", "First use the copy", "quiet"),
    ]),
    step("The copy comes back", [
      html`
        <p>The old secret works on for ${rotationGrace} seconds, as requests may be under way. After that
          it proves that two parties have your session, and ends it for both.</p>
      `,
      copy?.worksUntil
        ? clock("The copy still works for", copy.worksUntil, rotationGrace, "Over")
        : html``,
      button("replay", "Use the copy"),
    ]),
  ];
  return page(
    { title: "The stolen cookie", room: "/theft" },
    html`
      <h1>The stolen cookie</h1>
      <p>Whoever shows your ticket gets your coat. And if somebody has copied it? Play both parts.</p>
    `,
    html`
      <ol class="steps">${steps.map((step, number) => step(number - now))}</ol>
    `,
  );
}

/** A step of the story, by how far off it is: over, the present one, or still to come. */
function step(title: string, [text, ...act]: Html[]): (distance: number) => Html {
  return (distance) =>
    html`
      <li ${distance === 0 ? html`aria-current="step"` : ""}>
        <h2>${title} ${distance < 0 ? html`<span class="badge">Done</span>` : ""}</h2>
        ${text!}
        ${distance === 0 ? act : ""}
      </li>
    `;
}

function button(action: string, label: string, kind = ""): Html {
  return html`
    <form method="post"
      action="/theft/${action}"><button class="${kind}">${label}</button></form>
  `;
}

/** What became of the thief who used the copy, and of whom it was copied from. */
export function replay(thief: Visit<Data>, owner: Visit<Data>): Html {
  return page(
    { title: thief.session ? "Let in" : "Caught", ...(owner.session && { room: "/theft" }) },
    html`
      <h1>${thief.session ? "The thief is let in" : "Caught"}</h1>
      <p>${thief.session
        ? "The copy opens your session, as your cookie does."
        : "The copy opens nothing."}</p>
    `,
    html`
      <dl>
        <dt>The thief</dt>
        <dd>${outcome(thief)}</dd>
        <dt>You</dt>
        <dd>${outcome(owner)}</dd>
      </dl>
      ${owner.session ? html`` : html`<p>${whySignedOut(owner)}</p>`}
      <p><a href="${owner.session ? "/theft" : "/"}">${owner.session
        ? "Back to the story"
        : "Sign in again"}</a></p>
    `,
  );
}

function outcome({ session, reason, revokedReason }: Visit<Data>): Html {
  if (session) {
    return html`
      Signed in as ${session.username}
    `;
  }
  return html`
    Signed out: <code>${revokedReason ? `${reason}, ${revokedReason}` : reason}</code>
  `;
}
