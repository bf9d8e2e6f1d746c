/** A doubling wait with a ceiling. */
export interface Backoff {
  /** The longest first wait. Higher spares the server, lower comes back sooner. */
  readonly firstMs: number;
  /** The longest wait ever. */
  readonly maxMs: number;
}

/**
 * The wait before try number `attempt` (0 is the first). `random` is in [0, 1).
 *
 * At least half of the full wait, so that many clients that lost the same server come back spread out, and none of
 * them at once.
 */
export function backoffMs(backoff: Backoff, attempt: number, random: number): number {
  const full = Math.min(backoff.maxMs, backoff.firstMs * 2 ** Math.min(attempt, 16));
  return Math.round(full / 2 + (full / 2) * random);
}
