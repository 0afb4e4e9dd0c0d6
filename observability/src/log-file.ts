import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** A log file is renamed to `<file>.1` at this size; the one before is replaced. So a log takes at most twice this. */
const LOG_FILE_BYTES_MAX = 64 * 2 ** 20;

/**
 * A log file, written synchronously: what is given is with the kernel before the call returns. A disk that is full or gone costs lines, never the service: the first failure is told on stderr.
 */
export class LogFile {
  readonly #path: string;
  readonly #bytesMax: number;
  #fd: number | undefined;
  #byteCount = 0;
  #hasFailed = false;

  constructor(path: string, bytesMax = LOG_FILE_BYTES_MAX) {
    this.#path = path;
    this.#bytesMax = bytesMax;
    this.#attempt(() => this.#open());
  }

  write(line: string): void {
    this.#attempt(() => {
      if (this.#byteCount >= this.#bytesMax) this.#rotate();
      if (this.#fd !== undefined) this.#byteCount += writeSync(this.#fd, line);
    });
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #open(): void {
    mkdirSync(dirname(this.#path), { recursive: true });
    this.#fd = openSync(this.#path, "a", 0o640);
    this.#byteCount = fstatSync(this.#fd).size;
  }

  #rotate(): void {
    this.close();
    // Counted from zero even when the renaming fails, so that a failure is not repeated with every line.
    this.#byteCount = 0;
    try {
      renameSync(this.#path, `${this.#path}.1`);
    } finally {
      this.#open();
    }
  }

  #attempt(action: () => void): void {
    try {
      action();
      this.#hasFailed = false;
    } catch (error) {
      if (this.#hasFailed) return;
      this.#hasFailed = true;
      const reason = error instanceof Error ? error.message : String(error);
      process.stderr.write(`log file ${this.#path}: ${reason}\n`);
    }
  }
}
