/**
 * A set of piece indexes below a fixed size. Bit i is bit i%8 of byte i/8, least significant first: the form of
 * `PiecesAvailable.bitmap` and of the `peers.bitmap` column.
 */
export class Bitmap {
  readonly size: number;
  readonly #bytes: Uint8Array;
  #count = 0;

  constructor(size: number, bytes?: Uint8Array) {
    this.size = size;
    this.#bytes = new Uint8Array(Math.ceil(size / 8));
    if (bytes === undefined) return;
    this.#bytes.set(bytes.subarray(0, this.#bytes.length));
    // A state that is read back makes hundreds of thousands of these: bits are counted by the byte.
    const lastBits = size & 7;
    const last = this.#bytes.length - 1;
    if (lastBits !== 0) this.#bytes[last] = (this.#bytes[last] ?? 0) & ((1 << lastBits) - 1);
    for (const byte of this.#bytes) this.#count += BITS_OF_BYTE[byte] ?? 0;
  }

  /** How many indexes are in the set. */
  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === this.size;
  }

  has(index: number): boolean {
    return (
      index >= 0 && index < this.size && ((this.#bytes[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
    );
  }

  /** @returns whether the index was added; one beyond the size is not. */
  add(index: number): boolean {
    if (index < 0 || index >= this.size || this.has(index)) return false;
    this.#bytes[index >> 3] = (this.#bytes[index >> 3] ?? 0) | (1 << (index & 7));
    this.#count++;
    return true;
  }

  /** @returns whether the index was taken out. */
  delete(index: number): boolean {
    if (!this.has(index)) return false;
    this.#bytes[index >> 3] = (this.#bytes[index >> 3] ?? 0) & ~(1 << (index & 7));
    this.#count--;
    return true;
  }

  clear(): void {
    this.#bytes.fill(0);
    this.#count = 0;
  }

  /** Adds all of `bytes`; bits beyond the size are ignored. @returns the indexes that are new. */
  orBytes(bytes: Uint8Array): number[] {
    const added: number[] = [];
    for (let byte = 0; byte < this.#bytes.length && byte < bytes.length; byte++) {
      const fresh = (bytes[byte] ?? 0) & ~(this.#bytes[byte] ?? 0);
      for (let bit = 0; fresh !== 0 && bit < 8; bit++) {
        if ((fresh & (1 << bit)) !== 0 && this.add(byte * 8 + bit)) added.push(byte * 8 + bit);
      }
    }
    return added;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let index = 0; index < this.size; index++) if (this.has(index)) yield index;
  }

  /** A copy of the bits. */
  toBytes(): Uint8Array {
    return this.#bytes.slice();
  }

  clone(): Bitmap {
    return new Bitmap(this.size, this.#bytes);
  }
}

/** How many bits are set in each byte. */
const BITS_OF_BYTE = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
});
