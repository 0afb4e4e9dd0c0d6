/**
 * Writing begins when no content came or was read for so long: while a batch of files streams in and its client takes them, the
 * client's bytes come first. Each file costs a quarter of a millisecond.
 */
const QUIET_MS = 150;
/** And at the latest so long after the first one that waits: what a crash loses of it is fetched again. */
const DELAY_MS_MAX = 2_000;
/** Waiting bytes from which writing begins at once. */
const WAITING_BYTES_MAX = 16 * 2 ** 20;
/** Files written before the event loop gets a turn: about a millisecond. */
const FILES_PER_TURN = 4;

/** A content that is to be written to its file. */
export interface Writable {
  readonly lengthBytes: number;
  /** Never throws. */
  writeFile(): void;
}

/** Writes small contents to their files a little later, a few at a time. */
export class SmallWriter {
  readonly #waiting = new Set<Writable>();
  #waitingBytes = 0;
  #waitingSinceMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #turn: NodeJS.Immediate | undefined;

  add(content: Writable): void {
    if (this.#waiting.has(content)) return;
    this.#waiting.add(content);
    this.#waitingBytes += content.lengthBytes;
    if (this.#waiting.size === 1) this.#waitingSinceMs = performance.now();
    this.#writeWhenQuiet();
  }

  /** A content that may be one of those is read: what waits can wait a little longer. */
  noteRead(): void {
    if (this.#waiting.size > 0) this.#writeWhenQuiet();
  }

  /** Writes the content now, if it waits. */
  flush(content: Writable): void {
    if (this.#take(content)) content.writeFile();
  }

  /** It is not to be written any more. */
  drop(content: Writable): void {
    this.#take(content);
  }

  /** Writes everything that waits. */
  flushAll(): void {
    for (const content of this.#waiting) this.flush(content);
    clearTimeout(this.#timer);
    clearImmediate(this.#turn);
  }

  #take(content: Writable): boolean {
    if (!this.#waiting.delete(content)) return false;
    this.#waitingBytes -= content.lengthBytes;
    return true;
  }

  #writeWhenQuiet(): void {
    const isLate = performance.now() - this.#waitingSinceMs > DELAY_MS_MAX;
    if (isLate || this.#waitingBytes > WAITING_BYTES_MAX) {
      this.#beginTurn();
      return;
    }
    clearImmediate(this.#turn);
    this.#turn = undefined;
    if (this.#timer === undefined) this.#timer = setTimeout(() => this.#beginTurn(), QUIET_MS);
    else this.#timer.refresh();
  }

  #beginTurn(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      let count = 0;
      for (const content of this.#waiting) {
        this.flush(content);
        if (++count >= FILES_PER_TURN) break;
      }
      if (this.#waiting.size > 0) this.#beginTurn();
    });
  }
}
