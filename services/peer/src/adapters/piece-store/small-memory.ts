/** Bytes of small contents kept in memory: those read or written last. Enough for a batch of a few hundred files. */
const MEMORY_BYTES_MAX = 64 * 2 ** 20;

/** A content that can give its bytes up, because they are in a file. */
export interface InMemory {
  readonly lengthBytes: number;
  /** Without a file the whole content goes. */
  forgetBytes(): void;
}

/** Which small contents are in memory: those that nobody used for longest make room. */
export class SmallMemory {
  /** Least recently used first. */
  readonly #contents = new Set<InMemory>();
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax = MEMORY_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** The content was used, or came to be in memory. */
  used(content: InMemory): void {
    if (this.#contents.delete(content)) this.#contents.add(content);
    else {
      this.#contents.add(content);
      this.#bytes += content.lengthBytes;
    }
    for (const oldest of this.#contents) {
      if (this.#bytes <= this.#bytesMax || oldest === content) return;
      this.removed(oldest);
      oldest.forgetBytes();
    }
  }

  /** The content is not in memory any more. */
  removed(content: InMemory): void {
    if (this.#contents.delete(content)) this.#bytes -= content.lengthBytes;
  }
}
