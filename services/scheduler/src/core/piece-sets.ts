/** Sets that a table makes room for at first. */
const SETS_MIN = 4;

/**
 * Room for sets of the pieces of one task, side by side in one array: two for each peer. An object with an array of its own for each set
 * would take ten times the memory of its bits, and the collector of garbage would walk them all.
 */
export class PieceTable {
  readonly pieceCount: number;
  readonly words: number;
  data: Uint32Array;
  readonly #free: number[] = [];
  #setCount = 0;

  constructor(pieceCount: number) {
    this.pieceCount = pieceCount;
    this.words = (pieceCount + 31) >>> 5;
    this.data = new Uint32Array(SETS_MIN * this.words);
  }

  /** An empty set. */
  newSet(): PieceSet {
    const at = this.#free.pop() ?? this.#setCount++ * this.words;
    if (at + this.words > this.data.length) {
      const data = new Uint32Array(this.data.length * 2);
      data.set(this.data);
      this.data = data;
    }
    return new PieceSet(this, at);
  }

  /** Takes the room of a set that nobody uses any more. */
  release(set: PieceSet): void {
    if (set.table !== this) return;
    set.clear();
    this.#free.push(set.at);
  }
}

/** A set of piece indexes below the piece count of its task. */
export class PieceSet {
  readonly table: PieceTable;
  /** Where its words begin in the table. Bit i is bit i%32 of word i/32. */
  readonly at: number;
  #count = 0;

  constructor(table: PieceTable, at: number) {
    this.table = table;
    this.at = at;
  }

  get size(): number {
    return this.table.pieceCount;
  }

  /** How many indexes are in the set. */
  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === this.table.pieceCount;
  }

  has(piece: number): boolean {
    const { data, pieceCount } = this.table;
    if (piece < 0 || piece >= pieceCount) return false;
    return ((data[this.at + (piece >>> 5)] ?? 0) & (1 << (piece & 31))) !== 0;
  }

  /** @returns whether the index was added; one beyond the size is not. */
  add(piece: number): boolean {
    if (piece < 0 || piece >= this.table.pieceCount || this.has(piece)) return false;
    const { data } = this.table;
    const word = this.at + (piece >>> 5);
    data[word] = (data[word] ?? 0) | (1 << (piece & 31));
    this.#count++;
    return true;
  }

  /** @returns whether the index was taken out. */
  delete(piece: number): boolean {
    if (!this.has(piece)) return false;
    const { data } = this.table;
    const word = this.at + (piece >>> 5);
    data[word] = (data[word] ?? 0) & ~(1 << (piece & 31));
    this.#count--;
    return true;
  }

  /** Pieces 32 x `index` to 32 x `index` + 31, the lowest bit first. */
  wordAt(index: number): number {
    return this.table.data[this.at + index] ?? 0;
  }

  clear(): void {
    this.table.data.fill(0, this.at, this.at + this.table.words);
    this.#count = 0;
  }

  /** Adds all of a bitmap as hosts send it: bit i is bit i%8 of byte i/8; bits beyond the size are ignored. @returns what is new. */
  addBytes(bytes: Uint8Array): readonly number[] {
    const { data } = this.table;
    // Most reports bring one piece: its list takes room for no more.
    let added: number[] = [];
    const byteCount = Math.min(bytes.length, (this.size + 7) >>> 3);
    for (let byte = 0; byte < byteCount; byte++) {
      const held = (data[this.at + (byte >>> 2)] ?? 0) >>> ((byte & 3) * 8);
      let fresh = (bytes[byte] ?? 0) & ~held & 0xff;
      while (fresh !== 0) {
        const piece = byte * 8 + 31 - Math.clz32(fresh & -fresh);
        fresh &= fresh - 1;
        if (!this.add(piece)) continue;
        if (added.length === 0) added = [piece];
        else added.push(piece);
      }
    }
    return added;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let piece = 0; piece < this.size; piece++) if (this.has(piece)) yield piece;
  }

  /** The bits as hosts send them. */
  toBytes(): Uint8Array {
    const { data } = this.table;
    return Uint8Array.from({ length: (this.size + 7) >>> 3 }, (_, byte) => {
      return (data[this.at + (byte >>> 2)] ?? 0) >>> ((byte & 3) * 8);
    });
  }
}
