import { crc32 } from "node:zlib";
import { type ByteSpan, pieceAt, pieceSpan } from "@lacewing/contracts/pieces.ts";
import type { StoredTask } from "./ports.ts";

/** Bytes that were handed over before their piece was verified. */
interface Unverified {
  readonly start: number;
  end: number;
  crc: number;
}

/** Where the bytes come from. */
type Source = Pick<StoredTask, "layout" | "digestOf" | "read">;

/** What is stored is read again in such parts: each a turn of the event loop. */
const READ_BACK_BYTES = 256 * 1024;

/**
 * What one client got of a content, in order: enough to tell later whether the store still has those bytes. Of a held piece its
 * digest is noted, which costs nothing; only what was handed over before its piece was whole is summed up byte for byte.
 */
export class DeliveredRecord {
  readonly #stored: Source;
  readonly #digests = new Map<number, Buffer>();
  /** At most one for each piece. */
  readonly #unverified: Unverified[] = [];
  #hasChanged = false;

  constructor(stored: Source) {
    this.#stored = stored;
  }

  /** Before a span is read from the store. @returns to be called with its bytes. */
  begin(span: ByteSpan): (bytes: Uint8Array) => void {
    const { layout } = this.#stored;
    const first = pieceAt(layout, span.start);
    const last = pieceAt(layout, span.end - 1);
    const held = new Set<number>();
    for (let index = first; index <= last; index++) if (this.#noteDigest(index)) held.add(index);
    return (bytes) => {
      for (let index = first; index <= last; index++) {
        // A piece that was written anew meanwhile may have been read half.
        if (held.has(index) && this.#isSame(index)) continue;
        const piece = pieceSpan(layout, index);
        const start = Math.max(piece.start, span.start);
        const end = Math.min(piece.end, span.start + bytes.length);
        if (end > start) this.#sumUp(start, bytes.subarray(start - span.start, end - span.start));
      }
    };
  }

  /**
   * Whether the store has what was handed over; rot of verified pieces is for others to find.
   *
   * @param isRewritten whether what was handed over before its piece was whole is to be read back
   */
  async isStored(isRewritten: boolean): Promise<boolean> {
    if (this.#hasChanged) return false;
    for (const index of this.#digests.keys()) if (!this.#isSame(index)) return false;
    if (!isRewritten) return true;
    const buffer = Buffer.allocUnsafe(READ_BACK_BYTES);
    for (const { start, end, crc } of this.#unverified) {
      let sum = 0;
      for (let at = start; at < end;) {
        const length = Math.min(buffer.length, end - at);
        await this.#stored.read(buffer, at, length);
        sum = crc32(buffer.subarray(0, length), sum);
        at += length;
      }
      if (sum !== crc) return false;
    }
    return true;
  }

  /** @returns whether the piece is held. */
  #noteDigest(index: number): boolean {
    const digest = this.#stored.digestOf(index);
    if (digest === undefined) return false;
    const known = this.#digests.get(index);
    if (known === undefined) this.#digests.set(index, Buffer.from(digest));
    else if (!known.equals(digest)) this.#hasChanged = true;
    return true;
  }

  #isSame(index: number): boolean {
    const digest = this.#stored.digestOf(index);
    return digest !== undefined && this.#digests.get(index)?.equals(digest) === true;
  }

  #sumUp(start: number, bytes: Uint8Array): void {
    const last = this.#unverified.at(-1);
    if (last === undefined || last.end !== start) {
      this.#unverified.push({ start, end: start + bytes.length, crc: crc32(bytes) });
      return;
    }
    last.crc = crc32(bytes, last.crc);
    last.end += bytes.length;
  }
}
