interface WriteInFlight {
  readonly start: number;
  readonly end: number;
  readonly done: Promise<unknown>;
}

/** The writes of one task that the kernel has not finished: a digest taken meanwhile would be of neither state. */
export class WritesInFlight {
  readonly #writes = new Set<WriteInFlight>();

  get count(): number {
    return this.#writes.size;
  }

  /** Settles as `writing` does. */
  async track(start: number, end: number, writing: Promise<void>): Promise<void> {
    const write = { start, end, done: writing };
    this.#writes.add(write);
    try {
      await writing;
    } finally {
      this.#writes.delete(write);
    }
  }

  /** Resolves when no write that began before touches [start, end) any more, whatever came of it. */
  async settled(start: number, end: number): Promise<void> {
    const touching = [...this.#writes].filter((write) => write.start < end && write.end > start);
    await Promise.allSettled(touching.map((write) => write.done));
  }
}
