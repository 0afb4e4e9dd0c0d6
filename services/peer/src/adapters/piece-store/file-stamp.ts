import type { Disk } from "../disk/disk.ts";
import type { TaskPaths } from "./task-files.ts";

/** The time of last use is written down this often at most: eviction's order need not be finer. */
const USE_NOTED_EVERY_MS = 60_000;

/**
 * What the data file looked like when we last left it. Another size, inode or time of change means that somebody else
 * wrote to it, also when he put the modification time back. The modification time of the journal keeps the time of last use across restarts.
 *
 * The calls are synchronous: a few microseconds on a file that is in the cache, once per use of a task.
 */
export class FileStamp {
  readonly #disk: Disk;
  readonly #paths: TaskPaths;
  /** `undefined`: not known; our own writes are not stamped yet. */
  #left: string | undefined;
  #useNotedAtMs: number;

  /** @param usedAtMs the time of last use that the journal's modification time tells. */
  constructor(disk: Disk, paths: TaskPaths, usedAtMs: number) {
    this.#disk = disk;
    this.#paths = paths;
    this.#useNotedAtMs = usedAtMs;
  }

  /** We are about to write: what the file looks like afterwards is our doing. */
  noteOwnWrite(): void {
    this.#left = undefined;
  }

  /** Nobody of ours is writing: remembers what the file looks like now. */
  settle(): void {
    this.#left ??= this.#look();
  }

  /** Whether the file is not as we left it. Remembers what it looks like now. */
  hasForeignWrite(): boolean {
    const now = this.#look();
    const isForeign = this.#left !== undefined && now !== this.#left;
    this.#left = now;
    return isForeign;
  }

  /** Keeps the time of use for the next start; losing it does no harm. */
  noteUse(nowMs: number): void {
    if (nowMs - this.#useNotedAtMs < USE_NOTED_EVERY_MS) return;
    this.#useNotedAtMs = nowMs;
    try {
      this.#disk.touch(this.#paths.journal, nowMs);
    } catch {
      // Eviction's order is a little worse after the next start.
    }
  }

  #look(): string {
    try {
      const look = this.#disk.lookSync(this.#paths.data);
      if (look === undefined) return "gone";
      return `${look.inode} ${look.sizeBytes} ${look.modifiedAtNs} ${look.changedAtNs}`;
    } catch {
      return "gone";
    }
  }
}
