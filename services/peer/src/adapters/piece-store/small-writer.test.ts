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
