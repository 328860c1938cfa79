import type { RefusalReason } from "coatcheck";
import { policy } from "./policy.ts";

const { idleTimeout, absoluteTimeout } = policy;

/** A request without a session. */
export interface SignedOut {
  readonly reason: RefusalReason;
  readonly revokedReason?: string | undefined;
}

/** Explains to the user why there is no session. Returns "" for a visitor who had none. */
export function whySignedOut({ reason, revokedReason = "" }: SignedOut): string {
  if (reason === "revoked") {
    return REVOKED.get(revokedReason) ?? `The session was revoked: ${revokedReason}.`;
  }
  return WHY[reason];
}

const REUSED =
  "An old copy of your cookie was used, so another party has one. The server cannot tell " +
  "which of you is the attacker, and revoked the session for both.";

const WHY: Readonly<Record<Exclude<RefusalReason, "revoked">, string>> = {
  absent: "",
  guest: "",
  malformed: "Your browser sent a malformed session cookie.",
  unknown: "Your browser sent an unknown session cookie.",
  idle: `You were inactive for ${idleTimeout / 60} minutes.`,
  expired: `You signed in more than ${absoluteTimeout / 60} minutes ago. ` +
    "The session ends then, even if you use it.",
  reused: REUSED,
  stale: "You have not entered your password recently.",
  user: "Your account is disabled.",
};

// `signed-out`, `replaced` and `reused` are coatcheck's own; server.ts passes the others.
const REVOKED = new Map([
  ["signed-out", "You signed out."],
  ["replaced", "You signed in again, and the new session replaced this one."],
  ["reused", REUSED],
  ["revoked-elsewhere", "You revoked this session from another device."],
  ["password-changed", "Your password was changed on another device."],
]);
