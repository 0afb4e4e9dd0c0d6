import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import { type PieceLayout, pieceSpan } from "@lacewing/contracts/pieces.ts";
import { runSpan } from "../core/fetch-plan.ts";

/** A reader that is nearer to the read that will bring its piece waits for it: breaking off a read wastes what its sockets hold. */
const FAR_BYTES_MIN = 4 * 2 ** 20;
/** A reader whose piece comes within this waits for it: another request to the origin takes as long. */
export const NEAR_MS_MAX = 300;

/** A run of pieces that one read of a source brings, and how far it has come. */
export class Stretch {
  /** Its count becomes less when another read takes the end over. */
  readonly run: PieceRange;
  readonly #layout: PieceLayout;
  #position: number;
  #firstOffset = 0;
  #begunAtMs: number | undefined;

  constructor(layout: PieceLayout, run: PieceRange) {
    this.run = run;
    this.#layout = layout;
    this.#position = pieceSpan(layout, run.start).start;
  }

  covers(pieceIndex: number): boolean {
    return pieceIndex >= this.run.start && pieceIndex < this.run.start + this.run.count;
  }

  /** The read has come to this absolute offset. */
  reached(offset: number, nowMs: number): void {
    if (this.#begunAtMs === undefined) {
      this.#begunAtMs = nowMs;
      this.#firstOffset = offset;
    }
    this.#position = offset;
  }

  /** Whether a piece of the run will be long in coming. */
  isFarFrom(pieceIndex: number, nowMs: number): boolean {
    const distanceBytes = pieceSpan(this.#layout, pieceIndex).start - this.#position;
    if (distanceBytes < FAR_BYTES_MIN) return false;
    if (this.#begunAtMs === undefined) return true;
    const bytesPerMs = (this.#position - this.#firstOffset) / (nowMs - this.#begunAtMs);
    return !(distanceBytes <= bytesPerMs * NEAR_MS_MAX);
  }

  /** Gives the pieces from `pieceIndex` on away. @returns them as a stretch of their own. */
  splitAt(pieceIndex: number): Stretch {
    const { start, count } = this.run;
    this.run.count = pieceIndex - start;
    return new Stretch(this.#layout, { start: pieceIndex, count: start + count - pieceIndex });
  }

  /** The bytes from a piece to the end. */
  spanFrom(pieceIndex: number): { readonly start: number; readonly end: number } {
    return {
      start: pieceSpan(this.#layout, pieceIndex).start,
      end: runSpan(this.#layout, this.run).end,
    };
  }
}
