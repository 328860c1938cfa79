// Token-theft detection, step by step.
import type { Session, SessionResult } from "coatcheck";
import { badge, clock, page } from "./frame.ts";
import { type Html, html } from "./html.ts";
import { type Data, policy } from "./policy.ts";
import { whySignedOut } from "./reasons.ts";

const { rotationGrace } = policy;

/** The steps: no copy yet, a copy of the current secret, or a copy of the previous one. */
export function theft(session: Session<Data>, copy?: { readonly worksUntil?: Date }): Html {
  const worksUntil = copy?.worksUntil;
  const now = !copy ? 0 : !worksUntil ? 1 : 2;
  const steps: Step[] = [
    {
      title: "An attacker copies your cookie",
      text:
        "Malware can do this, or a leaked backup. A script in the page cannot, because the cookie is " +
        "HttpOnly.",
      act: [button("copy", "Copy my cookie as an attacker")],
    },
    {
      title: "The secret is rotated",
      text:
        "Until then, the copy works like your own cookie. An app rotates secrets by their age, or " +
        "calls rotateSession.",
      act: [
        button("rotate", "Rotate the secret"),
        button("replay", "Use the copy before that", "quiet"),
      ],
    },
    {
      title: "The copy is used again",
      text:
        `The previous secret is accepted for a grace period of ${rotationGrace} seconds, for requests ` +
        "in flight. After that, its use proves that two parties have the session, and revokes it.",
      act: [
        ...(worksUntil ? [clock("Grace period", worksUntil, rotationGrace, "Over")] : []),
        button("replay", "Use the copy"),
      ],
    },
  ];
  return page(
    { title: "Token-theft detection", section: "/theft", session },
    html`
      <h1>Token-theft detection</h1>
      <p>A copied cookie works like the original. Play the attacker and the user, and see how rotation
        detects the copy.</p>
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

// A negative distance is a step that is done, 0 the current one.
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

/** The results of the attacker's request with the copy, and of the user's own request. */
export function replay(attacker: SessionResult<Data>, owner: SessionResult<Data>): Html {
  const [title, text] = attacker.session
    ? ["The copy works", "The attacker is signed in as you."]
    : attacker.reason === "reused"
    ? ["Theft detected", "The session is revoked, and the copy no longer works."]
    : ["The copy is rejected", "The copy no longer works."];
  return page(
    owner.session ? { title, section: "/theft", session: owner.session } : { title },
    html`
      <h1>${title}</h1>
      <p>${text}</p>
    `,
    html`
      <dl>
        <dt>Attacker</dt>
        <dd>${outcome(attacker)}</dd>
        <dt>You</dt>
        <dd>${outcome(owner)}</dd>
      </dl>
      ${owner.session ? back : html`<p>${whySignedOut(owner)}</p>${signInAgain}`}
    `,
  );
}

const back = html`
  <p><a href="/theft">Back to the steps</a></p>
`;

const signInAgain = html`
  <p><a href="/">Sign in again</a></p>
`;

function outcome({ session, reason, revokedReason }: SessionResult<Data>): Html {
  if (session) return html`Signed in as ${session.username}`;
  return html`Signed out: <code>${revokedReason ? `${reason}, ${revokedReason}` : reason}</code>`;
}
