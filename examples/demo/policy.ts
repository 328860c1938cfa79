// The demo's policy. All times are in seconds, and short enough to watch.
import process from "node:process";

export const policy = {
  idleTimeout: 120,
  absoluteTimeout: 600,
  touchInterval: 5,
  rotationGrace: 10,
  // Safari stores no Secure cookie on http://localhost. COOKIE=plain is for Safari only.
  cookie: { secure: (process.env.COOKIE !== "plain") as boolean },
} as const;

/** Seconds before the session ends at which a page warns. WCAG 2.2, 2.2.1, asks for 20 or more. */
export const WARN_AT = 30;

/** Seconds after which the recovery code asks for the password again. */
export const PROOF_LASTS = 30;

/** The `data` of the demo's sessions. */
export interface Data {
  /** The `User-Agent` at sign-in. */
  readonly userAgent: string;
}
