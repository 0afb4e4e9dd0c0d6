import { backoffMs } from "@lacewing/runtime/backoff.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";

/** Failed reads in a row, without progress, until the clients are told. About ten seconds. */
const FAILURE_COUNT_MAX = 6;
const RETRY = { firstMs: 250, maxMs: 4000 };

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
   * @returns whether there is to be a next try.
   */
  async failed(bytes: number): Promise<boolean> {
    this.#failureCount++;
    if (this.#failureCount >= FAILURE_COUNT_MAX) return false;
    if (this.#failureCount === 1 && bytes > 0) return true;
    this.#restingCount++;
    try {
      await this.#clock.sleep(backoffMs(this.#failureCount - 1, RETRY, this.#random()));
    } finally {
      this.#restingCount--;
    }
    return true;
  }
}
