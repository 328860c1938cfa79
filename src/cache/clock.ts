/** A moment on the clocks of this process, in milliseconds. */
export interface Moment {
  /** Does not jump, but stops while the machine is suspended. */
  readonly monotonic: number;
  /** Goes on while the machine is suspended, but can be set. */
  readonly wall: number;
}

/** Reads the clocks. */
export type Clock = () => Moment;

export const clock: Clock = () => ({ monotonic: performance.now(), wall: Date.now() });

/** Milliseconds between two moments: what the clock says on which more time has passed. */
export function between(then: Moment, now: Moment): number {
  return Math.max(now.monotonic - then.monotonic, now.wall - then.wall);
}
