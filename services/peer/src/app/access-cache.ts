import type { Clock } from "@lacewing/runtime/clock.ts";
import { dropOldest } from "../core/drop-oldest.ts";

/** Remembered answers; the oldest goes first. About 2 MB. */
const ENTRY_COUNT_MAX = 10_000;

/** The origin's yes to one credential and path, for as long as the rule trusts it. A no is never remembered. */
export class AccessCache {
  readonly #clock: Clock;
  readonly #grantedUntilMs = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isGranted(key: string): boolean {
    const untilMs = this.#grantedUntilMs.get(key);
    if (untilMs === undefined) return false;
    if (untilMs > this.#clock.monotonic()) return true;
    this.#grantedUntilMs.delete(key);
    return false;
  }

  grant(key: string, ttlMs: number): void {
    if (ttlMs <= 0) return;
    this.#grantedUntilMs.delete(key);
    this.#grantedUntilMs.set(key, this.#clock.monotonic() + ttlMs);
    dropOldest(this.#grantedUntilMs, ENTRY_COUNT_MAX);
  }
}
