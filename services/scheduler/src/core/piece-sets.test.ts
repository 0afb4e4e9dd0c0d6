import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type PieceSet, PieceTable } from "./piece-sets.ts";

interface Pair {
  set: PieceSet;
  bitmap: Bitmap;
}

type Change = "add" | "delete" | "bytes" | "clear";

function applied(set: PieceSet | Bitmap, does: Change, piece: number, bytes: Uint8Array): unknown {
  if (does === "add") return set.add(piece);
  if (does === "delete") return set.delete(piece);
  if (does === "bytes") return set instanceof Bitmap ? set.orBytes(bytes) : set.addBytes(bytes);
  set.clear();
  return undefined;
}

function contentOf({ set }: { readonly set: PieceSet | Bitmap }): unknown {
  const { size, count, isFull } = set;
  return { pieces: [...set], bytes: set.toBytes(), size, count, isFull };
}

test("many sets of one table hold what bitmaps of their own hold, also when some are given back", () => {
  const step = fc.record({
    which: fc.nat(9),
    does: fc.constantFrom(
      "add" as const,
      "delete" as const,
      "bytes" as const,
      "clear" as const,
      "renew" as const,
    ),
    piece: fc.integer({ min: -1, max: 75 }),
    bytes: fc.uint8Array({ maxLength: 11 }),
  });
  fc.assert(
    fc.property(fc.nat(70), fc.array(step, { maxLength: 80 }), (pieceCount, steps) => {
      const table = new PieceTable(pieceCount);
      const pairs = Array.from({ length: 10 }, (): Pair => {
        return { set: table.newSet(), bitmap: new Bitmap(pieceCount) };
      });
      for (const { which, does, piece, bytes } of steps) {
        const pair = pairs[which];
        if (pair === undefined) throw new RangeError(`no pair ${which}`);
        const { set, bitmap } = pair;
        if (does === "renew") {
          table.release(set);
          pairs[which] = { set: table.newSet(), bitmap: new Bitmap(pieceCount) };
        }
        const outcomes = [set, bitmap].map((pieces) =>
          does === "renew" ? undefined : applied(pieces, does, piece, bytes),
        );
        expect(outcomes[0]).toEqual(outcomes[1]);
        expect(pairs.map(contentOf)).toEqual(
          pairs.map(({ bitmap: other }) => contentOf({ set: other })),
        );
      }
    }),
  );
});
