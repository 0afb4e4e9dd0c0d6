interface StartedWrite {
  readonly endOffset: number;
  isDone: boolean;
}

/** Turns writes that end in any order into one offset below which everything is written. */
export class WrittenPrefix {
  readonly #started: StartedWrite[] = [];

  /** A write up to `endOffset` begins, right after the one before. @returns to be called when it has ended. */
  begin(endOffset: number): () => number | undefined {
    const write = { endOffset, isDone: false };
    this.#started.push(write);
    return () => {
      write.isDone = true;
      let reached: number | undefined;
      while (this.#started[0]?.isDone === true) reached = this.#started.shift()?.endOffset;
      return reached;
    };
  }
}
