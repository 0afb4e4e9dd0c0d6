import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  countOf,
  indexesOf,
  pieceAt,
  pieceCountOf,
  piecesCovering,
  pieceSpan,
  type PieceLayout,
  rangesOf,
} from "./pieces.ts";

const layouts: fc.Arbitrary<PieceLayout> = fc.record({
  lengthBytes: fc.integer({ min: 0, max: 500 }),
  pieceLengthBytes: fc.integer({ min: 1, max: 64 }),
});

describe("the pieces of content", () => {
  test("cover every byte once, in order, none empty", () => {
    fc.assert(
      fc.property(layouts, (layout) => {
        let end = 0;
        for (let index = 0; index < pieceCountOf(layout); index++) {
          const span = pieceSpan(layout, index);
          expect(span.start).toBe(end);
          expect(span.end).toBeGreaterThan(span.start);
          expect(pieceAt(layout, span.start)).toBe(index);
          expect(pieceAt(layout, span.end - 1)).toBe(index);
          end = span.end;
        }
        expect(end).toBe(layout.lengthBytes);
      }),
    );
  });

  test("of empty content are none", () => {
    expect(pieceCountOf({ lengthBytes: 0, pieceLengthBytes: 4 })).toBe(0);
  });
});

describe("the pieces that a span of bytes touches", () => {
  test("are exactly those with a byte in common", () => {
    fc.assert(
      fc.property(layouts, fc.nat(500), fc.nat(500), (layout, a, b) => {
        const span = {
          start: Math.min(a, b, layout.lengthBytes),
          end: Math.min(Math.max(a, b), layout.lengthBytes),
        };
        const covering = piecesCovering(layout, span);
        for (let index = 0; index < pieceCountOf(layout); index++) {
          const piece = pieceSpan(layout, index);
          const overlaps = Math.max(piece.start, span.start) < Math.min(piece.end, span.end);
          expect(index >= covering.start && index < covering.end).toBe(overlaps);
        }
      }),
    );
  });

  test("are none for an empty span", () => {
    expect(piecesCovering({ lengthBytes: 8, pieceLengthBytes: 4 }, { start: 5, end: 5 })).toEqual({
      start: 0,
      end: 0,
    });
  });
});

describe("piece ranges", () => {
  const indexSets = fc
    .uniqueArray(fc.nat(200), { maxLength: 60 })
    .map((list) => list.toSorted((a, b) => a - b));

  test("give back the indexes they were made of, and count them", () => {
    fc.assert(
      fc.property(indexSets, (indexes) => {
        const ranges = rangesOf(indexes);
        expect([...indexesOf(ranges)]).toEqual(indexes);
        expect(countOf(ranges)).toBe(indexes.length);
      }),
    );
  });

  test("are as few as possible: two neighbours always leave a gap", () => {
    fc.assert(
      fc.property(indexSets, (indexes) => {
        const gapEnds = rangesOf(indexes)
          .slice(1)
          .map((range) => range.start - 1);
        expect(gapEnds.filter((index) => indexes.includes(index))).toEqual([]);
      }),
    );
  });
});
