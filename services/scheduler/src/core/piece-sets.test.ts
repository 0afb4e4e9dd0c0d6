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

/** Sets of one table: so many are there from the start, and so many more may come. */
const SETS = 10;
const SETS_MORE = 10;

function contentOf({ set }: { readonly set: PieceSet | Bitmap }): unknown {
  const { size, count, isFull } = set;
  return { pieces: [...set], bytes: set.toBytes(), size, count, isFull };
}

test("many sets of one table hold what bitmaps of their own hold, also when some are given back", () => {
  const step = fc.record({
    which: fc.nat(SETS + SETS_MORE - 1),
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
    fc.property(
      fc.nat(70),
      fc.array(step, { minLength: 40, maxLength: 80 }),
      (pieceCount, steps) => {
        const table = new PieceTable(pieceCount);
        const pairs = Array.from({ length: SETS }, (): Pair => {
          return { set: table.newSet(), bitmap: new Bitmap(pieceCount) };
        });
        for (const { which, does, piece, bytes } of steps) {
          // One more, beside others that hold something already.
          if (which >= pairs.length) {
            pairs.push({ set: table.newSet(), bitmap: new Bitmap(pieceCount) });
            continue;
          }
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
          const now = pairs[which];
          expect(now?.set.has(piece)).toBe(now?.bitmap.has(piece));
          expect(pairs.map(contentOf)).toEqual(
            pairs.map(({ bitmap: other }) => contentOf({ set: other })),
          );
        }
      },
    ),
  );
});

test("a piece that the content does not have is in no set, whatever stands beside it", () => {
  const table = new PieceTable(40);
  const sets = [table.newSet(), table.newSet(), table.newSet()];
  for (const set of sets) for (let piece = 0; piece < 40; piece++) set.add(piece);

  expect([-1, -33, 40, 64, 65].map((piece) => sets[1]?.has(piece))).toEqual(
    Array.from({ length: 5 }, () => false),
  );
});

test("the room of a set that is given back is used again, and that of another table's is not", () => {
  const table = new PieceTable(64);
  const kept = table.newSet();
  kept.add(7);
  const before = table.data.length;
  table.release(new PieceTable(64).newSet());
  for (let round = 0; round < 100; round++) table.release(table.newSet());

  expect(table.data).toHaveLength(before);
  expect([...kept]).toEqual([7]);
  expect(table.newSet().add(7)).toBe(true);
});
