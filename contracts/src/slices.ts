import type { TaskId } from "./ids.ts";

/**
 * Partitions of all tasks: the unit of order and of ownership. Fixed for ever; 64 because one ordered consumer
 * per slice stays fast up to that number and collapses beyond it.
 */
export const SLICE_COUNT = 64;

/** The slice that also carries what belongs to no task: facts about hosts, downloads that were passed through. */
export const HOST_SLICE = 0;

/** The slice of a task: first byte of its id, modulo 64. */
export function sliceOf(taskId: TaskId): number {
  return Number.parseInt(taskId.slice(0, 2), 16) % SLICE_COUNT;
}

export function isSlice(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < SLICE_COUNT;
}
