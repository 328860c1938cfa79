// What the demo decides about its sessions: short enough to watch.
import process from "node:process";

export const policy = {
  idleTimeout: 120,
  absoluteTimeout: 600,
  touchInterval: 5,
  rotationGrace: 10,
  // Safari stores no Secure cookie of http://localhost; COOKIE=plain is for that browser alone.
  cookie: { secure: (process.env.COOKIE !== "plain") as boolean },
} as const;

/** Seconds after a proof of identity for which it is good enough for the recovery code. */
export const PROOF_LASTS = 30;

/** What the demo keeps with a session. */
export interface Data {
  /** The browser's own description, as it was at sign-in. */
  readonly userAgent: string;
}
