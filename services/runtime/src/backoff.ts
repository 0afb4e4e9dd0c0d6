/** How long to wait between tries. */
export interface BackoffLimits {
  readonly firstMs: number;
  /** No wait is longer, however many tries failed. */
  readonly maxMs: number;
}

/**
 * The wait before try `attempt` (0 = the first retry): doubles from `firstMs` to `maxMs`, then takes a random half off,
 * so that many hosts that failed together do not come back together.
 *
 * @param random in [0, 1)
 */
export function backoffMs(attempt: number, limits: BackoffLimits, random: number): number {
  const full = Math.min(limits.maxMs, limits.firstMs * 2 ** Math.min(attempt, 30));
  return full / 2 + (full / 2) * random;
}
