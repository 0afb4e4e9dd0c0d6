import type { Bitmap } from "@lacewing/contracts/bitmap.ts";
import type { PieceRange } from "@lacewing/contracts/gen/lacewing/decisions/v1/decisions.ts";
import {
  type ByteSpan,
  type PieceLayout,
  pieceAt,
  pieceCountOf,
  pieceSpan,
} from "@lacewing/contracts/pieces.ts";

/**
 * The runs of neighbouring pieces, `runPieceCountMax` at most, that are left of `pieces` (ascending) after `isTaken` is asked; each
 * run is one read.
 */
export function runsToFetch(
  pieces: Iterable<number>,
  isTaken: (pieceIndex: number) => boolean,
  runPieceCountMax = Infinity,
): PieceRange[] {
  const runs: PieceRange[] = [];
  for (const index of pieces) {
    if (isTaken(index)) continue;
    const last = runs.at(-1);
    const isNext = last !== undefined && last.start + last.count === index;
    if (isNext && last.count < runPieceCountMax) last.count++;
    else runs.push({ start: index, count: 1 });
  }
  return runs;
}

/** The bytes of a run of pieces. */
export function runSpan(layout: PieceLayout, run: PieceRange): ByteSpan {
  return {
    start: pieceSpan(layout, run.start).start,
    end: pieceSpan(layout, run.start + run.count - 1).end,
  };
}

/**
 * How far a reader at `offset` can read without waiting: through held pieces, and into one that the origin is writing up
 * to `partialEnd` of that piece (bytes of the origin may be shown before their piece is complete; bytes of a parent may not).
 *
 * @returns an absolute offset, `offset` itself when nothing is there.
 */
export function readableEnd(
  layout: PieceLayout,
  held: Bitmap,
  partialEnd: (pieceIndex: number) => number | undefined,
  offset: number,
): number {
  const count = pieceCountOf(layout);
  let end = offset;
  for (let index = pieceAt(layout, offset); index < count; index++) {
    if (!held.has(index)) return Math.max(end, partialEnd(index) ?? end);
    end = pieceSpan(layout, index).end;
  }
  return end;
}

/** The most that is withheld of an anchored full response until the anchor holds. */
const WITHHELD_BYTES_MAX = 64 * 1024;

/**
 * Where a reader of a whole, anchored, not yet verified content must stop: the last bytes are withheld until the anchor
 * holds, so that a client never takes wrong content for complete.
 */
export function withheldFrom(lengthBytes: number): number {
  return Math.max(
    0,
    lengthBytes - Math.max(1, Math.min(WITHHELD_BYTES_MAX, Math.ceil(lengthBytes / 2))),
  );
}

/** Whether every piece of [span.start, span.end) is held. */
export function isCovered(layout: PieceLayout, held: Bitmap, span: ByteSpan): boolean {
  return (
    span.end <= span.start || readableEnd(layout, held, () => undefined, span.start) >= span.end
  );
}

/** The pieces of a span that are not held, ascending. */
export function* missingPieces(
  layout: PieceLayout,
  held: Bitmap,
  span: ByteSpan,
): Generator<number> {
  if (span.end <= span.start) return;
  for (let index = pieceAt(layout, span.start); index <= pieceAt(layout, span.end - 1); index++) {
    if (!held.has(index)) yield index;
  }
}
