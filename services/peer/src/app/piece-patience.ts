import { TransferError } from "./ports.ts";

/** How long a transfer may bring no piece. Time in which our own disk or our own limit is behind is not the source's. */
export class PiecePatience {
  readonly #timer: NodeJS.Timeout;
  #writeCount = 0;

  /** @param giveUp called once, with the reason, unless {@link stop} comes before. */
  constructor(waitMs: number, giveUp: (reason: TransferError) => void) {
    this.#timer = setTimeout(() => {
      if (this.#writeCount > 0) this.#timer.refresh();
      else giveUp(new TransferError("stalled", `no piece came for ${waitMs} ms`));
    }, waitMs);
  }

  pieceCame(): void {
    this.#timer.refresh();
  }

  /** So many writes wait for their turn or are under way. */
  writing(count: number): void {
    this.#writeCount = count;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
