import type { TaskId } from "@lacewing/contracts/ids.ts";

/**
 * Tells whoever waits for pieces of a task that one is held now. By task: who is asked for a piece of a task that is not made yet
 * does not know how it is cut, and looks for itself.
 */
export class PieceArrivals {
  readonly #listeners = new Map<TaskId, Set<() => void>>();

  /** A piece of the task is verified and held now. */
  arrived(taskId: TaskId): void {
    for (const listener of this.#listeners.get(taskId) ?? []) listener();
  }

  /** @returns how to stop listening; nothing of a task stays behind that nobody listens to. */
  listen(taskId: TaskId, listener: () => void): () => void {
    const listeners = this.#listeners.get(taskId) ?? new Set();
    // A function of its own: the same listener may listen twice.
    const own = (): void => listener();
    this.#listeners.set(taskId, listeners.add(own));
    return () => {
      listeners.delete(own);
      if (listeners.size === 0 && this.#listeners.get(taskId) === listeners)
        this.#listeners.delete(taskId);
    };
  }

  /** Tasks that somebody listens to. */
  get taskCount(): number {
    return this.#listeners.size;
  }
}
