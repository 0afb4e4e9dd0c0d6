/** One host's copy of one content as it grows, and what a client that reads it in order sees of that. */
export class Copy {
  readonly task: number;
  readonly host: number;
  readonly pieceCount: number;
  /** When a client asked for it; a seed host takes it without being asked. */
  readonly askedAtMs: number;
  readonly #held: Uint8Array;
  heldCount = 0;
  completedAtMs: number | undefined;
  /** The first piece was there. */
  firstPieceAtMs: number | undefined;
  /** Longest time in which the reader got nothing new, after the first piece. */
  longestStallMs = 0;
  /** Pieces held beyond the reader's cursor: most, and the sum over arrivals. */
  aheadMax = 0;
  aheadSum = 0;
  #cursor = 0;
  #advancedAtMs = 0;

  constructor(task: number, host: number, pieceCount: number, askedAtMs: number) {
    this.task = task;
    this.host = host;
    this.pieceCount = pieceCount;
    this.askedAtMs = askedAtMs;
    this.#held = new Uint8Array(pieceCount);
  }

  /** The first piece that a client which reads in order does not have. */
  get cursor(): number {
    return this.#cursor;
  }

  get isFull(): boolean {
    return this.heldCount === this.pieceCount;
  }

  has(piece: number): boolean {
    return this.#held[piece] === 1;
  }

  /** @returns whether the piece is new. */
  add(piece: number, nowMs: number): boolean {
    if (this.#held[piece] !== 0) return false;
    this.#held[piece] = 1;
    this.heldCount++;
    if (piece === this.#cursor) this.#advance(nowMs);
    const ahead = this.heldCount - this.#cursor;
    this.aheadMax = Math.max(this.aheadMax, ahead);
    this.aheadSum += ahead;
    if (this.isFull) this.completedAtMs ??= nowMs;
    return true;
  }

  /** The bits in the form in which they travel. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(Math.ceil(this.pieceCount / 8));
    for (let piece = 0; piece < this.pieceCount; piece++) {
      if (this.#held[piece] === 1)
        bytes[piece >> 3] = (bytes[piece >> 3] ?? 0) | (1 << (piece & 7));
    }
    return bytes;
  }

  #advance(nowMs: number): void {
    if (this.firstPieceAtMs === undefined) this.firstPieceAtMs = nowMs;
    else this.longestStallMs = Math.max(this.longestStallMs, nowMs - this.#advancedAtMs);
    this.#advancedAtMs = nowMs;
    while (this.#held[this.#cursor] === 1) this.#cursor++;
  }
}
