import { expect, test } from "vitest";
import { joinRanges, namesText, percentText, piecesText } from "./text.ts";

test("pieces are told as spans, and as a count when the spans are many", () => {
  expect(piecesText([{ start: 3, count: 1 }])).toBe("piece 3");
  expect(
    piecesText([
      { start: 0, count: 4 },
      { start: 7, count: 1 },
    ]),
  ).toBe("pieces 0–3 and 7");
  const scattered = Array.from({ length: 1_200 }, (_, at) => ({ start: at * 2, count: 1 }));
  expect(piecesText(scattered)).toBe("1,200 pieces in 1,200 spans");
});

test("a share is 100 % only for all of it and 0 % only for nothing", () => {
  expect([percentText(1, 1_000), percentText(999, 1_000)]).toEqual(["1 %", "99 %"]);
  expect([percentText(0, 5), percentText(5, 5), percentText(0, 0)]).toEqual([
    "0 %",
    "100 %",
    "0 %",
  ]);
});

test("ranges that touch or overlap become one", () => {
  const ranges = [
    { start: 4, count: 2 },
    { start: 0, count: 4 },
    { start: 5, count: 3 },
    { start: 20, count: 1 },
  ];
  expect(joinRanges(ranges)).toEqual([
    { start: 0, count: 8 },
    { start: 20, count: 1 },
  ]);
  expect(ranges[1]).toEqual({ start: 0, count: 4 });
});

test("a few hosts are named, many are counted", () => {
  expect(namesText(["a", "b", "c"], "hosts")).toBe("a, b and c");
  expect(namesText(["a", "b", "c", "d"], "hosts")).toBe("4 hosts");
});
