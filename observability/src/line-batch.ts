/** A batch this large is written before its time. */
const BATCH_LENGTH_MAX = 256 * 1024;
/** Lines that come within this are written together: thousands of small downloads a second make as many lines. */
const GATHER_MS = 10;

/**
 * Joins log lines that come close together into one synchronous write: under load a write per line costs more than
 * making the line (0.2 ms each was measured on a busy machine). Warnings and errors go out at once, and so does everything
 * at an orderly exit or an uncaught exception; a killed process loses the lines of its last 10 ms at most.
 */
export class LineBatch {
  readonly #write: (lines: string) => void;
  #lines = "";
  #isScheduled = false;
  readonly #onExit = (): void => this.flush();

  constructor(write: (lines: string) => void) {
    this.#write = write;
    process.on("exit", this.#onExit);
  }

  add(line: string): void {
    this.#lines += line;
    if (this.#lines.length >= BATCH_LENGTH_MAX) {
      this.flush();
      return;
    }
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setTimeout(() => {
      this.#isScheduled = false;
      this.flush();
    }, GATHER_MS).unref();
  }

  flush(): void {
    const lines = this.#lines;
    this.#lines = "";
    if (lines !== "") this.#write(lines);
  }

  close(): void {
    this.flush();
    process.off("exit", this.#onExit);
  }
}
