import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { leaseCovers } from "./piece-http-lease.ts";
import {
  formatContentRange,
  formatPieceRange,
  parseContentRange,
  parsePieceRange,
} from "./piece-http-range.ts";

const spans = fc
  .tuple(fc.nat(2 ** 30), fc.integer({ min: 1, max: 2 ** 30 }))
  .map(([start, length]) => ({ start, end: start + length }));

describe("ranges between hosts", () => {
  test("read back as they were written", () => {
    fc.assert(
      fc.property(spans, fc.nat(100), (span, rest) => {
        expect(parsePieceRange(formatPieceRange(span))).toEqual(span);
        const lengthBytes = span.end + rest;
        expect(parseContentRange(formatContentRange(span, lengthBytes))).toEqual({
          span,
          lengthBytes,
        });
      }),
    );
  });

  test.each([
    undefined,
    "",
    "bytes=5-",
    "bytes=-5",
    "bytes=0-1,3-4",
    "bytes=4-3",
    "items=0-1",
    "bytes=0-9999999999999999",
  ])("other than one closed range are refused: %s", (header) => {
    expect(parsePieceRange(header)).toBeUndefined();
  });
});

test("a lease covers pieces exactly when each of them is in one of its ranges", () => {
  const ranges = fc.array(fc.record({ start: fc.nat(20), count: fc.nat(6) }), { maxLength: 6 });
  fc.assert(
    fc.property(ranges, fc.nat(20), fc.nat(10), (leased, start, count) => {
      const indexes = Array.from({ length: count }, (_, at) => start + at);
      const isCovered = indexes.every((index) =>
        leased.some((range) => index >= range.start && index < range.start + range.count),
      );
      expect(leaseCovers(leased, { start, end: start + count })).toBe(isCovered);
    }),
  );
});
