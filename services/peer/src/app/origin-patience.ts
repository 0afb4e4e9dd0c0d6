import { backoffMs } from "@lacewing/runtime/backoff.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";

/** Failed reads in a row, without a byte, until the clients are told. About ten seconds. */
const FAILURE_COUNT_MAX = 6;
const RETRY = { firstMs: 250, maxMs: 4000 };

/** A failing origin is asked again, later each time, and not for ever. */
export class OriginPatience {
  readonly #clock: Clock;
  readonly #random: () => number;
  #failureCount = 0;

  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  get failureCount(): number {
    return this.#failureCount;
  }

  /** A byte arrived. */
  succeeded(): void {
    this.#failureCount = 0;
  }

  /**
   * A read failed. Waits before the next try when not a byte came.
   *
   * @returns whether there is to be a next try.
   */
  async failed(bytes: number): Promise<boolean> {
    this.#failureCount++;
    if (this.#failureCount >= FAILURE_COUNT_MAX) return false;
    if (bytes === 0)
      await this.#clock.sleep(backoffMs(this.#failureCount - 1, RETRY, this.#random()));
    return true;
  }
}
