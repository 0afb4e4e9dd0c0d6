import fc from "fast-check";
import { expect, test } from "vitest";
import { FewMap } from "./few-map.ts";

const KEYS = ["", "a", "b", "c"] as const;

test("it holds what a map holds, in the same order, whatever is put in and taken out", () => {
  const step = fc.record({
    does: fc.constantFrom("set" as const, "delete" as const),
    key: fc.constantFrom(...KEYS),
    value: fc.nat(9),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const few = new FewMap<number>();
      const map = new Map<string, number>();
      for (const { does, key, value } of steps) {
        const outcomes = [few, map].map((either) => {
          if (does === "delete") return either.delete(key);
          either.set(key, value);
          return true;
        });
        expect(outcomes[0]).toBe(outcomes[1]);
        expect(few.size).toBe(map.size);
        expect([...few]).toEqual([...map]);
        expect([...few.keys()]).toEqual([...map.keys()]);
        expect([...few.values()]).toEqual([...map.values()]);
        for (const other of KEYS) {
          expect(few.get(other)).toBe(map.get(other));
          expect(few.has(other)).toBe(map.has(other));
        }
      }
    }),
  );
});

test.for([1, 2, 3])("%i entries are all met, though each is taken out when it is met", (count) => {
  const few = new FewMap<number>();
  for (let number = 0; number < count; number++) few.set(`key ${number}`, number);
  const met: string[] = [];
  for (const key of few.keys()) {
    met.push(key);
    few.delete(key);
  }

  expect(met).toHaveLength(count);
  expect(few.size).toBe(0);
});
