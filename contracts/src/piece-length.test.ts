import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PIECE_COUNT_MAX } from "./limits.ts";
import {
  CONTENT_LENGTH_BYTES_MAX,
  isPieceLength,
  PIECE_LENGTH_BYTES_MAX,
  PIECE_LENGTH_BYTES_MIN,
  pieceLengthOf,
} from "./piece-length.ts";
import { pieceCountOf } from "./pieces.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const lengths = fc.oneof(
  fc.integer({ min: 0, max: CONTENT_LENGTH_BYTES_MAX }),
  fc.integer({ min: 0, max: 256 * MIB }),
  fc
    .tuple(fc.integer({ min: 0, max: 44 }), fc.integer({ min: -1, max: 1 }))
    .map(([power, offset]) => Math.min(CONTENT_LENGTH_BYTES_MAX, Math.max(0, 2 ** power + offset))),
);

describe("the piece length", () => {
  test.each([
    [0, MIB],
    [1, MIB],
    [64 * MIB, MIB],
    [64 * MIB + 1, 4 * MIB],
    [GIB, 4 * MIB],
    [GIB + 1, 8 * MIB],
    [5 * GIB, 32 * MIB],
    [16 * GIB, 64 * MIB],
    [CONTENT_LENGTH_BYTES_MAX, 64 * MIB],
  ])(
    "of content of %d bytes is %d bytes, for ever: stored copies depend on it",
    (length, expected) => {
      expect(pieceLengthOf(length)).toBe(expected);
    },
  );

  test("is a power of two within its bounds, for content of any length", () => {
    fc.assert(
      fc.property(lengths, (length) => {
        const pieceLength = pieceLengthOf(length);
        expect(pieceLength).toBeGreaterThanOrEqual(PIECE_LENGTH_BYTES_MIN);
        expect(pieceLength).toBeLessThanOrEqual(PIECE_LENGTH_BYTES_MAX);
        expect(pieceLength & (pieceLength - 1)).toBe(0);
        expect(isPieceLength(pieceLength)).toBe(true);
      }),
    );
  });

  test("never grows shorter with longer content", () => {
    fc.assert(
      fc.property(lengths, lengths, (a, b) => {
        expect(pieceLengthOf(Math.min(a, b))).toBeLessThanOrEqual(pieceLengthOf(Math.max(a, b)));
      }),
    );
  });

  test("gives at most 256 pieces until pieces cannot grow, and never more than an event can carry", () => {
    fc.assert(
      fc.property(lengths, (lengthBytes) => {
        const pieceLengthBytes = pieceLengthOf(lengthBytes);
        const count = pieceCountOf({ lengthBytes, pieceLengthBytes });
        expect(count).toBeLessThanOrEqual(
          pieceLengthBytes < PIECE_LENGTH_BYTES_MAX ? 256 : PIECE_COUNT_MAX,
        );
      }),
    );
  });
});

describe("a piece length from outside", () => {
  test("counts only as a whole power of two within the bounds", () => {
    for (const value of [
      0,
      -MIB,
      MIB - 1,
      MIB + 1,
      3 * MIB,
      128 * MIB,
      MIB / 2,
      Number.NaN,
      Infinity,
    ])
      expect(isPieceLength(value)).toBe(false);
    expect(isPieceLength(MIB + 2 ** -32)).toBe(false);
    expect(isPieceLength(2 * MIB)).toBe(true);
  });
});
