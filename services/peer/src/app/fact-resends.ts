import type { Clock } from "@lacewing/runtime/clock.ts";

/** A fact without a receipt is sent again after this long, then later each time: Postgres may be away for hours. */
const FIRST_MS = 10_000;
const LAST_MS = 5 * 60_000;

/** When each download fact that has no receipt yet is due to be sent again. As large as the journal's own list. */
export class FactResends {
  readonly #clock: Clock;
  readonly #due = new Map<string, { readonly atMs: number; readonly sentCount: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A fact of an earlier process is due at once. */
  isDue(downloadId: string): boolean {
    return (this.#due.get(downloadId)?.atMs ?? 0) <= this.#clock.monotonic();
  }

  sent(downloadId: string): void {
    const sentCount = (this.#due.get(downloadId)?.sentCount ?? 0) + 1;
    const waitMs = Math.min(LAST_MS, FIRST_MS * 2 ** (sentCount - 1));
    this.#due.set(downloadId, { atMs: this.#clock.monotonic() + waitMs, sentCount });
  }

  receipted(downloadIds: readonly string[]): void {
    for (const id of downloadIds) this.#due.delete(id);
  }

  /** What was sent may be lost: all of it is due again. */
  startOver(): void {
    this.#due.clear();
  }
}
