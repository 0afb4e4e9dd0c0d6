import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";

/** A fact without a receipt is sent again after this, then after twice as long each time. */
const FACT_RESEND_FIRST_MS = 10_000;
/** A database may be away for hours: each repetition is one more duplicate in the stream, so they become this rare. */
const FACT_RESEND_MAX_MS = 5 * 60_000;
/** Facts sent again at once; the rest follows with the next round. */
export const FACT_RESEND_COUNT_MAX = 500;
/** Facts whose last sending is remembered: as many as the journal keeps for sending again. */
const TRACKED_COUNT_MAX = 50_000;

/**
 * When each fact is to be sent again. Measured by the monotonic clock alone: the times within a fact are the wall clock's,
 * which may be set back.
 */
export class FactResends {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #trackedCountMax: number;
  /** By download id; least recently sent first. */
  readonly #sent = new Map<string, { readonly waitMs: number; readonly dueAtMs: number }>();

  /** `trackedCountMax` is for tests. */
  constructor(clock: Pick<Clock, "monotonic">, trackedCountMax: number = TRACKED_COUNT_MAX) {
    this.#clock = clock;
    this.#trackedCountMax = trackedCountMax;
  }

  /** How many facts are remembered. */
  get trackedCount(): number {
    return this.#sent.size;
  }

  /** The fact was sent, for the first time or again. */
  sent(downloadId: string): void {
    const before = this.#sent.get(downloadId);
    const waitMs =
      before === undefined ? FACT_RESEND_FIRST_MS : Math.min(2 * before.waitMs, FACT_RESEND_MAX_MS);
    this.#sent.delete(downloadId);
    this.#sent.set(downloadId, { waitMs, dueAtMs: this.#clock.monotonic() + waitMs });
    if (this.#sent.size <= this.#trackedCountMax) return;
    // Forgotten, it counts as never sent, which costs a duplicate and loses nothing.
    for (const oldest of this.#sent.keys()) {
      this.#sent.delete(oldest);
      return;
    }
  }

  receipted(downloadIds: readonly string[]): void {
    for (const id of downloadIds) this.#sent.delete(id);
  }

  /**
   * What to send now, at most {@link FACT_RESEND_COUNT_MAX}: first what this process never sent, then what has been due for
   * the longest. So each round goes on where the one before ended, and no fact keeps another from its turn.
   */
  due(pending: Iterable<DownloadFinished>): readonly DownloadFinished[] {
    const nowMs = this.#clock.monotonic();
    const unsent: DownloadFinished[] = [];
    const again: { readonly fact: DownloadFinished; readonly dueAtMs: number }[] = [];
    for (const fact of pending) {
      const sent = this.#sent.get(fact.downloadId);
      if (sent === undefined) unsent.push(fact);
      else if (sent.dueAtMs <= nowMs) again.push({ fact, dueAtMs: sent.dueAtMs });
      if (unsent.length >= FACT_RESEND_COUNT_MAX) return unsent;
    }
    again.sort((a, b) => a.dueAtMs - b.dueAtMs);
    return [...unsent, ...again.map(({ fact }) => fact)].slice(0, FACT_RESEND_COUNT_MAX);
  }
}
