import type { TaskId } from "@lacewing/contracts/ids.ts";
import { dropOldest } from "../core/drop-oldest.ts";

/** Canonical URLs whose newest task is remembered, so that a repeated download opens with one byte. */
const KNOWN_URL_COUNT_MAX = 10_000;

/** The newest task of canonical URLs; those remembered longest ago go first. */
export class KnownUrls {
  readonly #tasks = new Map<string, TaskId>();

  get(canonicalUrl: string): TaskId | undefined {
    return this.#tasks.get(canonicalUrl);
  }

  has(canonicalUrl: string): boolean {
    return this.#tasks.has(canonicalUrl);
  }

  remember(canonicalUrl: string, taskId: TaskId): void {
    this.#tasks.delete(canonicalUrl);
    this.#tasks.set(canonicalUrl, taskId);
    dropOldest(this.#tasks, KNOWN_URL_COUNT_MAX);
  }
}
