import type { TaskDescription } from "../../app/ports.ts";
import { FileStamp } from "./file-stamp.ts";
import { emptyState, JournalWriter, newJournal } from "./journal-file.ts";
import type { RecoveredTask } from "./recovery.ts";
import { DiskStoredTask, type TaskSurroundings } from "./stored-task.ts";
import { removePair, setLength, type TaskPaths, writeAll } from "./task-files.ts";

/**
 * Makes the files of a new task, in a folder that is there.
 * @throws {PortError} `store_no_space` or `store_write_failed`; then nothing of them is left.
 */
export async function makeFiles(
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
