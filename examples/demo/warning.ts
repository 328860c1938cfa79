// The warning before the session ends. warning.js shows it.
import type { Session } from "coatcheck";
import { type Html, html } from "./html.ts";
import { policy, WARN_AT } from "./policy.ts";

/** When a session ends that is not used. */
export interface End {
  /** Seconds from now. The browser's clock may be wrong, so no instant. */
  readonly seconds: number;
  /** Whether a use extends it: at the absolute timeout, none does. */
  readonly canStay: boolean;
}

type Ends = Pick<Session, "idleExpiresAt" | "expiresAt">;

export function endOf({ idleExpiresAt, expiresAt }: Ends): End {
  const seconds = Math.max(0, (idleExpiresAt.getTime() - Date.now()) / 1000);
  return { seconds, canStay: idleExpiresAt < expiresAt };
}

/** The warning, empty. The live region has to be there before its text, or screen readers miss it. */
export function warning(session: Ends): Html {
  const { seconds, canStay } = endOf(session);
  return html`
    <div class="warning" data-seconds="${seconds}" data-can-stay="${String(canStay)}"
      data-warn-at="${WARN_AT}" data-absolute-minutes="${policy.absoluteTimeout / 60}">
      <p role="status"></p>
      <button type="button" hidden>Stay signed in</button>
    </div>
  `;
}
