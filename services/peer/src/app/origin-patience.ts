import { backoffMs } from "@lacewing/runtime/backoff.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";

/** Failed reads in a row, without progress, until the clients are told. About ten seconds. */
const FAILURE_COUNT_MAX = 6;
const RETRY = { firstMs: 250, maxMs: 4000 };

/** An origin that asks to be left alone for longer is not waited for: clients such as git-lfs give up after 30 s. */
const REST_MS_MAX = 20_000;

/** A failing origin is asked again, later each time, and not for ever. */
export class OriginPatience {
  readonly #clock: Clock;
  readonly #random: () => number;
  #failureCount = 0;
  #restingCount = 0;

  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  /** Failures since the last progress. */
  get failureCount(): number {
    return this.#failureCount;
  }

  /** Whether the origin is left alone just now. */
  get isResting(): boolean {
    return this.#restingCount > 0;
  }

  /** A piece, or a good part of one, arrived. */
  succeeded(): void {
    this.#failureCount = 0;
  }

  /**
   * A read failed. Waits before the next try, except for the first after progress: a broken connection is common.
   *
   * @param retryAfterMs how long the origin asks to be left alone.
   * @returns whether there is to be a next try.
   */
  async failed(bytes: number, retryAfterMs: number): Promise<boolean> {
    this.#failureCount++;
    if (this.#failureCount >= FAILURE_COUNT_MAX || retryAfterMs > REST_MS_MAX) return false;
    if (this.#failureCount === 1 && bytes > 0 && retryAfterMs === 0) return true;
    this.#restingCount++;
    try {
      const ms = backoffMs(this.#failureCount - 1, RETRY, this.#random());
      await this.#clock.sleep(Math.max(ms, retryAfterMs));
    } finally {
      this.#restingCount--;
    }
    return true;
  }
}
