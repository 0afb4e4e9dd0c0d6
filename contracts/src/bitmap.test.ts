import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Bitmap } from "./bitmap.ts";

type Step =
  | { readonly kind: "add" | "delete"; readonly index: number }
  | { readonly kind: "or"; readonly bytes: Uint8Array }
  | { readonly kind: "clear" };

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: indexStep("add") },
  { weight: 3, arbitrary: indexStep("delete") },
  {
    weight: 2,
    arbitrary: fc.uint8Array({ maxLength: 12 }).map((bytes) => ({ kind: "or", bytes }) as const),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "clear" } as const) },
);

function indexStep(kind: "add" | "delete"): fc.Arbitrary<Step> {
  return fc.integer({ min: -3, max: 80 }).map((index) => ({ kind, index }));
}

/** What `step` does to a plain set, and what the bitmap must answer. */
function applyToModel(model: Set<number>, size: number, step: Step): unknown {
  switch (step.kind) {
    case "add": {
      const isNew = step.index >= 0 && step.index < size && !model.has(step.index);
      if (isNew) model.add(step.index);
      return isNew;
    }
    case "delete":
      return model.delete(step.index);
    case "or": {
      const fresh = bitsOf(step.bytes).filter((index) => index < size && !model.has(index));
      for (const index of fresh) model.add(index);
      return fresh;
    }
    case "clear":
      model.clear();
      return undefined;
  }
}

function applyToBitmap(bitmap: Bitmap, step: Step): unknown {
  switch (step.kind) {
    case "add":
      return bitmap.add(step.index);
    case "delete":
      return bitmap.delete(step.index);
    case "or":
      return bitmap.orBytes(step.bytes);
    case "clear":
      bitmap.clear();
      return undefined;
  }
}

function bitsOf(bytes: Uint8Array): number[] {
  return [...bytes].flatMap((byte, at) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte & (1 << bit)) !== 0).map((bit) => at * 8 + bit),
  );
}

/**
 * Goal: a bitmap is a set of the indexes below its size, and its count is always right.
 *
 * Method: random steps are done to a bitmap and to a plain Set; every answer and every reading must agree.
 */
test("a bitmap does what a set of indexes below its size does", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 70 }),
      fc.array(steps, { maxLength: 40 }),
      (size, list) => {
        const bitmap = new Bitmap(size);
        const model = new Set<number>();
        for (const step of list) {
          expect(applyToBitmap(bitmap, step)).toEqual(applyToModel(model, size, step));
          expect(bitmap.count).toBe(model.size);
        }
        expect([...bitmap]).toEqual([...model].toSorted((a, b) => a - b));
        expect(bitmap.isFull).toBe(model.size === size);
        for (let index = -2; index < size + 10; index++)
          expect(bitmap.has(index)).toBe(model.has(index));
      },
    ),
  );
});

describe("the bytes of a bitmap", () => {
  test("have bit i at bit i%8 of byte i/8, least significant first", () => {
    const bitmap = new Bitmap(10);
    for (const index of [0, 7, 9]) bitmap.add(index);
    expect([...bitmap.toBytes()]).toEqual([0b1000_0001, 0b0000_0010]);
  });

  test("round-trip", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(99)), (indexes) => {
        const bitmap = new Bitmap(100);
        for (const index of indexes) bitmap.add(index);
        const copy = new Bitmap(100, bitmap.toBytes());
        expect([...copy]).toEqual([...bitmap]);
        expect(copy.count).toBe(indexes.length);
      }),
    );
  });

  test("from outside, too many or with bits beyond the size, add nothing beyond the size", () => {
    const bitmap = new Bitmap(3, new Uint8Array([0xff, 0xff, 0xff]));
    expect([...bitmap]).toEqual([0, 1, 2]);
    expect([...bitmap.toBytes()]).toEqual([0b111]);
  });

  test("and clones are copies: changing one does not change the other", () => {
    const bitmap = new Bitmap(8);
    const bytes = bitmap.toBytes();
    const clone = bitmap.clone();
    bitmap.add(1);
    expect([...bytes]).toEqual([0]);
    expect(clone.count).toBe(0);
  });
});

test("joining bitmaps in any order, with repeats, gives the same set", () => {
  const parts = fc.array(fc.uint8Array({ minLength: 4, maxLength: 4 }), { maxLength: 6 });
  fc.assert(
    fc.property(parts, fc.array(fc.nat(5)), (list, extra) => {
      const shuffled = [
        ...extra.map((at) => list[at % Math.max(1, list.length)]),
        ...list.toReversed(),
      ];
      const one = new Bitmap(32);
      const other = new Bitmap(32);
      for (const bytes of list) one.orBytes(bytes);
      for (const bytes of shuffled) if (bytes !== undefined) other.orBytes(bytes);
      expect([...other]).toEqual([...one]);
    }),
  );
});
