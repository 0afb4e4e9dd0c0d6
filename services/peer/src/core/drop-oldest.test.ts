import { expect, test } from "vitest";
import { dropOldest } from "./drop-oldest.ts";

test("what was put in first goes when there is too much, and nothing before", () => {
  const names = new Map([
    ["b", 1],
    ["a", 2],
  ]);
  dropOldest(names, 2);
  expect([...names.keys()]).toEqual(["b", "a"]);
  names.set("c", 3);
  dropOldest(names, 2);
  expect([...names.keys()]).toEqual(["a", "c"]);

  const set = new Set(["x", "y"]);
  dropOldest(set, 1);
  expect([...set]).toEqual(["y"]);
  dropOldest(new Set(), 0);
});
