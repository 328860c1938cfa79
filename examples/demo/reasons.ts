import type { Refused } from "@coatcheck/coatcheck";
import { policy } from "./policy.ts";

const { idleTimeout, absoluteTimeout } = policy;

/** Says in plain words why there is no session; nothing to a stranger, who has lost none. */
export function whySignedOut({ reason, revokedReason = "" }: Refused): string {
  if (reason === "revoked") return REVOKED.get(revokedReason) ?? `It was ended: ${revokedReason}.`;
  return WHY[reason];
}

const REUSED = "An old copy of your cookie came back, so somebody else had it too. " +
  "Nobody can tell from here which of you is the thief: the session has ended for both.";

const WHY = {
  absent: "",
  malformed: "Your browser sent a cookie that is none of ours.",
  unknown: "Your browser sent a cookie that opens no session.",
  idle: `You did nothing for ${idleTimeout / 60} minutes.`,
  expired: `You signed in more than ${absoluteTimeout / 60} minutes ago. ` +
    "A session ends then, however much it is used.",
  reused: REUSED,
  stale: "It is a while since you last gave your password.",
  user: "Your account is switched off.",
};

// What coatcheck writes down by itself (signed-out, replaced, reused), and what server.ts gives.
const REVOKED = new Map([
  ["signed-out", "You signed out."],
  ["replaced", "You signed in once more, which began a new session."],
  ["reused", REUSED],
  ["ended-elsewhere", "You ended this session from another device."],
  ["password-changed", "Your password was changed on another device."],
]);
