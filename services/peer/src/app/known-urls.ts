import type { Sha256Hex, TaskId } from "@lacewing/contracts/ids.ts";
import { dropOldest } from "../core/drop-oldest.ts";

/** Canonical URLs whose newest task is remembered, so that a repeated download opens with one byte. */
export const KNOWN_URL_COUNT_MAX = 10_000;

/**
 * The newest task of canonical URLs; those remembered longest ago go first. They are known by their digest: a URL may be as long
 * as a client likes, and ten thousand of 16 KiB would take a sixth of a gigabyte.
 */
export class KnownUrls {
  readonly #tasks = new Map<string, TaskId>();
  readonly #sha256: Sha256Hex;

  constructor(sha256: Sha256Hex) {
    this.#sha256 = sha256;
  }

  get(canonicalUrl: string): TaskId | undefined {
    return this.#tasks.get(this.#sha256(canonicalUrl));
  }

  has(canonicalUrl: string): boolean {
    return this.#tasks.has(this.#sha256(canonicalUrl));
  }

  remember(canonicalUrl: string, taskId: TaskId): void {
    const key = this.#sha256(canonicalUrl);
    this.#tasks.delete(key);
    this.#tasks.set(key, taskId);
    dropOldest(this.#tasks, KNOWN_URL_COUNT_MAX);
  }
}
