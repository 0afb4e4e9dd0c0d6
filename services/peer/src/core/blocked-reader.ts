/** A reader that has waited for so long for one piece is blocked: most pieces are on their way sooner. */
const BLOCKED_AFTER_MS = 500;
/** The scheduler is told so often at most: it believes what it is told for longer. */
const TOLD_EVERY_MS = 1_000;

/** How long the clients of one content have been waiting for a piece that nothing brings, and when the scheduler was told. */
export class BlockedReader {
  #pieceIndex = -1;
  #sinceMs = 0;
  #toldAtMs = -Infinity;

  /**
   * A client waits for a piece that is not here, and that no lease brings.
   *
   * @returns whether the scheduler is to be told now.
   */
  waits(pieceIndex: number, nowMs: number): boolean {
    if (this.#pieceIndex !== pieceIndex) {
      this.#pieceIndex = pieceIndex;
      this.#sinceMs = nowMs;
    }
    if (nowMs - this.#sinceMs < BLOCKED_AFTER_MS || nowMs - this.#toldAtMs < TOLD_EVERY_MS)
      return false;
    this.#toldAtMs = nowMs;
    return true;
  }
}
