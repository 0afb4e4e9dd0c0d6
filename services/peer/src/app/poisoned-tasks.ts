import type { TaskId } from "@lacewing/contracts/ids.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { dropOldest } from "../core/drop-oldest.ts";
import { headerOf } from "../core/http-headers.ts";
import { AnchorMismatch } from "./download-errors.ts";
import type { Flow } from "./download-answers.ts";

/** Longer than clients go on with a broken download. */
const REMEMBERED_MS = 10 * 60_000;
/** The oldest goes first. */
const TASK_COUNT_MAX = 10_000;

/**
 * Tasks whose content was found not to agree with its anchor a short while ago. Who asks for a range of such content goes on
 * with a download that was broken off, and would take a wrong file for a whole one: the digest of the whole cannot
 * be checked on a part.
 */
export class PoisonedTasks {
  readonly #clock: Clock;
  readonly #untilMs = new Map<TaskId, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(taskId: TaskId): void {
    this.#untilMs.delete(taskId);
    this.#untilMs.set(taskId, this.#clock.monotonic() + REMEMBERED_MS);
    dropOldest(this.#untilMs, TASK_COUNT_MAX);
  }

  /** The whole was brought and agrees: its parts can be trusted again. */
  forgive(taskId: TaskId): void {
    this.#untilMs.delete(taskId);
  }

  has(taskId: TaskId): boolean {
    const untilMs = this.#untilMs.get(taskId);
    if (untilMs === undefined) return false;
    if (untilMs > this.#clock.monotonic()) return true;
    this.#untilMs.delete(taskId);
    return false;
  }
}

/** @throws {AnchorMismatch} when a part of such content is asked for. */
export function refusePartOfPoisoned({ request, target }: Flow, poisoned: PoisonedTasks): void {
  const taskId = target.anchoredTaskId;
  if (taskId === undefined || headerOf(request.headers, "range") === undefined) return;
  if (!poisoned.has(taskId)) return;
  throw new AnchorMismatch(
    `the origin's content did not agree with ${target.anchor ?? "its digest"} a short while ago: ask for the whole, not for a part`,
  );
}
