import type { Clock } from "@lacewing/runtime/clock.ts";

/** How much faster or slower than real time runs while it makes up for a step of the wall clock. */
const SLEW = 0.1;

/**
 * The time that leases and answers are measured by: milliseconds since 1970 that never step. It goes on with the monotonic clock and
 * leans towards the wall clock by at most a tenth of what has passed, so that a wall clock that is set an hour ahead ends no lease,
 * and one that was wrong at the start is made good within hours.
 */
export class SteadyTime {
  readonly #clock: Pick<Clock, "now" | "monotonic">;
  #nowMs: number;
  #readAtMs: number;

  constructor(clock: Pick<Clock, "now" | "monotonic">) {
    this.#clock = clock;
    this.#nowMs = clock.now();
    this.#readAtMs = clock.monotonic();
  }

  now(): number {
    const readAtMs = this.#clock.monotonic();
    const elapsedMs = readAtMs - this.#readAtMs;
    this.#readAtMs = readAtMs;
    const lagMs = this.#clock.now() - (this.#nowMs + elapsedMs);
    const slewMs = elapsedMs * SLEW;
    this.#nowMs += elapsedMs + Math.min(slewMs, Math.max(-slewMs, lagMs));
    return this.#nowMs;
  }
}
