import { expect, test } from "vitest";
import { UnwrittenTasks } from "./unwritten-tasks.ts";

const taskOf = (lengthBytes: number, unwrittenBytes = lengthBytes) => ({
  description: { lengthBytes },
  unwrittenBytes,
});

test("where there is not room for the lengths of all tasks, what is unwritten of them is added up", () => {
  const tasks = new UnwrittenTasks(() => true);
  tasks.add(taskOf(100, 30));
  tasks.add(taskOf(100, 20));
  expect(tasks.bytes(199)).toBe(50);
  expect(tasks.bytes(200)).toBe(200);
});

test("a task that has written everything, or that the store no longer has, counts no more", () => {
  const [written, gone, other] = [taskOf(100), taskOf(100), taskOf(100)];
  const tasks = new UnwrittenTasks((task) => task !== gone);
  for (const task of [written, gone, other]) tasks.add(task);
  written.unwrittenBytes = 0;
  tasks.bytes(0);
  expect(tasks.bytes(0)).toBe(100);
  expect(tasks.lengthBytes).toBe(100);
});

test("a task counts once, however often it comes to be unwritten again", () => {
  const task = taskOf(100);
  const tasks = new UnwrittenTasks(() => true);
  tasks.add(task);
  tasks.add(task);
  expect(tasks.lengthBytes).toBe(100);
});

test("written tasks are let go although there is room for all", () => {
  const tasks = new UnwrittenTasks(() => true);
  for (let count = 0; count < 1000; count++) {
    const task = taskOf(100);
    tasks.add(task);
    tasks.bytes(Number.POSITIVE_INFINITY);
    task.unwrittenBytes = 0;
  }
  expect(tasks.lengthBytes).toBeLessThan(100 * 100);
});
