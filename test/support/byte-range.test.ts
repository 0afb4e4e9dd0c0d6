import { expect, test } from "vitest";
import { answerToRange } from "./byte-range.ts";

test.each([
  ["bytes=0-0", { kind: "part", range: { start: 0, end: 0 } }],
  ["bytes=10-", { kind: "part", range: { start: 10, end: 99 } }],
  ["bytes=-5", { kind: "part", range: { start: 95, end: 99 } }],
  ["bytes=-500", { kind: "part", range: { start: 0, end: 99 } }],
  ["bytes=90-200", { kind: "part", range: { start: 90, end: 99 } }],
  ["bytes=100-", { kind: "unsatisfiable" }],
  ["bytes=-0", { kind: "unsatisfiable" }],
  ["bytes=5-4", { kind: "whole" }],
  ["bytes=0-1,5-6", { kind: "whole" }],
  ["lines=0-1", { kind: "whole" }],
  [undefined, { kind: "whole" }],
])("of 100 bytes %j asks for %j", (header, answer) => {
  expect(answerToRange(header, 100)).toEqual(answer);
});

test("an empty content has no bytes to give", () => {
  expect(answerToRange("bytes=0-0", 0)).toEqual({ kind: "unsatisfiable" });
  expect(answerToRange(undefined, 0)).toEqual({ kind: "whole" });
});
