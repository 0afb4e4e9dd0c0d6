import { parseTaskId, type TaskId } from "@lacewing/contracts/ids.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { expect, test } from "vitest";
import { PoisonedTasks } from "./poisoned-tasks.ts";

const MINUTE_MS = 60_000;

function aTaskId(digit: string): TaskId {
  const taskId = parseTaskId(digit.repeat(64));
  if (taskId === undefined) throw new Error("not a task id");
  return taskId;
}

function clockAt(time: { nowMs: number }): Clock {
  return {
    now: () => time.nowMs,
    monotonic: () => time.nowMs,
    sleep: () => Promise.reject(new Error("nobody sleeps here")),
  };
}

test("a poisoned task is remembered for some minutes, and no other", () => {
  const time = { nowMs: 0 };
  const poisoned = new PoisonedTasks(clockAt(time));
  poisoned.note(aTaskId("a"));
  expect(poisoned.has(aTaskId("a"))).toBe(true);
  expect(poisoned.has(aTaskId("b"))).toBe(false);
  time.nowMs = 9 * MINUTE_MS;
  expect(poisoned.has(aTaskId("a"))).toBe(true);
  time.nowMs = 11 * MINUTE_MS;
  expect(poisoned.has(aTaskId("a"))).toBe(false);
});

test("a task whose whole content was found right is forgiven", () => {
  const poisoned = new PoisonedTasks(clockAt({ nowMs: 0 }));
  poisoned.note(aTaskId("a"));
  poisoned.forgive(aTaskId("a"));
  expect(poisoned.has(aTaskId("a"))).toBe(false);
});
