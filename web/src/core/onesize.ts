// Whether a picture goes to the router in all its sizes, or in the largest alone. A browser gives the smaller ones their bits first: where
// the way is narrow the largest gets what is left, and comes and goes with the estimate, each time with a key frame and a picture that
// stands still. One size alone is a plain call's picture: the browser fits it to the way by its quality.

import { neededForAll, type Choice } from "./sizes";

/** So long the way must carry too little. Longer shows a bad picture for longer, shorter takes a dip of the estimate for a narrow way. */
export const NARROW_MS = 2_000;

/**
 * To come back, the way must carry so many times what all sizes need. A browser's estimate is no more than 1.5 times what it sends: higher
 * would ask for more than the largest size alone has any use for, lower comes back to where there is no room.
 */
export const ROOM = 1.5;

/**
 * And for so long, at first and at most; it doubles each time when all sizes lasted no longer than the wait for them. Longer leaves
 * viewers on narrow ways without a smaller size, shorter costs a key frame and a bad picture more often where the way comes and goes.
 */
export const WAIT_MS = 30_000;
export const WAIT_MS_MAX = 480_000;

export interface Sizing {
  readonly choice: Choice;
  /** Since when the way speaks for the other choice; null while it does not. */
  readonly againstSinceMs: number | null;
  /** When all sizes came back last; null if they never did. */
  readonly backAtMs: number | null;
  /** How long the way has to have room before all sizes come back; once they are, how long it had. */
  readonly waitMs: number;
}

export const ALL_SIZES: Sizing = { choice: "all", againstSinceMs: null, backAtMs: null, waitMs: WAIT_MS };

/**
 * One look at the way. `bits` is what the browser takes it to carry in bit/s, null while it does not say; `pixels` is what is sent at this
 * moment, 0 for no picture. Of either nothing follows.
 */
export function stepSizing(state: Sizing, bits: number | null, pixels: number, nowMs: number): Sizing {
  const needed = neededForAll(pixels);
  const isAll = state.choice === "all";
  const isAgainst = bits !== null && needed !== null && (isAll ? bits < needed : bits >= ROOM * needed);
  if (!isAgainst) return { ...state, againstSinceMs: null };
  const againstSinceMs = state.againstSinceMs ?? nowMs;
  if (nowMs - againstSinceMs < (isAll ? NARROW_MS : state.waitMs)) return { ...state, againstSinceMs };
  if (!isAll) return { choice: "all", againstSinceMs: null, backAtMs: nowMs, waitMs: state.waitMs };
  const hasFailed = state.backAtMs !== null && againstSinceMs - state.backAtMs <= state.waitMs;
  return { ...state, choice: "one", againstSinceMs: null, waitMs: hasFailed ? Math.min(2 * state.waitMs, WAIT_MS_MAX) : WAIT_MS };
}
