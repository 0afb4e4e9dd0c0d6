import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { Disk } from "../disk/disk.ts";
import { readWholeFile, replaceFile } from "../disk/whole-file.ts";
import { writeFailure } from "./task-files.ts";

/** Numbers reserved by one durable write: a crash skips at most this many, a write is needed once per so many. */
const RESERVED_AT_ONCE = 1024;

/**
 * Incarnations of all tasks of one store, from one counter: whatever is created, given up or comes back gets a larger number
 * than anything before, also after the task's own files are gone. A number is durable before it is used.
 */
export class IncarnationCounter {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #log: Log;
  #last: number;
  #reservedTo: number;
  #reserving: Promise<void> | undefined;

  private constructor(disk: Disk, path: string, log: Log, last: number) {
    this.#disk = disk;
    this.#path = path;
    this.#log = log;
    this.#last = last;
    this.#reservedTo = last;
  }

  /**
   * @param floor `seenMax`: the largest incarnation in the store's journals. `nowMs`: wall clock. A counter that is
   *   missing starts at its seconds: a host whose disk was wiped must not announce numbers below those it used before, and
   *   does not use one per second on average.
   */
  static async load(
    disk: Disk,
    path: string,
    log: Log,
    floor: { readonly seenMax: number; readonly nowMs: number },
  ): Promise<IncarnationCounter> {
    const stored = readCounter(disk, path);
    const last = Math.max(stored ?? Math.floor(floor.nowMs / 1000), floor.seenMax);
    const counter = new IncarnationCounter(disk, path, log, last);
    // A disk that is full now may have room when the first number is wanted.
    await counter.#reserveMore().catch(() => {});
    return counter;
  }

  /** @throws {PortError} `store_no_space` or `store_write_failed` when no number could be made durable. */
  async next(): Promise<number> {
    while (this.#last >= this.#reservedTo) await this.#reserveMore();
    const next = ++this.#last;
    // Ahead of need: a download must not wait for the disk's slowest operation. A failure shows when the numbers run out.
    if (this.#reservedTo - next < RESERVED_AT_ONCE / 2) this.#reserveMore().catch(() => {});
    return next;
  }

  /** Where not even a number can be made durable, the next one is used all the same: a crash may give it out again. */
  async nextAtAnyCost(): Promise<number> {
    return this.next().catch(() => ++this.#last);
  }

  #reserveMore(): Promise<void> {
    this.#reserving ??= this.#reserve().finally(() => {
      this.#reserving = undefined;
    });
    return this.#reserving;
  }

  async #reserve(): Promise<void> {
    const reservedTo = Math.max(this.#last, this.#reservedTo) + RESERVED_AT_ONCE;
    try {
      const text = Buffer.from(`${reservedTo}\n`);
      await replaceFile(this.#disk, this.#path, text);
    } catch (error) {
      this.#log.warn("store.incarnations_not_reserved", { error: messageOf(error) });
      throw writeFailure(error);
    }
    this.#reservedTo = reservedTo;
  }
}

/** `undefined` when there is none, or none that makes sense. */
function readCounter(disk: Disk, path: string): number | undefined {
  const text = readWholeFile(disk, path)?.toString("latin1").trim() ?? "";
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
