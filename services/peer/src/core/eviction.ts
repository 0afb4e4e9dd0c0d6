import type { TaskId } from "@lacewing/contracts/ids.ts";

/** How full the store and its disk are; all in bytes. */
export interface Room {
  /** Reserved by tasks, whether written yet or not. */
  readonly usedBytes: number;
  readonly quotaBytes: number;
  /** Free on the disk now. */
  readonly freeBytes: number;
  /** Reserved by tasks but not written yet: the disk will have that much less. */
  readonly unwrittenBytes: number;
  /** What the disk keeps free for everybody else. */
  readonly floorBytes: number;
}

/** A task as a candidate for eviction. */
export interface IdleTask {
  readonly taskId: TaskId;
  /** What its eviction gives back: its whole reservation. */
  readonly reservedBytes: number;
  readonly usedAtMs: number;
}

/** Shares of the quota, 0 to 1: above `high` eviction begins, and goes on down to `low`. */
export interface Watermarks {
  readonly high: number;
  readonly low: number;
}

/** Bytes of reservations to give up before `lengthBytes` more can be reserved; 0 when there is room. */
export function bytesToEvict(room: Room, lengthBytes: number): number {
  const overQuota = room.usedBytes + lengthBytes - room.quotaBytes;
  const belowFloor = lengthBytes + room.unwrittenBytes + room.floorBytes - room.freeBytes;
  return Math.max(0, overQuota, belowFloor);
}

/** Bytes that are given up along with them, so that not every new task has to wait for an eviction. */
export function bytesToLowWatermark(
  { usedBytes, quotaBytes }: Pick<Room, "usedBytes" | "quotaBytes">,
  lengthBytes: number,
  { high, low }: Watermarks,
): number {
  const wouldUse = usedBytes + lengthBytes;
  return wouldUse > quotaBytes * high ? Math.max(0, Math.ceil(wouldUse - quotaBytes * low)) : 0;
}

/** Tasks that nobody has used for `ttlMs`, 0: for as long as there is room. */
export function expired(
  idle: Iterable<IdleTask>,
  { nowMs, ttlMs }: { readonly nowMs: number; readonly ttlMs: number },
): readonly IdleTask[] {
  return ttlMs === 0 ? [] : [...idle].filter(({ usedAtMs }) => nowMs - usedAtMs > ttlMs);
}

/**
 * The least recently used tasks whose reservations make up `neededBytes`, and `wishedBytes` as far as they go.
 *
 * @returns `undefined` when all of them together are less than needed: then nothing is to be evicted, because it would not help.
 */
export function chooseEvictions(
  idle: Iterable<IdleTask>,
  neededBytes: number,
  wishedBytes = neededBytes,
): readonly IdleTask[] | undefined {
  const chosen: IdleTask[] = [];
  let gained = 0;
  for (const task of [...idle].toSorted(leastRecentlyUsedFirst)) {
    if (gained >= Math.max(neededBytes, wishedBytes)) break;
    // Empty content gives nothing back.
    if (task.reservedBytes === 0) continue;
    chosen.push(task);
    gained += task.reservedBytes;
  }
  return gained >= neededBytes ? chosen : undefined;
}

/** Ties go by id, so that the same state gives the same answer. */
function leastRecentlyUsedFirst(a: IdleTask, b: IdleTask): number {
  return a.usedAtMs - b.usedAtMs || (a.taskId < b.taskId ? -1 : 1);
}
