import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { TaskDescription } from "../../app/ports.ts";

/** A task that the store has let go. */
export interface Departing {
  readonly description: TaskDescription;
  removeFiles(): Promise<void>;
}

/** Files of tasks that were let go, until they are gone from the disk. */
export class Departures {
  readonly #log: Log;
  readonly #isBack: (taskId: TaskId) => boolean;
  /** The same task must not be made anew before that is done. */
  readonly #leaving = new Map<TaskId, Promise<void>>();
  /** Their files could not be removed. */
  readonly #unremoved = new Set<Departing>();

  /** @param isBack whether the task has been made again: then the files are its own. */
  constructor(log: Log, isBack: (taskId: TaskId) => boolean) {
    this.#log = log;
    this.#isBack = isBack;
  }

  /** Resolves when no files of an earlier task with this id are being removed. */
  async gone(taskId: TaskId): Promise<void> {
    await this.#leaving.get(taskId);
  }

  /** Removes the task's files. A failure is logged, and tried again at {@link retry}. */
  async leave(task: Departing): Promise<void> {
    const { taskId } = task.description;
    const leaving = this.#removeFiles(task).finally(() => this.#leaving.delete(taskId));
    this.#leaving.set(taskId, leaving);
    await leaving;
  }

  async retry(): Promise<void> {
    const unremoved = [...this.#unremoved];
    this.#unremoved.clear();
    for (const task of unremoved) {
      if (!this.#isBack(task.description.taskId)) await this.leave(task);
    }
  }

  async allGone(): Promise<void> {
    await Promise.all(this.#leaving.values());
    await this.retry();
  }

  async #removeFiles(task: Departing): Promise<void> {
    try {
      await task.removeFiles();
    } catch (error) {
      this.#unremoved.add(task);
      const { taskId } = task.description;
      this.#log.error("store.remove_failed", { task: taskId, error: messageOf(error) });
    }
  }
}
