import { clearBit, lowestBit, setBit } from "./words.ts";

/**
 * How many peers miss each piece, and which pieces anybody misses: a source whose pieces are everywhere is told by some words, and not by
 * looking at scores of children that lack none of them.
 */
export class Demand {
  /** Pieces that somebody misses. */
  readonly missed: Uint32Array;
  readonly #counts: Uint32Array;

  constructor(pieceCount: number, words: number) {
    this.#counts = new Uint32Array(pieceCount);
    this.missed = new Uint32Array(words);
  }

  add(piece: number): void {
    const count = (this.#counts[piece] ?? 0) + 1;
    this.#counts[piece] = count;
    if (count === 1) setBit(this.missed, 0, piece);
  }

  remove(piece: number): void {
    const count = (this.#counts[piece] ?? 1) - 1;
    this.#counts[piece] = count;
    if (count === 0) clearBit(this.missed, 0, piece);
  }

  /** Word `at` of what one peer misses is another than before. */
  change(at: number, before: number, after: number): void {
    for (let rest = after & ~before; rest !== 0; rest &= rest - 1)
      this.add(at * 32 + lowestBit(rest));
    for (let rest = before & ~after; rest !== 0; rest &= rest - 1)
      this.remove(at * 32 + lowestBit(rest));
  }
}
