import { dirname } from "node:path";
import type { TaskDescription } from "../../app/ports.ts";
import { FileStamp } from "./file-stamp.ts";
import { emptyState, JournalWriter, newJournal } from "./journal-file.ts";
import type { RecoveredTask } from "./recovery.ts";
import { SMALL_CONTENT_BYTES_MAX, SmallStoredTask, type SmallSurroundings } from "./small-task.ts";
import { DiskStoredTask, type TaskSurroundings } from "./stored-task.ts";
import {
  pathsOf,
  removePair,
  setLength,
  smallPathOf,
  type TaskPaths,
  writeAll,
  writeFailure,
} from "./task-files.ts";

/** A task in whichever of its two forms on the disk. */
export type KeptTask = DiskStoredTask | SmallStoredTask;

/** Makes new tasks, each in the form that its length asks for. */
export class TaskMaker {
  readonly #contentPath: string;
  readonly #shared: TaskSurroundings;
  readonly #small: SmallSurroundings;
  readonly #madeFolders = new Set<string>();

  constructor(contentPath: string, shared: TaskSurroundings, small: SmallSurroundings) {
    this.#contentPath = contentPath;
    this.#shared = shared;
    this.#small = small;
  }

  /** @throws {PortError} `store_no_space` or `store_write_failed`; then nothing of it is left. */
  async make(description: TaskDescription): Promise<KeptTask> {
    const { taskId, lengthBytes } = description;
    const isSmall = lengthBytes > 0 && lengthBytes <= SMALL_CONTENT_BYTES_MAX;
    const incarnation = await this.#shared.incarnations.next();
    if (isSmall) {
      const path = smallPathOf(this.#contentPath, taskId);
      const usedAtMs = this.#small.clock.now();
      const found = { description, path, incarnation, sha256: undefined, usedAtMs };
      return new SmallStoredTask(this.#small, found);
    }
    const paths = pathsOf(this.#contentPath, taskId);
    this.#ensureFolder(dirname(paths.data));
    return makeFiles(this.#shared, paths, description, incarnation);
  }

  #ensureFolder(path: string): void {
    if (this.#madeFolders.has(path)) return;
    try {
      this.#shared.disk.makeFolder(path);
    } catch (error) {
      throw writeFailure(error);
    }
    this.#madeFolders.add(path);
  }
}

/**
 * Makes the files of a new task, in a folder that is there.
 * @throws {PortError} `store_no_space` or `store_write_failed`; then nothing of them is left.
 */
async function makeFiles(
  shared: TaskSurroundings,
  paths: TaskPaths,
  description: TaskDescription,
  incarnation: number,
): Promise<DiskStoredTask> {
  const { disk, files } = shared;
  const journal = newJournal(description, incarnation);
  try {
    await files.create(paths, async ({ dataFd, journalFd }) => {
      setLength(disk, dataFd, description.lengthBytes);
      await writeAll(disk, journalFd, journal, 0);
    });
  } catch (error) {
    files.abandon(paths);
    await removePair(disk, paths).catch(() => {});
    throw error;
  }
  const isEmpty = description.lengthBytes === 0;
  const usedAtMs = shared.clock.now();
  return new DiskStoredTask(shared, {
    description,
    paths,
    state: { ...emptyState(description), incarnation, isVerified: isEmpty },
    journal: new JournalWriter(disk, files, paths, journal.length),
    stamp: new FileStamp(disk, paths, usedAtMs),
    usedAtMs,
  });
}

/** A task that was found at the start. */
export function adoptFiles(
  shared: TaskSurroundings,
  { journal, paths, usedAtMs }: RecoveredTask,
  incarnation: number,
): DiskStoredTask {
  const { disk, files } = shared;
  const stamp = new FileStamp(disk, paths, usedAtMs);
  stamp.settle();
  return new DiskStoredTask(shared, {
    description: journal.description,
    paths,
    state: { ...journal.state, incarnation },
    journal: new JournalWriter(disk, files, paths, journal.soundBytes),
    stamp,
    usedAtMs,
  });
}
