import { dropOldest } from "./drop-oldest.ts";

/** A reader that has waited for so long for one piece is blocked: most pieces are on their way sooner. */
const BLOCKED_AFTER_MS = 500;
/** The scheduler is told so often at most: it believes what it is told for longer. */
const TOLD_EVERY_MS = 1_000;
/** Clients of one content that wait for different pieces and are remembered. */
const WAITS_MAX = 64;
/** Whoever did not look for a piece for so long does not wait for it any more: readers look at least once a second. */
const WAIT_OVER_MS = 3_000;

interface Wait {
  readonly sinceMs: number;
  readonly lookedAtMs: number;
}

/** How long the clients of one content have been waiting for pieces that nothing brings, and when the scheduler was told of one. */
export class BlockedReader {
  /** By piece, the one that was looked for last at the end. */
  readonly #waits = new Map<number, Wait>();
  #toldAtMs = -Infinity;

  /**
   * A client waits for a piece that is not here, and that no lease brings.
   *
   * @returns whether the scheduler is to be told now.
   */
  waits(pieceIndex: number, nowMs: number): boolean {
    const before = this.#waits.get(pieceIndex);
    const isSame = before !== undefined && nowMs - before.lookedAtMs < WAIT_OVER_MS;
    const sinceMs = isSame ? before.sinceMs : nowMs;
    this.#waits.delete(pieceIndex);
    this.#waits.set(pieceIndex, { sinceMs, lookedAtMs: nowMs });
    dropOldest(this.#waits, WAITS_MAX);
    if (nowMs - sinceMs < BLOCKED_AFTER_MS || nowMs - this.#toldAtMs < TOLD_EVERY_MS) return false;
    this.#toldAtMs = nowMs;
    return true;
  }
}
