/** Who waits for something to become of a piece. */
export class PieceWaiters {
  readonly #byPiece = new Map<number, (() => void)[]>();

  add(piece: number, resume: () => void): void {
    const waiting = this.#byPiece.get(piece);
    if (waiting === undefined) this.#byPiece.set(piece, [resume]);
    else waiting.push(resume);
  }

  wake(piece: number): void {
    const waiting = this.#byPiece.get(piece);
    if (waiting === undefined) return;
    this.#byPiece.delete(piece);
    for (const resume of waiting) resume();
  }
}
