/** What has room reserved for it. */
interface Reserving {
  readonly description: { readonly lengthBytes: number };
  /** Of its reservation; the disk will have that much less. */
  readonly unwrittenBytes: number;
}

/** With fewer tasks than this nobody looks for those that have been written: a few cost nothing. */
const LOOKED_AT_COUNT_MIN = 64;

/**
 * Tasks that may have been reserved more than they have written. A batch of small contents is a task for each, all of them unwritten
 * until it is over: they are not added up for each next one where the lengths of all of them would fit.
 */
export class UnwrittenTasks<T extends Reserving> {
  readonly #tasks = new Set<T>();
  readonly #isKept: (task: T) => boolean;
  #lengthBytes = 0;
  /** So many tasks are looked through, whether or not there is room: most may have been written, or be gone. */
  #lookedAtCount = LOOKED_AT_COUNT_MIN;

  /** @param isKept whether the store still has a task. */
  constructor(isKept: (task: T) => boolean) {
    this.#isKept = isKept;
  }

  /** Of all tasks here: what of them is unwritten is not more. */
  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  add(task: T): void {
    if (this.#tasks.has(task)) return;
    this.#tasks.add(task);
    this.#lengthBytes += task.description.lengthBytes;
  }

  /** The unwritten bytes of all, or more than that when even those are at most `ampleBytes`. */
  bytes(ampleBytes: number): number {
    const isAmple = this.#lengthBytes <= ampleBytes;
    if (isAmple && this.#tasks.size < this.#lookedAtCount) return this.#lengthBytes;
    let sum = 0;
    for (const task of this.#tasks) {
      const bytes = task.unwrittenBytes;
      sum += bytes;
      if (bytes > 0 && this.#isKept(task)) continue;
      this.#tasks.delete(task);
      this.#lengthBytes -= task.description.lengthBytes;
    }
    this.#lookedAtCount = Math.max(LOOKED_AT_COUNT_MIN, 2 * this.#tasks.size);
    return sum;
  }
}
