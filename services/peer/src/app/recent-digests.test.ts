import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { beforeEach, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { MemoryPieceStore } from "../../../../test/support/memory-piece-store.ts";
// @boundaries-ignore tests share builders that no service ships
import { aTask } from "../../../../test/support/task-builders.ts";
import { RecentDigests } from "./recent-digests.ts";

const { taskId } = aTask("said", 3 * 2 ** 20);
const other = aTask("other", 1).taskId;

let nowMs: number;
let store: MemoryPieceStore;
let log: ReturnType<typeof createMemoryLog>;
let recent: RecentDigests;
beforeEach(() => {
  nowMs = 0;
  store = new MemoryPieceStore();
  log = createMemoryLog();
  recent = new RecentDigests(store, { clock: { ...systemClock, monotonic: () => nowMs }, log }, 3);
});

function say(task: string, start: number, bytes: readonly number[], count = bytes.length) {
  const digests = Buffer.concat(bytes.map((byte) => Buffer.alloc(32, byte)));
  return recent.hear({ taskId: task, pieces: [{ start, count }], digests });
}

function known(task: typeof taskId): (readonly [number, number | undefined])[] {
  return [...recent.of(task)].map(([index, digest]) => [index, digest[0]]);
}

test("what was said of a task is known for a while, and zeros say nothing", () => {
  expect(say(taskId, 4, [7, 0, 9])?.taskId).toBe(taskId);
  say(other, 0, [1]);
  expect(known(taskId)).toEqual([
    [4, 7],
    [6, 9],
  ]);
  nowMs = 120_001;
  expect(known(taskId)).toEqual([]);
});

test("with too many, those go that were said first", () => {
  say(taskId, 0, [1, 2]);
  say(taskId, 2, [3]);
  expect(known(taskId)).toHaveLength(3);
  say(other, 0, [4]);
  expect(known(taskId)).toEqual([[2, 3]]);
  say(other, 1, [5]);
  expect(known(taskId)).toEqual([[2, 3]]);
});

test("a task that is given up is forgotten alone", () => {
  say(taskId, 0, [1]);
  say(other, 0, [2]);
  recent.forget(taskId);
  expect([known(taskId), known(other)]).toEqual([[], [[0, 2]]]);
});

test("a digest does not keep the buffer that its message came in", () => {
  const buffer = Buffer.alloc(2 ** 20, 1);
  recent.hear({ taskId, pieces: [{ start: 0, count: 1 }], digests: buffer.subarray(0, 32) });
  for (const [, digest] of recent.of(taskId)) expect(digest.buffer.byteLength).toBe(32);
});

test("what makes no sense is ignored and logged", async () => {
  expect(say("no task", 0, [1])).toBeUndefined();
  expect(say(taskId, 0, [1, 2], 1)).toBeUndefined();
  expect(say(taskId, 0, [1, 2], 3)).toBeUndefined();
  expect(say(taskId, 2 ** 18, [1])).toBeUndefined();
  await store.create(aTask("said", 3 * 2 ** 20));
  expect(say(taskId, 3, [1])).toBeUndefined();
  expect(say(taskId, 2, [1])).toBeDefined();
  expect(known(taskId)).toEqual([[2, 1]]);
  expect(log.entries.filter(({ level }) => level === "warn")).toHaveLength(5);
});
