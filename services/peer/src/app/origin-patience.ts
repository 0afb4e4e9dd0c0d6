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
  /** Until when each of the clients' accesses is refused, if that is for longer than its client waits. */
  readonly #refusedUntilMs = new WeakMap<object, number>();
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

  /** Whether the origin asked this access to stay away, for longer than its client waits, and the time is not over. */
  isRefused(access: object): boolean {
    return (this.#refusedUntilMs.get(access) ?? 0) > this.#clock.monotonic();
  }

  /** The origin wants nothing of this access any more. */
  refused(access: object): void {
    this.#refusedUntilMs.set(access, Infinity);
  }

  /**
   * A read failed. Waits before the next try, except for the first after progress: a broken connection is common.
   *
   * @param failed `access`: with whose credentials it was; `retryAfterMs`: how long the origin asks to be left alone.
   * @param accesses with which the origin can be read: what it says to one client is not what it says to all.
   * @returns whether there is to be a next try.
   */
  async failed(
    failed: { readonly access: object; readonly bytes: number; readonly retryAfterMs: number },
    accesses: readonly object[],
  ): Promise<boolean> {
    const { access, bytes, retryAfterMs } = failed;
    this.#failureCount++;
    const isRefused = retryAfterMs > REST_MS_MAX;
    if (isRefused) this.#refusedUntilMs.set(access, this.#clock.monotonic() + retryAfterMs);
    if (isRefused && accesses.every((other) => this.isRefused(other))) return false;
    if (this.#failureCount >= FAILURE_COUNT_MAX) return false;
    const restMs = isRefused ? 0 : retryAfterMs;
    if (this.#failureCount === 1 && bytes > 0 && restMs === 0) return true;
    this.#restingCount++;
    try {
      const ms = backoffMs(this.#failureCount - 1, RETRY, this.#random());
      await this.#clock.sleep(Math.max(ms, restMs));
    } finally {
      this.#restingCount--;
    }
    return true;
  }
}
