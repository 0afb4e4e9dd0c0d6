import { readdir, rm, stat, truncate, utimes } from "node:fs/promises";
import { join } from "node:path";
import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { readJournalFile, type RecoveredJournal } from "./journal-file.ts";
import { readSmallHead, type SmallHead } from "./small-file.ts";
import { errorCode, type TaskPaths } from "./task-files.ts";

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

/** Where a task's files lie below the content directory. */
export function pathsOf(contentPath: string, taskId: TaskId): TaskPaths {
  const stem = join(contentPath, taskId.slice(0, 2), taskId);
  return { data: `${stem}.data`, journal: `${stem}.journal` };
}

/** Where a small task's only file lies below the content directory. */
export function smallPathOf(contentPath: string, taskId: TaskId): string {
  return join(contentPath, taskId.slice(0, 2), `${taskId}.small`);
}

/**
 * Reads every journal and the head of every small file. What cannot be used is removed and told: data without a journal, a journal without data of the
 * described length, a journal that is not understood. Damaged tails of journals are cut off.
 */
export async function recoverTasks(contentPath: string, log: Log): Promise<Recovered> {
  const found = await findTaskIds(contentPath);
  const tasks: RecoveredTask[] = [];
  const small = new Map<TaskId, RecoveredSmall>();
  const next = found.pairs.values();
  const nextSmall = found.small.values();
  const readOn = async () => {
    for (const taskId of nextSmall) {
      const task = await recoverSmall(smallPathOf(contentPath, taskId), taskId, log);
      if (task !== undefined) small.set(taskId, task);
    }
    for (const taskId of next) {
      const task = await recoverTask(pathsOf(contentPath, taskId), taskId, log);
      if (task !== undefined) tasks.push(task);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT_READ_COUNT_MAX }, readOn));
  // What an earlier version kept as a pair of files goes on as that.
  for (const { journal } of tasks) {
    const doubled = small.get(journal.description.taskId);
    if (doubled === undefined) continue;
    small.delete(journal.description.taskId);
    await rm(doubled.path, { force: true });
  }
  return { tasks, small: [...small.values()] };
}

/** The ids of which there is at least one file. Other files are not ours and stay. */
async function findTaskIds(
  contentPath: string,
): Promise<{ readonly pairs: Set<TaskId>; readonly small: Set<TaskId> }> {
  const pairs = new Set<TaskId>();
  const small = new Set<TaskId>();
  for (const prefix of await readdir(contentPath)) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue;
    for (const name of await readdir(join(contentPath, prefix))) {
      const taskId = parseTaskId(name.replace(/\.(data|journal|small)$/, ""));
      if (taskId === undefined || !taskId.startsWith(prefix) || name.endsWith(taskId)) continue;
      (name.endsWith(".small") ? small : pairs).add(taskId);
    }
  }
  return { pairs, small };
}

async function recoverSmall(
  path: string,
  taskId: TaskId,
  log: Log,
): Promise<RecoveredSmall | undefined> {
  try {
    const stats = await stat(path);
    const head = readSmallHead(path, stats.size);
    const why =
      typeof head === "string"
        ? head
        : head.description.taskId === taskId
          ? undefined
          : "the file is another task's";
    if (typeof head !== "string" && why === undefined) {
      return { ...head, path, usedAtMs: stats.mtimeMs };
    }
    log.warn("store.task_discarded", { task: taskId, why });
    await rm(path, { force: true });
  } catch (error) {
    log.error("store.task_unreadable", { task: taskId, error: messageOf(error) });
  }
  return undefined;
}

async function recoverTask(
  paths: TaskPaths,
  taskId: TaskId,
  log: Log,
): Promise<RecoveredTask | undefined> {
  try {
    const [data, journalStats] = await Promise.all([statOf(paths.data), statOf(paths.journal)]);
    if (data === undefined || journalStats === undefined) {
      const missing = data === undefined ? "data" : "journal";
      return await discard(paths, taskId, `no ${missing} file`, log);
    }
    const journal = await readJournalFile(paths.journal);
    if (typeof journal === "string") return await discard(paths, taskId, journal, log);
    const { description } = journal;
    if (description.taskId !== taskId) {
      return await discard(paths, taskId, "journal is another task's", log);
    }
    if (data.size !== description.lengthBytes) {
      const why = `data file has ${data.size} bytes, described are ${description.lengthBytes}`;
      return await discard(paths, taskId, why, log);
    }
    if (journal.damage !== undefined) await cutOff(paths, taskId, journal, journalStats, log);
    return { journal, paths, usedAtMs: journalStats.mtimeMs };
  } catch (error) {
    // The disk fails for this task; the others may still be good.
    log.error("store.task_unreadable", { task: taskId, error: messageOf(error) });
    return undefined;
  }
}

async function cutOff(
  paths: TaskPaths,
  taskId: TaskId,
  journal: RecoveredJournal,
  stats: { readonly size: number; readonly mtimeMs: number },
  log: Log,
): Promise<void> {
  log.warn("store.journal_cut", {
    task: taskId,
    damage: journal.damage,
    soundBytes: journal.soundBytes,
    lostBytes: stats.size - journal.soundBytes,
  });
  await truncate(paths.journal, journal.soundBytes);
  await utimes(paths.journal, stats.mtimeMs / 1000, stats.mtimeMs / 1000);
}

async function discard(
  paths: TaskPaths,
  taskId: TaskId,
  why: string,
  log: Log,
): Promise<undefined> {
  log.warn("store.task_discarded", { task: taskId, why });
  await rm(paths.journal, { force: true });
  await rm(paths.data, { force: true });
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
