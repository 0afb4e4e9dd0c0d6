import { Bitmap } from "@lacewing/contracts/bitmap.ts";

/** Bytes of a SHA-256. */
export const DIGEST_BYTES = 32;

/** The SHA-256 of each piece of a task, as far as known. The first digest heard for a piece stands. */
export class PieceDigests {
  readonly #bytes: Uint8Array;
  readonly #known: Bitmap;

  constructor(pieceCount: number, bytes?: Uint8Array) {
    this.#bytes = new Uint8Array(pieceCount * DIGEST_BYTES);
    this.#known = new Bitmap(pieceCount);
    if (bytes === undefined) return;
    for (let index = 0; index < pieceCount; index++) {
      const digest = bytes.subarray(index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES);
      // All zeros stand for "not known" in the table; no content has that digest.
      if (digest.length === DIGEST_BYTES && digest.some((byte) => byte !== 0)) {
        this.learn(index, digest);
      }
    }
  }

  has(pieceIndex: number): boolean {
    return this.#known.has(pieceIndex);
  }

  /** @returns "conflict" when another digest is known for the piece; "ignored" beyond the last piece. */
  learn(pieceIndex: number, sha256: Uint8Array): "learned" | "known" | "conflict" | "ignored" {
    if (pieceIndex >= this.#known.size || sha256.length !== DIGEST_BYTES) return "ignored";
    if (this.#known.add(pieceIndex)) {
      this.#bytes.set(sha256, pieceIndex * DIGEST_BYTES);
      return "learned";
    }
    const known = this.of(pieceIndex);
    return known.every((byte, at) => byte === sha256[at]) ? "known" : "conflict";
  }

  /** The digest of one piece; zeros when it is not known. */
  of(pieceIndex: number): Uint8Array {
    return this.#bytes.subarray(pieceIndex * DIGEST_BYTES, (pieceIndex + 1) * DIGEST_BYTES);
  }

  /** The digests of pieces in their order, concatenated. */
  concatenated(pieceIndexes: Iterable<number>): Uint8Array {
    const parts = [...pieceIndexes].map((index) => this.of(index));
    const out = new Uint8Array(parts.length * DIGEST_BYTES);
    for (const [at, part] of parts.entries()) out.set(part, at * DIGEST_BYTES);
    return out;
  }

  toBytes(): Uint8Array {
    return this.#bytes.slice();
  }
}
