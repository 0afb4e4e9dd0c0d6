import { constants } from "node:fs";
import { join } from "node:path";
import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { Disk, FileLook } from "../disk/disk.ts";
import { readJournalFile, type RecoveredJournal } from "./journal-file.ts";
import { readSmallHead, type SmallHead } from "./small-file.ts";
import { closeFile, pathsOf, removePair, smallPathOf, type TaskPaths } from "./task-files.ts";

/** Everything that was found on the disk. */
export interface Recovered {
  readonly tasks: readonly RecoveredTask[];
  readonly small: readonly RecoveredSmall[];
}

/** A small task, whole and verified, as it was found on the disk. */
export interface RecoveredSmall extends SmallHead {
  readonly path: string;
  readonly usedAtMs: number;
}

/** One task as it was found on the disk. */
export interface RecoveredTask {
  readonly journal: RecoveredJournal;
  readonly paths: TaskPaths;
  readonly usedAtMs: number;
}

/** Journals read at once: enough to keep a disk busy, few enough for memory. */
const CONCURRENT_READ_COUNT_MAX = 16;

/**
 * Reads every journal and the head of every small file. What cannot be used is removed and told: data without a journal, a journal without data of the
 * described length, a journal that is not understood. Damaged tails of journals are cut off.
 */
export async function recoverTasks(disk: Disk, contentPath: string, log: Log): Promise<Recovered> {
  const found = await findTaskIds(disk, contentPath);
  const tasks: RecoveredTask[] = [];
  const small = new Map<TaskId, RecoveredSmall>();
  const next = found.pairs.values();
  const nextSmall = found.small.values();
  const readOn = async () => {
    for (const taskId of nextSmall) {
      const task = await recoverSmall(disk, smallPathOf(contentPath, taskId), taskId, log);
      if (task !== undefined) small.set(taskId, task);
    }
    for (const taskId of next) {
      const task = await recoverTask(disk, pathsOf(contentPath, taskId), taskId, log);
      if (task !== undefined) tasks.push(task);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_READ_COUNT_MAX }, readOn));
  // What an earlier version kept as a pair of files goes on as that.
  for (const { journal } of tasks) {
    const doubled = small.get(journal.description.taskId);
    if (doubled === undefined) continue;
    small.delete(journal.description.taskId);
    await removeDoubled(disk, doubled, log);
  }
  return { tasks, small: [...small.values()] };
}

/** One that stays is found again at the next start, and does no harm until then. */
async function removeDoubled(disk: Disk, { path, description }: RecoveredSmall, log: Log) {
  try {
    await disk.remove(path);
  } catch (error) {
    log.error("store.remove_failed", { task: description.taskId, error: messageOf(error) });
  }
}

/** The ids of which there is at least one file. Other files are not ours and stay. */
async function findTaskIds(
  disk: Disk,
  contentPath: string,
): Promise<{ readonly pairs: Set<TaskId>; readonly small: Set<TaskId> }> {
  const pairs = new Set<TaskId>();
  const small = new Set<TaskId>();
  for (const prefix of await disk.list(contentPath)) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
    for (const name of await disk.list(join(contentPath, prefix))) {
      const taskId = parseTaskId(name.replace(/\.(data|journal|small)$/, ""));
      if (taskId === undefined || !taskId.startsWith(prefix) || name.endsWith(taskId)) continue;
      (name.endsWith(".small") ? small : pairs).add(taskId);
    }
  }
  return { pairs, small };
}

async function recoverSmall(
  disk: Disk,
  path: string,
  taskId: TaskId,
  log: Log,
): Promise<RecoveredSmall | undefined> {
  try {
    const look = await disk.look(path);
    if (look === undefined) return undefined;
    const head = readSmallHead(disk, path, look.sizeBytes);
    const why =
      typeof head === "string"
        ? head
        : head.description.taskId === taskId
          ? undefined
          : "the file is another task's";
    if (typeof head !== "string" && why === undefined) {
      return { ...head, path, usedAtMs: modifiedAtMs(look) };
    }
    log.warn("store.task_discarded", { task: taskId, why });
    await disk.remove(path);
  } catch (error) {
    log.error("store.task_unreadable", { task: taskId, error: messageOf(error) });
  }
  return undefined;
}

async function recoverTask(
  disk: Disk,
  paths: TaskPaths,
  taskId: TaskId,
  log: Log,
): Promise<RecoveredTask | undefined> {
  try {
    const [data, written] = await Promise.all([disk.look(paths.data), disk.look(paths.journal)]);
    if (data === undefined || written === undefined) {
      const missing = data === undefined ? "data" : "journal";
      return await discard(disk, paths, taskId, `no ${missing} file`, log);
    }
    const journal = await readJournalFile(disk, paths.journal, written.sizeBytes);
    if (typeof journal === "string") return await discard(disk, paths, taskId, journal, log);
    const { description } = journal;
    if (description.taskId !== taskId) {
      return await discard(disk, paths, taskId, "journal is another task's", log);
    }
    if (data.sizeBytes !== description.lengthBytes) {
      const why = `data file has ${data.sizeBytes} bytes, described are ${description.lengthBytes}`;
      return await discard(disk, paths, taskId, why, log);
    }
    if (journal.damage !== undefined) await cutOff(disk, { paths, taskId, journal, written }, log);
    return { journal, paths, usedAtMs: modifiedAtMs(written) };
  } catch (error) {
    // The disk fails for this task; the others may still be good.
    log.error("store.task_unreadable", { task: taskId, error: messageOf(error) });
    return undefined;
  }
}

async function cutOff(
  disk: Disk,
  {
    paths,
    taskId,
    journal,
    written,
  }: {
    readonly paths: TaskPaths;
    readonly taskId: TaskId;
    readonly journal: RecoveredJournal;
    readonly written: FileLook;
  },
  log: Log,
): Promise<void> {
  log.warn("store.journal_cut", {
    task: taskId,
    damage: journal.damage,
    soundBytes: journal.soundBytes,
    lostBytes: written.sizeBytes - journal.soundBytes,
  });
  const fd = disk.open(paths.journal, constants.O_RDWR);
  try {
    disk.setLength(fd, journal.soundBytes);
  } finally {
    closeFile(disk, fd);
  }
  disk.touch(paths.journal, modifiedAtMs(written));
}

async function discard(
  disk: Disk,
  paths: TaskPaths,
  taskId: TaskId,
  why: string,
  log: Log,
): Promise<undefined> {
  log.warn("store.task_discarded", { task: taskId, why });
  await removePair(disk, paths);
}

function modifiedAtMs(look: FileLook): number {
  return Number(look.modifiedAtNs) / 1e6;
}

/** Of everything that was recovered. */
export function incarnationsOf({ tasks, small }: Recovered): readonly number[] {
  return [
    ...tasks.map((task) => task.journal.state.incarnation),
    ...small.map((task) => task.incarnation),
  ];
}
