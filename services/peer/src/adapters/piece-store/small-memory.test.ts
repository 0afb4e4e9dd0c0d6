import { expect, test } from "vitest";
import { type InMemory, SmallMemory } from "./small-memory.ts";

function content(name: string, lengthBytes: number, forgotten: string[]): InMemory {
  return { lengthBytes, forgetBytes: () => forgotten.push(name) };
}

test("what nobody used for longest makes room first", () => {
  const forgotten: string[] = [];
  const memory = new SmallMemory(100);
  const [a, b, c] = ["a", "b", "c"].map((name) => content(name, 40, forgotten));
  if (a === undefined || b === undefined || c === undefined) throw new Error("no contents");
  memory.used(a);
  memory.used(b);
  memory.used(a);
  memory.used(c);
  expect(forgotten).toEqual(["b"]);
});

test("what was removed takes no room", () => {
  const forgotten: string[] = [];
  const memory = new SmallMemory(100);
  const a = content("a", 80, forgotten);
  memory.used(a);
  memory.removed(a);
  memory.used(content("b", 80, forgotten));
  expect(forgotten).toEqual([]);
});

test("a content larger than all of the memory stays while it is the one in use", () => {
  const forgotten: string[] = [];
  const memory = new SmallMemory(100);
  memory.used(content("a", 40, forgotten));
  memory.used(content("large", 200, forgotten));
  expect(forgotten).toEqual(["a"]);
});
