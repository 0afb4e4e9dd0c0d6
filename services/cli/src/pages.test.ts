import { expect, test } from "vitest";
import { pagesOf } from "./pages.ts";

/** A list of so many numbers, in pages as they are asked for. */
function listOf(count: number) {
  return async ({ pageSize, pageToken }: { pageSize: number; pageToken: string }) => {
    const start = pageToken === "" ? 0 : Number(pageToken) + 1;
    const rows = Array.from({ length: Math.min(pageSize, count - start) }, (_, at) => start + at);
    const last = rows.at(-1) ?? 0;
    return { rows, nextPageToken: last < count - 1 && rows.length > 0 ? `${last}` : "" };
  };
}

test("every page is read, in order and once", async () => {
  const { rows, isCut } = await pagesOf(listOf(2_345));
  expect(rows).toEqual(Array.from({ length: 2_345 }, (_, at) => at));
  expect(isCut).toBe(false);
});

test("a list without end is read up to a limit, and that is told", async () => {
  const { rows, isCut } = await pagesOf(listOf(1_000_000));
  expect([rows.length, isCut]).toEqual([10_000, true]);
});

test("an empty list is one empty page", async () => {
  expect(await pagesOf(listOf(0))).toEqual({ rows: [], isCut: false });
});
