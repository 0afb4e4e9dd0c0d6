import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import type { Disk } from "../disk/disk.ts";
import { readWholeFile, replaceFile } from "../disk/whole-file.ts";
import { writeFailure } from "./task-files.ts";

/** Tasks that somebody has pinned by hand; 1,000 are a file of 65 KB, which is written anew with each. */
const PINNED_COUNT_MAX = 1000;

/** The tasks that the operator wants kept whatever else needs room: one id per line in one file, durable before it counts. */
export class PinnedTasks {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #ids: Set<TaskId>;
  #last: Promise<unknown> = Promise.resolve();

  /** @throws the system's error when the file is there and cannot be read. */
  constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.#path = path;
    const lines = readWholeFile(disk, path)?.toString("latin1").split("\n") ?? [];
    this.#ids = new Set(lines.flatMap((line) => parseTaskId(line) ?? []));
  }

  has(taskId: TaskId): boolean {
    return this.#ids.has(taskId);
  }

  /**
   * @returns false when there are too many already.
   * @throws {PortError} `store_no_space` or `store_write_failed`; then it is as it was.
   */
  async set(taskId: TaskId, isPinned: boolean): Promise<boolean> {
    const turn = this.#last.then(async () => this.#set(taskId, isPinned));
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #set(taskId: TaskId, isPinned: boolean): Promise<boolean> {
    if (this.#ids.has(taskId) === isPinned) return true;
    if (isPinned && this.#ids.size >= PINNED_COUNT_MAX) return false;
    const ids = new Set(this.#ids);
    if (isPinned) ids.add(taskId);
    else ids.delete(taskId);
    try {
      await replaceFile(
        this.#disk,
        this.#path,
        Buffer.from([...ids].map((id) => `${id}\n`).join("")),
      );
    } catch (error) {
      throw writeFailure(error);
    }
    if (isPinned) this.#ids.add(taskId);
    else this.#ids.delete(taskId);
    return true;
  }
}
