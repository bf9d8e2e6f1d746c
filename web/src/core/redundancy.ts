// Whether each packet of sound carries the one before as well (RFC 2198), from what the other end reports as lost. What gets lost
// beyond the router is the router's to make up for.

/** From this share of lost packets on. Higher leaves gaps to concealment, lower sends twice what was not missed. */
export const LOSSY_FROM = 0.02;

/** It ends when less than this was lost for so long. Longer pays for longer, shorter comes and goes where loss does. */
export const CLEAN_BELOW = 0.01;
export const CLEAN_MS = 20_000;

export interface Redundancy {
  readonly on: boolean;
  /** Since when next to nothing gets lost. */
  readonly cleanSinceMs: number | null;
}

export const NO_REDUNDANCY: Redundancy = { on: false, cleanSinceMs: null };

/** `loss` is what was reported last, 0 to 1; null while nothing was. */
export function stepRedundancy(state: Redundancy, loss: number | null, nowMs: number): Redundancy {
  if (loss === null) return state;
  const cleanSinceMs = loss < CLEAN_BELOW ? (state.cleanSinceMs ?? nowMs) : null;
  const isClean = cleanSinceMs !== null && nowMs - cleanSinceMs >= CLEAN_MS;
  return { on: loss >= LOSSY_FROM || (state.on && !isClean), cleanSinceMs };
}
