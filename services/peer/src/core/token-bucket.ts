/** What an idle limit saves up for the next bytes: enough that a timer which fires late does not lower the rate. */
const BURST_MS = 100;

/**
 * A limit of bytes per second, first come first served. Whoever takes bytes has them promised at once and is told how long to
 * wait for them, so that the order is that of asking and nobody needs to be kept in a queue. Time is the caller's.
 */
export class TokenBucket {
  readonly #bytesPerMs: number;
  /** Until when the bytes that were promised take. */
  #promisedUntilMs = Number.NEGATIVE_INFINITY;

  /** @param bytesPerSecond above 0. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /**
   * Promises bytes.
   *
   * @param nowMs by a clock that does not go back.
   * @returns milliseconds to wait before they may pass; 0 when they may pass now.
   */
  take(bytes: number, nowMs: number): number {
    const beganMs = Math.max(this.#promisedUntilMs, nowMs - BURST_MS);
    this.#promisedUntilMs = beganMs + bytes / this.#bytesPerMs;
    return Math.max(0, this.#promisedUntilMs - nowMs);
  }

  /** Whether nothing is promised any more and the savings are whole: a new bucket would say the same. */
  isIdle(nowMs: number): boolean {
    return this.#promisedUntilMs <= nowMs - BURST_MS;
  }
}
