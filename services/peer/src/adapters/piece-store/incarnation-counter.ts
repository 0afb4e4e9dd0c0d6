import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { errorCode, STORE_FILE_MODE, writeFailure } from "./task-files.ts";

/** Numbers reserved by one durable write: a crash skips at most this many, a write is needed once per so many. */
const RESERVED_AT_ONCE = 1024;

/**
 * Incarnations of all tasks of one store, from one counter: whatever is created, given up or comes back gets a larger number
 * than anything before, also after the task's own files are gone. A number is durable before it is used.
 */
export class IncarnationCounter {
  readonly #path: string;
  #last: number;
  #reservedTo: number;
  #reserving: Promise<void> | undefined;

  private constructor(path: string, last: number) {
    this.#path = path;
    this.#last = last;
    this.#reservedTo = last;
  }

  /**
   * @param seenMax the largest incarnation in the store's journals.
   * @param nowMs wall clock. A counter that is missing starts at its seconds: a host whose disk was wiped must not announce
   *   numbers below those it used before, and does not use one per second on average.
   */
  static async load(path: string, seenMax: number, nowMs: number): Promise<IncarnationCounter> {
    const stored = await readCounter(path);
    return new IncarnationCounter(path, Math.max(stored ?? Math.floor(nowMs / 1000), seenMax));
  }

  /** @throws {PortError} `store_no_space` or `store_write_failed` when no number could be made durable. */
  async next(): Promise<number> {
    while (this.#last >= this.#reservedTo) {
      this.#reserving ??= this.#reserve().finally(() => {
        this.#reserving = undefined;
      });
      await this.#reserving;
    }
    return ++this.#last;
  }

  async #reserve(): Promise<void> {
    const reservedTo = this.#last + RESERVED_AT_ONCE;
    const temporary = `${this.#path}.new`;
    try {
      await using file = await open(temporary, "w", STORE_FILE_MODE);
      await file.writeFile(`${reservedTo}\n`);
      await file.sync();
      await rename(temporary, this.#path);
      await using directory = await open(dirname(this.#path), "r");
      await directory.sync();
    } catch (error) {
      throw writeFailure(error);
    }
    this.#reservedTo = reservedTo;
  }
}

/** `undefined` when there is none, or none that makes sense. */
async function readCounter(path: string): Promise<number | undefined> {
  try {
    const text = (await readFile(path, "utf8")).trim();
    return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
