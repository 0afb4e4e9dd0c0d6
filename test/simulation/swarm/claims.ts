import type { Copy } from "./copy.ts";

/** How many fetches have taken each piece of a copy on. */
export class Claims {
  readonly #copy: Copy;
  readonly #counts: Uint8Array;

  constructor(copy: Copy) {
    this.#copy = copy;
    this.#counts = new Uint8Array(copy.pieceCount);
  }

  change(piece: number, by: 1 | -1): void {
    this.#counts[piece] = (this.#counts[piece] ?? 0) + by;
  }

  has(piece: number): boolean {
    return this.#counts[piece] !== 0;
  }

  /** Pieces that are neither held nor being fetched. */
  missing(): number[] {
    const missing: number[] = [];
    for (let piece = 0; piece < this.#copy.pieceCount; piece++) {
      if (!this.#copy.has(piece) && !this.has(piece)) missing.push(piece);
    }
    return missing;
  }
}
