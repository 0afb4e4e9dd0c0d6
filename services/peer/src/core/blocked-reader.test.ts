import { expect, test } from "vitest";
import { BlockedReader } from "./blocked-reader.ts";

/** Times at which the scheduler is told, of a reader that looks again at each of these. */
function toldAt(looks: readonly (readonly [atMs: number, pieceIndex: number])[]): number[] {
  const reader = new BlockedReader();
  return looks.flatMap(([atMs, piece]) => (reader.waits(piece, atMs) ? [atMs] : []));
}

test("a reader is blocked when it has waited for one piece for half a second", () => {
  expect(
    toldAt([
      [0, 7],
      [499, 7],
      [500, 7],
    ]),
  ).toEqual([500]);
});

test("a reader that goes on from piece to piece is not blocked", () => {
  const looks = Array.from(
    { length: 50 },
    (_, look) => [look * 100, Math.floor(look / 4)] as const,
  );
  expect(toldAt(looks)).toEqual([]);
});

test("one that stays blocked says so again and again, but not each time that it looks", () => {
  const looks = Array.from({ length: 200 }, (_, look) => [look * 10, 7] as const);
  expect(toldAt(looks)).toEqual([500, 1500]);
});

test("two clients that wait for different pieces do not silence each other", () => {
  const looks = Array.from(
    { length: 40 },
    (_, look) => [look * 50, look % 2 === 0 ? 5 : 40] as const,
  );
  expect(toldAt(looks)).toHaveLength(2);
});

test("a piece that was not looked for in a while is waited for anew", () => {
  expect(
    toldAt([
      [0, 7],
      [3_000, 7],
      [3_400, 7],
      [3_500, 7],
    ]),
  ).toEqual([3_500]);
});
