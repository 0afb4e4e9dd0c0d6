import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SmallWriter, type Writable } from "./small-writer.ts";

let written: string[];
beforeEach(() => {
  written = [];
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function content(name: string, lengthBytes = 1000): Writable {
  return { lengthBytes, writeFile: () => written.push(name) };
}

test("nothing is written while contents keep coming, everything when they stop", () => {
  const writer = new SmallWriter();
  for (let at = 0; at < 10; at++) {
    writer.add(content(`${at}`));
    vi.advanceTimersByTime(100);
  }
  expect(written).toEqual([]);
  vi.runAllTimers();
  expect(written).toHaveLength(10);
});

test("nothing is written while clients read what waits, also when writing has begun", () => {
  const writer = new SmallWriter();
  for (let at = 0; at < 10; at++) writer.add(content(`${at}`));
  for (let at = 0; at < 10; at++) {
    vi.advanceTimersByTime(100);
    writer.noteRead();
  }
  expect(written).toEqual([]);
  vi.advanceTimersByTime(150);
  vi.advanceTimersToNextTimer();
  const begun = written.length;
  expect(begun).toBeGreaterThan(0);
  expect(begun).toBeLessThan(10);
  writer.noteRead();
  vi.advanceTimersByTime(100);
  expect(written).toHaveLength(begun);
  vi.runAllTimers();
  expect(written).toHaveLength(10);
});

test("reads do not put writing off for more than two seconds", () => {
  const writer = new SmallWriter();
  writer.add(content("a"));
  for (let at = 0; at < 30; at++) {
    vi.advanceTimersByTime(100);
    writer.noteRead();
  }
  expect(written).toEqual(["a"]);
});

test("contents that keep coming are written after two seconds all the same", () => {
  const writer = new SmallWriter();
  for (let at = 0; at < 30; at++) {
    writer.add(content(`${at}`));
    vi.advanceTimersByTime(100);
  }
  expect(written.length).toBeGreaterThan(15);
});

test("many bytes are not kept waiting", () => {
  const writer = new SmallWriter();
  for (let at = 0; at < 20; at++) writer.add(content(`${at}`, 2 ** 20));
  vi.advanceTimersByTime(0);
  vi.runAllTicks();
  expect(written.length).toBeGreaterThan(0);
});

test("what was dropped is not written, and what is flushed is written once", () => {
  const writer = new SmallWriter();
  const [a, b] = [content("a"), content("b")];
  writer.add(a);
  writer.add(b);
  writer.drop(a);
  writer.flush(b);
  vi.runAllTimers();
  expect(written).toEqual(["b"]);
});
