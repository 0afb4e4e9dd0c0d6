import { isNamed } from "../core/named-digests.ts";
import { Progress } from "./progress.ts";

/** SHA-256 by piece: a parent's bytes count only when they agree. */
export interface PieceDigests {
  /** 32 bytes; `undefined`: not known. */
  get(pieceIndex: number): Uint8Array | undefined;
  /** Resolves with one that becomes known, rejects with the signal's reason. Absent: what is not known will not come. */
  when?(pieceIndex: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** What the pieces of one task must have, as far as it was said: what came with one lease is known to all. */
export class ExpectedDigests implements PieceDigests {
  readonly #pieceCount: number;
  readonly #digests = new Map<number, Uint8Array>();
  readonly #learned = new Progress();

  constructor(pieceCount: number) {
    this.#pieceCount = pieceCount;
  }

  /** Takes digests over, later ones for earlier ones; none of pieces that there are not. */
  learn(digests: Iterable<readonly [number, Uint8Array]>): void {
    for (const [index, digest] of digests)
      if (index < this.#pieceCount && isNamed(digest)) this.#digests.set(index, digest);
    this.#learned.notify();
  }

  get(pieceIndex: number): Uint8Array | undefined {
    return this.#digests.get(pieceIndex);
  }

  async when(pieceIndex: number, signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      const known = this.get(pieceIndex);
      if (known !== undefined) return known;
      await this.#learned.wait(signal);
    }
  }
}
