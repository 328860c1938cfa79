// The story of the stolen cookie.
import type { Visit } from "@coatcheck/coatcheck";
import { badge, clock, page } from "./frame.ts";
import { type Html, html } from "./html.ts";
import { type Data, policy } from "./policy.ts";
import { whySignedOut } from "./reasons.ts";

const { rotationGrace } = policy;

/** The story, as far as it has come: nothing was copied, or it was, or the copy is of an old secret. */
export function theft(copy?: { readonly worksUntil?: Date }): Html {
  const worksUntil = copy?.worksUntil;
  const now = !copy ? 0 : !worksUntil ? 1 : 2;
  const steps: Step[] = [
    {
      title: "A thief copies your cookie",
      text:
        "Malware can do that, or whoever finds a backup. A script in the page cannot: the cookie is " +
        "HttpOnly.",
      act: [button("copy", "Let a thief copy my cookie")],
    },
    {
      title: "You get a new secret",
      text:
        "Until then nobody can tell the two of you apart. An app rotates the secret by its age, or " +
        "whenever it likes.",
      act: [
        button("rotate", "Give me a new secret"),
        button("replay", "First use the copy", "quiet"),
      ],
    },
    {
      title: "The copy comes back",
      text:
        `The old secret works on for ${rotationGrace} seconds, as requests may be under way. After ` +
        "that it proves that two parties have your session, and ends it for both.",
      act: [
        ...(worksUntil
          ? [clock("The copy still works for", worksUntil, rotationGrace, "Over")]
          : []),
        button("replay", "Use the copy"),
      ],
    },
  ];
  return page(
    { title: "The stolen cookie", room: "/theft" },
    html`
      <h1>The stolen cookie</h1>
      <p>Whoever shows your ticket gets your coat. And if somebody has copied it? Play both parts.</p>
    `,
    html`
      <ol class="steps">${steps.map((it, number) => step(it, number - now))}</ol>
    `,
  );
}

interface Step {
  readonly title: string;
  readonly text: string;
  readonly act: readonly Html[];
}

// By how far off it is: over, the present one, or still to come.
function step({ title, text, act }: Step, distance: number): Html {
  return html`
    <li ${distance === 0 ? html`aria-current="step"` : ""}>
      <h2>${title} ${distance < 0 ? badge("Done") : ""}</h2>
      <p>${text}</p>
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
  const [title, text] = thief.session
    ? ["The thief is let in", "The copy opens your session, as your cookie does."]
    : ["Caught", "The copy opens nothing."];
  return page(
    { title, ...(owner.session && { room: "/theft" }) },
    html`
      <h1>${title}</h1>
      <p>${text}</p>
    `,
    html`
      <dl>
        <dt>The thief</dt>
        <dd>${outcome(thief)}</dd>
        <dt>You</dt>
        <dd>${outcome(owner)}</dd>
      </dl>
      ${owner.session ? back : html`<p>${whySignedOut(owner)}</p>${signInAgain}`}
    `,
  );
}

const back = html`
  <p><a href="/theft">Back to the story</a></p>
`;

const signInAgain = html`
  <p><a href="/">Sign in again</a></p>
`;

function outcome({ session, reason, revokedReason }: Visit<Data>): Html {
  if (session) return html`Signed in as ${session.username}`;
  return html`Signed out: <code>${revokedReason ? `${reason}, ${revokedReason}` : reason}</code>`;
}
