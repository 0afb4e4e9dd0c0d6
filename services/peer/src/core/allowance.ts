/** So many of something per second, with what was not used saved up for one second. Time is the caller's. */
export class Allowance {
  readonly #perSecond: number;
  #left: number;
  #atMs = Number.NEGATIVE_INFINITY;

  /** @param perSecond above 0. */
  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#left = perSecond;
  }

  /** Whether one may be taken now. @param nowMs by a clock that does not go back. */
  has(nowMs: number): boolean {
    const earned = ((nowMs - this.#atMs) / 1000) * this.#perSecond;
    this.#left = Math.min(this.#perSecond, this.#left + earned);
    this.#atMs = nowMs;
    return this.#left >= 1;
  }

  /** Takes one. @returns whether there was one. */
  take(nowMs: number): boolean {
    if (!this.has(nowMs)) return false;
    this.#left -= 1;
    return true;
  }
}
