import { expect, test } from "vitest";
import { mergedInOrder } from "./merged-in-order.ts";

let closedCount = 0;

async function* of(...items: readonly number[]): AsyncGenerator<number> {
  try {
    for (const item of items) {
      if (item < 0) throw new Error("it broke");
      yield item;
    }
  } finally {
    closedCount++;
  }
}

const inOrder = (...sources: readonly AsyncGenerator<number>[]) =>
  mergedInOrder(sources, (item) => item);

async function all(sequence: AsyncIterable<number>): Promise<readonly number[]> {
  const items: number[] = [];
  for await (const item of sequence) items.push(item);
  return items;
}

test("gives everything in one order, also when a source is empty or ends early", async () => {
  const items = await all(inOrder(of(1, 4, 9), of(), of(2, 3), of(5)));
  expect(items).toEqual([1, 2, 3, 4, 5, 9]);
  expect(await all(inOrder())).toEqual([]);
});

test("closes every source when the reader has enough", async () => {
  closedCount = 0;
  for await (const item of inOrder(of(1, 3), of(2, 4))) if (item === 2) break;
  expect(closedCount).toBe(2);
});

test("closes the others when one fails", async () => {
  closedCount = 0;
  await expect(all(inOrder(of(1, -1), of(2, 4)))).rejects.toThrow("it broke");
  expect(closedCount).toBe(2);
});
